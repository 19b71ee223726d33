"""Scene cuts, noticed from thumbnails."""

from __future__ import annotations

import cv2
import numpy as np

from utils.io.frame import Pixels

_THUMBNAIL = (32, 18)
_MARGIN = (4, 7)  # rows and columns by which the picture may have moved in one frame
_LEAST, _ANOTHER = 0.1, 0.06  # mean change of a thumbnail's pixel (0..1) below which nothing is a cut; in dim scenes,
_LOST = 0.4  # where so much correlation is lost that the picture is certainly another one
_UNLIKE = 0.12  # lost correlation below which nothing is a cut either
_RATIO = 3.0  # a cut loses this many times more correlation than the frames before it did
_MEMORY = 0.5  # weight of the past in what is usual
_UNKNOWN = 0.08  # taken for usual where no frames have come before


def thumbnail(image: Pixels) -> np.ndarray:
    """Shrink a frame to a few hundred numbers.

    image: (H, W, 3) uint8 or uint16 BGR.
    Returns (18, 32, 3) float32 [0, 1] BGR.
    """
    # Averaging every pixel would cost more than it tells.
    step = max(1, min(image.shape[0] // 72, image.shape[1] // 128))
    small = cv2.resize(np.ascontiguousarray(image[::step, ::step]), _THUMBNAIL, interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / np.iinfo(image.dtype).max


def unlikeness(one: np.ndarray, other: np.ndarray) -> float:
    """How little two thumbnails are one picture that has moved, or has become brighter or darker: from about 0 to 1.

    Source: normalised correlation at the best shift, of the middle of each thumbnail in the other.
    """
    rows, columns = _MARGIN
    found = [cv2.matchTemplate(whole, part[rows:-rows, columns:-columns], cv2.TM_CCOEFF_NORMED).max()
             for whole, part in ((one, other), (other, one))]
    return 1.0 - float(np.mean(found))


class SceneCuts:
    """Says of each frame of a stream whether a new scene begins with it.

    Motion and flashes change a picture as much as cuts do, but leave it recognisable.
    """

    def __init__(self) -> None:
        self._last: np.ndarray | None = None
        self._usual = _UNKNOWN

    def begins(self, image: Pixels) -> bool:
        """Compare the next frame with the one before; the first frame begins no new scene.

        image: (H, W, 3) uint8 or uint16 BGR.
        """
        now = thumbnail(image)
        last, self._last = self._last, now
        if last is None:
            return False
        change = float(np.abs(now - last).mean())
        lost = unlikeness(now, last)
        unlike = lost > max(_UNLIKE, _RATIO * self._usual)
        cut = unlike and change > (_ANOTHER if lost > _LOST else _LEAST)
        # What is lost over a cut says nothing about the motion in the new scene.
        self._usual = _UNKNOWN if cut else _MEMORY * self._usual + (1.0 - _MEMORY) * lost
        return cut
