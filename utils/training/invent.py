"""Faces that nobody has: mixtures of several stored crops, bent and recoloured. What a set lacks in people for
learning."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from utils.device import to_device
from utils.training.augment import KPS_MIRRORED
from utils.training.draws import Draws
from utils.training.transplant import likeness, splines

_PATCHES = 5  # a mixture's mask is smooth between so many values along a side
_KNOTS, _BEND = 4, 0.055  # of the bending: knots along a side, strongest shift as a share of the crop's side
_GAIN, _GAMMA = 0.15, 0.3

_MORPH_BEND = 0.03
_ALIKE = 0.35  # likeness of landmarks at which two faces can be mixed

Faces = tuple[Tensor, Tensor]  # images (B, 3, H, H) float32 [-1, 1] RGB; keypoints (B, 5, 2) float32, pixels


class Known(NamedTuple):
    """Stored crops and what is known of them."""

    images: Tensor  # (B, 3, H, H) float32 [-1, 1] RGB
    kps: Tensor  # (B, 5, 2) float32, pixels
    points: Tensor  # (B, 106, 2) float32, landmarks, pixels
    sure: Tensor  # (B,) bool, whether the landmarks are to be trusted

    def where(self, chosen: Tensor, other: Known) -> Known:
        """Those of `self` where chosen (B,) is True, of `other` elsewhere."""
        both = zip(self, other, strict=True)
        return Known(*(torch.where(chosen.view(-1, *[1] * (a.dim() - 1)), a, b) for a, b in both))


def mixed(one: Faces, other: Faces, share: float, draws: Draws) -> Faces:
    """A `share` of the faces mixed with another one, half of those evenly, half by a smooth random mask; keypoints in
    proportion."""
    (a, kps_a), (b, kps_b) = one, other
    even = draws.uniform()[:, None].expand(-1, _PATCHES**2)
    patches = draws.uniforms(_PATCHES**2)
    mask = torch.where(draws.chance(0.5)[:, None], even, patches) * draws.chance(share)[:, None]
    smooth = F.interpolate(mask.view(-1, 1, _PATCHES, _PATCHES), a.shape[-2:], mode="bicubic", align_corners=False)
    return torch.lerp(a, b, smooth.clamp(0, 1)), torch.lerp(kps_a, kps_b, mask.mean(1)[:, None, None])


def mirrored(faces: Faces, share: float, draws: Draws) -> Faces:
    """A `share` of the faces in the mirror."""
    images, kps = faces
    turned = draws.chance(share)
    turn, shift = to_device(torch.tensor([[-1.0, 1.0], [images.shape[-1] - 1.0, 0.0]]), kps.device)
    other = kps[:, KPS_MIRRORED] * turn + shift
    return torch.where(turned.view(-1, 1, 1, 1), images.flip(3), images), torch.where(turned.view(-1, 1, 1), other, kps)


def bent(faces: Faces, draws: Draws) -> Faces:
    """Seven in ten faces bent by a smooth random field: shapes that nobody in the set has."""
    images, kps = faces
    side = images.shape[-1]
    field = _bending(side, _BEND, draws)  # where to look
    axis = torch.arange(side, dtype=field.dtype, device=field.device)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    grid = (2 * torch.stack((x + field[:, 0], y + field[:, 1]), 3) + 1) / side - 1
    pictures = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return pictures, kps - _at(field, kps)


def _bending(side: int, most: float, draws: Draws) -> Tensor:
    """A smooth random field of shifts in pixels, (B, 2, side, side); none for three in ten."""
    strength = draws.uniform(0, most * side) * draws.chance(0.7)
    knots = draws.normal(2, _KNOTS, _KNOTS).clamp(-2, 2) * strength[:, None, None, None]
    return F.interpolate(knots, (side, side), mode="bicubic", align_corners=True)


def _at(field: Tensor, points: Tensor) -> Tensor:
    """A field's values at points (B, P, 2)."""
    at = ((2 * points + 1) / field.shape[-1] - 1)[:, None]
    return F.grid_sample(field, at, padding_mode="border", align_corners=False)[:, :, 0].mT


def most_alike(points: Tensor, faces: list[Known], seen: list[Tensor]) -> Known:
    """Of several faces for each sample, the one whose landmarks in `seen` are most like `points`, each (B, 106, 2)."""
    side = faces[0].images.shape[-1]
    best, at = faces[0], likeness(seen[0], points, side)
    for face, landmarks in zip(faces[1:], seen[1:], strict=True):
        alike = likeness(landmarks, points, side)
        best, at = face.where(alike > at, best), torch.maximum(alike, at)
    return best


def morphed(one: Known, other: Known, draws: Draws) -> Known:
    """People between two others, in features and in skin, and bent a little: sharper than `mixed`, since both are
    brought to common landmarks first. Where the landmarks of either are unknown, or they look into different
    directions, the first one keeps its features."""
    side = one.images.shape[-1]
    alike = likeness(one.points, other.points, side)
    fit = one.sure & other.sure & (alike > _ALIKE)
    shape = (draws.uniform() * fit)[:, None, None]
    even, patches = draws.uniform()[:, None], draws.uniforms(_PATCHES**2)
    skin = torch.where(draws.chance(0.5)[:, None], even, patches) * fit[:, None]
    field = _bending(side, _MORPH_BEND, draws) * one.sure[:, None, None, None]
    kps, points = (torch.lerp(a, b, shape) for a, b in ((one.kps, other.kps), (one.points, other.points)))
    kps, points = kps + _at(field, kps), points + _at(field, points)
    grids = splines(points, [one.points, other.points], side)
    look, second = (F.grid_sample(face.images, grid, padding_mode="border", align_corners=False)
                    for face, grid in zip((one, other), grids, strict=True))
    smooth = F.interpolate(skin.view(-1, 1, _PATCHES, _PATCHES), (side, side), mode="bicubic", align_corners=False)
    images, kps = recoloured((torch.lerp(look, second, smooth.clamp(0, 1)), kps), draws)
    return Known(images, kps, points, one.sure)


def recoloured(faces: Faces, draws: Draws) -> Faces:
    """Another tint and contrast curve, which stay with the invented person."""
    images, kps = faces
    gain = draws.uniforms(3, 1 - _GAIN, 1 + _GAIN)[:, :, None, None]
    curve = draws.uniform(-_GAMMA, _GAMMA).exp()[:, None, None, None]
    return ((images + 1) / 2 * gain).clamp(0, 1) ** curve * 2 - 1, kps
