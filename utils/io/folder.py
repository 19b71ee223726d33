"""Pictures that lie in a folder, or below it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from utils.errors import InputError
from utils.io.image import FORMATS


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder in the order of their names, numbers counted as numbers; raises InputError.

    Hidden files are none: macOS keeps facts about name.jpg in ._name.jpg.
    """
    try:
        paths = list(folder.iterdir())
    except OSError as error:
        raise InputError(f"cannot read the folder {folder}: {error.strerror or error}") from error
    shown = (path for path in paths if not path.name.startswith("."))
    return sorted((path for path in shown if is_picture(path) and not path.is_dir()), key=_natural)


def pictures_below(folder: Path) -> list[Path]:
    """The pictures of a folder and of those in it, by name; raises InputError.

    Hidden files and folders are left out, and links to folders followed.
    """
    found: list[Path] = []
    try:
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                path = Path(entry.path)
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    found += pictures_below(path)
                elif is_picture(path):
                    found.append(path)
    except OSError as error:
        raise InputError(f"cannot read {folder}: {error.strerror or error}") from error
    return found


def is_picture(path: Path) -> bool:
    """Whether a file of a folder is taken for a picture, by its name."""
    return path.suffix.lower() in FORMATS


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]
