"""What Pillow does not say of a WebP."""

from __future__ import annotations

_HEADER, _CHUNK = 12, 8  # bytes: of the file, and of each chunk


def is_lossless(data: bytes) -> bool:
    """Whether a WebP file holds a still picture without loss; data: the whole file."""
    at = _HEADER
    while at + _CHUNK <= len(data):
        if data[at : at + 4] in (b"VP8L", b"VP8 "):
            return data[at : at + 4] == b"VP8L"
        size = int.from_bytes(data[at + 4 : at + _CHUNK], "little")
        at += _CHUNK + size + size % 2
    return False
