"""Frames that wait for those after them: gaps are filled in them, and who is recognised late is shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from utils.inference.associate import Track
from utils.inference.report import FaceCounts
from utils.io.frame import Frame


@dataclass
class Sighting:
    """Where a track is in one frame, before smoothing."""

    kps: np.ndarray  # (5, 2) float32
    person: int
    detected: bool = True


@dataclass
class Pending:
    """A frame that waits for the frames after it."""

    frame: Frame
    report: FaceCounts
    sightings: dict[int, Sighting] = field(default_factory=dict)  # by track number
    strangers: dict[int, np.ndarray] = field(default_factory=dict)  # key points of who may yet be known

    def shows(self, person: int) -> bool:
        """Whether somebody here is the person already."""
        return any(sighting.person == person for sighting in self.sightings.values())


def bridge(pending: Iterable[Pending], track: Track, last: int, last_kps: np.ndarray, shared: bool) -> None:
    """Fill the frames since `last`, where the detector missed the face, by straight lines.

    shared: whether one person may be on several faces of a frame.
    """
    assert track.person is not None
    for entry in pending:
        at = entry.frame.index
        if last < at < track.last_index and (shared or not entry.shows(track.person)):
            share = (at - last) / (track.last_index - last)
            kps = ((1.0 - share) * last_kps + share * track.kps).astype(np.float32)
            entry.sightings[track.number] = Sighting(kps, track.person, detected=False)


def recognise(pending: Iterable[Pending], track: Track, reason: str) -> None:
    """Show who a stranger turned out to be in the frames that wait, too."""
    assert track.person is not None
    for entry in pending:
        kps = entry.strangers.pop(track.number, None)
        if kps is not None and not entry.shows(track.person):
            entry.sightings[track.number] = Sighting(kps, track.person)
            entry.report.skipped -= Counter([reason])
