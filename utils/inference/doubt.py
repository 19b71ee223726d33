"""How far a swap can be trusted: faces that the generator never learned fade back to the original; and what a source
photo is good for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from coordinate_reg.points import LEFT_EYE, MOUTH_CORNERS, NOSE_TIP, RIGHT_EYE
from utils.inference.keypoints import eye_distance, yaw
from utils.inference.warp import apply, scale_of

NEXT_TO_NOTHING = 0.1  # share of a swap that nobody sees
TURNED, TINY, UNCLEAR = "turned too far away", "too small", "hidden, on its side or unclear"
UNSEEN = "its mask is empty or outside the picture"
_EYE_DISTANCES = (6.0, 10.0)  # frame pixels: nothing to be seen below the first, trusted from the second on
_MISSES = (0.5, 0.25)  # of the landmarks from the keypoints, in eye distances: not trusted from the first on
_YAW_RANGE = 15.0  # degrees over which a swap fades
_GUESSED = (45.0, 60.0)  # degrees of yaw: from the second on, the farther eye is hidden and its keypoint a guess
_SOURCE_YAW, _SOURCE_EYES = 40, 20  # degrees and pixels between the eyes beyond which likeness suffers
_SEEN = (LEFT_EYE, RIGHT_EYE, (NOSE_TIP,), *((corner,) for corner in MOUTH_CORNERS))  # their means are the keypoints


@dataclass(frozen=True)
class Trust:
    """How much of a swap to show."""

    share: float = 1.0  # 0..1, multiplies the mask
    reason: str = ""  # what lowers it most


def _rising(value: float, none: float, full: float) -> float:
    """0 at `none`, 1 at `full` and beyond, smooth between; either may be the larger."""
    part = min(max((value - none) / (full - none), 0.0), 1.0)
    return part * part * (3 - 2 * part)


def misgiving(kps: np.ndarray) -> str:
    """What keeps a source's face, keypoints (5, 2) in pixels, from giving full likeness; empty where nothing does."""
    if yaw(kps) > _SOURCE_YAW:
        return f"is turned away by about {yaw(kps):.0f} degrees; a photo that looks at the camera gives more likeness"
    if eye_distance(kps) < _SOURCE_EYES:
        return f"has {eye_distance(kps):.0f} pixels between the eyes; from {_SOURCE_EYES} on there is more likeness"
    return ""


def trust(kps: np.ndarray, landmarks: np.ndarray, M_frame2crop: np.ndarray, max_yaw: float) -> Trust:
    """Judge one swap.

    kps: (5, 2) float, keypoints of the face, frame pixels. landmarks: (106, 2) float, of the swap, crop pixels.
    M_frame2crop: (2, 3). max_yaw: degrees beyond which the generator is not to be used, 0 for none: then a profile does
    not count as unclear either.
    """
    distance = eye_distance(kps)
    seen = np.stack([landmarks[list(part)].mean(axis=0) for part in _SEEN])
    miss = np.linalg.norm(seen - apply(M_frame2crop, kps), axis=1).mean() / max(distance * scale_of(M_frame2crop), 1e-6)
    turned, clear = 1.0, _rising(float(miss), *_MISSES)
    if max_yaw:
        turned = _rising(yaw(kps), max_yaw, max(max_yaw - _YAW_RANGE, 0.0))
    else:
        clear = max(clear, _rising(yaw(kps), *_GUESSED))
    shares = {TURNED: turned, TINY: _rising(distance, *_EYE_DISTANCES), UNCLEAR: clear}
    reason = min(shares, key=lambda name: shares[name])
    return Trust(shares[reason], reason if shares[reason] < 1 else "")
