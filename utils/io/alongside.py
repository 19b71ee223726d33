"""Carry tracks of one file over to another alongside the pictures, packet by packet: what sound and subtitles share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from utils.io.container import check_disk, packets_of
from utils.io.video import Note, VideoInfo

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.stream import Stream


class Alongside(ABC):
    """Tracks of a video that are muxed into its result as far as the pictures have come."""

    name: str  # of what is carried, in words

    def __init__(self, source: InputContainer, target: OutputContainer, info: VideoInfo, note: Note) -> None:
        self._source, self._target, self._info, self._note = source, target, info, note
        self._begin = info.origin + info.span.start  # time in the file where the used part begins, seconds
        self._length = None if info.span.end is None else info.span.end - info.span.start  # of that part, seconds
        self._packets = self._demux()
        self._until: float | None = None

    def advance(self, until: float | None) -> None:
        """Write what comes before `until`, seconds from the beginning of the used part; None: all the rest.

        Raises InputError where the file's disk is gone.
        """
        self._until = until
        for packet in self._packets:  # goes on where it stopped
            if packet is None:
                return
            self._write(packet)

    @abstractmethod
    def _demux(self) -> Iterator[Packet[Any] | None]:
        """Packets of the used part, in the order of the file; None where the pictures have to go on first."""

    @abstractmethod
    def _write(self, packet: Packet[Any]) -> None:
        """Put a packet into the result."""

    def _read(self, streams: Sequence[Stream], *places: float) -> Iterator[Packet[Any]]:
        """Packets that can be read, from the first place (seconds from the pictures' beginning) that can be found."""
        import av

        self._seek(places)
        try:
            for packet in packets_of(self._source, streams):
                if packet is not None and packet.size:
                    yield packet
        except av.FFmpegError as error:
            check_disk(error, self._info.path)
            self._note(f"the {self.name} could not be read any further ({error.strerror}); what came before is used")

    def _seek(self, places: Sequence[float]) -> None:
        """Go to the first place that can be found; where none can, all is read."""
        import av

        for seconds in places:
            if seconds > 0:
                with suppress(av.FFmpegError):
                    return self._source.seek(int((self._info.origin + seconds) * 1_000_000))

    def _time(self, packet: Packet[Any]) -> float | None:
        """Seconds from the beginning of the used part."""
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is None or packet.time_base is None:
            return None
        return float(stamp * packet.time_base) - self._begin

    def _is_ahead(self, time: float) -> bool:
        """Whether the pictures have not come so far yet."""
        return self._until is not None and time > self._until

    def _is_over(self, time: float) -> bool:
        """Whether the used part has ended by then."""
        return self._length is not None and time >= self._length
