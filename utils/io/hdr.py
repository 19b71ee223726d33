"""Pictures of high dynamic range as bytes that networks and people can look at, and back.

Hybrid log-gamma is made to be shown as it is. PQ would be dark and flat; its light goes through a curve that ends in a
logarithm above diffuse white, so that nothing is cut off.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

PQ, HLG = 16, 18  # transfer functions by the tags of ITU-T H.273
_WHITE, _MOST = 203.0, 10_000.0  # cd/m² of diffuse white (ITU-R BT.2408) and of the largest sample
_FINE = 16  # steps of the table from one byte to the next
_SHARE, _GAMMA = 0.8, 2.4  # where diffuse white is shown, and the curve below


def shown(bgr: np.ndarray, transfer: int) -> np.ndarray:
    """Coded colours, (H, W, 3) uint8 or float32 with 255 as the largest, as they are looked at, uint8; the same colours
    but for PQ."""
    if transfer == PQ:
        return _forth()[(np.clip(bgr, 0, 255) * np.float32(_FINE) + np.float32(0.5)).astype(np.uint16)]
    return bgr if bgr.dtype == np.uint8 else cv2.convertScaleAbs(np.maximum(bgr, 0))


def meant(bgr: np.ndarray, transfer: int) -> np.ndarray:
    """What `shown` was made of: for PQ float32, else the same."""
    return _back()[bgr] if transfer == PQ else bgr


def _light(samples: np.ndarray) -> np.ndarray:
    """cd/m² of samples from 0 to 1; source: SMPTE ST 2084."""
    power = samples ** (1 / 78.84375)
    return _MOST * (np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** (1 / 0.1593017578125)


def _curve(light: np.ndarray) -> np.ndarray:
    """From 0 to 1 what cd/m² are shown as."""
    relative = light / _WHITE
    above = (1 - _SHARE) * np.log(np.maximum(relative, 1)) / np.log(_MOST / _WHITE)
    return _SHARE * np.minimum(relative, 1) ** (1 / _GAMMA) + above


@cache
def _forth() -> np.ndarray:
    return np.rint(255 * _curve(_light(np.arange(255 * _FINE + 1) / (255 * _FINE)))).astype(np.uint8)


@cache
def _back() -> np.ndarray:
    """Samples of 255 for each byte that is shown, float32."""
    fine = np.linspace(0, 1, 2**16)
    return (255 * np.interp(np.arange(256) / 255, _curve(_light(fine)), fine)).astype(np.float32)
