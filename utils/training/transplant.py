"""A swap by warping: the source's features laid over the target's, in the target's light. It shows the generator what
a swap should roughly look like, where the other losses only say how good one is.

Thin-plate splines through the 106 landmarks bend the source onto the target. Gaze, teeth and the openings of eyes and
mouth stay the target's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from utils.device import to_device
from utils.inference import spline
from utils.inference.regions import openings as drawn_openings
from utils.training import geometry
from utils.training.filters import gaussian_blur
from utils.training.masks import face_masks

_COARSE = 4  # the spline is evaluated at every fourth pixel
_LIGHT = 0.12  # what changes more slowly than this share of the side is light and skin tone, which the target gives
_EDGE = -5 / 128  # the laid-over face ends inside of the target's
_UNLIKE = 0.113  # landmarks' mean distance, in shares of the side, at which faces are too unlike to be laid over


def transplant(Xs: Tensor, Xt: Tensor, points_s: Tensor, points_t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Lay the faces of Xs over those of Xt.

    Xs, Xt: (B, 3, S, S) float32 [-1, 1] RGB. points_s, points_t: (B, 106, 2) float32, their landmarks in pixels.
    Returns the pictures, like Xt, how far each is to be believed, (B,) float32 [0, 1], and the openings in which they
    show the target, (B, 1, S, S) float32 [0, 1].
    """
    (grid,) = splines(points_t, [points_s], Xt.shape[-1])
    warped = F.grid_sample(Xs, grid, padding_mode="border", align_corners=False)
    face, openings = masks(points_t, Xt.shape[-1])
    light_s, light_t = (_light(x, face) for x in (warped, Xt))
    lit = (warped - light_s + light_t).clamp(-1, 1)
    return torch.lerp(Xt, lit, face * (1 - openings)), likeness(points_s, points_t, Xt.shape[-1]), openings


def masks(points: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Soft masks of the faces and of their eyes' and mouths' openings, each (B, 1, size, size) float32 [0, 1].

    points: (B, 106, 2) float32, pixels.
    """
    pixels = points.cpu().numpy()
    faces = face_masks((pixels + 0.5) / size - 0.5, size, _EDGE)
    openings = np.stack([drawn_openings(face, size)[None] for face in pixels])
    return to_device(torch.from_numpy(faces), points.device), to_device(torch.from_numpy(openings), points.device)


def splines(points_from: Tensor, points_to: Sequence[Tensor], size: int) -> list[Tensor]:
    """Where each pixel comes from when points_from (B, N, 2) pixels move from each of points_to: grids for
    `grid_sample`, each (B, size, size, 2) float32."""
    bent = torch.cat(spline.splines(points_from, points_to, size, size // _COARSE), 3).permute(0, 3, 1, 2)
    grids = F.interpolate(bent, (size, size), mode="bilinear", align_corners=False)
    return [grid.permute(0, 2, 3, 1) for grid in grids.split(2, 1)]


def likeness(points_s: Tensor, points_t: Tensor, size: int) -> Tensor:
    """1 where a turn, a shift and a scale bring the landmarks (B, 106, 2) onto each other, towards 0 where poses
    differ."""
    moved = geometry.transform(geometry.similarity(points_s, points_t), points_s)
    apart = (moved - points_t).norm(dim=2).mean(1) / (size * _UNLIKE / 4)
    return (-apart.square()).exp()


def _light(x: Tensor, face: Tensor) -> Tensor:
    """The slow changes of colour within the face, (B, 3, S, S)."""
    slow = gaussian_blur(torch.cat((x * face, face), 1), _LIGHT * x.shape[-1])
    return slow[:, :3] / slow[:, 3:].clamp(min=1e-4)
