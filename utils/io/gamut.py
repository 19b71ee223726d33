"""Colours of other primaries, such as BT.2020, that of HDR, as those of BT.709, which networks know, and back.

Light is taken for the square of a sample, which is near enough to what cameras and screens do. Colours that BT.709 does
not hold become the nearest ones of their brightest channels.
"""

from __future__ import annotations

import cv2
import numpy as np

BT2020 = 9  # primaries by the tag of ITU-T H.273
_FROM_BT709 = np.array([  # BGR; source: ITU-R BT.2087
    [0.8956, 0.0880, 0.0164],
    [0.0114, 0.9195, 0.0691],
    [0.0433, 0.3293, 0.6274],
])
_TO_BT709 = np.linalg.inv(_FROM_BT709)


def bt2020_to_bt709(bgr: np.ndarray) -> np.ndarray:
    """Colours of BT.2020, (H, W, 3) uint8 or float32 with 255 as the largest, in BT.709: float32, some above that."""
    return convert_primaries(np.maximum(bgr, 0), _TO_BT709)


def bt709_to_bt2020(bgr: np.ndarray) -> np.ndarray:
    """Colours of BT.709, (H, W, 3) uint8 BGR, in BT.2020: float32."""
    return convert_primaries(bgr, _FROM_BT709)


def convert_primaries(bgr: np.ndarray, primaries: np.ndarray) -> np.ndarray:
    """Colours (H, W, 3) without a sign, of any type, with their light multiplied by a matrix (3, 3): float32."""
    light = cv2.transform(cv2.multiply(bgr, bgr, dtype=cv2.CV_32F), primaries)
    return cv2.sqrt(np.maximum(light, 0))
