"""Photos whose colour profile is much wider than sRGB: the colours that networks know, and what has changed of them in
the photo's own."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import ImageCms

from utils.io.frame import Box, to_uint8
from utils.io.gamut import convert_primaries
from utils.io.image import Photo, read_photo

_SRGB = np.array([[0.1431, 0.3851, 0.4361], [0.0606, 0.7169, 0.2225], [0.7141, 0.0971, 0.0139]])  # XYZ by BGR, ICC's
_WIDE = 0.3  # share of sRGB's red that a profile's red has beside all of it; Display P3, with 0.22, needs no conversion
_ROWS = 512  # that are converted at once, for the sake of memory


def read_in_srgb(path: Path | str) -> np.ndarray:
    """A photo as networks are to see it, (H, W, 3) uint8 BGR, upright; raises InputError."""
    return to_uint8(to_srgb(read_photo(path)))


def to_srgb(photo: Photo) -> np.ndarray:
    """What networks are to see of a photo: like its `image`, in sRGB where its profile is much wider."""
    matrix = _matrix_to_srgb(photo.icc_profile)
    if matrix is None:
        return photo.image
    result = np.empty_like(photo.image)
    for top in range(0, len(result), _ROWS):
        result[top : top + _ROWS] = _convert(photo.image[top : top + _ROWS], matrix)
    return result


def from_srgb(photo: Photo, before: np.ndarray, after: np.ndarray, changed: Iterable[Box]) -> np.ndarray:
    """A photo's `image` with what has changed, in some parts, of what `to_srgb` gave; all other pixels stay."""
    matrix = _matrix_to_srgb(photo.icc_profile)
    if matrix is None:
        return after
    result = photo.image.copy()
    for left, top, right, bottom in changed:
        place = np.s_[top:bottom, left:right]
        fresh = (before[place] != after[place]).any(axis=-1)
        result[place][fresh] = _convert(after[place], np.linalg.inv(matrix))[fresh]
    return result


def _convert(bgr: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(convert_primaries(bgr, matrix)), 0, np.iinfo(bgr.dtype).max).astype(bgr.dtype)


def _matrix_to_srgb(profile: bytes | None) -> np.ndarray | None:
    """The matrix (3, 3) from light in BGR of a wide profile to that of sRGB; None where none is needed or known."""
    if profile is None:
        return None
    try:
        known = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile
    except (ImageCms.PyCMSError, OSError):
        return None
    colorants = [both[0] for both in (known.blue_colorant, known.green_colorant, known.red_colorant) if both]
    if len(colorants) < 3:
        return None
    matrix = np.linalg.solve(_SRGB, np.column_stack(colorants))
    return matrix if matrix[2, 2] > 1 + _WIDE else None
