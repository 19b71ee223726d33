"""Detail for the swaps of a stream, of which neither the size nor the strength jumps from frame to frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from statistics import median
from typing import NamedTuple

import cv2
import numpy as np

from utils.inference import align
from utils.inference.blend import enlargement
from utils.inference.detail import SourceDetail, add_detail
from utils.inference.exposure import Exposure
from utils.inference.recent import Recent
from utils.inference.types import FrameFaces, Swap, TrackedFace
from utils.inference.warp import rescaled_points
from utils.io.frame import Pixels

LEAST_SIDE = 256  # of large swaps with detail
_LARGE = (1.3, 1.6)  # pixels of a frame per pixel of a swap: not large below the first, large from the second on
_FADE = 0.0625  # of a larger swap, by which more or less of it is shown from frame to frame
_FRAMES = 5  # of which the median counts: a keyframe is sharper than what follows, for one frame or two
_LEAST_WEIGHT, _MOST_WEIGHT = 0.15, 0.5  # of the newest share of the detail that fits; in between the change itself


class _Fitting(NamedTuple):
    """How much of a track's detail fits its target's sharpness, 0..1 each."""

    found: tuple[float, ...]  # in the last frames
    shown: float


class TrackDetail:
    """Gives swaps their sources' detail; on large faces with twice the pixels of a small generator's swaps."""

    def __init__(self, sources: Sequence[SourceDetail | None], share: float, size: int, mask_size: int) -> None:
        """sources: by person. share: 0..1. size: of the generator's swaps. mask_size: of the crop that landmarks are
        pixels of."""
        self._share, self._size, self._mask_size = share, size, mask_size
        self._side = max(size, LEAST_SIDE)
        self._sources = {side: [source and source.reduced(side) for source in sources] for side in (size, self._side)}
        self._large: Recent[tuple[bool, float]] = Recent()  # by track, see `_largeness`
        self._fitting: dict[int, Recent[_Fitting]] = {side: Recent() for side in self._sources}  # by side, then track

    def add(
        self, faces: FrameFaces, swaps: Sequence[Swap], light: Sequence[Exposure], settled: Sequence[np.ndarray],
        worn: np.ndarray,
    ) -> list[Swap]:
        """Swaps with detail, in the generator's light: there it does not grow or fade with that of the frame.

        light: of the frames. settled: steady landmarks (106, 2) of each. worn: (N,), how likely each target wears
        glasses, 0..1.
        """
        self._large.shrink()
        for fitting in self._fitting.values():
            fitting.shrink()
        return [self._add(frame.pixels, face, swap, exposure, points, float(glasses)) for (frame, face), swap, exposure,
                points, glasses in zip(faces, swaps, light, settled, worn, strict=True)]

    def _add(
        self, frame: Pixels, face: TrackedFace, swap: Swap, exposure: Exposure, points: np.ndarray, worn: float
    ) -> Swap:
        if self._sources[self._size][face.person] is None:
            return swap
        share = self._largeness(face.track, enlargement(swap.M_frame2crop)) if self._side != self._size else 0.0
        points = rescaled_points(points, align.BASE / self._mask_size)
        own = self._detailed(swap, face, points, worn) if share < 1 else swap
        if not share:
            return own
        crop = align.cut(frame, face.kps, self._side, face.template)
        larger = Swap(self._enlarged(swap.image), crop.M_frame2crop, exposure.applied(crop.image))
        larger = self._detailed(larger, face, points, worn)
        if share == 1:
            return larger
        return replace(larger, image=cv2.addWeighted(larger.image, share, self._enlarged(own.image), 1 - share, 0))

    def _enlarged(self, image: np.ndarray) -> np.ndarray:
        return cv2.resize(image, (self._side, self._side), interpolation=cv2.INTER_CUBIC)

    def _detailed(self, swap: Swap, face: TrackedFace, points: np.ndarray, worn: float) -> Swap:
        """points: pixels of a 224 crop."""
        side = len(swap.image)
        source = self._sources[side][face.person]
        assert source is not None
        steadied = partial(self._steadied, self._fitting[side], face.track)
        return replace(swap, image=add_detail(swap.image, swap.target, points, source, self._share, worn, steadied))

    def _largeness(self, track: int, scale: float) -> float:
        """How much of a larger swap is shown, 0..1, for which the frame has pixels or not: what is near the limit stays
        as it was, and what is not changes slowly, since a change shows."""
        below, enough = _LARGE
        large, share = self._large.get(track, (scale >= enough, float(scale >= enough)))
        large = scale >= (below if large else enough)
        share = min(share + _FADE, 1.0) if large else max(share - _FADE, 0.0)
        self._large[track] = large, share
        return share

    @staticmethod
    def _steadied(fitting: Recent[_Fitting], track: int, found: float) -> float:
        """The share of the detail to show, steady where what fits pulses with compression; what lasts, such as a pull
        of focus, passes the faster the larger it is."""
        last = fitting.get(track, _Fitting((), found))
        recent = (*last.found, found)[-_FRAMES:]
        change = median(recent) - last.shown
        shown = last.shown + min(max(abs(change), _LEAST_WEIGHT), _MOST_WEIGHT) * change
        fitting[track] = _Fitting(recent, shown)
        return shown
