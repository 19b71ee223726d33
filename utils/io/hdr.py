"""Pictures of high dynamic range or wide gamut as bytes that networks and people can look at, and back.

PQ and hybrid log-gamma would be dark and flat, and swaps have false colours in them; their light goes through a curve
that is a screen's up to diffuse white and a logarithm above it, so that nothing is cut off.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from utils.io.gamut import BT2020, bt709_to_bt2020, bt2020_to_bt709

PQ, HLG = 16, 18  # transfer functions by the tags of ITU-T H.273
_MOST = {PQ: 10_000.0, HLG: 1_000.0}  # cd/m² of the largest sample; of HLG on the screen of ITU-R BT.2100
_WHITE = 203.0  # cd/m² of diffuse white, ITU-R BT.2408
_FINE = 16  # steps of the tables from one byte to the next
_STEPS = np.arange(255 * _FINE + 1) / (255 * _FINE)
_SHARE, _GAMMA = 0.8, 2.4  # where diffuse white is shown, and the curve below


def to_display(bgr: np.ndarray, transfer: int, primaries: int) -> np.ndarray:
    """Coded colours, (H, W, 3) uint8 or float32 with 255 as the largest, as they are looked at, uint8; the same colours
    but for PQ, HLG and BT.2020."""
    if transfer in _MOST:
        bgr = _forth(transfer)[_fine(bgr)]
    if primaries == BT2020:
        bgr = bt2020_to_bt709(bgr)
    return bgr if bgr.dtype == np.uint8 else cv2.convertScaleAbs(np.maximum(bgr, 0))


def from_display(bgr: np.ndarray, transfer: int, primaries: int) -> np.ndarray:
    """What `to_display` was made of: for PQ, HLG and BT.2020 float32, else the same."""
    if primaries == BT2020:
        bgr = bt709_to_bt2020(bgr)
    return _back(transfer)[_fine(bgr)] if transfer in _MOST else bgr


def _fine(bgr: np.ndarray) -> np.ndarray:
    """Positions in the tables."""
    return (np.clip(bgr, 0, 255) * np.float32(_FINE) + np.float32(0.5)).astype(np.uint16)


def _light(samples: np.ndarray, transfer: int) -> np.ndarray:
    """cd/m² of samples from 0 to 1; sources: SMPTE ST 2084, ITU-R BT.2100."""
    if transfer == HLG:
        bright = (np.exp((samples - 0.55991073) / 0.17883277) + 0.28466892) / 12
        return _MOST[HLG] * np.where(samples <= 0.5, samples**2 / 3, bright) ** 1.2
    power = samples ** (1 / 78.84375)
    return _MOST[PQ] * (np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** (1 / 0.1593017578125)


def _curve(samples: np.ndarray, transfer: int) -> np.ndarray:
    """From 0 to 1 what samples from 0 to 1 are shown as."""
    relative = _light(samples, transfer) / _WHITE
    above = (1 - _SHARE) * np.log(np.maximum(relative, 1)) / np.log(_MOST[transfer] / _WHITE)
    return _SHARE * np.minimum(relative, 1) ** (1 / _GAMMA) + above


@cache
def _forth(transfer: int) -> np.ndarray:
    """What samples are shown as, of 255, float32."""
    return (255 * _curve(_STEPS, transfer)).astype(np.float32)


@cache
def _back(transfer: int) -> np.ndarray:
    """Samples of 255 for what is shown, float32."""
    fine = np.linspace(0, 1, 2**16)
    return (255 * np.interp(_STEPS, _curve(fine, transfer), fine)).astype(np.float32)
