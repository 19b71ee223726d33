"""Which part of a mask stays where the swap and the target differ much around the features.

Hair, hats and headbands lie over foreheads and temples. A generator paints them as it likes: the source's fringe on the
target's forehead, skin on the target's hat, grey where hair meets a temple. There the target is shown; below the eyes
the jaw's rim stays the swap's. Heads that are turned end elsewhere than most that generators know: there the target is
shown all around where the two differ.
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
_STRICT = 0.25  # share of the contrast that is allowed where hair lies and where turned heads end
_HAIR = (0.6, 1.1)  # logarithm of how much darker than skin: none up to the first, hair from the second on
_SKIN = 16.0  # levels that count as brightness in the dark, where noise would be hair otherwise
_TURNED = (30.0, 50.0)  # degrees of yaw: like a face from the front up to the first, strict from the second on
_DEPTH = 6.0  # pixels: standard deviation of the blur that tells how near the end of a mask is
_ENDS = (0.3, 0.62)  # how near it: features are shown whatever they look like up to the first, not from the second on


def features(landmarks: np.ndarray, size: int) -> np.ndarray:
    """Where the swap is always shown: brows, eyes, nose and mouth, and all below the eyes.

    landmarks: (106, 2) float, pixels of a crop with sides of `size`. Returns (SIDE, SIDE) float32 [0, 1].
    """
    points = rescaled_points(landmarks, SIDE / size)
    below = points[_EYES, 1].mean() + _CHEEK
    contour, inner = np.split(points, [len(CONTOUR)])  # in this order
    drawn = _hull(np.concatenate((contour[contour[:, 1] > below], inner)))
    rows = (np.arange(SIDE, dtype=np.float32) - np.float32(below)).clip(0, 1)
    return _blurred(np.maximum(drawn, rows[:, None]))


def agreement(swap: np.ndarray, target: np.ndarray, contrast: np.ndarray | float) -> np.ndarray:
    """Where a swap looks like its target: 1 up to half of `contrast`, 0 from it on.

    A contrast is a difference as a share of the brightness, so that it is the same in any light.
    swap, target: (SIDE, SIDE, 3) float32 BGR levels, the same framing. contrast: of all pixels, or (SIDE, SIDE)
    float32. Returns (SIDE, SIDE) float32 [0, 1].
    """
    shares = cv2.divide(cv2.absdiff(swap, target), (swap + target) * np.float32(0.5) + np.float32(DARK))
    blue, green, red = cv2.split(shares)
    apart = cv2.blur(cv2.max(cv2.max(blue, green), red), (MEAN, MEAN))
    apart = cv2.dilate(apart, np.ones((WIDER, WIDER), np.uint8))
    return _blurred((2 - apart * (2 / np.float32(contrast))).clip(0, 1))


def limit_mask(
    mask: np.ndarray, landmarks: np.ndarray, swap: np.ndarray, target: np.ndarray, contrast: float, yaw: float
) -> np.ndarray:
    """A mask that shows the target around the features where the swap differs much from it.

    mask: (T, T) float32 [0, 1]. landmarks: (106, 2) float, pixels of the mask. swap, target: (S, S, 3) uint8 BGR, the
    same framing in any two sizes. contrast: the largest that is allowed, see `agreement`. yaw: of the face, degrees.
    Returns the same as mask.
    """
    swap, target = small(swap), small(target)
    points = rescaled_points(landmarks, SIDE / len(mask))
    inner = _hull(points[len(CONTOUR) :])
    sure, strict = features(landmarks, len(mask)), _hair(target, inner)
    turned = float(_rising(np.asarray(yaw, np.float32), *_TURNED))
    if turned:
        near = _near_its_end(mask)
        shown = np.maximum(_blurred(inner) * (1 - _rising(near, *_ENDS)), 1 - near)
        sure, strict = sure + (np.minimum(sure, shown) - sure) * turned, np.maximum(strict, near * turned)
    alike = agreement(swap, target, contrast * (1 - (1 - _STRICT) * strict))
    return mask * cv2.resize(alike + sure * (1 - alike), mask.shape[::-1], interpolation=cv2.INTER_LINEAR)


def small(image: np.ndarray) -> np.ndarray:
    """A picture, (S, S, 3) uint8, as it is compared: (SIDE, SIDE, 3) float32."""
    return cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)


def _hair(target: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Where it is darker than its skin, (SIDE, SIDE) float32 [0, 1]; target: see `small`; inner: of its features."""
    inside = target[inner > 0.5]
    if not len(inside):  # of a face that lies outside
        return np.zeros((SIDE, SIDE), np.float32)
    skin = np.median(inside, axis=0)  # brows and eyes are the smaller part
    blue, green, red = cv2.split((target + np.float32(_SKIN)) / (skin + np.float32(_SKIN)))
    darker = -cv2.log(cv2.min(cv2.min(blue, green), red))
    return _blurred(cv2.dilate(_rising(darker, *_HAIR), np.ones((WIDER, WIDER), np.uint8)))


def _near_its_end(mask: np.ndarray) -> np.ndarray:
    """1 where a mask ends and beyond, falling to 0 within it, (SIDE, SIDE) float32."""
    seen = cv2.resize(mask, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return (2 - 2 * cv2.GaussianBlur(seen, (0, 0), _DEPTH, borderType=cv2.BORDER_CONSTANT)).clip(0, 1)


def _hull(points: np.ndarray) -> np.ndarray:
    """(SIDE, SIDE) float32 [0, 1]; in parts of pixels, since whole ones would flicker in videos."""
    corners = subpixel(cv2.convexHull(points.astype(np.float32)))
    drawn = cv2.fillConvexPoly(np.zeros((SIDE, SIDE), np.uint8), corners, 255, cv2.LINE_AA, SUBPIXEL_BITS)
    return drawn.astype(np.float32) / 255


def _rising(values: np.ndarray, none: float, whole: float) -> np.ndarray:
    return ((values - np.float32(none)) / np.float32(whole - none)).clip(0, 1)


def _blurred(weights: np.ndarray) -> np.ndarray:
    side = 2 * math.ceil(3 * FEATHER) + 1
    return cv2.GaussianBlur(weights, (side, side), FEATHER, borderType=cv2.BORDER_CONSTANT)
