"""Parts of a face, drawn from its landmarks."""

from __future__ import annotations

import cv2
import numpy as np

from coordinate_reg.points import BROWS, INNER_LIPS, LEFT_EYE, RIGHT_EYE

_FOREHEAD = 0.09  # how far the face reaches above the brows, as a share of the crop's side
_FEATHER = 3 / 128  # softness of the face, as a share of the side; openings have a third of it
SUBPIXEL_BITS = 4  # behind the point of drawn corners, OpenCV's `shift`


def subpixel(points: np.ndarray) -> np.ndarray:
    """Points (..., 2) float as OpenCV draws them with `SUBPIXEL_BITS`, int32."""
    return (points * (1 << SUBPIXEL_BITS)).round().astype(np.int32)


def face_region(landmarks: np.ndarray, size: int, margin: float) -> np.ndarray:
    """The whole face: contour, brows and eyes make the hull; the forehead above the brows is face too.

    landmarks: (106, 2) float, pixels of a crop with sides of `size`. margin: widening, or where negative narrowing, as
    a share of the side. Returns (size, size) float32 [0, 1].
    """
    change = cv2.dilate if margin > 0 else cv2.erode
    kernel = np.ones((max(round(abs(margin) * size), 1),) * 2, np.uint8)
    forehead = landmarks[list(BROWS)] - np.array([0, _FOREHEAD * size])
    hull = cv2.convexHull(np.concatenate((landmarks, forehead)).round().astype(np.int32))
    drawn = change(cv2.fillConvexPoly(np.zeros((size, size), np.uint8), hull, 255), kernel)
    return cv2.GaussianBlur(drawn, (0, 0), _FEATHER * size).astype(np.float32) / 255


def openings(landmarks: np.ndarray, size: int, lids: float = 0.0) -> np.ndarray:
    """Between the lids and between the lips, where gaze and teeth are seen.

    landmarks: as for `face_region`. lids: how much of the lids and lashes belongs to the eyes, as a share of the side.
    Returns (size, size) float32 [0, 1].
    """
    drawn = np.zeros((size, size), np.float32)
    for ring in (LEFT_EYE, RIGHT_EYE, INNER_LIPS):
        corners = [subpixel(landmarks[list(ring)])]
        cv2.fillPoly(drawn, corners, (1.0,), cv2.LINE_AA, SUBPIXEL_BITS)
        if lids and ring is not INNER_LIPS:
            cv2.polylines(drawn, corners, True, (1.0,), max(round(2 * lids * size), 1), cv2.LINE_AA, SUBPIXEL_BITS)
    return cv2.GaussianBlur(drawn, (0, 0), _FEATHER / 3 * size)
