"""Convolutions for inference on an x86 processor, with weights in the order in which oneDNN reads them.

PyTorch reorders the weights of a convolution at every call. For layers with many weights and small maps that costs as
much as the convolution itself, and a hundred times as much where oneDNN has no fast way from one order to another.
"""

from __future__ import annotations

import platform

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from network.winograd import Winograd


class PackedConv2d(nn.Module):
    """The numbers of a Conv2d; it stays on the CPU and cannot be trained or saved.

    Which order is best depends on the side of the maps; that of the first ones decides.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self._shape = (list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups)
        self._weight = conv.weight.detach()
        self._bias = None if conv.bias is None else conv.bias.detach()
        self._pointwise = self._is(1, 0)
        self._winograd: Winograd | None = None

    def _is(self, kernel: int, padding: int) -> bool:
        """Whether this is a convolution of all channels with such a kernel, one result beside the other."""
        return (tuple(self._weight.shape[2:]) == (kernel, kernel)
                and self._shape == ([padding, padding], [1, 1], [1, 1], 1))

    def _filtered(self, x: Tensor) -> Winograd | None:
        """The convolution in another form, where that is faster for maps like x; kept like the weights' order."""
        if not (self._is(3, 1) and Winograd.pays(self._weight, x)):
            return None
        if self._winograd is None:
            self._winograd = Winograd(self.weight, self._bias)
        return self._winograd

    def _reordered(self, x: Tensor) -> Tensor:
        """The weights in the order for maps like x; kept, since several threads may ask for it at once."""
        weight = self._weight
        if not weight.is_mkldnn:
            maps = [1, *x.shape[1:]]
            weight = torch.ops.mkldnn._reorder_convolution_weight.default(weight, *self._shape, maps)
            self._weight = weight
        return weight

    @property
    def weight(self) -> Tensor:
        """(Cout, Cin, H, W), as the Conv2d had them."""
        return self._weight.to_dense() if self._weight.is_mkldnn else self._weight

    @property
    def bias(self) -> Tensor | None:
        """(Cout,), as the Conv2d had it."""
        return self._bias

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W), of the weights' dtype. Returns what the Conv2d does."""
        if self._pointwise and self._weight.dtype == torch.float32:
            # Of such products in float32 oneDNN reads the weights in one order or another, by the number of pictures.
            return F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self._bias).permute(0, 3, 1, 2)
        if filtered := self._filtered(x):
            return filtered(x)
        # Named fully, since finding the right form of an operation takes Python longer than calling it.
        convolution = torch.ops.mkldnn._convolution_pointwise.default
        return convolution(x, self._reordered(x), self._bias, *self._shape, "none", [], "")

    def leaky(self, x: Tensor, slope: float) -> Tensor:
        """What forward gives, after a LeakyReLU."""
        convolution = torch.ops.mkldnn._convolution_pointwise.default
        return convolution(x, self._reordered(x), self._bias, *self._shape, "leaky_relu", [slope], "")

    def times(self, x: Tensor, factor: Tensor) -> Tensor:
        """What forward gives, times a factor of the same shape: one pass over the map, not two."""
        convolution = torch.ops.mkldnn._convolution_pointwise.binary
        return convolution(x, factor, self._reordered(x), self._bias, *self._shape, "mul", None, None, [], None)

    def add_to(self, x: Tensor, total: Tensor, relu: bool = False) -> Tensor:
        """Add what forward gives to `total`, (B, Cout, H', W'), in place; relu: of the sum. Returns `total`."""
        if not relu and (filtered := self._filtered(x)):
            return filtered.add_to(x, total)
        convolution, then = torch.ops.mkldnn._convolution_pointwise_.binary, "relu" if relu else None
        return convolution(total, x, self._reordered(x), self._bias, *self._shape, "add", 1.0, then, [], None)


def can_pack() -> bool:
    """Whether this PyTorch has what it takes: calls made for its compiler, which may come and go."""
    names = ("_reorder_convolution_weight", "_convolution_pointwise", "_convolution_pointwise_")
    return (
        platform.machine() in ("x86_64", "AMD64")
        and torch.backends.mkldnn.is_available()
        and all(hasattr(torch.ops.mkldnn, name) for name in names)
        and all("binary" in getattr(torch.ops.mkldnn, name).overloads() for name in names[1:])
    )


def pack(network: nn.Module) -> nn.Module:
    """Replace all convolutions of a network on the CPU, in place, where `can_pack`."""
    if can_pack():
        for name, part in network.named_children():
            if type(part) is nn.Conv2d and isinstance(part.padding, tuple):
                setattr(network, name, PackedConv2d(part))
            else:
                pack(part)
    return network
