"""Folders whose sub-folders name people."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from utils.errors import OptionError

_PARTS = 3  # of a set: train, validation, test
_NAMED = 3  # folders listed in a message


def check_people(folder: Path, files: Iterable[str], option: str) -> None:
    """Refuse a folder of parts of a set, such as train and test, below which the people are: each part would count as
    one person.

    Where there are more folders than a set has parts, they are people, also with folders of their own, such as videos.
    files: of the photos in sub-folders. option: that named the folder.
    Raises OptionError that names the folder to give instead.
    """
    inside: dict[PurePosixPath, set[str]] = {}  # below a person's folder, the names of a folder's folders with photos
    places = {PurePosixPath(file.rpartition("/")[0]) for file in files}
    if len({place.parts[0] for place in places}) > _PARTS:
        return
    for place in places:
        for child in (place, *place.parents):
            if len(child.parts) > 1:
                inside.setdefault(child.parent, set()).add(child.name)
    # The folder with the most people; of as many, the deeper one, and train rather than test.
    fullest = max(inside, key=lambda place: (len(inside[place]), place.parts), default=None)
    if fullest is None or len(inside[fullest]) == 1:
        return
    names, where, person = sorted(inside[fullest]), folder / fullest, folder / fullest.parts[0]
    listed = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
    raise OptionError(f"{where} holds {len(names)} folders with photos ({listed}), and everyone in {person} would "
                      f"count as one person; give {option} {where}, or put the photos of each person into one "
                      "folder")
