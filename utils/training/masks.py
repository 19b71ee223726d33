"""Masks of faces, drawn from landmarks."""

from __future__ import annotations

import cv2
import numpy as np

from coordinate_reg.points import BROWS
from utils.inference.align import BASE
from utils.inference.mask import USUAL, Reach, draw
from utils.inference.rim import features
from utils.training.config import TrainConfig

# Contour, brows and eyes make the hull; the forehead above the brows is face too.
_FOREHEAD = 0.09  # how far it reaches above the brows, as a share of the crop's side
_FEATHER = 3 / 128  # softness, as a share of the side
WIDE = 9 / 128  # margin that takes in all of a face


def face_masks(points: np.ndarray, size: int, margin: float = WIDE) -> np.ndarray:
    """Soft masks of whole faces.

    points: (B, 106, 2) float, shares of the side from the centre. margin: widening, or where negative narrowing, as a
    share of the side. Returns (B, 1, size, size) float32 [0, 1].
    """
    masks = np.empty((len(points), 1, size, size), np.float32)
    change = cv2.dilate if margin > 0 else cv2.erode
    kernel = np.ones((max(round(abs(margin) * size), 1),) * 2, np.uint8)
    pixels = np.nan_to_num((points + 0.5) * size - 0.5).clip(-size, 2 * size)
    for mask, face in zip(masks, pixels, strict=True):
        forehead = face[list(BROWS)] - np.array([0, _FOREHEAD * size])
        hull = cv2.convexHull(np.concatenate((face, forehead)).round().astype(np.int32))
        drawn = change(cv2.fillConvexPoly(np.zeros((size, size), np.uint8), hull, 255), kernel)
        mask[0] = cv2.GaussianBlur(drawn, (0, 0), _FEATHER * size).astype(np.float32) / 255
    return masks


def pasting_masks(points: np.ndarray, config: TrainConfig) -> np.ndarray:
    """Where the pipeline will show this generator's swaps of faces with these landmarks.

    points: (B, 106, 2) float, shares of the side from the centre. Returns (B, 1, S, S) float32 [0, 1].
    """
    params, side = Reach(config.mask_wider, config.mask_higher).applied(USUAL), (config.size, config.size)
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
