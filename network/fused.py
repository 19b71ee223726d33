"""AEI-Net for inference: the numbers of `network.AEI_Net`, with fewer and cheaper operations.

What depends on the identity alone (`up1`, `fc1`, `fc2`) is computed once per embedding and kept; batch norms are folded
into their convolutions; gamma and beta of an AAD layer come from one convolution; layers that see the same features
share their normalisation and the convolution of their masks. Small maps with many weights are computed for the whole
batch, so that weights are read once; on a CPU larger maps are computed one person at a time, in packed networks by
`network.mixed`, and large ones one picture at a time, in others a few rows of it, so that they stay in the processor's
cache. Symbols as in `network.AADLayer`.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from network.AADLayer import AADBlock, AADLayer
from network.AEI_Net import AEI_Net
from network.folded import fold_encoder
from network.mixed import Mixed
from network.packed import PackedConv2d

_MOST_PEOPLE = 16  # whose identity terms are kept
_LARGE = 64  # side from which maps are computed one picture at a time on a CPU
_MIXED = 32  # and from which one person at a time
_IN_CACHE = 2**19  # numbers of a map that are computed at once there
_EPS = 1e-5  # of InstanceNorm

Term = Tensor | Mixed
Terms = list[Tensor]  # of a batch: the output of up1 (B, C, 2, 2), then gamma and beta of every layer, (B, 2, C, 1, 1)


class _Layer(nn.Module):
    """AAD layer without its normalisation and its mask, and the ReLU after it."""

    def __init__(self, layer: AADLayer) -> None:
        super().__init__()
        gamma, beta = layer.conv1, layer.conv2
        self.attributes = nn.Conv2d(gamma.in_channels, 2 * gamma.out_channels, 1)
        self.attributes.weight = nn.Parameter(torch.cat((gamma.weight, beta.weight)))
        self.attributes.bias = nn.Parameter(torch.cat((cast(Tensor, gamma.bias), cast(Tensor, beta.bias))))

    def forward(self, h: Tensor, z_attr: Tensor, identity: Term, share: Tensor, keep: bool) -> Tensor:
        """h: (B, C, H, W) normalised; z_attr: (B, attr_c, H, W); identity: (B, 2, C, 1, 1). Returns like h.

        share: (B, 1, H, W), of the attributes, 1 - M. keep: h must stay as it is; else its memory may be used for the
        result. With `Mixed` as identity, z_attr has another channel, of ones.
        """
        if isinstance(identity, Mixed):
            return identity(h, z_attr * share)
        parts = -(-h.numel() // _IN_CACHE) if _one_by_one(h) else 1
        if parts == 1:
            return self._mix(h, z_attr, identity, share, None)
        result = torch.empty_like(h) if keep else h
        for rows, attributes, part, place in zip(*(x.chunk(parts, dim=2) for x in (h, z_attr, share, result)),
                                                 strict=True):
            self._mix(rows, attributes, identity, part, place)
        return result

    def _mix(self, h: Tensor, z_attr: Tensor, identity: Tensor, share: Tensor, place: Tensor | None) -> Tensor:
        gamma, beta = self.attributes(z_attr).chunk(2, dim=1)
        attribute = torch.addcmul(beta, gamma, h)
        return torch.lerp(torch.addcmul(identity[:, 1], identity[:, 0], h), attribute, share, out=place).relu_()


class _Block(nn.Module):
    """AAD residual block whose paths share the normalisation of what they begin with.

    last: gives the picture's pixels in squares of four, (B, 12, H / 2, W / 2), as F.pixel_shuffle takes them.
    """

    def __init__(self, block: AADBlock, last: bool) -> None:
        super().__init__()
        self.main, main = _path(block.add_blocks, last)
        self.skip, skip = _path(block.last_add_block or nn.ModuleList(), last)
        # The first of both paths see the same features.
        self.shares = nn.ModuleList(_shares(convs) for convs in ([main[0], *skip], *([conv] for conv in main[1:])))

    @property
    def layers(self) -> list[_Layer]:
        """The AAD layers, those of the main path first."""
        return [layer for path in (self.main, self.skip) for layer in path if isinstance(layer, _Layer)]

    def forward(self, x: Tensor, z_attr: Tensor, terms: Sequence[Term], double: bool) -> Tensor:
        """x: (B, C, H, W), half that size where `double`; z_attr: (B, attr_c, H, W), with `Mixed` another channel of
        ones; terms: of this block."""
        x = _upsample(x) if double else x
        h = first = _normalised(x)
        if self.skip:
            x = first  # no more large maps are kept than are needed
        share, *others = torch.sigmoid(self.shares[0](first)).split(1, dim=1)
        for i in range(0, len(self.main), 2):
            if i:
                h = _normalised(h)
                share = torch.sigmoid(self.shares[i // 2](h))
            h = self.main[i](h, z_attr, terms[i // 2], share, keep=i == 0 and bool(self.skip))
            h = self.main[i + 1](h)
        if not self.skip:
            return h.add_(x)
        return _added(self.skip[1], self.skip[0](first, z_attr, terms[-1], others[0], keep=False), h)


def _shares(convs: list[nn.Conv2d]) -> nn.Conv2d:
    """One convolution for the attributes' shares of layers with the same features, before the sigmoid."""
    result = nn.Conv2d(convs[0].in_channels, len(convs), 1)
    result.weight = nn.Parameter(-torch.cat([conv.weight for conv in convs]))
    result.bias = nn.Parameter(-torch.cat([cast(Tensor, conv.bias) for conv in convs]))
    return result


def _added(conv: nn.Module, x: Tensor, total: Tensor) -> Tensor:
    """total + conv(x), in total's memory."""
    return conv.add_to(x, total) if isinstance(conv, PackedConv2d) else total.add_(conv(x))


def _path(layers: nn.ModuleList, last: bool) -> tuple[nn.ModuleList, list[nn.Conv2d]]:
    """AAD layers and convolutions in turn, and the convolutions of the former's masks.

    The published list has a ReLU between them. last: the path's last convolution gives squares of four pixels.
    """
    kept: list[nn.Module] = [layer for layer in layers if not isinstance(layer, nn.ReLU)]
    path = nn.ModuleList(_Layer(x) if isinstance(x, AADLayer) else copy.deepcopy(x) for x in kept)
    if last and len(path):
        path[-1] = _four_at_once(cast(nn.Conv2d, path[-1]))
    return path, [layer.conv_h for layer in layers if isinstance(layer, AADLayer)]


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
        counts = [len(cast(_Block, block).layers) for block in self.blocks]
        self.first_terms = [1 + sum(counts[:i]) for i in range(len(counts))]
        # Blocks whose maps are computed for the whole batch, and those before the ones for one picture at a time.
        self.small, self.middle = (sum(2 ** (i + 1) < side for i in range(len(counts))) for side in (_MIXED, _LARGE))
        self.up1 = copy.deepcopy(generator.up1)
        self.identities = nn.ModuleList(_identity_layers(blocks))
        self._known: dict[bytes, tuple[Terms, list[Term]]] = {}
        self._lock = threading.Lock()  # several threads may share the network
        self.to(memory_format=torch.channels_last).requires_grad_(False)  # type: ignore[call-overload]

    def terms(self, z_id: Tensor) -> Terms:
        """What one person's embedding (D,) float32 determines; kept for the next call."""
        return self._person(z_id)[0]

    @torch.inference_mode()
    def _person(self, z_id: Tensor) -> tuple[Terms, list[Term]]:
        """Terms of one person, and the same with `Mixed` for the larger maps of packed networks."""
        key = z_id.cpu().numpy().tobytes()
        with self._lock:
            if key not in self._known:
                while len(self._known) >= _MOST_PEOPLE:
                    self._known.pop(next(iter(self._known)))
                self._known[key] = self._compute_terms(z_id[None].to(self.up1.weight))
            return self._known[key]

    def _compute_terms(self, z_id: Tensor) -> tuple[Terms, list[Term]]:
        exact = [self.up1(z_id[..., None, None])]
        for pair in self.identities:
            exact.append(torch.stack([linear(z_id)[..., None, None] for linear in cast(nn.ModuleList, pair)], dim=1))
        terms = [term.to(self.dtype) for term in exact]
        layers = [layer for block in self.blocks[self.small :] for layer in cast(_Block, block).layers]
        first = len(terms) - len(layers)
        mixed = [_mixed(layer, *both) for layer, *both in zip(layers, exact[first:], terms[first:], strict=True)]
        return terms, [*terms[:first], *mixed]

    def terms_of(self, z_id: Tensor) -> Terms:
        """What a batch of embeddings (B, D) float32, best on the CPU, determines."""
        return _batch([self.terms(row) for row in z_id])

    @torch.inference_mode()
    def forward(self, Xt: Tensor, z_id: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Like AEI_Net's, but for the attribute maps.

        Xt: (B, 3, size, size) float [-1, 1] RGB. z_id: (B, D) float32, raw, best on the CPU.
        Returns Y, (B, 3, size, size) [-1, 1] in the network's dtype, and an empty list.
        """
        people = [self._person(row) for row in z_id]
        x, terms = Xt.to(self.dtype, memory_format=torch.channels_last), _batch([terms for terms, _ in people])
        if Xt.device.type != "cpu":
            return self.generate(x, terms), []
        return self._apart(x, terms, [own for _, own in people]), []

    def generate(self, Xt: Tensor, terms: Terms) -> Tensor:
        """The pure computation; terms: of the people who replace those of Xt."""
        return self._build(terms[0], self.encoder(Xt), terms, range(len(self.blocks)))

    def _apart(self, Xt: Tensor, terms: Terms, people: Sequence[list[Term]]) -> Tensor:
        """`generate` with larger maps one person, large ones one picture at a time; people: what each determines."""
        z_attr = self.encoder(Xt)
        h = self._build(terms[0], z_attr, terms, range(self.small))
        pictures: dict[int, Tensor] = {}
        for person in {id(person): person for person in people}.values():
            rows = [i for i, other in enumerate(people) if other is person]
            pictures.update(zip(rows, self._finished(_rows(h, rows), [_rows(z, rows) for z in z_attr], person),
                                strict=True))
        return torch.cat([pictures[i] for i in range(len(people))])

    def _finished(self, h: Tensor, z_attr: list[Tensor], person: Sequence[Term]) -> list[Tensor]:
        """Pictures (1, 3, size, size) of one person from features after the small blocks, (B, C, H, W)."""
        if isinstance(person[-1], Mixed):
            z_attr = [*z_attr[: self.small], *(_with_ones(z) for z in z_attr[self.small :])]
        h = self._build(h, z_attr, person, range(self.small, self.middle))
        rest = range(self.middle, len(self.blocks))
        return [self._build(h[i : i + 1], [z[i : i + 1] for z in z_attr], person, rest) for i in range(len(h))]

    def _build(self, h: Tensor, z_attr: list[Tensor], terms: Sequence[Term], levels: range) -> Tensor:
        """Features after some of the blocks; after the last one they are the picture."""
        for i in levels:
            # Of unet and linknet the last map is the one before it, upsampled.
            attributes = z_attr[i] if i < len(z_attr) else _upsample(z_attr[i - 1])
            first = self.first_terms[i]
            block = cast(_Block, self.blocks[i])
            h = block(h, attributes, terms[first : first + len(block.layers)], double=i > 0)
        return F.pixel_shuffle(torch.tanh(h), 2) if len(self.blocks) - 1 in levels else h


def _rows(x: Tensor, rows: list[int]) -> Tensor:
    return x if len(rows) == len(x) else x[rows]


def _with_ones(z_attr: Tensor) -> Tensor:
    return torch.cat((z_attr, torch.ones_like(z_attr[:, :1])), dim=1)


def _batch(people: list[Terms]) -> Terms:
    return [torch.cat(parts) for parts in zip(*people, strict=True)]


def _mixed(layer: _Layer, exact: Tensor, term: Tensor) -> Term:
    """exact: (1, 2, C, 1, 1) float32, what one person determines of a layer; term: the same in the network's dtype."""
    return Mixed(layer.attributes, exact) if isinstance(layer.attributes, PackedConv2d) else term


def _identity_layers(blocks: list[AADBlock]) -> list[nn.ModuleList]:
    """fc1 and fc2 of every AAD layer in the order in which blocks use them."""
    layers = [layer for block in blocks for path in (block.add_blocks, block.last_add_block or ()) for layer in path]
    return [nn.ModuleList([layer.fc1, layer.fc2]) for layer in layers if isinstance(layer, AADLayer)]
