"""Thin-plate splines through landmarks (Bookstein, IEEE TPAMI 1989): how one face is bent onto another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_SMOOTH = 1e-3  # how far the spline may miss landmarks to bend less


def splines(points_from: Tensor, points_to: Sequence[Tensor], size: int, cells: int) -> list[Tensor]:
    """Where each of cells x cells places comes from when points_from (B, N, 2) pixels move from each of points_to.

    size: side of the pictures that the pixels are of. Returns coarse grids for `grid_sample`, each (B, cells, cells, 2)
    float32 [-1, 1] in the picture.
    """
    knots, *aims = ((2 * p.double() + 1) / size - 1 for p in (points_from, *points_to))
    count = knots.shape[1]
    system = knots.new_zeros(len(knots), count + 3, count + 3)
    system[:, :count, :count] = _radial(knots, knots) + _SMOOTH * torch.eye(count, device=knots.device)
    system[:, :count, count:] = F.pad(knots, (1, 0), value=1.0)
    system[:, count:, :count] = system[:, :count, count:].mT
    weights = torch.linalg.solve(system, F.pad(torch.cat(aims, 2), (0, 0, 0, 3))).float()
    axis = (2 * torch.arange(cells, device=knots.device) + 1) / cells - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    at = torch.stack((x, y), 2).view(1, -1, 2).expand(len(knots), -1, -1)
    bent = _radial(at, knots.float()) @ weights[:, :count] + F.pad(at, (1, 0), value=1.0) @ weights[:, count:]
    return list(bent.unflatten(1, (cells, cells)).split(2, 3))


def _radial(points: Tensor, knots: Tensor) -> Tensor:
    """r^2 log r^2 of all distances: (B, M, 2), (B, N, 2) to (B, M, N)."""
    r2 = torch.cdist(points, knots, compute_mode="donot_use_mm_for_euclid_dist").square()
    return r2 * r2.clamp(min=1e-12).log()
