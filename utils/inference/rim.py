"""Which part of a mask stays where the swap and the target differ much around the features.

Hair, hats and headbands lie over foreheads and temples. A generator paints them as it likes: the source's fringe on the
target's forehead, skin on the target's hat. There the target is shown; below the eyes the jaw's rim stays the swap's.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from coordinate_reg.points import CONTOUR, LEFT_EYE, RIGHT_EYE
from utils.inference.regions import SUBPIXEL_BITS, subpixel
from utils.inference.warp import rescaled_points

SIDE = 64  # at which pictures are compared and masks changed: nothing here is finer
MEAN, WIDER, FEATHER = 3, 3, 1.0  # pixels: means that are compared, their maximum, standard deviation of the blur
DARK = 32.0  # levels that count as brightness in the dark, where grain would be contrast otherwise
_EYES = sorted(LEFT_EYE + RIGHT_EYE)
_CHEEK = 5  # pixels: how far below the eyes the rim is the swap's again


def features(landmarks: np.ndarray, size: int) -> np.ndarray:
    """Where the swap is always shown: brows, eyes, nose and mouth, and all below the eyes.

    landmarks: (106, 2) float, pixels of a crop with sides of `size`. Returns (SIDE, SIDE) float32 [0, 1].
    """
    points = rescaled_points(landmarks, SIDE / size)
    below = points[_EYES, 1].mean() + _CHEEK
    contour, inner = np.split(points, [len(CONTOUR)])  # in this order
    hull = cv2.convexHull(np.concatenate((contour[contour[:, 1] > below], inner)).astype(np.float32))
    # Parts of pixels, since whole ones would flicker in videos.
    drawn = cv2.fillConvexPoly(np.zeros((SIDE, SIDE), np.uint8), subpixel(hull), 255, cv2.LINE_AA, SUBPIXEL_BITS)
    rows = (np.arange(SIDE, dtype=np.float32) - np.float32(below)).clip(0, 1)
    return _blurred(np.maximum(drawn.astype(np.float32) / 255, rows[:, None]))


def agreement(swap: np.ndarray, target: np.ndarray, contrast: float) -> np.ndarray:
    """Where a swap looks like its target: 1 up to half of `contrast`, 0 from it on.

    A contrast is a difference as a share of the brightness, so that it is the same in any light.
    swap: (S, S, 3) uint8 BGR. target: (T, T, 3) uint8 BGR, the same framing. Returns (SIDE, SIDE) float32 [0, 1].
    """
    one, other = (cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
                  for image in (swap, target))
    shares = cv2.divide(cv2.absdiff(one, other), (one + other) * np.float32(0.5) + np.float32(DARK))
    blue, green, red = cv2.split(shares)
    apart = cv2.blur(cv2.max(cv2.max(blue, green), red), (MEAN, MEAN))
    apart = cv2.dilate(apart, np.ones((WIDER, WIDER), np.uint8))
    return _blurred((2 - apart * np.float32(2 / contrast)).clip(0, 1))


def limit_mask(
    mask: np.ndarray, landmarks: np.ndarray, swap: np.ndarray, target: np.ndarray, contrast: float
) -> np.ndarray:
    """A mask that shows the target around the features where the swap differs much from it.

    mask: (T, T) float32 [0, 1]. landmarks: (106, 2) float, pixels of the mask. swap, target, contrast: see `agreement`.
    Returns the same as mask.
    """
    alike, sure = agreement(swap, target, contrast), features(landmarks, len(mask))
    return mask * cv2.resize(alike + sure * (1 - alike), mask.shape[::-1], interpolation=cv2.INTER_LINEAR)


def _blurred(weights: np.ndarray) -> np.ndarray:
    side = 2 * math.ceil(3 * FEATHER) + 1
    return cv2.GaussianBlur(weights, (side, side), FEATHER, borderType=cv2.BORDER_CONSTANT)
