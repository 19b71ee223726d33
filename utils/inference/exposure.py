"""Light that a generator knows: faces that are darker, brighter, fainter or in other colours than those it was trained
on are brought into that range before it sees them, and its swaps back again.

Gains of the colours and one offset for all pixels do so; a fade in a film, fog, night, a stage's lamps and the toning
of old photos are such changes themselves.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from utils.inference.align import middle

_DARKEST, _BRIGHTEST = 60.0, 175.0  # mean levels of a face, which few of those that generators are trained on exceed
_USUAL_MEAN, _USUAL = 110.0, 48.0  # levels of most faces: their mean and its standard deviation
_LARGEST = 16.0  # gain; what has less contrast than this can repair shows next to nothing
# Of faces in white light, logarithms of blue and of red over green.
_NATURAL = np.array([(-0.5, 0.0), (0.05, 0.55)], np.float32)
_MOST_CAST = 1.4  # logarithm of a gain
_DARK = 4.0  # levels that count as brightness in the dark, where noise would be colour otherwise
_CELLS = 16  # along the middle's side
# Cells' standard deviation of these logarithms in pictures of one hue: from the first on they count as such in part.
_SEVERAL_HUES, _ONE_HUE = 0.024, 0.014
_NO_CAST = (1.0, 1.0, 1.0)


class Exposure(NamedTuple):
    """What turns levels into those that the generator knows: `gain` times `cast` times a level, and `offset`."""

    gain: float = 1.0
    offset: float = 0.0
    cast: tuple[float, float, float] = _NO_CAST  # of blue, green and red

    def applied(self, image: np.ndarray) -> np.ndarray:
        """The picture, uint8 BGR, in the generator's light."""
        return image if self == Exposure() else _mapped(image, self._gains, self.offset)

    def undone(self, image: np.ndarray) -> np.ndarray:
        """A picture, uint8 BGR, from there back in its own."""
        if self == Exposure():
            return image
        return _mapped(image, 1 / self._gains, -self.offset / self._gains)

    @property
    def _gains(self) -> np.ndarray:
        """(3,), or (1,) of all colours."""
        return np.array(self.cast if self.cast != _NO_CAST else (1.0,), np.float32) * np.float32(self.gain)


def _mapped(image: np.ndarray, gains: np.ndarray, offsets: np.ndarray | float) -> np.ndarray:
    """gains: of each colour or of all, float32; offsets: as many, or one."""
    levels = np.arange(256, dtype=np.float32)[:, None] * gains + np.float32(offsets)
    return cv2.LUT(image, np.clip(np.rint(levels), 0, 255).astype(np.uint8)[None])


def exposure_of(crop: np.ndarray, least: float) -> Exposure:
    """How to bring an aligned face, (S, S, 3) uint8 BGR, into the light that a generator knows.

    least: standard deviation of brightness in levels that faces are to have at least; 0: faces stay as they are.
    """
    if not least:
        return Exposure()
    face = middle(crop)
    cast = _cast(face)
    lit = Exposure(cast=cast).applied(face)
    mean, spread = (max(float(value[0, 0]), 0.1) for value in cv2.meanStdDev(cv2.cvtColor(lit, cv2.COLOR_BGR2GRAY)))
    wanted = min(max(mean, _DARKEST), _BRIGHTEST)
    gain = max(min(1.0, wanted / mean), least / spread, min(wanted / mean, _USUAL / spread))
    # Dim light is a gain: up to a usual brightness it is undone as such; an offset is for what is left, as fog.
    wanted = max(wanted, min(gain * mean, _USUAL_MEAN))
    gain = min(gain, _LARGEST, _room(lit, mean, wanted))
    return Exposure(gain, wanted - gain * mean, cast)


def _room(face: np.ndarray, mean: float, wanted: float) -> float:
    """The gain, 1 or more, with which the brightest colour of a face does not end at white, as a lamp's would, while a
    brightness of mean becomes the wanted one."""
    means, deviations = cv2.meanStdDev(face)
    above = float(means.max() + 2 * deviations.max()) - mean
    return max(1.0, (255 - wanted) / max(above, 1.0))


def _cast(face: np.ndarray) -> tuple[float, float, float]:
    """Gains of blue, green and red that take coloured light away, at the same brightness: to colours that faces have in
    white light, or to grey where a picture has but one hue. face: (H, W, 3) uint8 BGR."""
    cells = cv2.resize(face, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA).astype(np.float32) + _DARK
    mean = cells.mean((0, 1))
    chroma = _over_green(mean)
    hues = float(_over_green(cells).std((0, 1)).max())
    one_hue = float(np.clip((_SEVERAL_HUES - hues) / (_SEVERAL_HUES - _ONE_HUE), 0, 1))
    change = (chroma.clip(*_NATURAL) * (1 - one_hue) - chroma).clip(-_MOST_CAST, _MOST_CAST)
    if not change.any():
        return _NO_CAST
    gains = np.exp(np.array([change[0], 0, change[1]], np.float32))
    gains *= mean.sum() / (mean * gains).sum()
    blue, green, red = gains.tolist()
    return blue, green, red


def _over_green(colours: np.ndarray) -> np.ndarray:
    """Logarithms of blue and red over green, (..., 2); colours: (..., 3) BGR, above 0."""
    logs = np.log(colours)
    return logs[..., [0, 2]] - logs[..., 1:2]
