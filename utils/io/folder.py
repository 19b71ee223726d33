"""Pictures that lie in a folder, or below it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from utils.errors import InputError
from utils.io.image import DAMAGED, FORMATS, identified
from utils.paths import is_file

INDEX, SHEET = "index.csv", "contact_sheet.jpg"  # of a training set; the latter shows its crops to people
# Pictures that are not read: what comes from the sensor of a camera, and what programs keep their work in.
_UNREAD = {
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mos", ".mrw", ".nef", ".nrw",
    ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
    ".ai", ".eps", ".exr", ".hdr", ".jxl", ".jxr", ".kra", ".psb", ".svg", ".wdp", ".xcf",
}
# Pictures that are read and not written.
_UNWRITTEN = {
    ".apng", ".dds", ".dib", ".icns", ".ico", ".j2c", ".j2k", ".jpc", ".jpf", ".jpx", ".pbm", ".pcx", ".pgm", ".pnm",
    ".psd", ".qoi", ".sgi",
}
_NAMED = 5  # files listed in a message


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder in the order of their names, numbers counted as numbers; raises InputError.

    Hidden files are none: macOS keeps facts about name.jpg in ._name.jpg. Nor is a training set's contact sheet.
    """
    paths = shown_in(folder)
    sheet = folder / SHEET if folder / INDEX in paths else None
    return [path for path in paths if is_picture(path) and path != sheet and not path.is_dir()]


def left_out_of(folder: Path) -> list[str]:
    """What to say of the pictures that `pictures_in` leaves out, empty where there are none; raises InputError."""
    paths = shown_in(folder)
    reasons = (
        ("their formats are not read", "save them as JPEG or PNG", lambda path: path.suffix.lower() in _UNREAD),
        ("their formats are read but not written", "save them as JPEG or PNG, or give them one by one",
         lambda path: path.suffix.lower() in _UNWRITTEN),
        ("their names do not end with a format", "name them as what they are (.jpg, .png)", _is_nameless_picture),
    )
    found = [(why, what_to_do, [path.name for path in paths if is_one(path)]) for why, what_to_do, is_one in reasons]
    return [f"{folder}: left out, as {why}: {listed(names)}; {what_to_do}" for why, what_to_do, names in found if names]


def _is_nameless_picture(path: Path) -> bool:
    """Whether a file without an ending is a picture."""
    if path.suffix or not is_file(path):
        return False
    try:
        with identified(path):
            return True
    except (*DAMAGED, Image.DecompressionBombError):
        return False


def listed(names: Sequence[str]) -> str:
    """Some of the names, and how many more there are."""
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def no_pictures(folder: Path, wanted: str = "give a folder of pictures") -> InputError:
    """The error of a folder without pictures. wanted: what to give instead."""
    return InputError("; ".join(left_out_of(folder)) or f"{folder} has no pictures; {wanted}")


def shown_in(folder: Path) -> list[Path]:
    """What lies in a folder and is not hidden, in the order of its names, numbers counted as numbers; raises
    InputError."""
    try:
        return sorted((path for path in folder.iterdir() if not path.name.startswith(".")), key=_natural)
    except OSError as error:
        raise InputError(f"cannot read the folder {folder}: {error.strerror or error}") from error


def pictures_below(folder: Path, inside: Sequence[str] = ()) -> list[Path]:
    """The pictures of a folder and of those in it, by name; raises InputError.

    Hidden files and folders and the contact sheets of training sets are left out, and links to folders followed, unless
    they lead back to a folder that the link lies in. inside: the real paths of those that this one was found in.
    """
    real = os.path.realpath(folder)
    if real in inside:
        return []
    found: list[Path] = []
    sheet = SHEET if is_file(folder / INDEX) else ""
    try:
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                path = Path(entry.path)
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    found += pictures_below(path, (*inside, real))
                elif is_picture(path) and entry.name != sheet:
                    found.append(path)
    except OSError as error:
        raise InputError(f"cannot read {folder}: {error.strerror or error}") from error
    return found


def is_picture(path: Path) -> bool:
    """Whether a file of a folder is taken for a picture, by its name."""
    return path.suffix.lower() in FORMATS


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]
