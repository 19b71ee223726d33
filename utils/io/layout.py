"""How a frame's three planes hold a picture: bits of a sample, and how many pixels share their colour."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

_CHROMA = {"420": (2, 2), "422": (2, 1), "444": (1, 1)}  # pixels across and down that share their colour


@dataclass(frozen=True)
class Layout:
    """Planes Y, U and V; of 8 bits and with halved colour unless said otherwise."""

    bits: int = 8
    across: int = 2
    down: int = 2

    @property
    def name(self) -> str:
        """FFmpeg's name of the pixel format."""
        chroma = next(name for name, shared in _CHROMA.items() if shared == (self.across, self.down))
        return f"yuv{chroma}p" + (f"{self.bits}le" if self.bits > 8 else "")

    @property
    def sides(self) -> tuple[tuple[int, int], ...]:
        """Pixels down and across of a sample in each plane."""
        return (1, 1), (self.down, self.across), (self.down, self.across)

    @property
    def dtype(self) -> np.dtype:
        """Type of a sample."""
        return np.dtype(np.uint8 if self.bits == 8 else np.uint16)

    def to_bytes(self, samples: np.ndarray) -> np.ndarray:
        """The upper eight bits of each of a plane's samples, uint8."""
        return samples if self.bits == 8 else (samples >> (self.bits - 8)).astype(np.uint8)


def layout_of(pixel_format: str) -> Layout | None:
    """The layout that FFmpeg's name stands for (yuvj: with full range); None for those that are no such planes."""
    found = re.fullmatch(r"yuvj?(420|422|444)p(?:(\d+)le)?", pixel_format)
    return Layout(int(found[2] or 8), *_CHROMA[found[1]]) if found else None


def by_loss(wanted: Layout, offered: Iterable[Layout]) -> list[Layout]:
    """First the layouts that lose least of what is wanted, and of those the ones that add least."""

    def cost(layout: Layout) -> tuple[int, int, int]:
        shared, before = layout.across * layout.down, wanted.across * wanted.down
        return max(0, wanted.bits - layout.bits), max(0, shared - before), layout.bits + max(0, before - shared)

    return sorted(offered, key=cost)
