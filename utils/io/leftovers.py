"""Files that runs have left which were killed while they wrote a video."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from utils.io.atomic import behind, temporaries

_PATIENCE, _PAUSE = 5.0, 0.02  # seconds to wait for others who look for leftovers, and between two tries
_TOKEN = re.compile(r"\.([0-9a-f]{8})\.partial\.[^.]+$")


@contextmanager
def without_leftovers(path: Path) -> Iterator[None]:
    """Write a video under this name within the block; what earlier runs have left of it goes, if they were killed.

    All runs lock the folder together while they write, so that a lock for one alone says that no other is at work
    there; a system takes locks away from whoever was killed. Where there are no such locks, as on Windows, all stays.
    """
    folder = _open_folder(behind(path).parent)
    try:
        if folder is not None:
            with suppress(OSError):  # this file system knows no locks
                _clean(folder, behind(path))
        yield
    finally:
        if folder is not None:
            os.close(folder)


def _open_folder(folder: Path) -> int | None:
    """A folder, made if it is not there; None where that cannot be locked, which is no reason to write nothing."""
    if sys.platform == "win32":
        return None
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder, os.O_RDONLY)
    return None


def _clean(folder: int, path: Path) -> None:
    """Remove what was to become `path` if nobody else writes into the open folder, and lock that with the others;
    raises OSError."""
    if _lock(folder, shared=False):
        with suppress(OSError):
            _remove(path)
    end = time.monotonic() + _PATIENCE
    while not _lock(folder, shared=True) and time.monotonic() < end:
        time.sleep(_PAUSE)


def _lock(folder: int, shared: bool) -> bool:
    """Lock an open folder, if that needs no waiting; whether it is locked. shared: together with others.

    Raises OSError where there are no locks."""
    if sys.platform == "win32":
        return False
    import fcntl

    try:
        fcntl.flock(folder, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove(path: Path) -> None:
    """Remove what was to become `path`; raises OSError."""
    for file in path.parent.iterdir():
        found = _TOKEN.search(file.name)
        if found and file in temporaries(path, found[1]):
            file.unlink(missing_ok=True)
