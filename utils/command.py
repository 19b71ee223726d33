"""What all command lines share: one end for every kind of mistake and interruption."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

from utils.errors import INTERRUPTED, GhostError


def _terminate(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def carried_out(
    work: Callable[[], int | None],
    interrupted: Callable[[KeyboardInterrupt], str] | str = "interrupted",
    failed: Callable[[str, int], None] = lambda text, exit_code: None,
) -> int:
    """Do a command's work and say without a traceback what ended it early; returns the exit code.

    SIGTERM ends it like Ctrl-C does, so that unfinished output is removed. interrupted: what is said then.
    failed: told what was said and the exit code where there is no result.
    """
    if threading.current_thread() is threading.main_thread():  # signals are its alone
        signal.signal(signal.SIGTERM, _terminate)
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
