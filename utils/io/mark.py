"""What results say of themselves, for programs that ask: that faces were replaced by a generative network.

The statement stands in a photo's XMP or a video's comment and, where the format holds one, in a signed C2PA manifest.
It says nothing of who is shown and does not survive every tool: it serves those who want to tell, and stops nobody who
does not.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from utils.io import xmp
from utils.io.xmp import SOURCE_TYPE
from utils.version import TOOL

LEVELS = ("full", "metadata", "off")
COMMENT = f"Faces were replaced by generative AI ({TOOL}). Digital source type: {SOURCE_TYPE}"
_COMMENT = re.compile(r"generative AI \((?P<tool>[^)]+)\)\. Digital source type: (?P<source_type>\S+)")


def said_in(comment: str) -> dict[str, str]:
    """What a comment says of its file's making, as far as it is one of ours: `tool` and `source_type`."""
    found = _COMMENT.search(comment)
    return found.groupdict() if found else {}


class Mark:
    """What one result says; writers ask for it and tell what became of it."""

    def __init__(
        self, level: str, target: Path | str | None = None, note: Callable[[str], None] = lambda text: None
    ) -> None:
        """level: of LEVELS. target: the file that was changed. note: told what the result cannot say."""
        self._level, self._target, self._note = level, None if target is None else Path(target), note
        self.carried: list[str] = []  # of "xmp", "comment" and "c2pa"

    def packet(self, own: bytes | None) -> bytes | None:
        """XMP for a photo whose own is given, as utils.io.xmp keeps it."""
        if self._level == "off":
            return own
        self.carried.append("xmp")
        return xmp.add_statement(own)

    def comment(self) -> str:
        """A video's comment, "" for none."""
        if self._level == "off":
            return ""
        self.carried.append("comment")
        return COMMENT

    def seal(self, file: Path) -> None:
        """Sign a finished file; the last step before it gets its name."""
        if self._level == "full":
            from utils.io import manifest  # what it imports is for results alone

            if manifest.sign(file, self._target, self._note):
                self.carried.append("c2pa")
        if self._level != "off" and not self.carried:
            self._note(f"{file.suffix} holds no statement that faces were replaced by AI; the result carries none")


UNMARKED = Mark("off")
