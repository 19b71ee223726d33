"""What OpenCV does not do for a colour TIFF of 16 bits per channel: separate planes, multiplied alpha, CMYK."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from utils.errors import InputError

BITS, PHOTOMETRIC = 258, 262  # TIFF tags
WHITE_IS_ZERO, _CMYK = 0, 5  # values of PHOTOMETRIC
SAMPLE_FORMAT, SIGNED = 339, (2,)  # a TIFF tag and a value of it
_COMPRESSION, _ORIENTATION, _PLANES, _EXTRA_CHANNELS = 259, 274, 284, 338
_UNPACKED = (1, 8, 32946)  # none and Deflate: what tifffile reads without a further package


def interleaved(path: Path, picture: Image.Image, data: bytes) -> bytes:
    """A TIFF file that OpenCV reads rightly; raises InputError for a layout that nothing here reads."""
    tags = getattr(picture, "tag_v2", {})
    if tags.get(PHOTOMETRIC) == _CMYK:
        raise InputError(f"{path} is a CMYK picture with 16 bits per channel, which cannot be read; "
                         "save it as RGB, or as CMYK with 8 bits")
    if tags.get(_PLANES, 1) == 1:
        return data
    if tags.get(_COMPRESSION, 1) not in _UNPACKED:
        raise InputError(f"{path} is a compressed TIFF with 16 bits whose channels are stored one after the other, "
                         "which cannot be read; save it with interleaved channels, or without compression")
    return _planes_merged(data, len(picture.getbands()), tags.get(_ORIENTATION, 1))


def _planes_merged(data: bytes, channels: int, orientation: int) -> bytes:
    """OpenCV would give the first plane for every channel. The turn is left to it, as for other TIFFs."""
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as file:
        pixels = np.moveaxis(file.pages.first.asarray()[:channels], 0, -1)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, photometric="rgb", extratags=[(_ORIENTATION, "H", 1, orientation, True)])
    return buffer.getvalue()


def straight(picture: Image.Image, pixels: np.ndarray) -> np.ndarray:
    """What OpenCV read, its fourth channel kept only where it is alpha, and colours not multiplied by it.

    pixels: (H, W, 3 or 4) uint16 BGR or BGR and a further channel; returns (H, W, 3 or 4) uint16 BGR(A).
    """
    pixels = pixels[..., : len(picture.getbands())]  # Pillow counts no channel of unknown meaning
    if getattr(picture, "tag_v2", {}).get(_EXTRA_CHANNELS) != (1,):
        return pixels
    alpha = pixels[..., 3:].astype(np.uint32)
    colours = (pixels[..., :3] * np.uint32(65535) + alpha // 2) // np.maximum(alpha, 1)  # at most 2**32 - 1
    return np.dstack([np.minimum(colours, 65535).astype(np.uint16), pixels[..., 3:]])
