"""Measures on pixels: likeness inside the mask, untouched background, flicker. Pictures: uint8 BGR."""

from __future__ import annotations

import cv2
import numpy as np

from coordinate_reg.points import BROWS, CONTOUR
from utils.errors import NoFaceInTargetError

# Contour and upper brow edges: the points that bound the face among the 106.
_HULL = CONTOUR + BROWS


def face_mask(shape: tuple[int, ...], landmarks: np.ndarray, grow: float = 0.0) -> np.ndarray:
    """Where a face is: the hull of its contour and brows.

    shape: (H, W, ...). landmarks: (106, 2), picture pixels. grow: share of its size by which the hull is enlarged.
    Returns (H, W) bool.
    """
    points = landmarks[list(_HULL)]
    centre = (points.min(axis=0) + points.max(axis=0)) / 2
    hull = cv2.convexHull(np.round(centre + (1 + grow) * (points - centre)).astype(np.int32))
    return cv2.fillConvexPoly(np.zeros(shape[:2], np.uint8), hull, 1).astype(bool)


def _check_not_empty(mask: np.ndarray) -> None:
    if not mask.any():
        raise NoFaceInTargetError("the landmarks put the face outside of the picture, where there is nothing to "
                                  "compare; give a photo that shows the face whole")


def psnr(first: np.ndarray, second: np.ndarray, mask: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB over the pixels of `mask` (H, W) bool; infinity when they are equal.

    Raises NoFaceInTargetError for an empty mask.
    """
    _check_not_empty(mask)
    difference = first[mask].astype(np.float64) - second[mask]
    error = float(np.mean(difference**2))
    return float("inf") if error == 0 else 10 * float(np.log10(255.0**2 / error))


def ssim(first: np.ndarray, second: np.ndarray, mask: np.ndarray) -> float:
    """Structural similarity averaged over the pixels of `mask` (H, W) bool; 1 when they are equal.

    Raises NoFaceInTargetError for an empty mask.
    """
    from skimage.metrics import structural_similarity

    _check_not_empty(mask)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    border = 7  # the window must fit, and see what surrounds the mask
    top, left = max(int(rows[0]) - border, 0), max(int(columns[0]) - border, 0)
    inside = np.s_[top : int(rows[-1]) + border + 1, left : int(columns[-1]) + border + 1]
    _, full = structural_similarity(first[inside], second[inside], channel_axis=2, full=True, data_range=255)
    return float(full[mask[inside]].mean())


def mean_difference(first: np.ndarray, second: np.ndarray, mask: np.ndarray) -> float:
    """Mean absolute difference over the pixels of `mask` (H, W) bool, in levels of 0..255; 0 for an empty mask."""
    if not mask.any():
        return 0.0
    return float(np.abs(first[mask].astype(np.float64) - second[mask]).mean())
