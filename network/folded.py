"""The attribute encoders for inference: batch norms folded into the convolutions, the same numbers."""

from __future__ import annotations

import copy
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from network.AEI_Net import MLAttrEncoder
from network.packed import PackedConv2d

_SLOPE = 0.1  # of the encoders' LeakyReLU


def fold_encoder(encoder: nn.Module) -> nn.Module:
    """The inference form of an attribute encoder in evaluation mode, float32; the encoder stays as it is.

    Of `unet` and `linknet` it returns all maps but the last, which is the one before it, upsampled.
    """
    if isinstance(encoder, MLAttrEncoder):
        return FoldedEncoder(encoder)
    return fold_everywhere(copy.deepcopy(encoder))


def _folded_weights(conv: nn.Module, norm: nn.Module) -> tuple[nn.Parameter, nn.Parameter]:
    """Weight and bias of the convolution that does the work of both."""
    c, n = cast(nn.Conv2d, conv), cast(nn.BatchNorm2d, norm)
    transposed = isinstance(conv, nn.ConvTranspose2d)
    mean, var = cast(Tensor, n.running_mean), cast(Tensor, n.running_var)
    return fuse_conv_bn_weights(c.weight, c.bias, mean, var, n.eps, n.weight, n.bias, transposed)


def fold_everywhere(module: nn.Module) -> nn.Module:
    """Fold, in place, every batch norm into the convolution that stands before it among its parent's children."""
    for child in module.children():
        fold_everywhere(child)
    children = list(module.named_children())
    for (_, conv), (name, norm) in zip(children, children[1:], strict=False):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            conv.weight, conv.bias = _folded_weights(conv, norm)
            setattr(module, name, nn.Identity())
    return module


def _leaky(conv: nn.Module, x: Tensor) -> Tensor:
    """The encoders' LeakyReLU of conv(x)."""
    return conv.leaky(x, _SLOPE) if isinstance(conv, PackedConv2d) else F.leaky_relu_(conv(x), _SLOPE)


class _Double(nn.Module):
    """Transposed convolution 4x4 of stride 2 and padding 1, as one 2x2 convolution whose results are interleaved.

    Each of the four pixels that come from one is a 2x2 convolution of its own; small maps are many times as fast so.
    """

    def __init__(self, conv: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        weight, bias = (value.detach() for value in _folded_weights(conv, norm))  # (cin, cout, 4, 4)
        self.cout = weight.shape[1]
        self.conv = nn.Conv2d(weight.shape[0], 4 * self.cout, 2, padding=1)
        # An even row takes rows 3 and 1 of the kernel, an odd one 2 and 0; columns alike.
        parts = [weight.flip(2, 3)[:, :, y::2, x::2] for y in (0, 1) for x in (0, 1)]
        self.conv.weight = nn.Parameter(torch.cat(parts, dim=1).transpose(0, 1).contiguous())
        self.conv.bias = nn.Parameter(bias.repeat(4))

    def forward(self, x: Tensor, place: Tensor) -> None:
        """Write the result for x (B, cin, H, W) to `place` (B, cout, 2 H, 2 W)."""
        y = _leaky(self.conv, x)
        height, width = x.shape[2:]
        for i, part in enumerate(y.split(self.cout, dim=1)):
            row, column = divmod(i, 2)
            place[:, :, row::2, column::2] = part[:, :, row : row + height, column : column + width]


class FoldedEncoder(nn.Module):
    """The encoders `unet` and `linknet`."""

    def __init__(self, encoder: MLAttrEncoder) -> None:
        super().__init__()
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for i in range(1, encoder.levels + 1):
            conv, norm = cast(nn.Conv2d, getattr(encoder, f"conv{i}")[0]), getattr(encoder, f"conv{i}")[1]
            folded = nn.Conv2d(conv.in_channels, conv.out_channels, 4, 2, 1)
            folded.weight, folded.bias = _folded_weights(conv, norm)
            self.down.append(folded)
        ups = [getattr(encoder, f"deconv{i}") for i in range(1, encoder.levels)]
        self.up.extend(_Double(up.deconv, up.bn) for up in ups)
        self.concatenate = bool(ups[0].concatenate)

    def forward(self, Xt: Tensor) -> list[Tensor]:
        """Xt: (B, 3, S, S) float [-1, 1] RGB. Returns `levels` maps, 2x2 to S/2 x S/2 pixels, deepest first."""
        features = [Xt]
        for conv in self.down:
            features.append(_leaky(conv, features[-1]))
        maps = [features[-1]]
        for up, skip in zip(self.up, features[-2:0:-1], strict=True):
            maps.append(self._join(cast(_Double, up), maps[-1], skip))
        return maps

    def _join(self, up: _Double, x: Tensor, skip: Tensor) -> Tensor:
        channels = up.cout + skip.shape[1] * self.concatenate
        shape = (len(skip), channels, *skip.shape[2:])
        result = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
        up(x, result[:, : up.cout])
        if not self.concatenate:
            return result.add_(skip)
        result[:, up.cout :] = skip
        return result
