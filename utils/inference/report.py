"""What a run did: counts, reasons, notes and seconds, for the console and for --json."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from utils.inference.types import Visibility

Item = TypeVar("Item")
Stage = Callable[[str], AbstractContextManager[None]]  # see RunReport.stage
log = logging.getLogger("ghost")
_END: Any = object()
NO_FACE = "no face found"  # the one reason that counts frames, or photos, and no faces
# What became of a folder's photos that were not swapped, by the names of --json, and in words.
_PHOTOS = {"earlier": "done by earlier runs", "unreadable": "could not be read", "without_face": "without a face",
           "nobody_to_swap": "without anybody to swap"}


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
class FaceCounts:
    """What happened to the faces of one frame, or of all of a run."""

    found: int = 0
    swapped: int = 0
    skipped: Counter[str] = field(default_factory=Counter)  # reason -> number of faces, or frames without one
    faded: Counter[str] = field(default_factory=Counter)  # reason -> number of swaps that show only in part
    swaps: Counter[int] = field(default_factory=Counter)  # person -> swaps that show
    unseen: Counter[tuple[int, str]] = field(default_factory=Counter)  # person and reason -> swaps that do not
    similarity: dict[int, float] = field(default_factory=dict)  # person -> largest cosine of a face to the reference

    def add(self, visibility: Visibility, person: int) -> None:
        """Count one swap, that of a face which gets the source `person`."""
        if visibility.is_hidden:
            self.skipped[visibility.reason] += 1
            self.unseen[person, visibility.reason] += 1
            return
        self.swapped += 1
        self.swaps[person] += 1
        if visibility.reason:
            self.faded[visibility.reason] += 1

    def __iadd__(self, other: FaceCounts) -> Self:
        self.found += other.found
        self.swapped += other.swapped
        self.skipped.update(other.skipped)
        self.faded.update(other.faded)
        self.swaps.update(other.swaps)
        self.unseen.update(other.unseen)
        for person, cosine in other.similarity.items():
            self.similarity[person] = max(cosine, self.similarity.get(person, cosine))
        return self


@dataclass
class RunReport(FaceCounts):
    """Grows while a run goes on."""

    frames: int = 0
    frames_skipped: int = 0  # in which nobody was swapped
    notes: list[str] = field(default_factory=list)  # what was adapted or needs attention, each once
    photo_notes: dict[str, list[str]] = field(default_factory=dict)  # photo of a folder -> the notes that are its
    seconds: dict[str, float] = field(default_factory=dict)  # stage -> time spent in it
    provenance: list[str] | None = None  # marks that all results carry; None: there is no result yet
    _photo: str = ""  # that is worked on
    _inside: threading.local = field(default_factory=threading.local, repr=False)  # seconds of stages inside this one
    _adding: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def note(self, text: str) -> None:
        """Say something once, or once of a folder's photo, now on the console and later in the result."""
        if self._photo:
            own = self.photo_notes.setdefault(self._photo, [])
            own += [] if text in own else [text]
            text = text if self._photo in text else f"{self._photo}: {text}"
        if text not in self.notes:
            self.notes.append(text)
            log.warning(text)

    def carry(self, marks: Sequence[str]) -> None:
        """Take note of what one more result says of itself."""
        self.provenance = [mark for mark in marks if self.provenance is None or mark in self.provenance]

    @contextmanager
    def of_photo(self, name: str) -> Iterator[None]:
        """Notes that come meanwhile are this photo's, one of a folder."""
        self._photo = name
        try:
            yield
        finally:
            self._photo = ""

    def count(self, frame: FaceCounts) -> None:
        """Add one frame's numbers."""
        self += frame
        self.frames += 1
        self.frames_skipped += not frame.swapped
        for reason in frame.faded:
            self.note(f"a face is {reason}: its swap fades towards the original")

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside to a stage's seconds, but for what stages inside of it take themselves."""
        start, outer = time.perf_counter(), getattr(self._inside, "seconds", 0.0)
        self._inside.seconds = 0.0
        try:
            yield
        finally:
            took = time.perf_counter() - start
            with self._adding:
                self.seconds[name] = self.seconds.get(name, 0.0) + took - self._inside.seconds
            self._inside.seconds = outer + took

    def timed(self, name: str, items: Iterable[Item]) -> Iterator[Item]:
        """The items, with the time that each takes to come counted as a stage's."""
        iterator = iter(items)
        while True:
            with self.stage(name):
                item = next(iterator, _END)
            if item is _END:
                return
            yield item

    def as_dict(self) -> dict[str, Any]:
        """The report as plain values for JSON."""
        return {
            "frames": self.frames,
            "frames_skipped": self.frames_skipped,
            "faces": {"found": self.found, "swapped": self.swapped, "skipped": dict(self.skipped),
                      "faded": dict(self.faded)},
            "seconds": {name: round(value, 4) for name, value in self.seconds.items()},
            "provenance": list(self.provenance or ()),
            "notes": list(self.notes),
        }


def reasons_of(counts: Mapping[str, int]) -> str:
    """Counted reasons in words, the most frequent first."""
    return ", ".join(f"{count} x {reason}" for reason, count in Counter(counts).most_common())


def in_words(result: Mapping[str, Any]) -> str:
    """How many photos of a folder, and how many of the faces that were found, were swapped. result: as for --json."""
    faces, photos = result["faces"], result.get("photo_counts")
    others = "".join(f", {photos[name]} {words}" for name, words in _PHOTOS.items() if photos[name]) if photos else ""
    first = f"{photos['swapped']} of {photos['found']} photos swapped{others}; " if photos else ""
    rest = why_not(faces["skipped"], "" if photos else "frames")
    return f"{first}{faces['swapped']} of {faces['found']} faces swapped{rest}"


def why_not(skipped: Mapping[str, int], unit: str = "frames") -> str:
    """Why faces were not swapped, as the end of a sentence that counts them; frames, or photos, without any come apart.

    unit: what NO_FACE counts; "" leaves these out.
    """
    faces = {reason: count for reason, count in skipped.items() if reason != NO_FACE}
    empty = skipped.get(NO_FACE, 0) if unit else 0
    without = f"; no face in {empty} {unit if empty > 1 else unit[:-1]}" if empty else ""
    return (f" ({reasons_of(faces)})" if faces else "") + without


def profile_table(seconds: Mapping[str, float], frames: int) -> str:
    """Seconds per stage as text, slowest first.

    Stages of a video work at the same time, so that their sum is more than `wall`, the time on the clock.
    """
    wall = seconds.get("wall", sum(seconds.values()))
    rows = [f"{'stage':<18}{'seconds':>9}{'ms/frame':>10}{'of wall':>9}"]
    for name, value in sorted(seconds.items(), key=lambda entry: -entry[1]):
        rows.append(f"{name:<18}{value:>9.2f}{1000 * value / max(1, frames):>10.2f}{value / max(wall, 1e-9):>9.0%}")
    return "\n".join(rows)
