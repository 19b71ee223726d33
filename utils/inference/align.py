"""Cut faces out the way GHOST's networks know them: a similarity transform to the best of five head poses.

The templates are not today's InsightFace template; another framing gives other pictures.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from utils.inference.framing import BASE as BASE
from utils.inference.types import Crop
from utils.inference.warp import apply, invert, rescaled, warp
from utils.io.frame import Pixels, to_uint8

TEMPLATES = 2.0 * np.array([  # (5, 5, 2), pixels of a 224 crop: left profile, left, frontal, right, right profile
    [(51.642, 50.115), (57.617, 49.990), (35.740, 69.007), (51.157, 89.050), (57.025, 89.702)],
    [(45.031, 50.118), (65.568, 50.872), (39.677, 68.111), (45.177, 86.190), (64.246, 86.758)],
    [(39.730, 51.138), (72.270, 51.138), (56.000, 68.493), (42.463, 87.010), (69.537, 87.010)],
    [(46.845, 50.872), (67.382, 50.118), (72.737, 68.111), (48.167, 86.758), (67.236, 86.190)],
    [(54.796, 49.990), (60.771, 50.115), (76.673, 69.007), (55.388, 89.702), (61.257, 89.050)],
])
_INNER = np.array([(-1, -1), (1, -1), (-1, 1), (1, 1)]) / 3.0  # corners, from a crop's centre, in its sides
# The one template of today's recognisers, (5, 2), pixels of a 112 crop; GHOST's own networks never see it.
ARCFACE_112 = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)


def _similarities(kps: np.ndarray) -> np.ndarray:
    """Least-squares similarity transforms from kps (5, 2) to each template, (5, 2, 3) float64, not to be changed."""
    kps = np.asarray(kps, np.float64)
    if kps.shape != (5, 2) or not np.isfinite(kps).all():
        raise ValueError(f"kps: expected five finite points, shape (5, 2), not {kps.shape}")
    return _fitted(kps.tobytes())


@lru_cache(maxsize=128)  # each stage asks for the same faces again
def _fitted(kps: bytes) -> np.ndarray:
    """Similarity transforms (5, 2, 3) from five points of float64.

    Source: closed form of Umeyama, TPAMI 1991, in two dimensions, where rotation and scale are one complex number.
    """
    points = np.frombuffer(kps).reshape(5, 2) @ (1.0, 1.0j)  # (5,) complex
    goals = TEMPLATES @ (1.0, 1.0j)  # (templates, 5)
    centred = points - points.mean()
    spread = max(float((np.abs(centred) ** 2).sum()), 1e-12)
    turn = (goals - goals.mean(axis=1, keepdims=True)) @ centred.conj() / spread
    shift = goals.mean(axis=1) - turn * points.mean()
    rows = [[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]]
    result = np.moveaxis(np.array(rows), -1, 0)
    result.setflags(write=False)
    return result


def template_errors(kps: np.ndarray) -> np.ndarray:
    """How badly each template fits: (5,) float64, sums of point distances in pixels of a 224 crop.

    kps: (5, 2) float, frame pixels.
    """
    similarities = _similarities(kps)
    mapped = np.asarray(kps, np.float64) @ similarities[:, :, :2].mT + similarities[:, None, :, 2]
    return np.linalg.norm(mapped - TEMPLATES, axis=-1).sum(axis=-1)


def estimate(kps: np.ndarray, size: int, template: float | None = None) -> tuple[np.ndarray, float]:
    """Matrix from frame to crop.

    kps: (5, 2) float, frame pixels. size: side of the crop; sizes other than 224 show exactly the same region.
    template: 0..4, or None for the one that fits best; 1.25 is a pose between templates 1 and 2, nearer to 1.
    Returns M_frame2crop (2, 3) float64 and the template.
    """
    if template is None:
        template = int(np.argmin(template_errors(kps)))
    low = min(int(template), len(TEMPLATES) - 2)
    share = template - low
    similarities = _similarities(kps)
    # Least squares are linear in their goal: this is the similarity to a mix of the two templates' points.
    M = (1.0 - share) * similarities[low] + share * similarities[low + 1]
    return rescaled(M, size / BASE), template


def is_whole(kps: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether the inner two thirds of a face's crop lie within the picture; of what its edge cuts off, networks guess.

    kps: (5, 2) float, frame pixels. shape: of the picture, (H, W, ...).
    """
    M, _ = estimate(kps, 1)
    corners = apply(invert(M), _INNER)
    return bool((corners >= 0).all() and (corners <= (shape[1] - 1, shape[0] - 1)).all())


def middle(crop: np.ndarray) -> np.ndarray:
    """The half of an aligned crop, (S, S, ...), along both sides, that shows nothing but face."""
    quarter = len(crop) // 4
    return crop[quarter:-quarter, quarter:-quarter]


def cut(image: Pixels, kps: np.ndarray, size: int, template: float | None = None) -> Crop:
    """Cut a face out of a frame.

    image: (H, W, 3) uint8 or uint16 BGR. kps: (5, 2) float, frame pixels. size, template: as for `estimate`.
    """
    M, _ = estimate(kps, size, template)
    return Crop(to_uint8(warp(image, M, (size, size))), M)
