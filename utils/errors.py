"""The errors that users see: one family, one exit code each, documented in README.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class GhostError(Exception):
    """Something the user can act on; scripts print the message without a traceback and exit with `exit_code`."""

    exit_code = 1


class OptionError(GhostError):
    """An option has a value, or a combination of values, that cannot be used."""

    exit_code = 2


class InputError(GhostError):
    """A file that should be read is missing, empty, broken or of an unknown format."""

    exit_code = 3


class NoFaceInSourceError(GhostError):
    """No face was found in a source photo."""

    exit_code = 4


class NoFaceInReferenceError(GhostError):
    """No face was found in a reference photo."""

    exit_code = 5


class NoFaceInTargetError(GhostError):
    """No face was found in the target photo, or in any frame of the target video."""

    exit_code = 6


class NobodyMatchedError(GhostError):
    """The target has faces, but none belongs to a reference, or all are too small, turned away or hidden."""

    exit_code = 7


class OutputError(GhostError):
    """The result cannot be written: unknown format, no permission, disk full, file exists and must stay."""

    exit_code = 8


class WeightsError(GhostError):
    """A file of weights is missing, broken, unsafe, or made for another architecture."""

    exit_code = 9


class SkippedError(GhostError):
    """More frames, or photos of a folder, than --max-skipped allows could not be swapped."""

    exit_code = 10

    def __init__(self, message: str, result: Mapping[str, Any] | None = None) -> None:
        """result: what was done all the same, as --json prints it."""
        super().__init__(message)
        self.result = dict(result or {})


class ResourceError(GhostError):
    """The machine lacks memory, a device or a package that the run needs."""

    exit_code = 11


class DivergedError(GhostError):
    """A training run became NaN or infinite, or its networks collapsed."""

    exit_code = 12


INTERRUPTED = 130  # the shell's code for Ctrl-C
NOTHING_WRITTEN = "no output was written"
