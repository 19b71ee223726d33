"""How much of a frame's grain and pores is laid over a swap: in a noisy picture, all of the noise.

The level of noise is that of Gaussian noise whose absolute response to Immerkaer's high-pass ("Fast noise variance
estimation", 1996) has the same median in the face.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

COARSE = 3.5  # pixels of a swap, whose mean is too coarse to be called detail: swaps are softer than their pixels
EDGE = 32  # levels from which a difference is an edge, such as a brow's, which belongs to the target's person
SECOND_DIFFERENCE = (1, -2, 1)  # along columns and rows: the high-pass
_GAIN = 6 * 0.6745  # of the high-pass for Gaussian noise: its deviation, and the median of what has a deviation of 1
_TEXTURE, _STRONG = 3.5, 5.5  # levels of noise: up to the first it may be skin, from the second on it is noise alone
_REACH = 3.0  # deviations, beyond which next to nothing is noise


class Grain(NamedTuple):
    """What of a frame is laid over a swap: how its brightness differs from that around it."""

    side: int  # of the square around a pixel, in pixels
    share: float  # of the difference, 0..1
    whole: float  # levels up to which a difference cannot be an edge; the share falls to 0 over EDGE more

    def kept(self, difference: np.ndarray) -> np.ndarray:
        """Whole levels to be laid over the swap, float64. difference: levels."""
        edges = (self.whole + EDGE - np.abs(difference)) / EDGE
        return np.rint(difference * self.share * edges.clip(0, 1))


def grain_of(scale: float, share: float, noise: float) -> Grain:
    """The grain of one face.

    scale: pixels of the frame per pixel of the swap. share: of fine detail, too fine for the swap, in clean pictures.
    noise: see `noise_level`.
    """
    side = int(scale * COARSE) // 2 * 2 + 1
    least = share if side > 1 else 0.0  # else the swap has almost twice the frame's resolution, and nothing is lost
    strong = min(max((noise - _TEXTURE) / (_STRONG - _TEXTURE), 0.0), 1.0)
    return Grain(max(side, 3), least + strong * (1 - least), _REACH * noise * strong)


def noise_level(counts: np.ndarray) -> float:
    """Deviation of the noise, in levels.

    counts: (256,), of a face's pixels by their absolute response to the high-pass, to which 8-bit brightness was put.
    """
    up_to = np.cumsum(counts)
    half = up_to[-1] / 2
    if not half:
        return 0.0
    median = int(np.searchsorted(up_to, half))
    # Between whole numbers, so that it does not jump from frame to frame.
    return max(median + 0.5 - (up_to[median] - half) / counts[median], 0.0) / _GAIN
