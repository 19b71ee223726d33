"""Pictures of decoded frames, which are converted to BGR where somebody looks at them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.inference.types import Box
from utils.io.colour import Colour, joined, pixels_of

if TYPE_CHECKING:
    from av import VideoFrame

_GRID = 64  # sides of converted parts are multiples of this, so that the next who looks finds them as well
_ROOM = 16  # pixels more than asked for, for the same reason
_MARGIN = 2  # pixels around a part that its colours are interpolated from
_SIDES = (1, 2, 2)  # of the picture's pixels in each plane


class DecodedPicture:
    """A BGR picture, (H, W, 3) uint8, used like an array: slices, shape, dtype, copy; np.asarray gives all of it.

    Slices of steps of 1 are views, into which a copy's owner may write; others need no conversion of the picture.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, frame: VideoFrame, colour: Colour) -> None:
        """frame: that `can_keep`; colour: of the video."""
        self.frame = frame
        self.shape = (frame.height, frame.width, 3)
        self._colour = colour
        self._pixels = np.empty(self.shape, np.uint8)
        self._there: list[Box] = []  # parts that are converted
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes of the whole picture."""
        return self._pixels.nbytes

    def __getitem__(self, place: tuple[slice, slice]) -> np.ndarray:
        rows, columns = (part.indices(length) for part, length in zip(place, self.shape[:2], strict=True))
        if rows[2] != 1 or columns[2] != 1:
            return self._sampled(np.arange(*rows), np.arange(*columns))
        (top, bottom, _), (left, right, _) = rows, columns
        self._look_at((left, top, right, bottom))
        return self._pixels[top:bottom, left:right]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        self._look_at((0, 0, self.shape[1], self.shape[0]))
        return np.array(self._pixels, dtype, copy=copy)

    def copy(self) -> DecodedPicture:
        """Another one of the same frame, with what was written to this one."""
        other = DecodedPicture(self.frame, self._colour)
        with self._lock:
            other._there = list(self._there)
            for part in _slices(self._there):
                other._pixels[part] = self._pixels[part]
        return other

    def _look_at(self, box: Box) -> None:
        """Convert a part, and a little around it, unless it is there."""
        with self._lock:
            if any(a[0] <= box[0] and a[1] <= box[1] and a[2] >= box[2] and a[3] >= box[3] for a in self._there):
                return
            left, top = ((value - _ROOM) // _GRID * _GRID for value in box[:2])
            right, bottom = (-(-(value + _ROOM) // _GRID) * _GRID for value in box[2:])
            box = max(left, 0), max(top, 0), min(right, self.shape[1]), min(bottom, self.shape[0])
            fresh = self._converted(box)
            view = self._pixels[box[1] : box[3], box[0] : box[2]]
            for known in _slices(self._overlaps(box)):  # may have been written to
                fresh[known] = view[known]
            view[:] = fresh
            self._there.append(box)

    def _overlaps(self, box: Box) -> list[Box]:
        """What of a part is there, in pixels of the part."""
        left, top, right, bottom = box
        shared = [(max(a[0], left), max(a[1], top), min(a[2], right), min(a[3], bottom)) for a in self._there]
        return [(a[0] - left, a[1] - top, a[2] - left, a[3] - top) for a in shared if a[0] < a[2] and a[1] < a[3]]

    def _converted(self, box: Box) -> np.ndarray:
        """The pixels of a part with even sides at an even place."""
        left, top = (max(value - _MARGIN, 0) for value in box[:2])
        right, bottom = min(box[2] + _MARGIN, self.shape[1]), min(box[3] + _MARGIN, self.shape[0])
        parts = [pixels_of(plane)[top // side : bottom // side, left // side : right // side]
                 for plane, side in zip(self.frame.planes, _SIDES, strict=True)]
        bgr = joined(parts, self._colour, self.shape[0])
        return bgr[box[1] - top : box[3] - top, box[0] - left : box[2] - left]

    def _sampled(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Single pixels of some rows and columns, with the colours of the pairs of pixels that they belong to."""
        samples = [pixels_of(plane)[np.ix_(rows // side, columns // side)]
                   for plane, side in zip(self.frame.planes, _SIDES, strict=True)]
        return joined(samples, self._colour, self.shape[0])


def _slices(boxes: list[Box]) -> Iterator[tuple[slice, slice]]:
    for left, top, right, bottom in boxes:
        yield slice(top, bottom), slice(left, right)
