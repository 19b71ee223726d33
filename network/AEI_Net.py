"""AEI-Net: attribute encoder and AAD generator.

Source: FaceShifter sec. 3.1, arXiv:1912.13457; GHOST, Groshev et al., IEEE Access 2022.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from network.AADLayer import AADBlock
from network.resnet import MLAttrEncoderResnet

BACKBONES = ("unet", "linknet", "resnet")
_FIRST = 32  # channels of the first down block


def init_weights(module: nn.Module) -> None:
    """Linear weights normal(0, 0.001), bias 0; weights of convolutions and transposed convolutions Xavier normal."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0, 0.001)
        nn.init.zeros_(module.bias)
    elif isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.xavier_normal_(module.weight)


def _down(cin: int, cout: int) -> nn.Sequential:
    conv = nn.Conv2d(cin, cout, 4, 2, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(cout), nn.LeakyReLU(0.1, inplace=True))


class _Up(nn.Module):
    def __init__(self, cin: int, cout: int, concatenate: bool) -> None:
        super().__init__()
        self.deconv = nn.ConvTranspose2d(cin, cout, 4, 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(cout)
        self.concatenate = concatenate

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = F.leaky_relu(self.bn(self.deconv(x)), 0.1)
        return torch.cat((x, skip), 1) if self.concatenate else x + skip


def _upsample(x: Tensor) -> Tensor:
    # Autocast on CPU would widen x to float32, and with it all features that follow.
    with torch.autocast(x.device.type, enabled=False):
        return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)


def _base_channels(levels: int, width: float) -> list[int]:
    """Channels of the down blocks: doubling from _FIRST, the last two alike, times `width`."""
    return [int(_FIRST * width) * 2 ** min(i, levels - 2) for i in range(levels)]


def attribute_channels(backbone: str, levels: int, width: float) -> list[int]:
    """Channels of the attribute maps, deepest first."""
    down = _base_channels(levels, width)
    factor = 1 if backbone == "linknet" else 2
    ups = [factor * c for c in reversed(down[:-1])]
    return [down[-1], *ups, ups[-1]]


class MLAttrEncoder(nn.Module):
    """Multi-level attribute encoder: a U-Net whose decoder maps are the attributes (`unet`: skips joined by
    concatenation, `linknet`: by addition)."""

    def __init__(self, backbone: str, levels: int = 7, width: float = 1.0) -> None:
        super().__init__()
        self.levels = levels
        concatenate = backbone == "unet"
        down = _base_channels(levels, width)
        for i, (cin, cout) in enumerate(zip([3, *down], down, strict=False), 1):
            setattr(self, f"conv{i}", _down(cin, cout))
        cin = down[-1]
        for i, cout in enumerate(reversed(down[:-1]), 1):
            setattr(self, f"deconv{i}", _Up(cin, cout, concatenate))
            cin = 2 * cout if concatenate else cout
        self.apply(init_weights)

    def forward(self, Xt: Tensor) -> list[Tensor]:
        """Xt: (B, 3, S, S) float [-1, 1] RGB. Returns levels + 1 maps, 2x2 to SxS pixels, deepest first."""
        features = [Xt]
        for i in range(1, self.levels + 1):
            features.append(getattr(self, f"conv{i}")(features[-1]))
        maps = [features[-1]]
        for i in range(1, self.levels):
            maps.append(getattr(self, f"deconv{i}")(maps[-1], features[self.levels - i]))
        return [*maps, _upsample(maps[-1])]


class AADGenerator(nn.Module):
    """Build a face from the identity embedding, shaped at every scale by the attribute maps."""

    def __init__(self, attr_channels: list[int], top: int, c_id: int, num_blocks: int) -> None:
        """attr_channels: channels of the maps, deepest first; top: widest number of feature channels."""
        super().__init__()
        self.count = len(attr_channels)
        self.up1 = nn.ConvTranspose2d(c_id, top, 2, 1, 0)
        widths = [top] * 4 + [top >> i for i in range(1, self.count - 3)]
        for i, (cin, cout, c_attr) in enumerate(zip(widths, [*widths[1:], 3], attr_channels, strict=True), 1):
            setattr(self, f"AADBlk{i}", AADBlock(cin, cout, c_attr, c_id, num_blocks))
        self.apply(init_weights)

    def forward(self, z_attr: list[Tensor], z_id: Tensor) -> Tensor:
        """z_attr: the maps, deepest first; z_id: (B, c_id) float, raw embedding. Returns (B, 3, S, S) in [-1, 1]."""
        h = self.up1(z_id[..., None, None])
        for i, attributes in enumerate(z_attr, 1):
            h = getattr(self, f"AADBlk{i}")(h, attributes, z_id)
            if i < self.count:
                h = _upsample(h)
        return torch.tanh(h)


class AEI_Net(nn.Module):
    """Give the target face Xt the identity z_id.

    backbone: unet, linknet or resnet. num_blocks: AAD layers per block, 1 to 3. c_id: length of the embedding.
    width: multiplier of all channels (published: 1). size: side of the crops in pixels, a power of two (published 256);
    each halving drops one level of the encoder and one block of the generator.
    """

    def __init__(
        self, backbone: str, num_blocks: int = 2, c_id: int = 256, width: float = 1.0, size: int = 256
    ) -> None:
        super().__init__()
        if backbone not in BACKBONES:
            raise ValueError(f"backbone {backbone!r}: expected one of {', '.join(BACKBONES)}")
        if num_blocks not in (1, 2, 3):
            raise ValueError(f"num_blocks {num_blocks!r}: expected 1, 2 or 3")
        if size < 64 or size & (size - 1):
            raise ValueError(f"size {size}: expected a power of two, 64 or more")
        if width < 1 / _FIRST:
            raise ValueError(f"width {width}: expected {1 / _FIRST} or more, which leaves at least one channel")
        if backbone == "resnet" and (width, size) != (1.0, 256):
            raise ValueError(f"backbone 'resnet' has one form only, width 1 and size 256, not {width} and {size}")
        levels = size.bit_length() - 2
        self.backbone, self.size, self.c_id = backbone, size, c_id
        self.encoder: nn.Module = (
            MLAttrEncoderResnet() if backbone == "resnet" else MLAttrEncoder(backbone, levels, width)
        )
        channels = attribute_channels(backbone, levels, width)
        self.generator = AADGenerator(channels, channels[0], c_id, num_blocks)

    def forward(self, Xt: Tensor, z_id: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the swapped face and the attribute maps it was built from.

        Xt: (B, 3, size, size) float [-1, 1] RGB, aligned crop. z_id: (B, c_id) float, raw embedding, not normalised.
        Returns Y, like Xt, and z_attr: maps from 2x2 to size x size pixels, deepest first.
        """
        z_attr = self.get_attr(Xt)
        return self.generator(z_attr, z_id), z_attr

    def get_attr(self, X: Tensor) -> list[Tensor]:
        """Attribute maps of X, (B, 3, size, size) float [-1, 1] RGB, deepest first."""
        return self.encoder(X)
