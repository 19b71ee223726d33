"""Faces that nobody has: mixtures of several stored crops, bent and recoloured. What a set lacks in people for
distilling."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from utils.training.draws import Draws

_PATCHES = 5  # a mixture's mask is smooth between so many values along a side
_KNOTS, _BEND = 4, 0.055  # of the bending: knots along a side, strongest shift as a share of the crop's side
_GAIN, _GAMMA = 0.15, 0.3

Faces = tuple[Tensor, Tensor]  # images (B, 3, H, H) float32 [-1, 1] RGB; keypoints (B, 5, 2) float32, pixels


def mixed(one: Faces, other: Faces, share: float, draws: Draws) -> Faces:
    """A `share` of the faces mixed with another one, half of those evenly, half by a smooth random mask; keypoints in
    proportion."""
    (a, kps_a), (b, kps_b) = one, other
    even = draws.uniform()[:, None].expand(-1, _PATCHES**2)
    patches = torch.stack([draws.uniform() for _ in range(_PATCHES**2)], 1)
    mask = torch.where(draws.chance(0.5)[:, None], even, patches) * draws.chance(share)[:, None]
    smooth = F.interpolate(mask.view(-1, 1, _PATCHES, _PATCHES), a.shape[-2:], mode="bicubic", align_corners=False)
    return torch.lerp(a, b, smooth.clamp(0, 1)), torch.lerp(kps_a, kps_b, mask.mean(1)[:, None, None])


def bent(faces: Faces, draws: Draws) -> Faces:
    """Seven in ten faces bent by a smooth random field: shapes that nobody in the set has."""
    images, kps = faces
    side = images.shape[-1]
    strength = draws.uniform(0, _BEND * side) * draws.chance(0.7)
    knots = draws.normal(2, _KNOTS, _KNOTS).clamp(-2, 2) * strength[:, None, None, None]
    field = F.interpolate(knots, (side, side), mode="bicubic", align_corners=True)  # pixels: where to look
    axis = torch.arange(side, dtype=field.dtype, device=field.device)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    grid = (2 * torch.stack((x + field[:, 0], y + field[:, 1]), 3) + 1) / side - 1
    pictures = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    at = ((2 * kps + 1) / side - 1)[:, None]
    shift = F.grid_sample(field, at, padding_mode="border", align_corners=False)[:, :, 0].mT
    return pictures, kps - shift


def recoloured(faces: Faces, draws: Draws) -> Faces:
    """Another tint and contrast curve, which stay with the invented person."""
    images, kps = faces
    gain = torch.stack([draws.uniform(1 - _GAIN, 1 + _GAIN) for _ in range(3)], 1)[:, :, None, None]
    curve = draws.uniform(-_GAMMA, _GAMMA).exp()[:, None, None, None]
    return ((images + 1) / 2 * gain).clamp(0, 1) ** curve * 2 - 1, kps
