"""How a head turns when its landmarks move: what a mean over landmarks mixes with the shape of the face."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from coordinate_reg.points import HEAD_INDICES, HEAD_POINTS
from utils.device import to_device
from utils.training import geometry

_SHAPE = HEAD_POINTS - HEAD_POINTS.mean(0)
_BACKWARDS = np.linalg.pinv(_SHAPE)
_LEAST = 1e-12  # keeps heads that are one point finite; in squared shares of the crop's side
_DAMPING = 1e-6  # keeps the equations solvable where all points are one; in squared shares of the crop's side


def turning(points: Tensor) -> Tensor:
    """How a generic head turns when its landmarks move: turns that go best with the moves, beside shift and growth, to
    first order.

    points: (B, 106, 2) float, landmarks before, shares of the crop's side. Returns (B, 3, 212) float32, to be
    multiplied with all landmarks' moves along x, then along y; see `turns`.
    """
    head = _seen_head(points.detach())
    x, y, z = head.unbind(2)
    none, one = torch.zeros_like(x), torch.ones_like(x)
    # Columns: how the points move with each turn, with growth, and with shifts along x and y.
    along_x = torch.stack((none, z, -y, x, one, none), 2)
    along_y = torch.stack((-z, none, x, y, none, one), 2)
    J = torch.cat((along_x, along_y), 1)
    normal = J.mT @ J + _DAMPING * torch.eye(6, device=J.device)
    result = J.new_zeros(len(J), 3, 2, points.shape[1])
    result[..., HEAD_INDICES] = torch.linalg.solve(normal, J.mT)[:, :3].unflatten(2, (2, -1))
    return result.flatten(2)


def turns(points_t: Tensor, points_s: Tensor, turning_t: Tensor) -> Tensor:
    """Rotation vectors of the head, (B, 3) float32, in radians about the axes to the picture's right, down and away
    from the camera, when its landmarks move from points_t to points_s, each (B, 106, 2) like those of `turning`, which
    turning_t is of points_t. The gradient goes to points_s."""
    moves = (points_s - points_t).float().mT.flatten(1)
    return (turning_t * moves[:, None]).sum(2)  # no product of matrices, which mixed precision would round


def _seen_head(points: Tensor) -> Tensor:
    """The generic head as it lies in the crop, about its own middle, (B, N, 3) float32: scaled orthographic projection
    (Tomasi and Kanade, IJCV 1992, for known shape)."""
    shape, backwards = (to_device(torch.from_numpy(x), points.device) for x in (_SHAPE, _BACKWARDS))
    seen = points[:, to_device(torch.tensor(HEAD_INDICES), points.device)].double()
    seen = seen - seen.mean(1, keepdim=True)
    affine = (backwards @ seen).mT  # (B, 2, 3)
    root = _square_root(affine @ affine.mT)
    rows = geometry.inverse(root) @ affine  # the nearest rows of a rotation
    rotation = torch.cat((rows, torch.linalg.cross(rows[:, 0], rows[:, 1])[:, None]), 1)
    growth = root.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    return (growth * (shape @ rotation.mT)).float()


def _square_root(P: Tensor) -> Tensor:
    """Of positive definite matrices (B, 2, 2), by Cayley and Hamilton's theorem."""
    P = P + _LEAST * torch.eye(2, dtype=P.dtype, device=P.device)
    s = torch.sqrt(P[:, 0, 0] * P[:, 1, 1] - P[:, 0, 1] * P[:, 1, 0])[:, None, None]
    trace = P.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
    return (P + s * torch.eye(2, dtype=P.dtype, device=P.device)) / torch.sqrt(trace + 2 * s)
