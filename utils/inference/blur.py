"""Swaps as blurred as the faces that they replace: out of focus, or by motion. Generators paint sharp faces whatever
they see.

Blur is seen along rows and columns apart, since motion blurs along one direction alone. It is told by what a picture
loses in a slight blur, as a share of what it loses in a stronger one: neither contrast nor smooth skin changes that
much, and noise in the target makes it look sharp, so that its swap stays sharp rather than too soft.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from utils.inference.blend import enlargement
from utils.inference.recent import Recent
from utils.inference.types import FrameFaces, Swap

_LEAST_SIDE, _MOST_SIDE = 32, 128  # at which blur is seen: of the smallest faces that show, and as generators paint
_SLIGHT, _STRONGER = 1.0, 3.0  # standard deviations, pixels of that side
_STRUCTURE = 98  # per cent of the pixels that lose less than the edges of brows, lids, lips and nostrils
_ROWS, _COLUMNS = (0.28, 0.88), (0.2, 0.8)  # shares of the side: brows to chin
_FAINT = 0.5  # levels, below which a picture is flat
# Of the ratio of losses: at the first or above a target is sharp, as 95 % of unblurred photos are, and its swap stays
# as it is; at the second or below it is blurred for certain, and its swap becomes as blurred.
_SHARP, _BLURRED = 0.32, 0.25
_WIDEST = 0.08  # standard deviation of the strongest blur, share of the side
_STEPS = 7  # halvings of the range in which the swap's blur is searched
_LEAST = 0.3  # pixels of a swap; nobody sees less blur
_REAL_CHANGE = 0.006  # share of the side by which what is found for unchanged blur does not differ
_LEAST_WEIGHT = 0.3  # of a track's newest frame


class TrackBlur:
    """Blurs the swaps of a stream; along a track blur does not tremble, while a pull of focus passes at once."""

    def __init__(self, share: float) -> None:
        """share: 0..1 of the blur with which swaps look like their targets."""
        self._share = share
        self._widths: Recent[np.ndarray] = Recent()  # by track, see `missing_blur`

    def match(self, faces: FrameFaces, swaps: Sequence[Swap]) -> list[Swap]:
        """Swaps that are not sharper than their targets; those of sharp targets as they are."""
        self._widths.shrink()
        return [self._match(face.track, swap) for (_, face), swap in zip(faces, swaps, strict=True)]

    def _match(self, track: int, swap: Swap) -> Swap:
        found = missing_blur(swap)
        change = found - self._widths.get(track, found)
        weight = np.clip(np.abs(change) / _REAL_CHANGE, _LEAST_WEIGHT, 1)
        self._widths[track] = found - (1 - weight) * change
        widths = self._share * self._widths[track] * len(swap.image)
        return replace(swap, image=blurred(swap.image, *widths)) if widths.max() >= _LEAST else swap


def missing_blur(swap: Swap) -> np.ndarray:
    """How much more blurred a swap's target is along rows and columns: (2,) float64, standard deviations of Gaussian
    blurs as shares of the crop's side; 0 where the target is sharp."""
    # A frame with fewer pixels than the crop is not blurred because of that: the swap will lose as many.
    in_frame = enlargement(swap.M_frame2crop) * len(swap.image)
    side = max(int(min(_MOST_SIDE, len(swap.target), in_frame)), _LEAST_SIDE)
    target, own = _grey(swap.target, side), None
    widths = np.zeros(2)
    for axis in range(2):
        wanted = _sharpness(target, axis)
        sure = min((_SHARP - wanted) / (_SHARP - _BLURRED), 1.0)
        if sure > 0:
            own = _grey(swap.image, side) if own is None else own
            widths[axis] = sure * _searched(own, axis, wanted) / side
    return widths


def blurred(image: np.ndarray, along_rows: float, along_columns: float) -> np.ndarray:
    """A picture (H, W) or (H, W, 3) in a Gaussian blur of these standard deviations, pixels."""
    nothing = 0.01  # 0 would stand for the other one's
    return cv2.GaussianBlur(image, (0, 0), max(along_rows, nothing), sigmaY=max(along_columns, nothing))


def _grey(image: np.ndarray, side: int) -> np.ndarray:
    """A smaller grey picture, (side, side) float32."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32)
    return cv2.resize(grey, (side, side), interpolation=cv2.INTER_AREA)


def _along(axis: int, width: float) -> tuple[float, float]:
    """Standard deviations of a blur along rows (axis 0) or columns (1) alone."""
    return (width, 0.0) if axis == 0 else (0.0, width)


def _sharpness(grey: np.ndarray, axis: int) -> float:
    """The ratio of losses of a face, about 0.4 of a sharp one and less of blurred ones; infinite of a flat picture."""
    slight, stronger = (_loss(grey, axis, width) for width in (_SLIGHT, _STRONGER))
    return slight / stronger if stronger > _FAINT else np.inf


def _loss(grey: np.ndarray, axis: int, width: float) -> float:
    """Levels that the edges of a face lose in a blur."""
    (top, bottom), (left, right) = ((np.array(ends) * len(grey)).astype(int) for ends in (_ROWS, _COLUMNS))
    lost = cv2.absdiff(grey, blurred(grey, *_along(axis, width)))[top:bottom, left:right].ravel()
    place = len(lost) * _STRUCTURE // 100
    return float(np.partition(lost, place)[place])


def _searched(grey: np.ndarray, axis: int, wanted: float) -> float:
    """The standard deviation, pixels, of the blur in which a picture is about as sharp as it should be; 0 where it is
    no sharper than that."""
    if _sharpness(grey, axis) <= wanted:
        return 0.0
    low, high = 0.0, _WIDEST * len(grey)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        sharper = wanted < _sharpness(blurred(grey, *_along(axis, middle)), axis) < np.inf  # which is flat, not sharp
        low, high = (middle, high) if sharper else (low, middle)
    return low
