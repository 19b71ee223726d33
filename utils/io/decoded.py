"""Pictures of decoded frames, which are converted to BGR where somebody looks at them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.io.colour import Colour, pixels_of, region_to_bgr, yuv_to_bgr
from utils.io.frame import Box
from utils.io.layout import Layout, layout_of

if TYPE_CHECKING:
    from av import VideoFrame

_GRID = 64  # sides of converted parts are multiples of this, so that the next who looks finds them as well
_ROOM = 16  # pixels more than asked for, for the same reason


class DecodedPicture:
    """A BGR picture, (H, W, 3) uint8, used like an array: slices, shape, dtype, copy; np.asarray gives all of it.

    Slices of steps of 1 are views, into which a copy's owner may write, and nobody else; others need no conversion of
    the picture.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, frame: VideoFrame, colour: Colour) -> None:
        """frame: that `can_keep`; colour: of the video."""
        self.frame, self.layout = frame, layout_of(frame.format.name) or Layout()
        self.shape = (frame.height, frame.width, 3)
        self._colour = colour
        self._parts: list[tuple[Box, np.ndarray]] = []  # what is converted; no two overlap
        self._original: DecodedPicture | None = None  # of a copy
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes of the whole picture, converted or as it was decoded, whichever are more."""
        return max(self.shape[0] * self.shape[1] * self.shape[2], sum(plane.buffer_size for plane in self.frame.planes))

    @property
    def original(self) -> DecodedPicture:
        """The picture as it was decoded: of a copy, the one that was copied, where most is converted already."""
        return self._original or DecodedPicture(self.frame, self._colour)

    @property
    def luma(self) -> np.ndarray:
        """The plane Y as it was decoded, (H, W) of the layout's type; what is written to a copy does not change it."""
        return pixels_of(self.frame.planes[0], self.layout)

    def __getitem__(self, place: tuple[slice, slice]) -> np.ndarray:
        rows, columns = (part.indices(length) for part, length in zip(place, self.shape[:2], strict=True))
        if rows[2] != 1 or columns[2] != 1:
            return self._sampled(np.arange(*rows), np.arange(*columns))
        (top, bottom, _), (left, right, _) = rows, columns
        return self._part((left, top, right, bottom))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self._part((0, 0, self.shape[1], self.shape[0])), dtype, copy=copy)

    def copy(self) -> DecodedPicture:
        """Another one of the same frame, with what was written to this one."""
        other = DecodedPicture(self.frame, self._colour)
        other._original = self._original or self
        with self._lock:
            other._parts = [(box, part.copy()) for box, part in self._parts]
        return other

    def _part(self, box: Box) -> np.ndarray:
        """View of a part, which is converted, with a little around it, unless it is there."""
        with self._lock:
            for place, part in self._parts:
                if _union(place, box) == place:
                    return _cut(part, box, place)
            left, top = ((value - _ROOM) // _GRID * _GRID for value in box[:2])
            right, bottom = (-(-(value + _ROOM) // _GRID) * _GRID for value in box[2:])
            place = self._around((max(left, 0), max(top, 0), min(right, self.shape[1]), min(bottom, self.shape[0])))
            return _cut(self._new_part(place), box, place)

    def _around(self, place: Box) -> Box:
        """The smallest place that overlaps no part without holding all of it."""
        for known, _ in self._parts:
            if _overlap(known, place) and _union(known, place) != place:
                return self._around(_union(known, place))
        return place

    def _new_part(self, place: Box) -> np.ndarray:
        """Convert a part and keep it instead of those that lie in it."""
        fresh, others = region_to_bgr(self.frame, self.layout, self._colour, place), []
        for known, part in self._parts:
            if _overlap(known, place):
                _cut(fresh, known, place)[:] = part  # may have been written to
            else:
                others.append((known, part))
        self._parts = [*others, (place, fresh)]
        return fresh

    def _sampled(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Single pixels of some rows and columns, with the colours of the pairs of pixels that they belong to."""
        samples = [pixels_of(plane, self.layout)[np.ix_(rows // down, columns // across)]
                   for plane, (down, across) in zip(self.frame.planes, self.layout.sides, strict=True)]
        return yuv_to_bgr(samples, self._colour, self.shape[0], self.layout)


def _cut(part: np.ndarray, box: Box, place: Box) -> np.ndarray:
    """View of `box` in a part that is at `place` of the picture."""
    return part[box[1] - place[1] : box[3] - place[1], box[0] - place[0] : box[2] - place[0]]


def _overlap(one: Box, other: Box) -> bool:
    return max(one[0], other[0]) < min(one[2], other[2]) and max(one[1], other[1]) < min(one[3], other[3])


def _union(one: Box, other: Box) -> Box:
    """The smallest box around two."""
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])
