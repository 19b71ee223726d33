"""Carry subtitles that are text over to another file of the same kind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from utils.io.container import packets_of
from utils.io.extras import copy_description
from utils.io.video import Note, VideoInfo

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.stream import Stream

_HELD = {"matroska": {"subrip", "ass", "webvtt"}, "webm": {"webvtt"}, "mp4": {"mov_text"}, "mov": {"mov_text"}}
_LONGEST = 10.0  # seconds for which a text that began before the used part may be shown in it


class Subtitles:
    """The subtitles of a video that its result can hold as they are, muxed into that alongside the pictures."""

    def __init__(self, source: InputContainer, target: OutputContainer, info: VideoInfo, note: Note) -> None:
        self._source, self._target, self._info, self._note = source, target, info, note
        self._begin = info.origin + info.span.start  # time in the file where the used part begins, seconds
        held, there = _HELD.get(target.format.name, set()), source.streams.subtitles
        kept = [s for s in there if s.codec_context and s.codec_context.codec.canonical_name in held]
        if len(kept) < len(there):
            note("subtitles are left out" if not kept else f"{len(there) - len(kept)} subtitle track(s) left out")
        self._tracks: dict[int, Stream] = {stream.index: self._add(stream) for stream in kept}
        self._last = dict.fromkeys(self._tracks, 0)  # time stamps of what was written, ticks
        self._packets = self._demux()
        self._until: float | None = None

    def _add(self, stream: Stream) -> Stream:
        target = self._target.add_stream_from_template(stream)
        copy_description(stream, target)
        return target

    def _demux(self) -> Iterator[Packet[Any] | None]:
        """Packets of the used part, in the order of the file; None where the pictures have to go on first."""
        end = self._info.span.end
        self._seek()
        for packet in self._read():
            if packet.pts is None or packet.time_base is None:
                continue
            time = float(packet.pts * packet.time_base) - self._begin
            if end is not None and time >= end - self._info.span.start:
                return
            while self._until is not None and time > self._until:
                yield None
            if time >= 0 or time + float((packet.duration or 0) * packet.time_base) > 0:
                yield packet

    def _read(self) -> Iterator[Packet[Any]]:
        """Packets of all tracks that can be read."""
        import av

        try:
            for packet in packets_of(self._source, [self._source.streams[index] for index in self._tracks]):
                if packet is not None and packet.size:
                    yield packet
        except av.FFmpegError as error:
            self._note(f"the subtitles could not be read any further ({error.strerror}); what came before is used")

    def _seek(self) -> None:
        """Go to a little before the used part; where that fails, all is read."""
        import av

        place = self._info.span.start - _LONGEST
        if place > 0:
            with suppress(av.FFmpegError):
                self._source.seek(int((self._info.origin + place) * 1_000_000))

    def advance(self, until: float | None) -> None:
        """Write what is shown before `until`, seconds from the beginning of the used part; None: all the rest."""
        self._until = until
        for packet in self._packets:  # goes on where it stopped
            if packet is None:
                return
            self._write(packet)

    def _write(self, packet: Packet[Any]) -> None:
        """Write a packet for the time for which it is shown in the used part; no file takes times that run back."""
        span, tick, index = self._info.span, packet.time_base, packet.stream_index
        first = (packet.pts or 0) - round(self._begin / tick)
        last = first + (packet.duration or 0)
        if span.end is not None:
            last = min(last, round((span.end - span.start) / tick))
        packet.pts = packet.dts = self._last[index] = max(first, self._last[index])
        packet.duration = max(0, last - packet.pts)
        packet.stream = self._tracks[index]
        self._target.mux(packet)
