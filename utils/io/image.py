"""Read and write photos: any format that Pillow knows, and HEIC; upright, with transparency, 16 bits, colour profile
and what cameras say kept."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from utils.errors import InputError, OutputError
from utils.io import exif, heif, webp, xmp
from utils.io.atomic import atomic_path, check_place, check_writable
from utils.io.deep import deep_pixels
from utils.io.frame import to_uint8
from utils.io.mark import UNMARKED, Mark
from utils.paths import is_file, is_folder, is_there

_LYING = (5, 6, 7, 8)  # EXIF orientations
_ORIENTATION = 274  # tag of EXIF and TIFF
_GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L")  # modes that hold brightness alone
_PNG_HEADER = 33  # bytes
_INCH = 0.0254  # metres
Image.MAX_IMAGE_PIXELS = 2**28  # Pillow refuses twice as many: half a billion, 1.6 GB at 8 bit

# What the decoders raise on damaged files, depending on the format.
DAMAGED = (OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, RuntimeError, struct.error, zlib.error,
           cv2.error)


@dataclass(frozen=True)
class Photo:
    """A still picture and what must survive its change."""

    image: np.ndarray  # (H, W, 3) uint8 or uint16 BGR, upright
    alpha: np.ndarray | None = None  # (H, W), type of image; None: opaque
    icc_profile: bytes | None = None  # of an RGB colour space; None: sRGB
    notes: tuple[str, ...] = field(default=())  # what reading had to adapt
    xmp: bytes | None = None  # what utils.io.xmp keeps of it
    exif: bytes | None = None  # what utils.io.exif keeps of it
    dpi: tuple[float, float] | None = None  # x, y
    grey: bool = False  # whether the file holds brightness alone
    lossless: bool = False  # whether the file is a WebP without loss; of other formats the name says it


class _Format(NamedTuple):
    """What a file format holds, and how Pillow is to write it."""

    name: str
    alpha: bool = False
    deep: bool = False  # 16 bits per channel, of which HEIC keeps 10
    profile: bool = True
    facts: bool = False  # XMP, EXIF and dots per inch
    grey: bool = False  # brightness alone, in less space
    options: dict[str, object] = {}  # noqa: RUF012 - never changed


# Repetitions, which Pillow looks for by default, are in screenshots (half the space) and not in photos, where to search
# for them takes three to seven times the time.
_PNG = _Format("PNG", alpha=True, deep=True, facts=True, grey=True, options={"compress_type": zlib.Z_RLE})
_TIFF = _Format("TIFF", alpha=True, deep=True, facts=True, grey=True, options={"compression": "tiff_lzw"})
_JPEG = _Format("JPEG", facts=True, grey=True, options={"quality": 95, "subsampling": 0})
_LOSSLESS: dict[str, object] = {"lossless": True, "exact": True}  # colours that transparency hides, too
_HEIF = _Format("HEIF", alpha=True, deep=True, facts=True)
FORMATS = {
    ".png": _PNG, ".tif": _TIFF, ".tiff": _TIFF, ".jpg": _JPEG, ".jpeg": _JPEG, ".jpe": _JPEG, ".jfif": _JPEG,
    ".mpo": _JPEG,  # a JPEG with further ones behind it, which are not kept
    ".heic": _HEIF, ".heif": _HEIF, ".hif": _HEIF,
    ".webp": _Format("WEBP", alpha=True, facts=True, options={"quality": 95, "method": 4}),
    ".avif": _Format("AVIF", alpha=True, facts=True, options={"quality": 90}),
    ".jp2": _Format("JPEG2000", alpha=True, profile=False),
    ".bmp": _Format("BMP", profile=False),
    ".tga": _Format("TGA", alpha=True, profile=False),
    ".ppm": _Format("PPM", profile=False),
    ".gif": _Format("GIF", profile=False),
}


def read_photo(path: Path | str) -> Photo:
    """Read a photo; raises InputError that says what is wrong with the file."""
    path = Path(path)
    data = _read_bytes(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with identified(io.BytesIO(data)) as picture:
                return _decode(path, picture, data)
    except Image.DecompressionBombError as error:
        raise InputError(f"{path} claims to be an enormous picture, of over half a billion pixels, and was not opened; "
                         "shrink it first") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{path} is not a picture in a known format (such as JPEG, PNG, WebP, TIFF, HEIC); save it as "
                         "JPEG or PNG in the program that shows it") from error
    except DAMAGED as error:
        raise InputError(f"{path} is damaged or cut short and cannot be read: {error}") from error
    except MemoryError as error:
        raise InputError(f"{path} is too large for this machine's memory") from error


def identified(source: io.BytesIO | Path) -> Image.Image:
    """What Pillow opens, but for PostScript, which is a program that another program would run, and HEIC."""
    if heif.is_heif(source):
        return heif.opened(source)
    for load in (Image.preinit, Image.init):
        load()
        with suppress(UnidentifiedImageError):
            return Image.open(source, formats=[name for name in Image.OPEN if name != "EPS"])
    raise UnidentifiedImageError(f"cannot identify {source}")


def check_input(path: Path | str) -> None:
    """Refuse, before any work, what cannot be a media file; raises InputError."""
    path = Path(path)
    if is_there(path) and not is_file(path):
        raise InputError(f"{path} is a folder or a device; give a file")
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except FileNotFoundError as error:
        raise InputError(f"no such file: {path}") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    if empty:
        raise InputError(f"{path} is empty")


def _read_bytes(path: Path) -> bytes:
    check_input(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def _decode(path: Path, picture: Image.Image, data: bytes) -> Photo:
    notes = []
    if getattr(picture, "n_frames", 1) > 1:
        which = "main" if picture.format == "HEIF" else "first"
        notes.append(f"{path} holds several pictures; the {which} one is used")
    profile = picture.info.get("icc_profile")
    if colours := heif.unread_colours(picture):
        notes.append(f"{path}: its colours ({colours}, by ITU-T H.273) were taken for sRGB and may look pale")
    orientation = getattr(picture, "tag_v2", {}).get(_ORIENTATION, 1)  # of a TIFF, which is turned when it is read
    pixels = deep_pixels(path, picture, data, notes)
    if pixels is None:
        converted, profile = _to_rgb(path, picture, profile, notes)
        pixels = _turned_round(np.asarray(converted))
    elif profile and profile[16:20] != b"RGB ":
        profile = None
        notes.append(f"{path}: its grey colour profile was left out")
    if picture.format != "TIFF":  # Pillow and OpenCV turn these themselves
        orientation = _orientation(path, picture, notes)
        pixels = upright(pixels, orientation)
    alpha = np.ascontiguousarray(pixels[..., 3]) if pixels.shape[2] == 4 else None
    said, dpi = _facts(picture, data, pixels.shape, orientation in _LYING)
    packet = _xmp(path, picture, notes)
    grey, lossless = picture.mode in _GREY, picture.format == "WEBP" and webp.is_lossless(data)
    return Photo(np.ascontiguousarray(pixels[..., :3]), alpha, profile, tuple(notes), packet, said, dpi, grey, lossless)


def _facts(
    picture: Image.Image, data: bytes, shape: tuple[int, ...], lay: bool
) -> tuple[bytes | None, tuple[float, float] | None]:
    """A picture's EXIF and dots per inch; shape: (H, W, C) upright."""
    stored = data if picture.format == "TIFF" else picture.info.get("exif")
    said, dpi = exif.read(stored, shape[1], shape[0]) if isinstance(stored, bytes) else (None, None)
    dpi = dpi or exif.plausible(picture.info.get("dpi"))
    return said, dpi[::-1] if dpi and lay else dpi


def _xmp(path: Path, picture: Image.Image, notes: list[str]) -> bytes | None:
    packet = picture.info.get("xmp")
    try:
        return xmp.strip(packet) if isinstance(packet, bytes) and packet else None
    except ValueError as error:
        notes.append(f"{path}: its XMP {error} and was left out")
        return None


def _orientation(path: Path, picture: Image.Image, notes: list[str]) -> int:
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except DAMAGED:
        notes.append(f"{path}: its EXIF data is damaged and was left out")
        return 1


def _to_rgb(
    path: Path, picture: Image.Image, profile: bytes | None, notes: list[str]
) -> tuple[Image.Image, bytes | None]:
    """An 8-bit picture of any mode as RGB or RGBA, and the profile that still describes it; raises InputError for one
    of floating-point numbers."""
    if picture.mode == "F":
        raise InputError(f"{path} holds floating-point numbers, which are not read, as none of them stands for white; "
                         "save it with 8 or 16 bits per channel, as PNG or TIFF")
    if profile and profile[16:20] != b"RGB ":
        managed = _through_profile(picture, profile)
        if managed is not None:
            notes.append(f"{path}: converted from {picture.mode} to sRGB by its colour profile")
            return managed, None
        profile = None
        notes.append(f"{path}: its {picture.mode} colour profile was left out")
    elif picture.mode == "CMYK":
        notes.append(f"{path}: converted from CMYK to RGB without a colour profile; colours may shift")
    see_through = picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info
    if picture.mode in ("La", "RGBa"):  # colours multiplied by alpha
        picture = picture.convert(picture.mode.upper())
    return picture.convert("RGBA" if see_through else "RGB"), profile


def _through_profile(picture: Image.Image, profile: bytes) -> Image.Image | None:
    """The picture in sRGB, or None where the profile does not fit it."""
    if picture.mode not in ("L", "CMYK", "LAB"):
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        return None


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn pixels (H, W, C) by an EXIF orientation, 1 to 8; other values count as 1."""
    if orientation in _LYING:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def check_output(path: Path | str, overwrite: bool = True, inputs: Iterable[Path | str] = ()) -> None:
    """Refuse, before any work, a name that no photo can be written to or that is an input; raises OutputError."""
    path = Path(path)
    if is_folder(path):
        raise OutputError(f"{path} is a folder; give the name of a picture in it, such as {path / 'result.png'}")
    if path.suffix.lower() not in FORMATS:
        known = ", ".join(sorted(suffix[1:] for suffix in FORMATS))
        raise OutputError(f"unknown picture format {path.suffix or '(no ending)'!r} of {path}; known endings: {known}")
    check_place(path, overwrite, inputs)
    check_writable(path)


def write_photo(path: Path | str, photo: Photo, overwrite: bool = True, mark: Mark = UNMARKED) -> list[str]:
    """Write a photo in the format that its name asks for; overwrite: what may be there by then. mark: what the file is
    to say of itself.

    Returns notes on what the format cannot hold and was adapted; raises OutputError.
    """
    path = Path(path)
    kind = FORMATS[path.suffix.lower()]
    photo, notes = _adapt(photo, kind, path.suffix, mark)
    try:
        data = _encode(photo, kind)
    except (OSError, ValueError, RuntimeError, struct.error, cv2.error) as error:
        height, width = photo.image.shape[:2]
        raise OutputError(f"cannot write {path} ({width} x {height} pixels) as {kind.name}: {error}") from error
    if kind.name == "PNG":
        data = _png_with_facts(data, photo)
    elif kind.name == "TIFF":
        data = exif.in_tiff(data, photo.exif, photo.dpi, photo.xmp)
    with atomic_path(path, overwrite) as temporary:
        temporary.write_bytes(data)
        mark.seal(temporary)
    return notes


def _adapt(photo: Photo, kind: _Format, suffix: str, mark: Mark) -> tuple[Photo, list[str]]:
    """What of a photo the format holds, and notes on the rest."""
    image, alpha, profile, notes = photo.image, photo.alpha, photo.icc_profile, []
    if image.dtype == np.uint16 and not kind.deep:
        image, alpha = to_uint8(image), None if alpha is None else to_uint8(alpha)
        notes.append(f"{suffix} holds 8 bits per channel; the photo's 16 bits were rounded")
    if alpha is not None and not kind.alpha:
        alpha = None
        notes.append(f"{suffix} holds no transparency; it was left out")
    if profile and not kind.profile:
        profile = None
        notes.append(f"{suffix} holds no colour profile; it was left out")
    if image.dtype == np.uint16 and kind.name == "HEIF":
        notes.append(f"{suffix} holds 10 bits per channel here; deeper colours were rounded")
    if kind.name == "GIF":
        notes.append(f"{suffix} holds 256 colours; the photo was reduced to them")
    photo = replace(photo, image=image, alpha=alpha, icc_profile=profile)
    if kind.facts:
        return replace(photo, xmp=mark.packet(photo.xmp)), notes
    return replace(photo, xmp=None, exif=None, dpi=None), notes


def _encode(photo: Photo, kind: _Format) -> bytes:
    options = _facts_for_pillow(photo, kind) | ({"icc_profile": photo.icc_profile} if photo.icc_profile else {})
    if kind.name == "HEIF":
        return heif.encoded(_stored(photo, kind), **options)
    if photo.image.dtype == np.uint16:
        return _encode_deep(photo, kind)
    if kind.name == "WEBP" and photo.lossless:
        options |= _LOSSLESS
    picture = Image.fromarray(_in_rgb(_stored(photo, kind)))
    buffer = io.BytesIO()
    picture.save(buffer, kind.name, **kind.options | options)
    return buffer.getvalue()


def _stored(photo: Photo, kind: _Format) -> np.ndarray:
    """What a file is to hold: colours and, where there is one, alpha, (H, W, 3 or 4) BGR(A), or brightness (H, W) or
    that and alpha (H, W, 2) where the photo had no more, and still has not."""
    image, alpha = photo.image, photo.alpha
    is_grey = kind.grey and photo.grey and not photo.icc_profile  # which is one of colours
    if alpha is not None and image.dtype == np.uint16:  # OpenCV writes no brightness with alpha
        is_grey = False
    if is_grey and (image == image[..., :1]).all():
        image = image[..., 0]
    return image if alpha is None else np.dstack([image, alpha])


def _in_rgb(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3 or 4) BGR(A) as RGB(A), and brightness (H, W) or (H, W, 2) as it is, one row after the other."""
    return _turned_round(pixels) if pixels.shape[2:] in ((3,), (4,)) else np.ascontiguousarray(pixels)


def _turned_round(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3 or 4) uint8 or uint16, its colours in the opposite order: RGB(A) of BGR(A), and BGR(A) of RGB(A)."""
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)


def _facts_for_pillow(photo: Photo, kind: _Format) -> dict[str, object]:
    """Options for a photo's XMP, EXIF and dots per inch; PNG and TIFF get them afterwards."""
    if kind.name in ("PNG", "TIFF"):
        return {}
    alone = kind.name == "JPEG" and photo.exif is None  # a JPEG has another place for the latter
    # From EXIF with an orientation Pillow makes another one for AVIF, in plain letters only.
    said = None if alone else exif.whole(photo.exif, photo.dpi, orientation=kind.name != "AVIF")
    facts = {"xmp": photo.xmp, "dpi": photo.dpi, "exif": said and exif.PREFIX + said}
    return {name: value for name, value in facts.items() if value}


def _png_with_facts(data: bytes, photo: Photo) -> bytes:
    """A PNG with XMP, EXIF and dots per inch in the chunks that are meant for them, right after the header; OpenCV
    would write the first into another one, and not the last."""
    chunks = {b"iTXt": b"XML:com.adobe.xmp\0\0\0\0\0" + photo.xmp if photo.xmp else b"",
              b"pHYs": struct.pack(">LLB", *(round(x / _INCH) for x in photo.dpi), 1) if photo.dpi else b"",
              b"eXIf": exif.whole(photo.exif, photo.dpi) or b"" if photo.exif else b""}
    told = b"".join(struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
                    for name, content in chunks.items() if content)
    return data[:_PNG_HEADER] + told + data[_PNG_HEADER:]


def _encode_deep(photo: Photo, kind: _Format) -> bytes:
    """16 bits per channel, which Pillow does not write."""
    pixels = _stored(photo, kind)
    if kind.name == "TIFF":
        return _encode_deep_tiff(pixels, photo.icc_profile)
    if photo.icc_profile:
        profile = np.frombuffer(photo.icc_profile, np.uint8)
        done, data = cv2.imencodeWithMetadata(".png", pixels, [cv2.IMAGE_METADATA_ICCP], [profile])
    else:
        done, data = cv2.imencode(".png", pixels)
    if not done:
        raise ValueError("OpenCV refused it")
    return data.tobytes()


def _encode_deep_tiff(pixels: np.ndarray, profile: bytes | None) -> bytes:
    import tifffile

    buffer = io.BytesIO()
    photometric = "minisblack" if pixels.ndim == 2 else "rgb"
    extra = ["unassalpha"] if pixels.shape[2:] == (4,) else None
    tifffile.imwrite(buffer, _in_rgb(pixels), photometric=photometric, extrasamples=extra, iccprofile=profile,
                     compression="zlib", byteorder="<", metadata=None, software=False)
    return buffer.getvalue()
