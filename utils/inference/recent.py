"""What is known of people who pass by, without growing with the length of a video."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

Known = TypeVar("Known")
_MOST = 1_000  # tracks, far more than are in sight at once


class Recent(OrderedDict[int, Known]):
    """Something by the number of a track; `shrink` leaves those 1,000 that were used last."""

    def __getitem__(self, track: int) -> Known:
        self.move_to_end(track)
        return super().__getitem__(track)

    def __setitem__(self, track: int, known: Known) -> None:
        super().__setitem__(track, known)
        self.move_to_end(track)

    def shrink(self) -> None:
        """Forget those that were unused for longest; for between two batches, since a photo may show any number."""
        while len(self) > _MOST:
            self.popitem(last=False)
