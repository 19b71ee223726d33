"""Carry subtitles that are text over to another file of the same kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from utils.io.alongside import Alongside
from utils.io.extras import copy_description
from utils.io.video import Note, VideoInfo

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.stream import Stream

_HELD = {"matroska": {"subrip", "ass", "webvtt"}, "webm": {"webvtt"}, "mp4": {"mov_text"}, "mov": {"mov_text"}}
_ENDINGS = {"matroska": ".mkv", "mp4": ".mp4"}  # that are named where others hold less
_LONGEST = 10.0  # seconds for which a text that began before the used part may be shown in it


def _codec(stream: Stream) -> str:
    """Name of a track's form; empty where it is unknown."""
    return stream.codec_context.codec.canonical_name if stream.codec_context else ""


def _remedy(codecs: set[str]) -> str:
    """Which file would hold subtitles of all these forms, in words; empty where none does."""
    return next((f"; {ending} keeps them" for name, ending in _ENDINGS.items() if codecs <= _HELD[name]), "")


class Subtitles(Alongside):
    """The subtitles of a video that its result can hold as they are."""

    name = "subtitles"

    def __init__(self, source: InputContainer, target: OutputContainer, info: VideoInfo, note: Note) -> None:
        super().__init__(source, target, info, note)
        held, there = _HELD.get(target.format.name, set()), source.streams.subtitles
        kept = [stream for stream in there if _codec(stream) in held]
        if lost := {_codec(stream) for stream in there if stream not in kept}:
            which = f"{len(there) - len(kept)} subtitle track(s)" if kept else "subtitles are"
            note(f"{which} left out{_remedy(lost)}")
        self._tracks: dict[int, Stream] = {stream.index: self._add(stream) for stream in kept}
        self._last = dict.fromkeys(self._tracks, 0)  # time stamps of what was written, ticks

    def _add(self, stream: Stream) -> Stream:
        target = self._target.add_stream_from_template(stream)
        copy_description(stream, target)
        return target

    def _demux(self) -> Iterator[Packet[Any] | None]:
        streams = [self._source.streams[index] for index in self._tracks]
        for packet in self._read(streams, self._info.span.start - _LONGEST):
            time = self._time(packet)
            if packet.pts is None or time is None:
                continue
            if self._is_over(time):
                return
            while self._is_ahead(time):
                yield None
            if time >= 0 or time + float((packet.duration or 0) * packet.time_base) > 0:
                yield packet

    def _write(self, packet: Packet[Any]) -> None:
        """Write a packet for the time for which it is shown in the used part; no file takes times that run back."""
        tick, index = packet.time_base, packet.stream_index
        first = (packet.pts or 0) - round(self._begin / tick)
        last = first + (packet.duration or 0)
        if self._length is not None:
            last = min(last, round(self._length / tick))
        packet.pts = packet.dts = self._last[index] = max(first, self._last[index])
        packet.duration = max(0, last - packet.pts)
        packet.stream = self._tracks[index]
        self._target.mux(packet)
