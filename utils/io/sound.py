"""Carry the sound of one file over to another, packet by packet."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from utils.io.alongside import Alongside
from utils.io.extras import copy_description
from utils.io.video import MILLISECOND, RUNS_BACK, Note, VideoInfo

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.resampler import AudioResampler
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet

_HELD = {  # codecs that a container holds and its usual players play
    "mp4": {"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"},
    "mov": {"aac", "mp3", "ac3", "eac3", "alac", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le"},
    "webm": {"opus", "vorbis"},
}
_HIDING = {"mp4", "mov"}  # containers that hold sound which is not to be heard (edit lists)
_INSTEAD = {"mp4": "aac", "mov": "aac", "matroska": "aac", "webm": "libopus"}
_NAMES = {"aac": "AAC", "libopus": "Opus"}
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}
_GAP = Fraction(1, 10)  # seconds
_AHEAD = 1.0  # seconds by which sound may lie before the pictures in a file that are seen meanwhile
_SAME_JOIN = 10.0  # seconds by which the sound of a recording may end before or after its pictures
_OPUS_RATE = 48_000
_AAC_RATES = {96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350}


@dataclass
class _Track:
    source: AudioStream
    target: AudioStream
    copied: bool
    shift: int = 0  # ticks to subtract, so that the used part begins at 0
    end: float | None = None  # seconds where the last packet ends
    added: float = 0.0  # seconds added to the time stamps since they ran back
    written: int | None = None  # time stamp of the last packet that was copied
    primer: Packet[Any] | None = None  # the last one that is not to be heard; decoders need it before the first one
    heard: Fraction | None = None  # seconds given to the encoder, counted from the beginning of the used part
    fitter: AudioResampler | None = None  # to the encoder's form
    form: tuple[str, str, int] | None = None  # format, layout and rate that it takes


class Sound(Alongside):
    """All audio tracks of a video."""

    name = "sound"

    def __init__(self, source: InputContainer, target: OutputContainer, info: VideoInfo, note: Note) -> None:
        super().__init__(source, target, info, note)
        self._skipped = self._held = 0
        streams = [stream for stream in source.streams.audio if stream.codec_context and stream.rate]
        if empty := len(source.streams.audio) - len(streams):
            note(f"{empty} sound track(s) left out, of unknown form or with nothing in it")
        self._tracks = {stream.index: self._add(stream) for stream in streams}

    def _add(self, stream: AudioStream) -> _Track:
        container, codec = self._target.format.name, stream.codec_context.codec.canonical_name
        if codec in _HELD.get(container, self._target.supported_codecs):
            track = _Track(stream, self._target.add_stream_from_template(stream), copied=True)
        else:
            instead = _INSTEAD[container]
            self._note(f"{codec} sound cannot go into this file; it becomes {_NAMES[instead]}")
            track = _Track(stream, self._encoder(stream, instead), copied=False)
        copy_description(stream, track.target)
        if stream.time_base:
            track.shift = round(self._begin / stream.time_base)
        return track

    def _encoder(self, stream: AudioStream, codec: str) -> AudioStream:
        rate = stream.rate if codec == "aac" and stream.rate in _AAC_RATES else _OPUS_RATE
        target: AudioStream = self._target.add_stream(codec, rate=rate)  # type: ignore[assignment]
        channels = stream.codec_context.layout.nb_channels
        target.codec_context.layout = _LAYOUTS.get(channels, "stereo")
        return target

    def _demux(self) -> Iterator[Packet[Any] | None]:
        """Ends where the file does, or the part for every track."""
        tracks, place = self._tracks, self._info.read_from
        going = set(tracks)
        # Some formats refuse places before the first key frame.
        for packet in self._read([track.source for track in tracks.values()], place - _AHEAD, place):
            yield from self._run_on(packet, tracks[packet.stream_index])
            time = self._time(packet)
            if time is not None and self._is_over(time):
                going.discard(packet.stream_index)
            elif time is None or time >= 0.0 or not self._info.span.start:
                while time is not None and self._is_ahead(time):
                    yield None
                yield packet
            if not going:
                return

    def _run_on(self, packet: Packet[Any], track: _Track) -> Iterator[None]:
        """Move a packet to the pictures of its recording, once the time stamps have run back."""
        time, tick = self._time(packet), packet.time_base
        if time is None or tick is None:
            return
        if track.end is not None and time + track.added < track.end - RUNS_BACK:
            yield from self._join(track, track.end - time)
        ticks = round(track.added / tick)
        packet.pts = None if packet.pts is None else packet.pts + ticks
        packet.dts = None if packet.dts is None else packet.dts + ticks
        track.end = time + track.added + float((packet.duration or 0) * tick)

    def _join(self, track: _Track, behind: float) -> Iterator[None]:
        """Find what the pictures add from here on; `behind` would put the sound right behind what came before."""
        enough = (track.end or 0.0) + _SAME_JOIN
        while True:
            for added in self._info.joins:
                if added > track.added and abs(added - behind) < _SAME_JOIN:
                    track.added = added
                    return
            if self._until is None or self._until > enough:  # only the sound runs back
                track.added = behind
                return
            yield None

    def _write(self, packet: Packet[Any]) -> None:
        track = self._tracks[packet.stream_index]
        if not track.copied:
            self._encode(packet, track)
        elif packet.is_discard and self._target.format.name not in _HIDING:
            track.primer = packet if track.written is None else None
        else:
            for copied in filter(None, (track.primer, packet)):
                self._copy(copied, track)
            track.primer = None

    def _copy(self, packet: Packet[Any], track: _Track) -> None:
        packet.pts = None if packet.pts is None else packet.pts - track.shift
        packet.dts = None if packet.dts is None else packet.dts - track.shift
        self._hold(packet, track)
        packet.stream = track.target
        self._target.mux(packet)

    def _hold(self, packet: Packet[Any], track: _Track) -> None:
        """Put a packet that is not later than the one before after it; no file takes others."""
        if packet.dts is None or packet.time_base is None:
            return
        if track.written is not None and packet.dts <= track.written:
            packet.dts = track.written + math.ceil(MILLISECOND / packet.time_base)
            packet.pts = None if packet.pts is None else max(packet.pts, packet.dts)
            self._held += 1
        track.written = packet.dts

    def _encode(self, packet: Packet[Any] | None, track: _Track) -> None:
        """Encode what a packet holds anew; None: what the decoder still has."""
        import av

        try:
            frames = track.source.decode(packet)
        except av.error.MemoryError as error:
            raise MemoryError(f"FFmpeg's decoder: {error.strerror}") from error
        except av.FFmpegError:
            self._skipped += 1
            return
        for frame in frames:
            self._set_clock(frame, track)
            self._encode_fitting(frame, track)

    def _encode_fitting(self, frame: AudioFrame | None, track: _Track) -> None:
        """Encode a frame in the encoder's form, since some sound changes its own; None: what is left of others."""
        from av import AudioResampler

        form = None if frame is None else (frame.format.name, frame.layout.name, frame.sample_rate)
        fitting = []
        if track.fitter is not None and form != track.form:
            fitting, track.fitter = track.fitter.resample(None), None
        if frame is not None:
            if track.fitter is None:
                wanted = track.target.codec_context
                track.fitter, track.form = AudioResampler(wanted.format, wanted.layout, wanted.sample_rate), form
            fitting += track.fitter.resample(frame)
        for part in fitting:
            self._target.mux(track.target.encode(part))

    def _set_clock(self, frame: AudioFrame, track: _Track) -> None:
        """Stamp decoded sound by counting its samples; only real gaps in the file move the count."""
        rate = frame.sample_rate
        heard = track.heard or Fraction(0)
        if frame.pts is not None and frame.time_base is not None:
            stamp = frame.time_base * frame.pts - Fraction(self._begin)
            if track.heard is None or stamp > heard + _GAP:
                heard = Fraction(round(stamp * rate), rate)
        frame.pts, frame.time_base = round(heard * rate), Fraction(1, rate)
        track.heard = heard + Fraction(frame.samples, rate)

    def finish(self) -> None:
        """End all encoders."""
        for track in self._tracks.values():
            if not track.copied:
                self._encode(None, track)
                self._encode_fitting(None, track)
                self._target.mux(track.target.encode(None))
        if self._skipped:
            self._note(f"{self._skipped} broken piece(s) of sound left out")
        if self._held:
            self._note(f"{self._held} piece(s) of sound overlap; each follows right after the one before")
