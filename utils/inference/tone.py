"""The target's light and skin tone on a swap: what shows of a picture at a few cells along a side."""

from __future__ import annotations

import cv2
import numpy as np

from utils.inference.align import middle
from utils.inference.pixels import LUMA

LIGHT_CELLS, COLOUR_CELLS = 4, 32  # along a side: brows, beards and noses are finer than light, stains are not
GREY, COLOURFUL = 0.03, 0.13  # chroma of a face as a share of its brightness: of black and white pictures, of most
_LUMA_BGR = np.array(LUMA[::-1], np.float32)


def match_tone(swap: np.ndarray, target: np.ndarray, share: float) -> np.ndarray:
    """A swap whose coarse brightness and, less coarse, colour are a `share` of the way to the target's.

    On black and white pictures it has no colours of its own, on pale ones less of them.
    swap: (S, S, 3) uint8 BGR. target: (T, T, 3) uint8 BGR, the same framing. Returns the same as swap.
    """
    if not share:
        return swap
    wanted = _cells(target)
    colours = colourfulness(wanted)
    if colours < 1:
        swap = cv2.addWeighted(swap, colours, cv2.merge([cv2.cvtColor(swap, cv2.COLOR_BGR2GRAY)] * 3), 1 - colours, 0)
    apart = wanted - _cells(swap)
    light = apart @ _LUMA_BGR
    colour = apart - light[:, :, None]  # a grey shift changes the brightness alone
    colour *= np.float32(1 - colours * (1 - share))
    coarse = cv2.resize(light * np.float32(share), (LIGHT_CELLS, LIGHT_CELLS), interpolation=cv2.INTER_AREA)
    size = swap.shape[1::-1]
    grey = cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR)
    shift = cv2.add(cv2.resize(colour, size, interpolation=cv2.INTER_LINEAR), cv2.merge([grey] * 3))
    return cv2.add(swap, shift, dtype=cv2.CV_8U)


def colourfulness(cells: np.ndarray) -> float:
    """0 of a black and white picture, 1 of most faces; cells: (S, S, 3) BGR, an aligned face."""
    face = middle(cells)
    light = face @ _LUMA_BGR
    chroma = np.abs(face - light[:, :, None]).max(axis=2).mean() / max(float(light.mean()), 1.0)
    return float(np.clip((chroma - GREY) / (COLOURFUL - GREY), 0, 1))


def _cells(image: np.ndarray) -> np.ndarray:
    """Mean colours of the cells, float32."""
    return cv2.resize(image.astype(np.float32), (COLOUR_CELLS, COLOUR_CELLS), interpolation=cv2.INTER_AREA)
