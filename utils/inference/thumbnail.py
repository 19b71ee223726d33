"""Thumbnails of faces: enough to tell whether another one may have taken a face's place, at next to no cost."""

from __future__ import annotations

import cv2
import numpy as np

from utils.inference import align
from utils.io.frame import Pixels

_SIDE, _EDGE, _CUT = 32, 4, 64  # pixels of the reduced face, of its border that is left out, of the crop it is made of
_SAME = 0.9  # correlation that most thumbnails of one person in one scene exceed, and those of two people do not


def face_thumbnail(pixels: Pixels, kps: np.ndarray) -> np.ndarray:
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


def same_appearance(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two thumbnails are so much alike that the face need not be identified again."""
    return float((one * other).sum()) >= _SAME
