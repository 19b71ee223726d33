"""Affine warps that read only the part of a picture that they need, and do not alias when they shrink."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from utils.io.frame import Pixels


def invert(M: np.ndarray) -> np.ndarray:
    """Inverse of an affine map, (2, 3) float64."""
    return cv2.invertAffineTransform(np.asarray(M, np.float64))


def apply(M: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map points (..., 2), (x, y) pixels, by M (2, 3)."""
    return points @ M[:, :2].T + M[:, 2]


def scale_of(M: np.ndarray) -> float:
    """By how much an affine map (2, 3) enlarges, along a side."""
    (a, b, _), (c, d, _) = M.tolist()
    return math.sqrt(abs(a * d - b * c))


def rescaled(M: np.ndarray, ratio: float) -> np.ndarray:
    """M followed by a resize by `ratio` with pixel centres at integers: x' = ratio x + (ratio - 1) / 2."""
    result = np.asarray(M, np.float64) * ratio
    result[:, 2] += (ratio - 1.0) / 2.0
    return result


def rescaled_points(points: np.ndarray, ratio: float) -> np.ndarray:
    """Where points (..., 2) of a picture are in that picture resized by `ratio`; pixel centres are at integers."""
    return (points + 0.5) * ratio - 0.5


def bounds(
    M: np.ndarray, box: tuple[float, float, float, float], shape: tuple[int, ...], margin: int
) -> tuple[int, int, int, int]:
    """Whole pixels that a box (left, top, right, bottom) covers after M, plus a margin, inside a picture of `shape`.

    Returns left, top, right, bottom; the last two are outside; empty regions have no width or no height.
    """
    # In plain numbers, since every warp asks for this and NumPy takes ten times as long for so few.
    (left, right), (top, bottom) = (_span(row, box, length, margin) for row, length in zip(M.tolist(), shape[1::-1],
                                                                                          strict=True))
    return left, top, right, bottom


def _span(row: list[float], box: tuple[float, float, float, float], length: int, margin: int) -> tuple[int, int]:
    """The whole pixels of a side of `length` that a box covers after one row of an affine map, plus a margin."""
    (of_x, of_y, shift), (left, top, right, bottom) = row, box
    across, down = sorted((of_x * left, of_x * right)), sorted((of_y * top, of_y * bottom))
    low = math.floor(across[0] + down[0] + shift) - margin
    high = math.ceil(across[1] + down[1] + shift) + margin + 1
    return min(max(low, 0), length), min(max(high, 0), length)


def warp(
    image: Pixels,
    M: np.ndarray,
    size: tuple[int, int],
    border: int = cv2.BORDER_REPLICATE,
    method: int = cv2.INTER_LINEAR,
    average: bool = True,
) -> np.ndarray:
    """Resample `image` by M; pixels from outside repeat the nearest edge, or are 0 with cv2.BORDER_CONSTANT.

    image: (H, W) or (H, W, C), any type cv2 warps. M: (2, 3), image pixels -> result pixels. size: width, height.
    average: blocks of pixels, where the picture shrinks by 2 or more.
    """
    width, height = size
    shrink = max(1, int(1.0 / max(scale_of(M), 1e-6))) if average else 1
    box = (0.0, 0.0, width - 1.0, height - 1.0)
    left, top, right, bottom = bounds(invert(M), box, image.shape, margin=2 * shrink)
    if right <= left or bottom <= top:  # nothing of the picture is seen: what is seen is its nearest corner
        left, top = min(left, image.shape[1] - 1), min(top, image.shape[0] - 1)
        right, bottom = left + 1, top + 1
    if shrink > 1 and min(bottom - top, right - left) > shrink:
        # Averaging blocks of pixels first: a bilinear step that jumps over pixels makes noise out of detail.
        small = (-(-(right - left) // shrink), -(-(bottom - top) // shrink))
        region = _widened(image, left, top, small[0] * shrink, small[1] * shrink, border)
        region = cv2.resize(region, small, interpolation=cv2.INTER_AREA)
    else:
        region, shrink = image[top:bottom, left:right], 1
    inner = np.array(M, np.float64)
    inner[:, 2] = apply(inner, np.array([left, top], np.float64) + (shrink - 1) / 2.0)
    inner[:, :2] *= shrink
    return cv2.warpAffine(region, inner, size, flags=method, borderMode=border)


def _widened(image: Pixels, left: int, top: int, width: int, height: int, border: int) -> np.ndarray:
    """A part of a picture whose left upper corner lies in it; what lies outside follows from the edge."""
    region = image[top : top + height, left : left + width]
    missing = (height - region.shape[0], width - region.shape[1])
    return cv2.copyMakeBorder(region, 0, missing[0], 0, missing[1], border) if any(missing) else region
