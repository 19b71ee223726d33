"""Sharper swaps where the target is sharp: generators paint softer pictures than photos of their size."""

from __future__ import annotations

import cv2
import numpy as np

from utils.inference.align import middle

_SIDE, _SIGMA = 5, 1.0  # pixels of the blur; what it takes away is detail
_FAINT = 0.1  # levels of detail, below which a picture is flat


def sharpen(swap: np.ndarray, target: np.ndarray, most: float) -> np.ndarray:
    """Strengthen a swap's detail towards the amount that the target has; never weaken it.

    Unsharp masking: `most` is the largest share of its detail that is added once more, so that swaps stay soft in
    blurred and in small pictures.
    swap, target: (S, S, 3) uint8 BGR, the same framing. Returns the same as swap.
    """
    if not most:
        return swap
    soft = _blur(swap)
    has, wanted = _detail(swap, soft), detail_of(target)
    more = min(wanted / has - 1, most) if has > _FAINT else 0.0
    return cv2.addWeighted(swap, 1 + more, soft, -more, 0) if more > 0 else swap


def detail_of(image: np.ndarray) -> float:
    """How much detail the face in an aligned picture, (S, S, 3) uint8 BGR, has, levels; of pictures of the same size it
    can be compared."""
    return _detail(image, _blur(image))


def _blur(image: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(image, (_SIDE, _SIDE), _SIGMA)


def _detail(image: np.ndarray, soft: np.ndarray) -> float:
    """Mean difference, in levels, of a picture from its blur in the middle, where the face is."""
    return float(cv2.absdiff(middle(image), middle(soft)).mean())
