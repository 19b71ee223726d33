"""Turn and mirror pictures as the display matrix of their video asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from av import VideoFrame

_FLIPS = {(True, False): 1, (False, True): 0, (True, True): -1}  # cv2's names


@dataclass(frozen=True)
class Upright:
    """The way from a coded picture to an upright one, in this order; false if there is nothing to do."""

    swaps_sides: bool  # rows become columns
    mirrors: bool  # left and right change places
    flips: bool  # top and bottom change places

    def __bool__(self) -> bool:
        return self.swaps_sides or self.mirrors or self.flips

    @property
    def only_turns(self) -> bool:
        """Whether writing stays readable."""
        return not self.swaps_sides ^ self.mirrors ^ self.flips

    def applied(self, image: np.ndarray) -> np.ndarray:
        """The upright picture."""
        image = cv2.transpose(image) if self.swaps_sides else image
        flip = _FLIPS.get((self.mirrors, self.flips))
        return image if flip is None else cv2.flip(image, flip)


def upright_of(frame: VideoFrame) -> Upright:
    """What a frame's display matrix asks for, in the nearest whole quarters of a turn.

    The matrix shows the pixel (x, y) at (x, y) @ [[a, b], [c, d]].
    """
    (a, b), (c, d) = _matrix(frame)
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Upright(False, bool(a < 0), bool(d < 0))
    return Upright(True, bool(c < 0), bool(b < 0))


def _matrix(frame: VideoFrame) -> np.ndarray:
    """The part of a frame's display matrix that turns and mirrors, (2, 2)."""
    try:
        kinds: Any = frame.side_data  # PyAV's types name one kind only
        values = np.frombuffer(bytes(kinds["DISPLAYMATRIX"]), np.int32)
    except KeyError:
        return np.eye(2)
    except ValueError:  # PyAV refuses frames with side data that it has no name for, EXIF for instance
        angle = np.deg2rad(frame.rotation)
        return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return values.reshape(3, 3)[:2, :2].astype(float)
