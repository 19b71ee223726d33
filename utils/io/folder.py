"""Pictures that lie in a folder."""

from __future__ import annotations

import re
from pathlib import Path

from utils.errors import InputError
from utils.io.image import FORMATS

_PICTURES = {*FORMATS, ".gif"}


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder in the order of their names, numbers counted as numbers; raises InputError."""
    try:
        paths = list(folder.iterdir())
    except OSError as error:
        raise InputError(f"cannot read the folder {folder}: {error.strerror or error}") from error
    return sorted((p for p in paths if p.suffix.lower() in _PICTURES and not p.is_dir()), key=_natural)


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]
