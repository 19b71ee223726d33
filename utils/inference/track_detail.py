"""Detail for the swaps of a stream, of which neither the size nor the strength changes from frame to frame."""

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
        self._large: Recent[bool] = Recent()  # by track
        self._fitting: Recent[_Fitting] = Recent()  # by track

    def add(
        self, faces: FrameFaces, swaps: Sequence[Swap], light: Sequence[Exposure], settled: Sequence[np.ndarray],
        worn: np.ndarray,
    ) -> list[Swap]:
        """Swaps with detail, in the generator's light: there it does not grow or fade with that of the frame.

        light: of the frames. settled: steady landmarks (106, 2) of each. worn: (N,), how likely each target wears
        glasses, 0..1.
        """
        self._large.shrink()
        self._fitting.shrink()
        return [self._add(frame.pixels, face, swap, exposure, points, float(glasses)) for (frame, face), swap, exposure,
                points, glasses in zip(faces, swaps, light, settled, worn, strict=True)]

    def _add(
        self, frame: Pixels, face: TrackedFace, swap: Swap, exposure: Exposure, points: np.ndarray, worn: float
    ) -> Swap:
        image, target, M_frame2crop = swap.image, swap.target, swap.M_frame2crop
        side = self._side if self._is_large(face.track, enlargement(M_frame2crop)) else self._size
        source = self._sources[side][face.person]
        if source is None:
            return swap
        if side != self._size:
            crop = align.cut(frame, face.kps, side, face.template)
            target, M_frame2crop = exposure.applied(crop.image), crop.M_frame2crop
            image = cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)
        points = rescaled_points(points, align.BASE / self._mask_size)
        steadied = partial(self._steadied, face.track)
        detailed = add_detail(image, target, points, source, self._share, worn, steadied)
        return replace(swap, image=detailed, M_frame2crop=M_frame2crop)

    def _is_large(self, track: int, scale: float) -> bool:
        """Whether the frame has pixels for a larger swap; what is near the limit stays as it was, since a change
        shows."""
        below, enough = _LARGE
        self._large[track] = scale >= (below if self._large.get(track, False) else enough)
        return self._large[track]

    def _steadied(self, track: int, found: float) -> float:
        """The share of the detail to show, steady where what fits pulses with compression; what lasts, such as a pull
        of focus, passes the faster the larger it is."""
        last = self._fitting.get(track, _Fitting((), found))
        recent = (*last.found, found)[-_FRAMES:]
        change = median(recent) - last.shown
        shown = last.shown + min(max(abs(change), _LEAST_WEIGHT), _MOST_WEIGHT) * change
        self._fitting[track] = _Fitting(recent, shown)
        return shown
