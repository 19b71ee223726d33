"""Light that a generator knows: faces that are darker, brighter or fainter than those it was trained on are brought
into that range before it sees them, and its swaps back again.

One gain and one offset for all pixels and colours do so; a fade in a film, fog or night are such changes themselves.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from utils.inference.align import middle

_DARKEST, _BRIGHTEST = 60.0, 175.0  # mean levels of a face, which few of those that generators are trained on exceed
_USUAL = 48.0  # levels' standard deviation in most faces
_LARGEST = 16.0  # gain; what has less contrast than this can repair shows next to nothing


class Exposure(NamedTuple):
    """What turns levels into those that the generator knows: `gain` times a level and `offset`."""

    gain: float = 1.0
    offset: float = 0.0

    def applied(self, image: np.ndarray) -> np.ndarray:
        """The picture, uint8, in the generator's light."""
        return image if self == Exposure() else _mapped(image, self.gain, self.offset)

    def undone(self, image: np.ndarray) -> np.ndarray:
        """A picture, uint8, from there back in its own."""
        return image if self == Exposure() else _mapped(image, 1 / self.gain, -self.offset / self.gain)


def _mapped(image: np.ndarray, gain: float, offset: float) -> np.ndarray:
    levels = np.arange(256, dtype=np.float32) * np.float32(gain) + np.float32(offset)
    return cv2.LUT(image, np.clip(np.rint(levels), 0, 255).astype(np.uint8))


def exposure_of(crop: np.ndarray, least: float) -> Exposure:
    """How to bring an aligned face, (S, S, 3) uint8 BGR, into the light that a generator knows.

    least: standard deviation of brightness in levels that faces are to have at least; 0: faces stay as they are.
    """
    if not least:
        return Exposure()
    face = cv2.cvtColor(middle(crop), cv2.COLOR_BGR2GRAY)
    mean, spread = (max(float(value[0, 0]), 0.1) for value in cv2.meanStdDev(face))
    wanted = min(max(mean, _DARKEST), _BRIGHTEST)
    gain = min(max(1.0, least / spread, min(wanted / mean, _USUAL / spread)), _LARGEST)
    return Exposure(gain, wanted - gain * mean)
