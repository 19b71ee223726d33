"""Scene cuts, noticed from thumbnails."""

from __future__ import annotations

import cv2
import numpy as np

from utils.io.frame import Pixels

_THUMBNAIL = (32, 18)
_LEAST = 0.08  # mean change of a thumbnail pixel (0..1) below which nothing is a cut
_CERTAIN = 0.35  # above which everything is
_RATIO = 3.0  # a cut changes this many times more than the frames before it did
_MEMORY = 0.8  # weight of the past in the usual amount of change


def thumbnail(image: Pixels) -> np.ndarray:
    """Shrink a frame to a few hundred numbers.

    image: (H, W, 3) uint8 or uint16 BGR.
    Returns (18, 32, 3) float32 [0, 1] BGR.
    """
    step = max(
        1, min(image.shape[0] // 72, image.shape[1] // 128)
    )  # averaging every pixel would cost more than it tells
    small = cv2.resize(np.ascontiguousarray(image[::step, ::step]), _THUMBNAIL, interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / np.iinfo(image.dtype).max


class SceneCuts:
    """Says of each frame of a stream whether a new scene begins with it."""

    def __init__(self) -> None:
        self._last: np.ndarray | None = None
        self._usual = 0.0

    def begins(self, image: Pixels) -> bool:
        """Compare the next frame with the one before; the first frame begins no new scene.

        image: (H, W, 3) uint8 or uint16 BGR.
        """
        now = thumbnail(image)
        last, self._last = self._last, now
        if last is None:
            return False
        change = float(np.abs(now - last).mean())
        cut = change > _CERTAIN or (change > _LEAST and change > _RATIO * self._usual)
        # The change over a cut says nothing about the motion in the new scene.
        self._usual = 0.0 if cut else _MEMORY * self._usual + (1.0 - _MEMORY) * change
        return cut
