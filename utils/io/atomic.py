"""Files appear under their name only when they are whole."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from utils.errors import OutputError
from utils.paths import is_folder, is_there

_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space or choose another folder",
    errno.EACCES: "permission denied; choose a folder that you may write to",
    errno.EPERM: "permission denied; choose a folder that you may write to",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.ENOTDIR: "part of the path is a file, not a folder",
    errno.EEXIST: "part of the path is a file, not a folder",
    errno.EISDIR: "this is a folder; give a file name",
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


def _rename_to_free(temporary: Path, path: Path) -> None:
    """Rename unless there is something by now; raises OutputError, OSError."""
    try:
        os.link(temporary, path)  # in one step, other than looking first
        return
    except FileExistsError:
        pass
    except OSError:  # this file system knows no second names
        if not is_there(path):
            os.replace(temporary, path)
            return
    raise OutputError(f"{path} exists by now and --no-overwrite is set; choose another name")


def move(temporary: Path, path: Path, overwrite: bool) -> None:
    """Give a whole file its name; raises OSError, and OutputError where there is something that must stay."""
    if overwrite:
        os.replace(temporary, path)
    else:
        _rename_to_free(temporary, path)


@contextmanager
def atomic_path(path: Path | str, overwrite: bool = True) -> Iterator[Path]:
    """Give a temporary file beside `path` to write to; rename it to `path` at the end, remove it on any error.

    overwrite: what is there by then. Folders are created. The temporary name keeps the suffix, which some writers need
    to choose their format. Raises OutputError when the file system refuses.
    """
    path = Path(path)
    # The name is known before there is such a file, so that Ctrl-C at any moment leaves none.
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise OSError(errno.EISDIR, "is a folder")
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        move(temporary, path, overwrite)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        if os.path.lexists(temporary):
            temporary.unlink()
