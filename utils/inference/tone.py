"""The target's light and skin tone on a swap: what shows of a picture at a few cells along a side."""

from __future__ import annotations

import cv2
import numpy as np

LIGHT_CELLS, COLOUR_CELLS = 4, 32  # along a side: brows, beards and noses are finer than light, stains are not
_LUMA = np.array([0.114, 0.587, 0.299], np.float32)  # of BGR, ITU-R BT.601


def toned(swap: np.ndarray, target: np.ndarray, share: float) -> np.ndarray:
    """A swap whose coarse brightness and, less coarse, colour are a `share` of the way to the target's.

    swap: (S, S, 3) uint8 BGR. target: (T, T, 3) uint8 BGR, the same framing. Returns the same as swap.
    """
    apart = (_cells(target) - _cells(swap)) * np.float32(share)
    light = apart @ _LUMA
    colour = apart - light[:, :, None]  # a grey shift changes the brightness alone
    coarse = cv2.resize(light, (LIGHT_CELLS, LIGHT_CELLS), interpolation=cv2.INTER_AREA)
    size = swap.shape[1::-1]
    grey = cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR)
    shift = cv2.add(cv2.resize(colour, size, interpolation=cv2.INTER_LINEAR), cv2.merge([grey] * 3))
    return cv2.add(swap, shift, dtype=cv2.CV_8U)


def _cells(image: np.ndarray) -> np.ndarray:
    """Mean colours of the cells, float32."""
    return cv2.resize(image.astype(np.float32), (COLOUR_CELLS, COLOUR_CELLS), interpolation=cv2.INTER_AREA)
