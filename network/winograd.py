"""Convolutions 3x3 in float32 for inference, with a quarter of the multiplications: Winograd's filtering F(4x4, 3x3).

Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016, section 4: with symbols as there, 4x4
results are A^T [sum over channels of (G g G^T) * (B^T d B)] A, of the weights g, 3x3, and the inputs d, 6x6.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor


def _twice(rows: list[list[float]]) -> Tensor:
    """A transform of both axes at once, as one matrix: products of matrices are what processors do best."""
    matrix = torch.tensor(rows, dtype=torch.float64)
    return torch.kron(matrix, matrix).float()


_INPUTS = _twice([[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
                  [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]])  # B^T
_WEIGHTS = _twice([[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6],
                   [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]])  # G
_RESULTS = _twice([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])  # A^T
_TILE = 4
_LEAST_CHANNELS = 128  # with fewer, cutting and joining tiles takes what is saved
_LEAST_SIDE = 16  # smaller maps have too few tiles for the transformed weights
_MOST_WEIGHTS = 2**24  # transformed, four times as many: more take a program's memory for little
_AT_ONCE = 2**15  # numbers of a map that are computed at once: more leave the processor's cache


class Winograd:
    """The numbers of a Conv2d 3x3 of stride 1 and padding 1, but for rounding: some 1e-5 of the largest."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """weight: (Cout, Cin, 3, 3) float32; bias: (Cout,)."""
        cout, cin = weight.shape[:2]
        self._weight = (_WEIGHTS @ weight.permute(2, 3, 1, 0).reshape(9, -1)).view(36, cin, cout)
        self._bias = bias

    @staticmethod
    def pays(weight: Tensor, x: Tensor) -> bool:
        """Whether a convolution with this weight (Cout, Cin, 3, 3) of maps (B, Cin, H, W) is possible and faster so."""
        return (
            weight.dtype == torch.float32
            and min(weight.shape[:2]) >= _LEAST_CHANNELS
            and weight.shape[0] * weight.shape[1] * _WEIGHTS.shape[0] <= _MOST_WEIGHTS
            and min(x.shape[2:]) >= _LEAST_SIDE
            and not any(side % _TILE for side in x.shape[2:])
        )

    def __call__(self, x: Tensor) -> Tensor:
        """x: (B, Cin, H, W) float32, H and W multiples of 4. Returns (B, Cout, H, W), in channels_last."""
        result = x.new_empty(len(x), *x.shape[2:], self._weight.shape[2]).permute(0, 3, 1, 2)
        for tiles, place in self._parts(x, result):
            if self._bias is None:
                place.copy_(tiles)
            else:
                torch.add(tiles, self._bias, out=place)
        return result

    def add_to(self, x: Tensor, total: Tensor) -> Tensor:
        """Add what a call gives to `total`, (B, Cout, H, W) in channels_last, in place. Returns `total`."""
        for tiles, place in self._parts(x, total):
            place.add_(tiles)
        return total if self._bias is None else total.add_(self._bias[:, None, None])

    def _parts(self, x: Tensor, result: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Results of some pictures, or of some rows of tiles of one, with their place in `result`: (4, 4, B, rows,
        columns, Cout) each, the first two axes those within a tile."""
        pairs = _overlapping(x), _side_by_side(result)
        rows, columns = pairs[1].shape[3:5]
        count = max(1, _AT_ONCE // (columns * x.shape[1]))  # of rows of tiles
        for pictures in zip(*(both.split(max(1, count // rows), dim=2) for both in pairs), strict=True):
            for tiles, place in zip(*(both.split(count, dim=3) for both in pictures), strict=True):
                transformed = (_INPUTS @ tiles.reshape(36, -1)).view(36, -1, x.shape[1])
                products = torch.bmm(transformed, self._weight)
                yield (_RESULTS @ products.view(36, -1)).view(place.shape), place


def _overlapping(x: Tensor) -> Tensor:
    """(B, C, H, W) as the inputs of its tiles, (6, 6, B, rows, columns, C): a view of a padded copy."""
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    return padded.unfold(1, _TILE + 2, _TILE).unfold(2, _TILE + 2, _TILE).permute(4, 5, 0, 1, 2, 3)


def _side_by_side(x: Tensor) -> Tensor:
    """(B, C, H, W) as tiles without overlap, (4, 4, B, rows, columns, C): a view."""
    return x.permute(0, 2, 3, 1).unflatten(2, (-1, _TILE)).unflatten(1, (-1, _TILE)).permute(2, 4, 0, 1, 3, 5)
