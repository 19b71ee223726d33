"""Head pose, openings of mouth and eyes, and gaze, from the 106 landmarks (coordinate_reg/points.py).

Everything here is a pure function of landmarks (106, 2) float, pixels of any picture, (x, y).
"""

from __future__ import annotations

import cv2
import numpy as np

from coordinate_reg.points import (
    HEAD_INDICES,
    HEAD_POINTS,
    LEFT_CORNERS,
    LEFT_GAPS,
    LIP_GAPS,
    MOUTH_CORNERS,
    PUPILS,
    RIGHT_CORNERS,
    RIGHT_GAPS,
)
from utils.errors import NoFaceInTargetError

_FOCAL = 20.0  # focal length in face sizes: nearly orthographic, since nothing is known about the camera

EYES = ((*LEFT_CORNERS, LEFT_GAPS, PUPILS[0]), (*RIGHT_CORNERS, RIGHT_GAPS, PUPILS[1]))


def head_rotation(landmarks: np.ndarray) -> np.ndarray:
    """Rotation (3, 3) of a generic head that projects to the landmarks, by cv2.solvePnP.

    Raises NoFaceInTargetError when the points fit no head, for example because they all coincide.
    """
    points = landmarks[HEAD_INDICES].astype(np.float64)
    centre, size = points.mean(axis=0), float(np.linalg.norm(np.ptp(points, axis=0)))
    camera = np.array([[_FOCAL * size, 0, centre[0]], [0, _FOCAL * size, centre[1]], [0, 0, 1.0]])
    found = size > 0
    if found:
        found, rotation, shift = cv2.solvePnP(HEAD_POINTS, points, camera, None, flags=cv2.SOLVEPNP_SQPNP)
    if not found:
        raise NoFaceInTargetError("the landmarks fit no head, so there is no pose to compare; give a clearer photo")
    rotation, _ = cv2.solvePnPRefineLM(HEAD_POINTS, points, camera, None, rotation, shift)
    return cv2.Rodrigues(rotation)[0]


def head_angles(rotation: np.ndarray) -> np.ndarray:
    """Yaw, pitch and roll (3,) in degrees of a rotation (3, 3); positive: to the image's left, up, clockwise."""
    yaw = np.arctan2(-rotation[2, 0], np.hypot(rotation[2, 1], rotation[2, 2]))
    pitch = np.arctan2(rotation[2, 1], rotation[2, 2])
    roll = np.arctan2(rotation[1, 0], rotation[0, 0])
    return np.degrees([yaw, pitch, roll])


def angle_between(first: np.ndarray, second: np.ndarray) -> float:
    """Angle in degrees of the rotation that turns one head (3, 3) into the other."""
    cosine = (np.trace(second @ first.T) - 1) / 2
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def _distance(landmarks: np.ndarray, first: int, second: int) -> float:
    return float(np.linalg.norm(landmarks[first].astype(np.float64) - landmarks[second]))


def mouth_opening(landmarks: np.ndarray) -> float:
    """Mean gap between the inner lips over the mouth's width; 0 is closed."""
    gaps = [_distance(landmarks, upper, lower) for upper, lower in LIP_GAPS]
    return float(np.mean(gaps)) / max(_distance(landmarks, *MOUTH_CORNERS), 1e-6)


def eye_opening(landmarks: np.ndarray) -> float:
    """Mean gap between the lids over the eye's width, mean of both eyes; about 0.3 is open."""
    ratios = []
    for left, right, lids, _ in EYES:
        gap = np.mean([_distance(landmarks, upper, lower) for upper, lower in lids])
        ratios.append(gap / max(_distance(landmarks, left, right), 1e-6))
    return float(np.mean(ratios))


def gaze(landmarks: np.ndarray) -> np.ndarray:
    """Offset (2,) of the pupils from the middle between the eye's corners, in eye widths, mean of both eyes.

    x along the line through the corners towards the image's right, y across it, downwards.
    """
    offsets = []
    for left, right, _, pupil in EYES:
        along = landmarks[right].astype(np.float64) - landmarks[left]
        width = max(float(np.linalg.norm(along)), 1e-6)
        away = (landmarks[pupil] - (landmarks[left].astype(np.float64) + landmarks[right]) / 2) / width
        along = along / width
        offsets.append((away @ along, away @ np.array([-along[1], along[0]])))
    return np.mean(offsets, axis=0)
