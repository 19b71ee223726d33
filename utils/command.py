"""What all command lines share: one end for every kind of mistake and interruption."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any, NoReturn

from utils.errors import INTERRUPTED, GhostError, OutputError
from utils.io.atomic import output_error
from utils.stop import ending_signals


class _Stream:
    """A standard stream that a command can go on without: what cannot be written to it is dropped, as where nobody
    reads a pipe any more, its disk is full or its terminal was closed."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream or io.StringIO()  # there is none where it was closed before the start
        self.failure: OSError | None = None  # the first one

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Pass a text on; raises nothing."""
        with self._lived_with():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Pass on what is left; raises nothing."""
        with self._lived_with():
            self._stream.flush()

    @contextmanager
    def _lived_with(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.failure = self.failure or error
            with suppress(OSError):  # not a file of the system
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())  # Python writes what is left when it ends
                os.close(nowhere)


def _terminate(number: int, frame: object) -> NoReturn:
    if number != signal.SIGTERM:  # a closed terminal is said twice, by the system and by the shell
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def carried_out(
    work: Callable[[], int | None],
    interrupted: Callable[[KeyboardInterrupt], str] | str = "interrupted",
    failed: Callable[[str, int], None] = lambda text, exit_code: None,
) -> int:
    """Do a command's work and say without a traceback what ended it early; returns the exit code.

    SIGTERM and a terminal that is closed end it like Ctrl-C does, so that unfinished output is removed. What cannot be
    printed does not, and is an error at its end.
    interrupted: what is said then. failed: told what was said and the exit code where there is no result.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for names of files that its encoding does not have
    if threading.current_thread() is threading.main_thread():  # signals are its alone
        for number in ending_signals():
            signal.signal(number, _terminate)
    out, err = _Stream(sys.stdout), _Stream(sys.stderr)
    with redirect_stdout(out), redirect_stderr(err):
        try:
            exit_code = _ended(work, interrupted, failed)
            return exit_code or _all_printed(out)
        except SystemExit:  # --help
            if lost := _all_printed(out):
                return lost
            raise
        finally:
            out.flush()
            err.flush()


def _ended(
    work: Callable[[], int | None],
    interrupted: Callable[[KeyboardInterrupt], str] | str,
    failed: Callable[[str, int], None],
) -> int:
    try:
        return work() or 0
    except GhostError as error:
        text, said, exit_code = str(error), f"error: {error}", error.exit_code
    except KeyboardInterrupt as stop:
        text = said = interrupted if isinstance(interrupted, str) else interrupted(stop)
        exit_code = INTERRUPTED
    print(said, file=sys.stderr)
    failed(text, exit_code)
    return exit_code


def _all_printed(out: _Stream) -> int:
    """Whether all went where standard output goes, as an exit code; a reader who wanted no more knows it himself."""
    out.flush()
    if out.failure is None:
        return 0
    if not isinstance(out.failure, BrokenPipeError):
        print(f"error: {output_error('standard output', out.failure)}", file=sys.stderr)
    return OutputError.exit_code
