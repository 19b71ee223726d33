"""Batched geometry on the device: similarity transforms and warps.

Pixel coordinates are (x, y) with pixel centres at integers; matrices are 2x3. Nothing here is a product of matrices for
PyTorch, which mixed precision would compute in bfloat16: a coordinate above 128 would be a whole number then.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from utils.device import to_device


def similarity(source: Tensor, target: Tensor) -> Tensor:
    """Least-squares similarity transforms (no mirroring) between point sets.

    source, target: (B, N, 2) float pixels. Returns (B, 2, 3): target = M (source, 1).
    """
    ms, mt = source.mean(1, keepdim=True), target.mean(1, keepdim=True)
    s, t = source - ms, target - mt
    n = (s * s).sum((1, 2))
    a = (s * t).sum((1, 2)) / n
    b = (s[..., 0] * t[..., 1] - s[..., 1] * t[..., 0]).sum(1) / n
    R = torch.stack((torch.stack((a, -b), 1), torch.stack((b, a), 1)), 1)
    return torch.cat((R, mt.mT - _times(R, ms.mT)), 2)


def invert(M: Tensor) -> Tensor:
    """Inverses of affine maps, (B, 2, 3) to (B, 2, 3)."""
    R = inverse(M[:, :, :2])
    return torch.cat((R, -_times(R, M[:, :, 2:])), 2)


def inverse(R: Tensor) -> Tensor:
    """Inverses of (B, 2, 2), without waiting for a device, as torch.linalg does to see whether there are any."""
    (a, b), (c, d) = (row.unbind(1) for row in R.unbind(1))
    turned = torch.stack((torch.stack((d, -b), 1), torch.stack((-c, a), 1)), 1)
    return turned / (a * d - b * c)[:, None, None]


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """The map that applies `inner`, then `outer`; each (B, 2, 3)."""
    R = outer[:, :, :2]
    return torch.cat((_times(R, inner[:, :, :2]), _times(R, inner[:, :, 2:]) + outer[:, :, 2:]), 2)


def _times(A: Tensor, B: Tensor) -> Tensor:
    """Products of small matrices, (B, I, J) by (B, J, K)."""
    return (A[:, :, :, None] * B[:, None]).sum(2)


def transform(M: Tensor, points: Tensor) -> Tensor:
    """Map points (B, N, 2) by M (B, 2, 3)."""
    x, y = points.unbind(2)
    return torch.stack([row[:, :1] * x + row[:, 1:2] * y + row[:, 2:] for row in M.unbind(1)], 2)


def warp(images: Tensor, M_out2in: Tensor, size: int) -> Tensor:
    """Cut a square out of each image, bilinear, borders replicated.

    images: (B, C, H, W) float. M_out2in: (B, 2, 3) float32 from output pixels to input pixels.
    Returns (B, C, size, size) float32.
    """
    height, width = images.shape[-2:]
    axis = torch.arange(size, dtype=M_out2in.dtype, device=images.device)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    grid = transform(M_out2in, torch.stack((x, y), 2).view(1, -1, 2).expand(len(images), -1, -1))
    # Each axis by itself, since recordings on CUDA cannot upload a tensor of both sides.
    grid = torch.stack([(2 * grid[..., i] + 1) / side - 1 for i, side in enumerate((width, height))], 2)
    grid = grid.view(len(images), size, size, 2)
    return F.grid_sample(images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)


def resize_matrix(size_in: int, size_out: int, count: int, device: torch.device | None = None) -> Tensor:
    """The map from pixels of a crop of side size_out to pixels of the same crop at side size_in, (count, 2, 3)."""
    s = size_in / size_out
    M = torch.tensor([[s, 0.0, (s - 1) / 2], [0.0, s, (s - 1) / 2]])
    return (M if device is None else to_device(M, device)).expand(count, 2, 3)
