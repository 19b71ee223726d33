"""What flows between the stages.

Pixel coordinates are (x, y) with pixel centres at integers; matrices are 2x3 and map column vectors (x, y, 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from utils.inference.report import FaceCounts
from utils.io.frame import Frame

_NEXT_TO_NOTHING = 0.1  # share of a swap that nobody sees


@dataclass(frozen=True)
class Face:
    """A detected face."""

    box: np.ndarray  # (4,) float32, left, top, right, bottom, frame pixels
    score: float  # detector confidence, 0..1
    kps: np.ndarray  # (5, 2) float32: left eye, right eye, nose, left and right mouth corner, as seen in the image
    moved: np.ndarray | None = None  # (2, 3) float64, map from the frame before, where it is known


@dataclass(frozen=True)
class TrackedFace:
    """A face that is to be swapped, after matching and smoothing."""

    kps: np.ndarray  # (5, 2) float32, smoothed
    person: int  # index of the source whose identity it gets
    track: int  # number of the uninterrupted appearance it belongs to
    template: float  # alignment template 0..4 that the track keeps; between two of them while it changes
    detected: bool = True  # False where a missed detection was bridged


FrameFaces = Sequence[tuple[Frame, TrackedFace]]  # faces to be swapped, with the frames that show them


@dataclass(frozen=True)
class Crop:
    """A face cut out for a network."""

    image: np.ndarray  # (S, S, 3) uint8 BGR
    M_frame2crop: np.ndarray  # (2, 3) float64


@dataclass(frozen=True)
class Swap(Crop):
    """A swapped face."""

    target: np.ndarray  # (T, T, 3) uint8 BGR, the crop that it was made of


class Mask(NamedTuple):
    """Where a swap shows."""

    alpha: np.ndarray  # (T, T) float32 [0, 1]
    M_frame2mask: np.ndarray  # (2, 3) float64


@dataclass(frozen=True)
class Visibility:
    """How much of a swap to show."""

    share: float = 1.0  # 0..1, multiplies the mask
    reason: str = ""  # what lowers it most

    @property
    def is_hidden(self) -> bool:
        """Whether nobody sees the swap."""
        return self.share < _NEXT_TO_NOTHING


@dataclass(frozen=True)
class SwappedFrame(Frame):
    """A frame of the result; its pixels are the input's own where nothing was swapped."""

    report: FaceCounts = field(default_factory=FaceCounts)
