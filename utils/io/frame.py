"""Pictures of a stream, as they are read and written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from utils.io.decoded import DecodedPicture

Pixels: TypeAlias = "np.ndarray | DecodedPicture"
Box = tuple[int, int, int, int]  # left, top, right, bottom, pixels; the last two are the first outside


@dataclass(frozen=True)
class Frame:
    """One picture of the stream; a photo is a stream of one."""

    pixels: Pixels  # (H, W, 3) uint8 or uint16 BGR, upright; never changed in place
    index: int = 0  # counts from 0 in the stream
    time: float = 0.0  # seconds from the start of the file
    changed: tuple[Box, ...] = ()  # where the pixels have become others than those that were decoded

    @property
    def image(self) -> np.ndarray:
        """All pixels."""
        return np.asarray(self.pixels)


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Any picture as 8 bit: (..., 3) uint8 or uint16 -> uint8, rounded."""
    if image.dtype == np.uint8:
        return image
    return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
