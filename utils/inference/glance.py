"""What a face looks like from afar: enough to tell whether another one may have taken its place, at next to no cost."""

from __future__ import annotations

import cv2
import numpy as np

from utils.inference import align
from utils.io.frame import Pixels

_SIDE, _EDGE, _CUT = 32, 4, 64  # pixels of the look, of its border that is left out, of the crop it is reduced from
ALIKE = 0.9  # most looks at one person in one scene are more alike than this, and those at two people are not


def glance(pixels: Pixels, kps: np.ndarray) -> np.ndarray:
    """A few pixels of an aligned face, without its brightness and contrast.

    pixels: the frame, (H, W, 3) uint8 or uint16 BGR. kps: (5, 2) float32, frame pixels.
    Returns (24, 24, 3) float32 whose squares add up to 1, or zeros where there is nothing to be seen.
    """
    crop = align.cut(pixels, kps, _CUT).image
    reduced = cv2.resize(crop, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    small = reduced[_EDGE:-_EDGE, _EDGE:-_EDGE].astype(np.float32)
    small -= small.mean()
    length = float(np.linalg.norm(small))
    return small / np.float32(length) if length > 1 else np.zeros_like(small)


def alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two looks are so much alike that nobody need look closer."""
    return float((one * other).sum()) >= ALIKE
