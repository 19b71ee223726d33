"""Masks of faces, drawn from landmarks."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import cv2
import numpy as np

from utils.inference.align import BASE
from utils.inference.mask import USUAL, Reach, draw
from utils.inference.rim import features
from utils.training.config import TrainConfig

# Contour, brows and eyes make the hull; the forehead above the brows is face too.
_BROWS = (43, 48, 49, 51, 50, 102, 103, 104, 105, 101)
_FOREHEAD = 0.09  # how far it reaches above the brows, as a share of the crop's side
_FEATHER = 3 / 128  # softness, as a share of the side
_MOST_PAINTERS = 8  # threads
WIDE = 9 / 128  # margin that takes in all of a face


def face_masks(points: np.ndarray, size: int, margin: float = WIDE) -> np.ndarray:
    """Soft masks of whole faces.

    points: (B, 106, 2) float, shares of the side from the centre. margin: widening, or where negative narrowing, as a
    share of the side. Returns (B, 1, size, size) float32 [0, 1].
    """
    change = cv2.dilate if margin > 0 else cv2.erode
    kernel = np.ones((max(round(abs(margin) * size), 1),) * 2, np.uint8)

    def drawn(face: np.ndarray) -> np.ndarray:
        forehead = face[list(_BROWS)] - np.array([0, _FOREHEAD * size])
        hull = cv2.convexHull(np.concatenate((face, forehead)).round().astype(np.int32))
        mask = change(cv2.fillConvexPoly(np.zeros((size, size), np.uint8), hull, 255), kernel)
        return cv2.GaussianBlur(mask, (0, 0), _FEATHER * size).astype(np.float32) / 255

    return each(drawn, np.nan_to_num((points + 0.5) * size - 0.5).clip(-size, 2 * size))


def each(draw: Callable[[np.ndarray], np.ndarray], faces: np.ndarray) -> np.ndarray:
    """Masks (H, W) of faces' landmarks (B, 106, 2), drawn by several threads: (B, 1, H, W)."""
    return np.stack([mask[None] for mask in _painters().map(draw, faces)])


@lru_cache(maxsize=1)
def _painters() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_PAINTERS), thread_name_prefix="mask")


def pasting_masks(points: np.ndarray, config: TrainConfig) -> np.ndarray:
    """Where the pipeline will show this generator's swaps of faces with these landmarks.

    points: (B, 106, 2) float, shares of the side from the centre. Returns (B, 1, S, S) float32 [0, 1].
    """
    params, side = Reach(config.mask_wider, config.mask_higher).applied(USUAL), (config.size, config.size)
    return each(lambda face: cv2.resize(draw(face, params, BASE), side, interpolation=cv2.INTER_AREA), _pixels(points))


def sure_parts(points: np.ndarray) -> np.ndarray:
    """Where the pipeline shows swaps however much they differ from the target; see utils.inference.rim.

    points: like those of `pasting_masks`. Returns (B, 1, SIDE, SIDE) float32 [0, 1].
    """
    return each(lambda face: features(face, BASE), _pixels(points))


def _pixels(points: np.ndarray) -> np.ndarray:
    """Shares of the side to pixels of the pipeline's masks."""
    return np.nan_to_num((points + 0.5) * BASE - 0.5).clip(-BASE, 2 * BASE)
