"""How a head turns when its landmarks move: what a mean over landmarks mixes with the shape of the face."""

from __future__ import annotations

import torch
from torch import Tensor

from utils.evaluation.geometry import HEAD_INDICES, HEAD_POINTS

_DAMPING = 1e-6  # keeps the equations solvable where all points are one; in squared shares of the crop's side


def turns(points_t: Tensor, points_s: Tensor) -> Tensor:
    """Turns of a generic head that go best with the moves of its landmarks, beside shift and growth, to first order.

    points_t, points_s: (B, 106, 2) float, landmarks before and after, shares of the crop's side. Returns (B, 3)
    float32, rotation vectors in radians about the axes to the picture's right, down and away from the camera. The
    gradient goes to points_s.
    """
    head = _seen_head(points_t.detach())
    x, y, z = head.unbind(2)
    none, one = torch.zeros_like(x), torch.ones_like(x)
    # Columns: how the points move with each turn, with growth, and with shifts along x and y.
    along_x = torch.stack((none, z, -y, x, one, none), 2)
    along_y = torch.stack((-z, none, x, y, none, one), 2)
    J = torch.cat((along_x, along_y), 1)
    moved = (points_s - points_t)[:, HEAD_INDICES].float()
    moves = torch.cat((moved[..., 0], moved[..., 1]), 1)
    normal = J.mT @ J + _DAMPING * torch.eye(6, device=J.device)
    return torch.linalg.solve(normal, J.mT @ moves[..., None])[:, :3, 0]


def _seen_head(points: Tensor) -> Tensor:
    """The generic head as it lies in the crop, about its own middle, (B, N, 3) float32: scaled orthographic projection
    (Tomasi and Kanade, IJCV 1992, for known shape)."""
    shape = torch.from_numpy(HEAD_POINTS - HEAD_POINTS.mean(0)).to(points.device)
    seen = points[:, HEAD_INDICES].double()
    seen = seen - seen.mean(1, keepdim=True)
    affine = (torch.linalg.pinv(shape) @ seen).mT  # (B, 2, 3)
    U, S, Vh = torch.linalg.svd(affine, full_matrices=False)
    rows = U @ Vh
    rotation = torch.cat((rows, torch.linalg.cross(rows[:, 0], rows[:, 1])[:, None]), 1)
    return (S.mean(1)[:, None, None] * (shape @ rotation.mT)).float()
