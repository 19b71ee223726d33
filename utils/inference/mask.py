"""The soft mask of a swapped face: the hull of its landmarks, shrunk or widened and feathered in the aligned crop."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

from coordinate_reg.points import BROWS, LIDS
from utils.inference.align import BASE

# Landmarks.
_LEFT_CHEEK, _RIGHT_CHEEK = [1, 2, 13], [17, 18, 29]
_BROWS, _LIDS = list(BROWS), list(LIDS)


@dataclass(frozen=True)
class MaskParams:
    """Numbers of one face's mask, in pixels of a 224 crop; crops of other sizes scale them."""

    erode: int  # side of the square kernel; negative: dilate
    sigma_x: int
    sigma_y: int
    brow: float  # how far the upper edge of the brows moves up, in half distances from the lid


_WIDER, _WIDE, _NARROW = MaskParams(15, 15, 10, 2.7), MaskParams(10, 10, 8, 2.0), MaskParams(-5, 5, 10, 0.5)
USUAL = MaskParams(5, 5, 5, 2.0)  # where the swap's contour lies on the target's


@dataclass(frozen=True)
class MaskMargin:
    """How much more of a swap a generator's masks show than the published ones: its JSON's `mask_wider` and
    `mask_higher`."""

    wider: int = 0  # pixels of the 224 crop, of which one half is added on each side
    higher: float = 0.0  # upwards from the brows, in half distances from the lid

    def applied(self, params: MaskParams) -> MaskParams:
        """These numbers for such a generator."""
        return replace(params, erode=params.erode - self.wider, brow=params.brow + self.higher)


def choose_params(
    landmarks_swap: np.ndarray, landmarks_target: np.ndarray, margin: MaskMargin = MaskMargin(), size: int = BASE
) -> MaskParams:
    """Mask numbers from how far the swap's face contour lies inside or outside of the target's.

    landmarks_swap, landmarks_target: (106, 2) float, pixels of a crop with sides of `size`.
    """
    return margin.applied(_published((landmarks_swap[:, 0] - landmarks_target[:, 0]) * (BASE / size)))


def _published(moved: np.ndarray) -> MaskParams:
    """moved: (106,) float, pixels of a 224 crop to the right."""
    offset = max(moved[_LEFT_CHEEK].sum(), -moved[_RIGHT_CHEEK].sum())
    if offset > 6:
        return _WIDER
    if offset > 3:
        return _WIDE
    return _NARROW if offset < -3 else USUAL


def draw(landmarks: np.ndarray, params: MaskParams, size: int) -> np.ndarray:
    """Draw the mask of a swapped face.

    landmarks: (106, 2) float, crop pixels, of the swap. size: side of the crop.
    Returns (size, size) float32 [0, 1]; 1 shows the swap.
    """
    scale = size / BASE
    points = landmarks.astype(np.int32).astype(np.float64)
    points[_BROWS] += params.brow * 0.5 * (points[_BROWS] - points[_LIDS])
    mask = np.zeros((size, size), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(points.astype(np.int32)), 255)
    square = np.ones((max(round(abs(params.erode) * scale), 1),) * 2, np.uint8)
    shaped = cv2.erode(mask, square) if params.erode > 0 else cv2.dilate(mask, square)
    border = round(2 * params.sigma_y * scale)
    shaped[:border] = shaped[-border:] = 0
    shaped[:, :border] = shaped[:, -border:] = 0
    return _blurred(shaped, params.sigma_x * scale, params.sigma_y * scale).astype(np.float32) / 255


def _blurred(mask: np.ndarray, sigma_x: float, sigma_y: float) -> np.ndarray:
    """cv2.GaussianBlur of bytes, (H, W) uint8, to the last bit and many times as fast.

    Its kernels are whole 256ths, so all sums are below 2^24, which float32 holds exactly.
    """
    sums = cv2.sepFilter2D(mask, cv2.CV_32F, _kernel(sigma_x), _kernel(sigma_y))
    return cv2.convertScaleAbs(np.floor(sums / 65536 + np.float32(0.5)))


@lru_cache(maxsize=16)
def _kernel(sigma: float) -> np.ndarray:
    """OpenCV's Gaussian kernel for bytes, in 256ths, float32: what it makes of a single bright pixel."""
    side = round(6 * sigma + 1) | 1
    pixel = np.zeros((1, 2 * side - 1), np.uint8)
    pixel[0, side - 1] = 255
    return cv2.GaussianBlur(pixel, (side, 1), sigma)[0, side // 2 : -(side // 2)].astype(np.float32)
