"""Square face crops of training sets: read fast, many at a time; written as PNG."""

from __future__ import annotations

import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from utils.io.atomic import atomic_path
from utils.io.image import DAMAGED, identified


def read_square(path: Path, side: int | None = None) -> np.ndarray | None:
    """A picture as (3, side, side) uint8 RGB, resized where it has another size; None where it is broken."""
    try:
        data = np.fromfile(path, np.uint8)  # OpenCV opens not every name on Windows
    except OSError:
        return None
    image = _decoded(data)
    if image is None:
        return None
    side = side or image.shape[0]
    if image.shape[:2] != (side, side):
        shrinks = image.shape[0] > side
        image = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.ascontiguousarray(image[:, :, ::-1].transpose(2, 0, 1))


def _decoded(data: np.ndarray) -> np.ndarray | None:
    """A picture file's bytes as (H, W, 3) uint8 BGR; None where they are broken."""
    try:
        return cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except cv2.error:  # they claim a size beyond all bounds
        return None


def size_of(path: Path) -> tuple[int, int] | None:
    """Width and height that a picture's file states, None where it cannot be read; its pixels are left alone."""
    try:
        with warnings.catch_warnings(), identified(path) as picture:
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return picture.size
    except (*DAMAGED, Image.DecompressionBombError):
        return None


def write_png(path: Path, image: np.ndarray) -> None:
    """Write a picture (H, W, 3) uint8 BGR; raises OutputError."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(cv2.imencode(".png", image)[1].tobytes())
