"""Lists of photos in text files: one name a line, without ending, with or without the folders above."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from utils.errors import InputError


def read_names(file: Path) -> list[str]:
    """The names in a file, without comments (#); raises InputError where it cannot be read."""
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read ({error}); expected one photo name a line") from error
    return [line for line in lines if line and not line.startswith("#")]


def places_of(names: Iterable[str], paths: Sequence[Path], file: Path) -> list[int]:
    """Where the named photos are among the paths; file: of the names, for messages.

    Raises InputError for a name that no photo has, or several.
    """
    names = list(names)
    known: dict[str, list[int]] = {}
    for parts in {name.count("/") + 1 for name in names}:
        for place, path in enumerate(paths):
            if len(path.parts) >= parts:
                known.setdefault("/".join(path.with_suffix("").parts[-parts:]), []).append(place)
    missing = [name for name in names if name not in known]
    if missing:
        raise InputError(f"{file}: {len(missing)} of its {len(names)} names have no photo, the first is "
                         f"{missing[0]!r}; expected names without ending, one a line")
    several = [name for name in names if len(known[name]) > 1]
    if several:
        raise InputError(f"{file}: {len(known[several[0]])} photos are called {several[0]!r}; give the folders above "
                         "as well, as in folder/name")
    return [known[name][0] for name in names]
