"""AEI-Net for inference: the numbers of `network.AEI_Net`, with fewer and cheaper operations.

What depends on the identity alone (`up1`, `fc1`, `fc2`) is computed once per embedding and kept; batch norms are folded
into their convolutions; gamma and beta of an AAD layer come from one convolution; layers that see the same features
share their normalisation. Small maps with many weights are computed for the whole batch, so that weights are read once;
on a CPU large maps are computed one picture and a few rows at a time, so that they stay in the processor's cache.
Symbols as in `network.AADLayer`.
"""

from __future__ import annotations

import copy
import threading
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from network.AADLayer import AADBlock, AADLayer
from network.AEI_Net import AEI_Net
from network.folded import fold_encoder

_MOST_PEOPLE = 64  # whose identity terms are kept
_LARGE = 64  # side from which maps are computed one picture at a time on a CPU
_IN_CACHE = 2**19  # numbers of a map that are computed at once there
_EPS = 1e-5  # of InstanceNorm

Terms = list[Tensor]  # of a batch: the output of up1 (B, C, 2, 2), then gamma and beta of every layer, (B, 2, C, 1, 1)


class _Layer(nn.Module):
    """AAD layer without its normalisation, and the ReLU after it."""

    def __init__(self, layer: AADLayer) -> None:
        super().__init__()
        gamma, beta = layer.conv1, layer.conv2
        self.attributes = nn.Conv2d(gamma.in_channels, 2 * gamma.out_channels, 1)
        self.attributes.weight = nn.Parameter(torch.cat((gamma.weight, beta.weight)))
        self.attributes.bias = nn.Parameter(torch.cat((cast(Tensor, gamma.bias), cast(Tensor, beta.bias))))
        self.conv_h = copy.deepcopy(layer.conv_h)

    def forward(self, h: Tensor, z_attr: Tensor, identity: Tensor, keep: bool) -> Tensor:
        """h: (B, C, H, W) normalised; z_attr: (B, attr_c, H, W); identity: (B, 2, C, 1, 1). Returns like h.

        keep: h must stay as it is; else its memory may be used for the result.
        """
        parts = -(-h.numel() // _IN_CACHE) if _one_by_one(h) else 1
        if parts == 1:
            return self._mix(h, z_attr, identity, None)
        result = torch.empty_like(h) if keep else h
        for rows, attributes, place in zip(*(x.chunk(parts, dim=2) for x in (h, z_attr, result)), strict=True):
            self._mix(rows, attributes, identity, place)
        return result

    def _mix(self, h: Tensor, z_attr: Tensor, identity: Tensor, place: Tensor | None) -> Tensor:
        gamma, beta = self.attributes(z_attr).chunk(2, dim=1)
        mask = torch.sigmoid(self.conv_h(h))
        attribute = torch.addcmul(beta, gamma, h)
        return torch.lerp(attribute, torch.addcmul(identity[:, 1], identity[:, 0], h), mask, out=place).relu_()


class _Block(nn.Module):
    """AAD residual block whose paths share the normalisation of what they begin with.

    last: gives the picture's pixels in squares of four, (B, 12, H / 2, W / 2), as F.pixel_shuffle takes them.
    """

    def __init__(self, block: AADBlock, last: bool) -> None:
        super().__init__()
        self.main = _path(block.add_blocks, last)
        self.skip = _path(block.last_add_block or nn.ModuleList(), last)

    @property
    def layers(self) -> int:
        """Number of AAD layers, those of the main path first."""
        return (len(self.main) + len(self.skip)) // 2

    def forward(self, x: Tensor, z_attr: Tensor, terms: Terms, double: bool) -> Tensor:
        """x: (B, C, H, W), half that size where `double`; z_attr: (B, attr_c, H, W); terms: of this block."""
        x = _upsample(x) if double else x
        h = first = _normalised(x)
        if self.skip:
            x = first  # no more large maps are kept than are needed
        for i in range(0, len(self.main), 2):
            h = _normalised(h) if i else h
            h = self.main[i](h, z_attr, terms[i // 2], keep=i == 0 and bool(self.skip))
            h = self.main[i + 1](h)
        if not self.skip:
            return h.add_(x)
        return h.add_(self.skip[1](self.skip[0](first, z_attr, terms[-1], keep=False)))


def _path(layers: nn.ModuleList, last: bool) -> nn.ModuleList:
    """AAD layers and convolutions in turn; the published list has a ReLU between them.

    last: the path's last convolution gives squares of four pixels.
    """
    kept: list[nn.Module] = [layer for layer in layers if not isinstance(layer, nn.ReLU)]
    path = nn.ModuleList(_Layer(x) if isinstance(x, AADLayer) else copy.deepcopy(x) for x in kept)
    if last and len(path):
        path[-1] = _four_at_once(cast(nn.Conv2d, path[-1]))
    return path


def _four_at_once(conv: nn.Conv2d) -> nn.Conv2d:
    """A convolution 3x3 of padding 1 and without bias, as one 4x4 of stride 2 for the four pixels of a square.

    Processors compute channels by the sixteen or more: the three of a picture cost as much as the twelve.
    """
    result = nn.Conv2d(conv.in_channels, 4 * conv.out_channels, 4, stride=2, padding=1, bias=False)
    weight = torch.zeros(conv.out_channels, 2, 2, conv.in_channels, 4, 4)
    for y in (0, 1):
        for x in (0, 1):
            weight[:, y, x, :, y : y + 3, x : x + 3] = conv.weight
    result.weight = nn.Parameter(weight.flatten(0, 2))
    return result


def _one_by_one(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.shape[-1] >= _LARGE


def _normalised(x: Tensor) -> Tensor:
    """InstanceNorm without weights, (B, C, H, W); statistics in float32."""
    if x.device.type == "cpu":  # BatchNorm of one picture is the same and, in channels_last, many times as fast.
        parts = [F.batch_norm(part, None, None, training=True, eps=_EPS) for part in x.split(1)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)
    var, mean = torch.var_mean(x.float(), (2, 3), correction=0, keepdim=True)
    scale = torch.rsqrt(var + _EPS)
    # One pass over the map, in float32 inside: large maps cost a GPU their memory's time.
    return torch.addcmul(-mean * scale, x, scale, out=torch.empty_like(x))


def _upsample(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)


class FusedAEINet(nn.Module):
    """The inference form of a loaded AEI-Net of any backbone, number of blocks, width and size."""

    @torch.no_grad()
    def __init__(self, network: AEI_Net, dtype: torch.dtype = torch.float32) -> None:
        """network: float32; stays as it is, but shares its layers fc1 and fc2.

        dtype: of the arithmetic; what the identity alone determines is computed in float32 all the same.
        """
        super().__init__()
        generator = network.generator
        blocks = [cast(AADBlock, getattr(generator, f"AADBlk{i}")) for i in range(1, generator.count + 1)]
        self.dtype = dtype
        self.encoder = fold_encoder(network.encoder).to(dtype)
        self.blocks = nn.ModuleList(_Block(block, block is blocks[-1]).to(dtype) for block in blocks)
        counts = [cast(_Block, block).layers for block in self.blocks]
        self.first_terms = [1 + sum(counts[:i]) for i in range(len(counts))]
        self.up1 = copy.deepcopy(generator.up1)
        self.identities = nn.ModuleList(_identity_layers(blocks))
        self._known: dict[bytes, Terms] = {}
        self._lock = threading.Lock()  # several threads may share the network
        self.to(memory_format=torch.channels_last).requires_grad_(False)  # type: ignore[call-overload]

    @torch.inference_mode()
    def terms(self, z_id: Tensor) -> Terms:
        """What one person's embedding (D,) float32 determines; kept for the next call."""
        key = z_id.cpu().numpy().tobytes()
        with self._lock:
            if key not in self._known:
                while len(self._known) >= _MOST_PEOPLE:
                    self._known.pop(next(iter(self._known)))
                self._known[key] = self._compute_terms(z_id[None].to(self.up1.weight))
            return self._known[key]

    def _compute_terms(self, z_id: Tensor) -> Terms:
        result = [self.up1(z_id[..., None, None])]
        for pair in self.identities:
            result.append(torch.stack([linear(z_id)[..., None, None] for linear in cast(nn.ModuleList, pair)], dim=1))
        return [term.to(self.dtype) for term in result]

    def terms_of(self, z_id: Tensor) -> Terms:
        """What a batch of embeddings (B, D) float32, best on the CPU, determines."""
        return [torch.cat(parts) for parts in zip(*(self.terms(row) for row in z_id), strict=True)]

    @torch.inference_mode()
    def forward(self, Xt: Tensor, z_id: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Like AEI_Net's, but for the attribute maps.

        Xt: (B, 3, size, size) float [-1, 1] RGB. z_id: (B, D) float32, raw, best on the CPU.
        Returns Y, (B, 3, size, size) [-1, 1] in the network's dtype, and an empty list.
        """
        return self.generate(Xt.to(self.dtype, memory_format=torch.channels_last), self.terms_of(z_id)), []

    def generate(self, Xt: Tensor, terms: Terms) -> Tensor:
        """The pure computation; terms: of the people who replace those of Xt."""
        z_attr = self.encoder(Xt)
        if Xt.device.type != "cpu":
            return self._build(terms[0], z_attr, terms, range(len(self.blocks)))
        small = sum(z.shape[-1] < _LARGE for z in z_attr)
        h = self._build(terms[0], z_attr, terms, range(small))
        rest = range(small, len(self.blocks))
        return torch.cat([self._build(one, [z[i : i + 1] for z in z_attr], [t[i : i + 1] for t in terms], rest)
                          for i, one in enumerate(h.split(1))])

    def _build(self, h: Tensor, z_attr: list[Tensor], terms: Terms, levels: range) -> Tensor:
        """Features after some of the blocks; after the last one they are the picture."""
        for i in levels:
            # Of unet and linknet the last map is the one before it, upsampled.
            attributes = z_attr[i] if i < len(z_attr) else _upsample(z_attr[i - 1])
            first = self.first_terms[i]
            block = cast(_Block, self.blocks[i])
            h = block(h, attributes, terms[first : first + block.layers], double=i > 0)
        return F.pixel_shuffle(torch.tanh(h), 2) if len(self.blocks) - 1 in levels else h


def _identity_layers(blocks: list[AADBlock]) -> list[nn.ModuleList]:
    """fc1 and fc2 of every AAD layer in the order in which blocks use them."""
    layers = [layer for block in blocks for path in (block.add_blocks, block.last_add_block or ()) for layer in path]
    return [nn.ModuleList([layer.fc1, layer.fc2]) for layer in layers if isinstance(layer, AADLayer)]
