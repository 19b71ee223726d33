"""What a photo's EXIF says of its taking, without the pictures that may be in there, which show the face before.

Pillow could read and write EXIF, too, but turns letters beyond ASCII into question marks.
"""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import NamedTuple

import numpy as np

PREFIX = b"Exif\0\0"  # where EXIF stands in a JPEG
XMP = 700
_ORIENTATION, _X_DPI, _Y_DPI, _DPI_UNIT = 274, 282, 283, 296
_PHOTO, _PLACE, _EXCHANGE = 34665, 34853, 40965  # tags that point to further directories
_WIDTH, _HEIGHT = 40962, 40963
_INCH, _CENTIMETRE = 2, 3
# Description, make, model, software, date, artist, computer, ratings, copyright, Windows' title to subject. All others
# tell how the file's pixels are stored, or may hold smaller copies of them.
_OF_THE_PHOTO = {270, 271, 272, 305, 306, 315, 316, 18246, 18249, 33432, *range(40091, 40096)}
_NOT_KEPT = {37500, 59932}  # of the further directories: the maker's notes, often with a preview, and padding
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}  # type of value -> bytes
_UNITS = _SIZES | {5: 4, 10: 4}  # bytes that are turned for another order
_BYTE, _SHORT, _LONG, _RATIONAL = 1, 3, 4, 5
_MOST_TAGS, _MOST_BYTES = 1000, 2**16 - 256  # more is damage, or does not fit into a JPEG with what `whole` adds


class _Value(NamedTuple):
    kind: int
    data: bytes  # little-endian


_Tags = dict[int, "_Value | _Tags"]


def read(data: bytes, width: int, height: int) -> tuple[bytes | None, tuple[float, float] | None]:
    """What is kept of some EXIF, or of a TIFF file's tags, as EXIF without orientation, and dots per inch (x, y) as
    they stand there; each None where there is none that can be read. width, height: of the upright picture."""
    data = data.removeprefix(PREFIX)
    tags = _main(data)
    kept: _Tags = {tag: value for tag, value in tags.items() if tag in _OF_THE_PHOTO}
    photo, place = _further(data, tags.get(_PHOTO)), _further(data, tags.get(_PLACE))
    exchange = _further(data, photo.pop(_EXCHANGE, None))
    sizes = {_WIDTH: _long(width), _HEIGHT: _long(height)}
    photo |= {tag: value for tag, value in sizes.items() if tag in photo} | ({_EXCHANGE: exchange} if exchange else {})
    kept |= {tag: found for tag, found in ((_PHOTO, photo), (_PLACE, place)) if found}
    dpi = _dpi(tags)
    if not kept:
        return None, dpi
    exif = _file(kept)
    return exif if len(exif) <= _MOST_BYTES else None, dpi


def whole(exif: bytes | None, dpi: tuple[float, float] | None, orientation: bool = True) -> bytes | None:
    """EXIF from `read` with dots per inch (x, y) and, where that is wanted, the orientation of an upright picture;
    None where there is nothing to say."""
    if not exif and not dpi:
        return None
    upright: _Tags = {_ORIENTATION: _Value(_SHORT, struct.pack("<H", 1))} if orientation else {}
    return _file(_tree(exif) | _resolution(dpi) | upright)


def in_tiff(data: bytes, exif: bytes | None, dpi: tuple[float, float] | None, xmp: bytes | None) -> bytes:
    """A little-endian TIFF file with EXIF from `read`, dots per inch and XMP among its tags: a new directory at its
    end stands for the one that it has."""
    told = _tree(exif) | _resolution(dpi) | ({XMP: _Value(_BYTE, xmp)} if xmp else {})
    own = _main(data)
    if not own or not told:  # none: a file of over 4 GB has another form
        return data
    data += bytes(len(data) % 2)
    return data[:4] + struct.pack("<L", len(data)) + data[8:] + _directory(own | told, len(data))


def _main(data: bytes) -> _Tags:
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    return _tags(data, struct.unpack_from(order + "L", data, 4)[0], order) if order and len(data) >= 8 else {}


def _further(data: bytes, pointer: _Value | _Tags | None) -> _Tags:
    if not isinstance(pointer, _Value) or len(pointer.data) != 4:
        return {}
    order = "<" if data[:1] == b"I" else ">"
    tags = _tags(data, struct.unpack("<L", pointer.data)[0], order)
    return {tag: value for tag, value in tags.items() if tag not in _NOT_KEPT}


def _tags(data: bytes, start: int, order: str) -> _Tags:
    """The tags of the directory at `start`, but for damaged ones."""
    if start + 2 > len(data):
        return {}
    (count,) = struct.unpack_from(order + "H", data, start)
    tags: _Tags = {}
    for entry in range(start + 2, min(start + 2 + 12 * count, len(data) - 11), 12) if count <= _MOST_TAGS else ():
        tag, kind, number = struct.unpack_from(order + "HHL", data, entry)
        size = _SIZES.get(kind, 0) * number
        place = entry + 8 if size <= 4 else struct.unpack_from(order + "L", data, entry + 8)[0]
        if 0 < size <= len(data) - place:
            tags[tag] = _Value(kind, _little(data[place : place + size], _UNITS[kind], order))
    return tags


def _little(data: bytes, unit: int, order: str) -> bytes:
    return data if order == "<" else np.frombuffer(data, f">u{unit}").astype(f"<u{unit}").tobytes()


def _tree(exif: bytes | None) -> _Tags:
    """All tags of EXIF from `read`."""
    tags = _main(exif or b"")
    for tag in {_PHOTO, _PLACE} & tags.keys():
        inner = _further(exif or b"", tags[tag])
        tags[tag] = inner | {_EXCHANGE: _further(exif or b"", inner[_EXCHANGE])} if _EXCHANGE in inner else inner
    return tags


def plausible(dpi: tuple[float, float] | None) -> tuple[float, float] | None:
    """Dots per inch (x, y) as numbers that every format can hold, or None; 1 stands for unknown."""
    if dpi is None or not all(1 < value < 2**16 for value in dpi):
        return None
    return float(dpi[0]), float(dpi[1])


def _dpi(tags: _Tags) -> tuple[float, float] | None:
    """Dots per inch (x, y) of a main directory."""
    x, y, unit = (tags.get(tag) for tag in (_X_DPI, _Y_DPI, _DPI_UNIT))
    if not all(isinstance(value, _Value) and value.kind == _RATIONAL for value in (x, y)):
        return None
    parts = [struct.unpack_from("<LL", value.data) for value in (x, y) if isinstance(value, _Value)]
    by = 2.54 if isinstance(unit, _Value) and unit.data[:1] == bytes([_CENTIMETRE]) else 1.0
    across, down = (above / max(below, 1) * by for above, below in parts)
    return plausible((across, down))


def _resolution(dpi: tuple[float, float] | None) -> _Tags:
    if dpi is None:
        return {}
    x, y = (Fraction(value).limit_denominator(1000).as_integer_ratio() for value in dpi)
    return {_X_DPI: _Value(_RATIONAL, struct.pack("<LL", *x)), _Y_DPI: _Value(_RATIONAL, struct.pack("<LL", *y)),
            _DPI_UNIT: _Value(_SHORT, struct.pack("<H", _INCH))}


def _long(number: int) -> _Value:
    return _Value(_LONG, struct.pack("<L", number))


def _file(tags: _Tags) -> bytes:
    return b"II*\0" + struct.pack("<L", 8) + _directory(tags, 8)


def _directory(tags: _Tags, start: int) -> bytes:
    """A directory that stands at `start`, with all that it points to behind it."""
    table, rest = struct.pack("<H", len(tags)), b""
    behind = start + 2 + 12 * len(tags) + 4
    for tag, value in sorted(tags.items()):
        place = behind + len(rest)
        if not isinstance(value, _Value):
            rest += _directory(value, place)
            value = _long(place)
        elif len(value.data) > 4:
            rest += value.data
        stored = value.data.ljust(4, b"\0") if len(value.data) <= 4 else struct.pack("<L", place)
        table += struct.pack("<HHL", tag, value.kind, len(value.data) // _SIZES[value.kind]) + stored
        rest += bytes(len(rest) % 2)
    return table + bytes(4) + rest
