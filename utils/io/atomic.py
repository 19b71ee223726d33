"""Files appear under their name only when they are whole."""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from utils.errors import OutputError
from utils.paths import is_file, is_folder, is_there

_LONGEST = 254  # bytes of a name, but for the point of a hidden one
_PATIENCE, _PAUSE = 2.0, 0.05  # seconds for which a renaming that is refused is tried again, and between two tries
_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space or choose another folder",
    errno.EACCES: "permission denied; choose a folder that you may write to",
    errno.EPERM: "permission denied; choose a folder that you may write to",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.ENOTDIR: "part of the path is a file, not a folder",
    errno.EEXIST: "part of the path is a file, not a folder",
    errno.EISDIR: "this is a folder; give a file name",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}


def output_error(path: Path | str, error: OSError) -> OutputError:
    """The operating system's refusal to write `path`, in words to act on."""
    return OutputError(f"cannot write {path}: {_ADVICE.get(error.errno or 0, error.strerror or str(error))}")


def check_place(path: Path, overwrite: bool, inputs: Iterable[Path | str]) -> None:
    """Refuse a folder, a file that is read and, where `overwrite` is not set, any file; raises OutputError."""
    if is_folder(path):
        raise OutputError(f"cannot write {path}: this is a folder; give a file name")
    if not is_there(path):
        return
    if not overwrite:
        raise OutputError(f"{path} exists and --no-overwrite is set; choose another name")
    if any(is_there(name) and path.samefile(name) for name in inputs):
        raise OutputError(f"{path} is a file that is read; choose another name for the result")


def _rename(temporary: Path, path: Path) -> None:
    """Rename, also over what is there. On Windows that is refused while another program has one of the two open, as
    virus scanners have for a moment. Raises OSError."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            os.replace(temporary, path)
            return
        except PermissionError:
            if time.monotonic() >= end:
                raise
        time.sleep(_PAUSE)


def _replace(temporary: Path, path: Path) -> None:
    """Rename over what is there, or keep both; raises OSError, and OutputError that says where the new one is."""
    try:
        _rename(temporary, path)
    except PermissionError as error:
        if not is_file(path):
            raise
        kept = free_beside(path, "new")
        _rename_to_free(temporary, kept)
        raise OutputError(f"cannot replace {path}, which another program has open or which may not be replaced; the "
                          f"new file is whole, and named {kept}") from error


def _rename_to_free(temporary: Path, path: Path) -> None:
    """Rename unless there is something by now; raises OutputError, OSError."""
    try:
        os.link(temporary, path)  # in one step, other than looking first
        return
    except FileExistsError:
        pass
    except OSError:  # this file system knows no second names
        if not is_there(path):
            _rename(temporary, path)
            return
    raise OutputError(f"{path} exists by now and --no-overwrite is set; choose another name")


def move(temporary: Path, path: Path, overwrite: bool) -> None:
    """Give a whole file its name; raises OSError, and OutputError where there is something that must stay or cannot be
    replaced, in which case the whole file has another name."""
    if overwrite:
        _replace(temporary, path)
    else:
        _rename_to_free(temporary, path)


def behind(path: Path) -> Path:
    """The file that a symbolic link stands for, which is written through, or any other path as it is."""
    try:
        return Path(os.path.realpath(path)) if path.is_symlink() else path
    except OSError:  # opening it says why
        return path


def beside(path: Path, ending: str) -> Path:
    """A file in the same folder, whose name is that of `path` without its suffix, cut where that would be too long,
    and then `ending`."""
    stem, room = os.fsencode(path.stem), _LONGEST - len(os.fsencode(ending))
    return path.with_name((path.stem if len(stem) <= room else stem[:room].decode(errors="ignore")) + ending)


def free_beside(path: Path, what: str) -> Path:
    """The first free name of result.new1.mp4, result.new2.mp4 and so on for result.mp4 and `new`."""
    paths = (beside(path, f".{what}{number}{path.suffix}") for number in count(1))
    return next(path for path in paths if not is_there(path))


def temporaries(path: Path, token: str) -> tuple[Path, Path]:
    """The hidden files of a run in which `path` is written, and then signed; token: 8 hexadecimal digits of the run."""
    hidden = beside(path, f".{token}.partial{path.suffix}")
    hidden = hidden.with_name(f".{hidden.name}")
    return hidden, signed_beside(hidden)


def signed_beside(path: Path) -> Path:
    """The signed copy of a file that is to take its place."""
    return beside(path, ".signed")


def _temporary(path: Path) -> Path:
    return temporaries(path, secrets.token_hex(4))[0]


def _make(path: Path, temporary: Path) -> None:
    """Make an empty file that is to become `path`; raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise OSError(errno.EISDIR, "is a folder")
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))


def check_writable(path: Path) -> None:
    """Make the folder of a file that is yet to be written, and see that it takes one; raises OutputError."""
    place = behind(path)
    temporary = _temporary(place)
    try:
        _make(place, temporary)
        temporary.unlink()
    except OSError as error:
        raise output_error(path, error) from error


def _is_of_another(error: OSError, temporary: Path, place: Path) -> bool:
    """Whether an error names a file that has nothing to do with writing this one."""
    name = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes, os.PathLike)) else None
    return name is not None and Path(name) not in (temporary, place, *place.parents)


@contextmanager
def atomic_path(path: Path | str, overwrite: bool = True) -> Iterator[Path]:
    """Give a temporary file beside `path` to write to; rename it to `path` at the end, remove it on any error.

    overwrite: what is there by then. Folders are created. The temporary name keeps the suffix, which some writers need
    to choose their format. A symbolic link stays one, to a file that is replaced. Raises OutputError when the file
    system refuses; where only what is there cannot be replaced, the new file stays beside it under another name.
    """
    path = Path(path)
    place = behind(path)
    # The name is known before there is such a file, so that Ctrl-C at any moment leaves none.
    temporary = _temporary(place)
    try:
        _make(place, temporary)
        yield temporary
        move(temporary, place, overwrite)
    except OSError as error:
        if _is_of_another(error, temporary, place):
            raise
        raise output_error(path, error) from error
    finally:
        if os.path.lexists(temporary):
            temporary.unlink()
