"""Parts of a video."""

from __future__ import annotations

from dataclasses import dataclass

from utils.errors import OptionError


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
        return time >= self.start - 1e-6 and not self.ended(time)

    def ended(self, time: float) -> bool:
        """Whether the frame at `time`, and all after it, come after the part."""
        return self.end is not None and time >= self.end - 1e-6

    def shown(self, time: float, end: float) -> float:
        """Seconds of the part for which a frame is shown that would be so from `time` to `end`."""
        return (end if self.end is None else min(end, self.end)) - time
