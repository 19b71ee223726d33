"""What the five keypoints of a face tell of its size and of where it looks.

kps: (5, 2) float, pixels (x, y): left eye, right eye, nose, left and right corner of the mouth, as seen in the picture.
"""

from __future__ import annotations

import numpy as np

_NOSE = 0.55  # how far the nose's tip stands out, in eye distances


def face_size(kps: np.ndarray) -> float:
    """Size of a face in pixels that hardly depends on its pose: about the distance of the eyes seen from the front.

    kps: (5, 2) float, pixels (x, y).
    """
    eyes = float(np.linalg.norm(kps[1] - kps[0]))
    height = float(np.linalg.norm((kps[3] + kps[4] - kps[0] - kps[1]) / 2))
    return max(eyes, height, 1e-3)


def eye_distance(kps: np.ndarray) -> float:
    """Pixels between the eyes of keypoints (5, 2), as if the face looked at the camera."""
    return float(np.linalg.norm(kps[1] - kps[0])) / max(float(np.cos(np.radians(yaw(kps)))), 0.2)


def yaw(kps: np.ndarray) -> float:
    """How far a face is turned to its side, in degrees, from keypoints (5, 2) in any units; 0 is towards the camera.

    The nose's tip stands out, so it moves over the face as the tangent of the angle.
    """
    eyes = kps[1] - kps[0]
    across = eyes / max(float(np.linalg.norm(eyes)), 1e-6)
    middle = (kps[:2].mean(axis=0) + kps[3:].mean(axis=0)) / 2
    offset = float((kps[2] - middle) @ across) / max(float(np.linalg.norm(eyes)), 1e-6)
    return float(np.degrees(np.arctan(abs(offset) / _NOSE)))


def roll(kps: np.ndarray) -> float:
    """By how many degrees a face is tilted to either side, keypoints (5, 2) in pixels."""
    across = kps[1] - kps[0]
    return abs(float(np.degrees(np.arctan2(across[1], across[0]))))
