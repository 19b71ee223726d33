"""How much of a swap to show: faces that the generator never learned fade back to the original."""

from __future__ import annotations

import numpy as np

from coordinate_reg.points import LEFT_EYE, MOUTH_CORNERS, NOSE_TIP, RIGHT_EYE
from utils.inference.keypoints import eye_distance, yaw
from utils.inference.types import Visibility
from utils.inference.warp import apply, scale_of

TURNED, TINY, UNCLEAR = "turned too far away", "too small", "hidden, on its side or unclear"
CUT_OFF = "cut in half by the frame's edge"
UNSEEN = "its mask is empty or outside the picture"
_EYE_DISTANCES = (6.0, 10.0)  # frame pixels: hidden below the first, shown whole from the second on
_MISSES = (0.5, 0.25)  # landmarks from keypoints, in eye distances: hidden from the first on, shown whole to the second
_YAW_RANGE = 15.0  # degrees over which a swap fades
_GUESSED = (45.0, 60.0)  # degrees of yaw: from the second on, the farther eye is hidden and its keypoint a guess
_SEEN = (LEFT_EYE, RIGHT_EYE, (NOSE_TIP,), *((corner,) for corner in MOUTH_CORNERS))  # their means are the keypoints


def rising(value: float, none: float, full: float) -> float:
    """0 at `none`, 1 at `full` and beyond, smooth between; either may be the larger."""
    part = min(max((value - none) / (full - none), 0.0), 1.0)
    return part * part * (3 - 2 * part)


def visibility_of(
    kps: np.ndarray, landmarks: np.ndarray, M_frame2crop: np.ndarray, max_yaw: float, most: float = 1.0
) -> Visibility:
    """How much of one swap to show.

    kps: (5, 2) float, keypoints of the face, frame pixels. landmarks: (106, 2) float, of the swap, crop pixels.
    M_frame2crop: (2, 3). max_yaw: degrees beyond which the generator is not to be used, 0 for none: then a profile does
    not count as unclear either. most: 0..1, what the frame's edge leaves to be shown.
    """
    distance = eye_distance(kps)
    seen = np.stack([landmarks[list(part)].mean(axis=0) for part in _SEEN])
    miss = np.linalg.norm(seen - apply(M_frame2crop, kps), axis=1).mean() / max(distance * scale_of(M_frame2crop), 1e-6)
    turned, clear = 1.0, rising(float(miss), *_MISSES)
    if max_yaw:
        turned = rising(yaw(kps), max_yaw, max(max_yaw - _YAW_RANGE, 0.0))
    else:
        clear = max(clear, rising(yaw(kps), *_GUESSED))
    shares = {TURNED: turned, TINY: rising(distance, *_EYE_DISTANCES), UNCLEAR: clear, CUT_OFF: most}
    reason = min(shares, key=lambda name: shares[name])
    return Visibility(shares[reason], reason if shares[reason] < 1 else "")
