"""Pictures with more than 8 bits per channel, of which Pillow would keep 8."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image
from PIL.PpmImagePlugin import PpmImageFile

from utils.io import heif, tiff

_CODESTREAM = b"\xff\x4f\xff\x51"  # how JPEG 2000 begins, which says next how its channels are stored
_SYCC = b"colr\1\0\0\0\0\0\x12"  # of a JPEG 2000 file that is not coded as RGB
_HIGH, _TWELVE = 0x40, 0x20  # flags in the third byte that AV1 says of itself


class _Depth(NamedTuple):
    most: int  # a channel's highest value
    by_opencv: bool  # whether OpenCV reads it rightly


def deep_pixels(path: Path, picture: Image.Image, data: bytes, notes: list[str]) -> np.ndarray | None:
    """(H, W, 3 or 4) uint16 BGR(A) of a picture with more than 8 bits per channel, None of one that has 8, or that is
    to be read as if it had, which is noted.

    Raises InputError for a layout that nothing here reads, and what decoders raise on damaged files.
    """
    if picture.format == "HEIF":
        return heif.deep_pixels(picture, data)
    if picture.mode.startswith("I"):
        return _grey(path, picture, notes)
    if 16 in getattr(picture, "tag_v2", {}).get(tiff.BITS, ()):
        return tiff.straight(picture, _by_opencv(tiff.interleaved(path, picture, data)))
    if picture.format == "PNG":
        return _by_opencv(data) if data[24:25] == b"\x10" else None
    depth = _depth(picture, data)
    if depth.by_opencv:
        return _scaled(_by_opencv(data), depth.most)
    if depth.most > 255:
        notes.append(f"{path}: its {depth.most.bit_length()}-bit colours were read with 8 bits")
    return None


def _grey(path: Path, picture: Image.Image, notes: list[str]) -> np.ndarray:
    """A picture of mode I, which holds 16 bits in the formats that give it, or 32 in a TIFF, as (H, W, 3)."""
    tags = getattr(picture, "tag_v2", {})
    picture.load()
    if "transparency" in picture.info:
        notes.append(f"{path}: its transparency was left out")
    values, bits = np.asarray(picture), int((tags.get(tiff.BITS) or (16,))[0])
    if bits == 32 and tags.get(tiff.SAMPLE_FORMAT) != tiff.SIGNED:  # Pillow takes all of them for signed
        values = values.view(np.uint32)
    most = _white(values) if bits > 16 else 2**bits - 1
    if most < 2**bits - 1:
        notes.append(f"{path}: its {bits}-bit numbers end at {values.max()}; {most} was taken for white")
    grey = _scaled(values, most)
    if tags.get(tiff.PHOTOMETRIC) == tiff.WHITE_IS_ZERO:  # Pillow heeds it at 8 bits only
        grey = 65535 - grey
    return np.repeat(grey[..., None], 3, axis=2)


def _white(values: np.ndarray) -> int:
    """What white is where 32 bits hold numbers of fewer: the highest one of 8, 16, 24 or 32 bits."""
    return next(most for most in (2**8 - 1, 2**16 - 1, 2**24 - 1, 2**32 - 1) if values.max() <= most)


def _depth(picture: Image.Image, data: bytes) -> _Depth:
    """How deep a picture in colours is, but for formats that say it elsewhere."""
    if isinstance(picture, PpmImageFile):
        decoder, _, _, said = picture.tile[0]
        most = said[1] if decoder in ("ppm", "ppm_plain") and isinstance(said, tuple) else 255
        return _Depth(most, decoder == "ppm" and most > 255)
    if picture.format == "JPEG2000":
        return _depth_of_jpeg_2000(picture, data)
    if picture.format == "AVIF":
        flags = data[data.find(b"av1C") + 6]
        return _Depth(2 ** (12 if flags & _TWELVE else 10 if flags & _HIGH else 8) - 1, False)
    return _Depth(255, False)


def _depth_of_jpeg_2000(picture: Image.Image, data: bytes) -> _Depth:
    at = data.find(_CODESTREAM) + 40
    count = int.from_bytes(data[at : at + 2])
    channels = [data[i : i + 3] for i in range(at + 2, at + 2 + 3 * count, 3)]  # sign and bits, shared columns and rows
    bits = max(channel[0] % 128 for channel in channels) + 1
    alike = channels == count * [bytes((bits - 1, 1, 1))]
    fits = alike and bits > 8 and count == len(picture.getbands()) > 2 and _SYCC not in data
    return _Depth(2**bits - 1, fits)


def _scaled(values: np.ndarray, most: int) -> np.ndarray:
    """Numbers up to `most`, as uint16 of the same brightness."""
    if values.dtype == np.uint16 and most == 65535:
        return values
    return (np.clip(values.astype(np.float64), 0, most) * (65535 / most)).round().astype(np.uint16)


def _by_opencv(data: bytes) -> np.ndarray:
    """(H, W, 3 or 4) uint16 BGR(A) of a file with more than 8 bits per channel, whose values are as they are stored; a
    TIFF is turned upright, others are not."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError("its 16-bit data cannot be decoded")
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.shape[2] < 3:  # grey, or grey with alpha
        pixels = pixels[..., [0, 0, 0, 1][: pixels.shape[2] + 2]]
    return pixels
