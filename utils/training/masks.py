"""Masks of faces, drawn from landmarks."""

from __future__ import annotations

import cv2
import numpy as np

from utils.inference.align import BASE
from utils.inference.mask import USUAL, MaskMargin, draw
from utils.inference.regions import face_region
from utils.inference.rim import features
from utils.training.config import TrainConfig

WIDE = 9 / 128  # margin that takes in all of a face


def face_masks(points: np.ndarray, size: int, margin: float = WIDE) -> np.ndarray:
    """Soft masks of whole faces.

    points: (B, 106, 2) float, shares of the side from the centre. margin: widening, or where negative narrowing, as a
    share of the side. Returns (B, 1, size, size) float32 [0, 1].
    """
    pixels = np.nan_to_num((points + 0.5) * size - 0.5).clip(-size, 2 * size)
    return np.stack([face_region(face, size, margin)[None] for face in pixels])


def pasting_masks(points: np.ndarray, config: TrainConfig) -> np.ndarray:
    """Where the pipeline will show this generator's swaps of faces with these landmarks.

    points: (B, 106, 2) float, shares of the side from the centre. Returns (B, 1, S, S) float32 [0, 1].
    """
    params, side = MaskMargin(config.mask_wider, config.mask_higher).applied(USUAL), (config.size, config.size)
    drawn = (draw(face, params, BASE) for face in _pixels(points))
    return np.stack([cv2.resize(mask, side, interpolation=cv2.INTER_AREA)[None] for mask in drawn])


def sure_parts(points: np.ndarray) -> np.ndarray:
    """Where the pipeline shows swaps however much they differ from the target; see utils.inference.rim.

    points: like those of `pasting_masks`. Returns (B, 1, SIDE, SIDE) float32 [0, 1].
    """
    return np.stack([features(face, BASE)[None] for face in _pixels(points)])


def _pixels(points: np.ndarray) -> np.ndarray:
    """Shares of the side to pixels of the pipeline's masks."""
    return np.nan_to_num((points + 0.5) * BASE - 0.5).clip(-BASE, 2 * BASE)
