"""How much of a frame's grain and pores is laid over a swap: in a noisy picture, all of the noise.

The level of fine noise is that of Gaussian noise whose absolute response to Immerkaer's high-pass ("Fast noise variance
estimation", 1996) has the same median in the face. Coarse noise, as of film, has the same response at half the size as
skin, hair and brows; what tells it apart is that it is as strong everywhere.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

COARSE = 3.5  # pixels of a swap, whose mean is too coarse to be called detail: swaps are softer than their pixels
EDGE = 32  # levels from which a difference is an edge, such as a brow's, which belongs to the target's person
SECOND_DIFFERENCE = (1, -2, 1)  # along columns and rows: the high-pass
SPAN, WHOLE = 10, 250  # side of a block, in pixels, and the mean mask (of 255) from which it is the face's
_MEDIAN = 0.6745  # of the absolute values of Gaussian noise with a deviation of 1
_GAIN = 6.0  # deviation of the high-pass's response to noise with a deviation of 1
_ENOUGH = 30  # blocks
# From where on something may be noise and not skin, and from where on it is noise alone. Ramps this wide keep the share
# from jumping from frame to frame.
_FINE_LEVELS, _COARSE_LEVELS = (3.5, 5.5), (4.5, 7.5)  # levels
_EVEN = (0.53, 0.63)  # strength of the calmest tenth of blocks, by that of three quarters
_REACH = 3.0  # deviations, beyond which next to nothing is noise


class Noise(NamedTuple):
    """What is known of the noise in a face."""

    strong: float  # 0..1: from what may be skin to noise that is to stay
    level: float  # its deviation, less while it may be skin


class Grain(NamedTuple):
    """What of a frame is laid over a swap: how its brightness differs from that around it."""

    side: int  # of the square around a pixel, in pixels
    share: float  # of the difference, 0..1
    whole: float  # levels up to which a difference cannot be an edge; the share falls to 0 over EDGE more

    def kept(self, difference: np.ndarray) -> np.ndarray:
        """Whole levels to be laid over the swap, float64. difference: levels."""
        edges = (self.whole + EDGE - np.abs(difference)) / EDGE
        return np.rint(difference * self.share * edges.clip(0, 1))


def grain_of(scale: float, share: float, noise: Noise) -> Grain:
    """The grain of one face.

    scale: pixels of the frame per pixel of the swap. share: of fine detail, too fine for the swap, in clean pictures.
    """
    side = int(scale * COARSE) // 2 * 2 + 1
    least = share if side > 1 else 0.0  # else the swap has almost twice the frame's resolution, and nothing is lost
    return Grain(max(side, 3), least + noise.strong * (1 - least), _REACH * noise.level)


def noise_of(counts: np.ndarray, blocks: np.ndarray) -> Noise:
    """The noise of one face.

    counts: (256,), of its pixels by their absolute response to the high-pass, to which 8-bit brightness was put.
    blocks: (N,), mean squared response, at half the size, in each block that the face fills.
    """
    fine = _fine_level(counts)
    strong_fine = _ramp(fine, _FINE_LEVELS)
    coarse, evenness = _coarse_level(blocks)
    strong_coarse = _ramp(coarse, _COARSE_LEVELS) * _ramp(evenness, _EVEN)
    return Noise(max(strong_fine, strong_coarse), max(fine * strong_fine, coarse * strong_coarse))


def _fine_level(counts: np.ndarray) -> float:
    """Deviation of fine noise, in levels."""
    up_to = np.cumsum(counts)
    half = up_to[-1] / 2
    if not half:
        return 0.0
    median = int(np.searchsorted(up_to, half))
    # Between whole numbers, so that it does not jump from frame to frame.
    return max(median + 0.5 - (up_to[median] - half) / counts[median], 0.0) / (_GAIN * _MEDIAN)


def _coarse_level(blocks: np.ndarray) -> tuple[float, float]:
    """Deviation of noise whose mean over two by two pixels is half as strong, as that of white noise is; and how even
    it is, 0..1."""
    if len(blocks) < _ENOUGH:
        return 0.0, 0.0
    # Percentiles as NumPy's, which takes longer for so few.
    calm, usual, strong = np.sqrt(np.interp((0.1, 0.5, 0.75), np.linspace(0, 1, len(blocks)), np.sort(blocks)))
    return 2 * usual / _GAIN, calm / max(strong, 1e-6)


def _ramp(value: float, ends: tuple[float, float]) -> float:
    return float(np.clip((value - ends[0]) / (ends[1] - ends[0]), 0, 1))
