"""What files say of themselves, and reading on where they are broken or grow."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from tests.clips import make_clip, pictures, times
from tests.test_deep_colour import rewritten
from tests.test_video_io import copy, seconds_of_sound
from utils.errors import InputError, OptionError
from utils.io import video
from utils.io.container import open_container, packets_of
from utils.io.span import Span
from utils.io.video import open_video

_FLV_HEADER = 13  # bytes
_TICK, _LATE = Fraction(1, 1000), [10_000 + 40 * i for i in range(100)]  # a clock that begins at 10 s


def test_sound_that_begins_after_the_header_is_no_end(tmp_path: Path) -> None:
    silent = make_clip(tmp_path / "silent.flv", frames=2500, sound=()).read_bytes()
    loud = make_clip(tmp_path / "loud.flv", frames=50).read_bytes()
    (tmp_path / "in.flv").write_bytes(silent + loud[_FLV_HEADER:])
    with av.open(str(tmp_path / "in.flv")) as container, pytest.raises(IndexError):
        list(container.demux(video=0))
    with open_video(tmp_path / "in.flv") as opened:
        assert len(list(opened.frames)) == 2550


@pytest.mark.parametrize("name", ["in.mkv", "in.ts", "in.mp4"])
def test_files_whose_clock_does_not_begin_at_0(tmp_path: Path, name: str) -> None:
    clip = make_clip(tmp_path / name, frames=100, tick=_TICK, times=_LATE, sound=())
    assert times(clip)[0] > 9
    with open_video(clip) as opened:
        assert opened.info.frames == pytest.approx(100, abs=1)
    with open_video(clip, Span(1)) as opened:
        assert opened.info.frames == pytest.approx(75, abs=1) and len(list(opened.frames)) == 75
    with pytest.raises(OptionError, match="is after the end"):
        copy(clip, tmp_path / "none.mp4", Span(5))


@pytest.mark.parametrize("before", [1.8, 5])
def test_mpegs_clock_may_start_anew(tmp_path: Path, before: float) -> None:
    """before: seconds of the recording, or more than it has, until then."""
    later = 2**33 / 90000 - before
    clip = make_clip(tmp_path / "plain.ts", frames=100)
    with (
        av.open(str(clip)) as source,
        av.open(str(tmp_path / "in.ts"), "w", options={"avoid_negative_ts": "disabled"}) as out,
    ):
        tracks = [out.add_stream_from_template(stream) for stream in source.streams]
        for packet in source.demux():
            if packet.pts is not None and packet.dts is not None:
                ticks = round(later / packet.time_base)
                packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
                packet.stream = tracks[packet.stream_index]
                out.mux(packet)
    assert -before <= times(tmp_path / "in.ts")[0] < 0
    assert copy(tmp_path / "in.ts", tmp_path / "out.mp4") == (100, [])
    assert seconds_of_sound(tmp_path / "out.mp4") == pytest.approx(4, abs=0.06)
    assert copy(tmp_path / "in.ts", tmp_path / "part.mp4", Span(1, 3)) == (50, [])


def test_pictures_that_end_early_are_said_of_any_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = make_clip(tmp_path / "in.ts", 50, tick=_TICK, times=_LATE[:50], sound=())
    decoded = video._File._decoded
    monkeypatch.setattr(video._File, "_decoded", lambda file: (f for i, f in enumerate(decoded(file)) if i < 20))
    count, notes = copy(clip, tmp_path / "out.mp4")
    assert count == 20 and any("end early, after 0.80 of 2.00" in note for note in notes)


@pytest.mark.parametrize("name", ["in.webm", "in.mkv"])
def test_the_ticks_of_a_clock_are_no_frame_rate(tmp_path: Path, name: str) -> None:
    uneven = [0, 50, 65, 140, 150, 230, 275, 281, 370, 400]
    clip = make_clip(tmp_path / "timed.webm", 10, codec="libvpx", tick=_TICK, times=uneven, sound=())
    with av.open(str(clip)) as source, av.open(str(tmp_path / name), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            packet.stream, packet.duration = stream, 0  # as browsers record
            if packet.size:
                out.mux(packet)
    with av.open(str(tmp_path / name)) as container:
        assert container.streams.video[0].average_rate is None and container.streams.video[0].guessed_rate == 1000
    with open_video(tmp_path / name) as opened:
        assert opened.info.rate == 25 and opened.info.frames == 10
    assert copy(tmp_path / name, tmp_path / "out.mp4") == (10, [])
    assert times(tmp_path / "out.mp4") == pytest.approx([tick / 1000 for tick in uneven], abs=0.001)


@pytest.mark.parametrize("name", ["in.mp4", "in.mkv", "in.ts", "in.avi"])
def test_parts_between_two_frames_show_the_first_of_them(tmp_path: Path, name: str) -> None:
    codec = "mpeg4" if name == "in.avi" else "libx264"
    clip = make_clip(tmp_path / name, 24, codec=codec, tick=Fraction(1, 12), rate=12, sound=())
    for span in (Span(1.99), Span(1.01, 1.02)):
        with open_video(clip, span) as opened:
            (frame,) = opened.frames
        before = pictures(clip)[int(12 * span.start)]
        assert frame.time == span.start and frame.image.mean() == pytest.approx(before.mean(), abs=2)
    with pytest.raises(OptionError, match=r"(no frame after 2\.05 s in|--start 2\.05 s is after)"):
        copy(clip, tmp_path / "none.mp4", Span(2.05))


def of_unknown_codec(clip: Path) -> Path:
    """A MOV file whose first track says that it is coded in a way that FFmpeg does not know, and not as H.264."""
    data = clip.read_bytes()
    assert b"avc1" in data
    clip.write_bytes(data.replace(b"avc1", b"brst", 1))
    return clip


def test_a_codec_that_is_not_known_is_said(tmp_path: Path) -> None:
    clip = of_unknown_codec(make_clip(tmp_path / "in.mov", frames=3))
    with pytest.raises(InputError, match=r"in\.mov is coded in a way that .* does not decode; save it as H\.264"):
        copy(clip, tmp_path / "out.mp4")


def test_the_track_that_can_be_decoded_is_used(tmp_path: Path) -> None:
    clip = tmp_path / "in.mov"
    with av.open(str(make_clip(tmp_path / "plain.mp4", 3, sound=()))) as source, av.open(str(clip), "w") as out:
        tracks = [out.add_stream_from_template(source.streams.video[0]) for _ in range(2)]
        for track, title in zip(tracks, ("unknown", "known"), strict=True):
            track.metadata["title"] = title
        for packet in source.demux(video=0):
            for track in tracks if packet.size else ():
                copied = av.Packet(bytes(packet))
                copied.pts, copied.dts, copied.time_base = packet.pts, packet.dts, packet.time_base
                copied.is_keyframe, copied.stream = packet.is_keyframe, track
                out.mux(copied)
    assert copy(of_unknown_codec(clip), tmp_path / "out.mkv") == (3, ["left out: further video tracks"])
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert container.streams.video[0].metadata["title"] == "known"


class _Broken:
    """A container of which some pieces cannot be read."""

    def __init__(self, source: Any, broken: set[int]) -> None:
        self._source, self._broken, self._count = source, broken, 0

    def demux(self, *streams: Any) -> Iterator[Any]:
        for packet in self._source.demux(*streams):
            self._count += 1
            if self._count in self._broken:
                raise av.InvalidDataError(1094995529, "Invalid data")
            yield packet


def test_a_broken_piece_is_no_end(tmp_path: Path) -> None:
    with open_container(make_clip(tmp_path / "in.mp4", frames=30, sound=())) as source:
        read = list(packets_of(_Broken(source, {10, 20, 21}), source.streams.video))  # type: ignore[arg-type]
    assert [i for i, packet in enumerate(read, 1) if packet is None] == [10, 20, 21]
    assert len(read) == 31 and read[-1] is not None and not read[-1].size


def test_too_many_broken_pieces_are_an_end(tmp_path: Path) -> None:
    with open_container(make_clip(tmp_path / "in.mp4", frames=100, sound=())) as source:
        packets = packets_of(_Broken(source, set(range(10, 200))), source.streams.video)  # type: ignore[arg-type]
        with pytest.raises(av.InvalidDataError):
            list(packets)


@pytest.mark.parametrize(
    ("name", "encoder", "said"),
    [("a.mp4", "libx264", True), ("a.mp4", "libsvtav1", True), ("a.mov", "prores_ks", True), ("a.mkv", "libx264", True),
     ("a.mkv", "libx265", True), ("a.mkv", "libsvtav1", False), ("a.mkv", "libvpx-vp9", False),
     ("a.mkv", "prores_ks", False), ("a.mkv", "ffv1", False), ("a.webm", "libvpx-vp9", False),
     ("a.webm", "libsvtav1", False)],
)
def test_pixels_that_are_not_square_stay_so_or_the_remedy_is_said(
    tmp_path: Path, name: str, encoder: str, said: bool
) -> None:
    shape: Any = {"sample_aspect_ratio": Fraction(16, 15)}
    clip = make_clip(tmp_path / "in.mp4", frames=3, size=(80, 64), tags=shape, sound=())
    notes = [note for note in rewritten(clip, tmp_path / name, encoder) if "aspect" in note]
    with av.open(str(tmp_path / name)) as container:
        assert (container.streams.video[0].sample_aspect_ratio == Fraction(16, 15)) == said
    assert len(notes) == (not said)
    assert said or f'ffmpeg -i "{name}" -map 0 -aspect 4:3 -c copy "new {name}"' in notes[0]


def test_nothing_is_said_of_square_pixels(tmp_path: Path) -> None:
    assert rewritten(make_clip(tmp_path / "in.mp4", frames=3, sound=()), tmp_path / "out.mkv", "ffv1") == []
