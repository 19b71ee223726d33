"""Parts of a video."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from utils.errors import OptionError

LONGEST_WAIT = 0.1  # seconds for which a part may begin without a picture
_Picture = TypeVar("_Picture")


@dataclass(frozen=True)
class Span:
    """The part of a video that is used, in seconds from its start."""

    start: float = 0.0
    end: float | None = None

    def __post_init__(self) -> None:
        if self.start < 0:
            raise OptionError(f"--start must not be negative, not {self.start:g}")
        if self.end is not None and self.end <= self.start:
            raise OptionError(f"--end ({self.end:g} s) must come after --start ({self.start:g} s)")

    def __str__(self) -> str:
        return f"after {self.start:g} s" if self.end is None else f"from {self.start:g} to {self.end:g} s"

    def holds(self, time: float) -> bool:
        """Whether the frame at `time` belongs to the part."""
        return not (self.begins_after(time) or self.ended(time))

    def begins_after(self, time: float) -> bool:
        """Whether the frame at `time` comes before the part."""
        return time < self.start - 1e-6

    def ended(self, time: float) -> bool:
        """Whether the frame at `time`, and all after it, come after the part."""
        return self.end is not None and time >= self.end - 1e-6

    def cut(
        self, pictures: Iterable[tuple[float, float, _Picture]], length: float | None = None
    ) -> Iterator[tuple[float, float, _Picture]]:
        """The pictures of the part out of all, each after the seconds from and to which it is shown.

        One that begins before the part is shown from its start on, unless the next follows soon.
        length: seconds in all, where they are known, since pictures that are reordered may bear others' durations.
        """
        held: tuple[float, _Picture] | None = None
        for time, end, picture in pictures:
            if self.begins_after(time):
                held = (max(end, held[0] if held else 0.0), picture)
                continue
            if held and (self.ended(time) or time > self.start + LONGEST_WAIT):
                yield self.start, time, held[1]
            held = None
            if self.ended(time):
                return
            yield time, end, picture
        if held and (end := held[0] if length is None else min(length, held[0])) > self.start:
            yield self.start, end, held[1]

    def shown(self, time: float, end: float) -> float:
        """Seconds of the part for which a frame is shown that would be so from `time` to `end`."""
        return (end if self.end is None else min(end, self.end)) - time
