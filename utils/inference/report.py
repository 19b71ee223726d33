"""What a run did: counts, reasons, notes and seconds, for the console and for --json."""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from utils.inference.types import FrameReport

log = logging.getLogger("ghost")


@contextmanager
def console(quiet: bool) -> Iterator[None]:
    """Show what the run says on standard error, or errors only."""
    handler = logging.StreamHandler(sys.stderr)
    log.addHandler(handler)
    log.setLevel(logging.ERROR if quiet else logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)


@dataclass
class RunReport:
    """Grows while a run goes on."""

    frames: int = 0
    found: int = 0
    swapped: int = 0
    frames_skipped: int = 0  # in which nobody was swapped
    skipped: Counter[str] = field(default_factory=Counter)  # reason -> number of faces or frames
    notes: list[str] = field(default_factory=list)  # what was adapted or needs attention, each once
    seconds: dict[str, float] = field(default_factory=dict)  # stage -> time spent in it

    def note(self, text: str) -> None:
        """Say something once, now on the console and later in the result."""
        if text not in self.notes:
            self.notes.append(text)
            log.warning(text)

    def count(self, frame: FrameReport) -> None:
        """Add one frame's numbers."""
        self.frames += 1
        self.frames_skipped += not frame.swapped
        self.found += frame.found
        self.swapped += frame.swapped
        self.skipped.update(frame.skipped)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside to a stage's seconds."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values for JSON."""
        return {
            "frames": self.frames,
            "frames_skipped": self.frames_skipped,
            "faces": {"found": self.found, "swapped": self.swapped, "skipped": dict(self.skipped)},
            "seconds": {name: round(value, 4) for name, value in self.seconds.items()},
            "notes": list(self.notes),
        }
