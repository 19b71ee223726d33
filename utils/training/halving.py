"""Convolutions that halve a map, in a form whose gradient a CPU finds quickly."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class Halving(nn.Conv2d):
    """A convolution at every second pixel, as every second pixel of one at all of them: where each channel is convolved
    by itself, the gradient of the former takes a CPU several times longer."""

    def __init__(self, cin: int, cout: int, side: int, first: int, **settings: Any) -> None:
        """first: the first pixel that is kept, 0 or, as in TensorFlow, 1. settings: nn.Conv2d's."""
        super().__init__(cin, cout, side, **settings)
        self.first = first

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W), padded so that H and W stay. Returns (B, C, (H + 1 - first) // 2, (W + 1 - first) // 2)."""
        return super().forward(x)[:, :, self.first :: 2, self.first :: 2]
