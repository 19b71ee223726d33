"""HEIC and HEIF, the photos of telephones and some cameras, by the package pillow-heif: imported for these alone."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from utils.errors import ResourceError

_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}  # of HEVC; AVIF is Pillow's own
_HEAD = 256  # bytes that hold all brands of a file
_BITS = 10  # per channel of what is written from 16: what telephones show
# Apple's own photos have halved colours, and many viewers show no others. The slower presets take ten times as long
# for three tenths of a decibel.
_ENCODING = {"quality": 90, "chroma": 420}
_PRESET = "ultrafast"
# Numbers of ITU-T H.273 for colours that are sRGB's, or near enough: those of BT.709 and BT.601, and unknown ones.
_PRIMARIES, _TRANSFERS = {1, 2, 5, 6}, {1, 2, 6, 13}


def is_heif(source: io.BytesIO | Path) -> bool:
    """Whether a file is HEIF with HEVC in it, by its first bytes, whatever its name is; raises OSError."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            head = file.read(_HEAD)
    else:
        head = source.getvalue()[:_HEAD]
    brands = range(8, min(int.from_bytes(head[:4]), len(head)), 4)
    return head[4:8] == b"ftyp" and any(head[at : at + 4] in _BRANDS for at in brands)


def _library() -> Any:
    try:
        import pillow_heif
    except ImportError as error:
        raise ResourceError("HEIC and HEIF photos need the package pillow-heif: pip install -r requirements.txt, or "
                            "save them as JPEG") from error
    return pillow_heif


def opened(source: io.BytesIO | Path) -> Image.Image:
    """The main picture as Pillow gives pictures, upright already; its EXIF says so, too.

    Raises ResourceError, SyntaxError for what is damaged, Image.DecompressionBombError.
    """
    data = source.read_bytes() if isinstance(source, Path) else source.getvalue()
    picture: Image.Image = _library().HeifImageFile(io.BytesIO(data))
    if picture.width * picture.height > 2 * (Image.MAX_IMAGE_PIXELS or 0):  # as Pillow's own way to open files does
        raise Image.DecompressionBombError(f"{picture.width} x {picture.height} pixels")
    return picture


def deep_pixels(picture: Image.Image, data: bytes) -> np.ndarray | None:
    """(H, W, 3 or 4) uint16 BGR(A), upright, of a file with more than 8 bits per channel, else None; raises what
    damaged files do."""
    bits = int(picture.info["bit_depth"])
    if bits == 8:
        return None
    # pillow-heif's own 16 bits would end below white.
    heif = _library().open_heif(io.BytesIO(data), convert_hdr_to_8bit=False, bgr_mode=True, hdr_to_16bit=False)
    pixels = _scaled(np.asarray(heif), 2**bits - 1, 2**16 - 1)
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)


def unread_colours(picture: Image.Image) -> str:
    """What the file says of its colours that nothing here reads, in words; "" where there is none."""
    said = picture.info.get("nclx_profile")
    if not said or "icc_profile" in picture.info:
        return ""
    primaries, transfer = said["color_primaries"], said["transfer_characteristics"]
    return "" if primaries in _PRIMARIES and transfer in _TRANSFERS else f"primaries {primaries}, transfer {transfer}"


def encoded(pixels: np.ndarray, **facts: Any) -> bytes:
    """A HEIC file. pixels: (H, W, 3 or 4) BGR(A), uint8, or uint16 of which 10 bits are kept. facts: icc_profile, exif,
    xmp, each bytes. Raises OSError, ValueError, RuntimeError."""
    mode = "BGR" if pixels.shape[2] == 3 else "BGRA"
    if pixels.dtype == np.uint16:
        mode += ";16"
        pixels = _scaled(pixels, 2**16 - 1, 2**_BITS - 1) << (16 - _BITS)
    picture = _library().from_bytes(mode, pixels.shape[1::-1], np.ascontiguousarray(pixels).tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, enc_params={"preset": _PRESET}, **_ENCODING, **facts)
    return buffer.getvalue()


def _scaled(values: np.ndarray, most: int, new_most: int) -> np.ndarray:
    """uint16 numbers up to `most` as uint16 up to `new_most`, rounded."""
    return ((values.astype(np.uint32) * new_most + most // 2) // most).astype(np.uint16)
