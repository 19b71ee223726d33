"""Looks at paths that users name, and checksums. Where a folder may not be searched or a name is too long, there is
nothing to see; opening or making the file says why."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

OneOrMore = Path | str | Sequence[Path | str]


def as_list(paths: OneOrMore) -> list[Path | str]:
    """Paths of which one alone may be given as it is."""
    return [paths] if isinstance(paths, (str, Path)) else list(paths)


def is_there(path: Path | str) -> bool:
    """Whether there is anything of this name."""
    try:
        return Path(path).exists()
    except OSError:
        return False


def is_file(path: Path | str) -> bool:
    """Whether there is a file of this name, and no folder or device."""
    try:
        return Path(path).is_file()
    except OSError:
        return False


def is_folder(path: Path | str) -> bool:
    """Whether there is a folder of this name."""
    try:
        return Path(path).is_dir()
    except OSError:
        return False


def sha256_of(path: Path) -> str:
    """The checksum of a file's contents, 64 hexadecimal digits; raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
