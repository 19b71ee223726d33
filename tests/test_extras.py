"""What a file holds beside pictures and sound goes along, or is said to be left out."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from av.stream import Disposition

from tests.clips import make_clip
from tests.test_video_io import EXACT, copy
from utils.io.encode import video_writer
from utils.io.encoders import EncodeOptions
from utils.io.mark import COMMENT, Mark
from utils.io.span import Span
from utils.io.subtitles import _remedy
from utils.io.video import open_video

TAGS = {"title": "My holiday", "artist": "Ann", "date": "2021-05-06", "creation_time": "2021-05-06T07:08:09.000000Z"}
CHAPTERS = [("One", 0.0, 0.8), ("Two", 0.8, 1.5), ("Three", 1.5, 2.0)]
TEXTS = [(0.2, 0.7, "Hello"), (0.9, 1.8, "World")]
FONT = bytes(range(256)) * 3
HEADER = b"[Script Info]\nScriptType: v4.00+\n\n[Events]\nFormat: Layer, Start, End, Style, Text\n"
MILLISECOND = Fraction(1, 1000)


def subtitle_packets(kind: str) -> list[av.Packet]:
    """TEXTS as they stand in a file, srt or mov_text."""
    result = []
    for begin, end, text in TEXTS:
        packet = av.Packet((len(text).to_bytes(2, "big") if kind == "mov_text" else b"") + text.encode())
        packet.pts = packet.dts = round(1000 * begin)
        packet.duration, packet.time_base = round(1000 * (end - begin)), MILLISECOND
        result.append(packet)
    return result


def rich_clip(path: Path, subtitles: str, more: dict[str, str] | None = None) -> Path:
    """A clip of 2 s with tags, chapters, two named tracks of sound, subtitles and, in Matroska, a cover and a font."""
    plain = make_clip(path.with_stem("plain"), frames=50, tick=MILLISECOND, sound=("aac", "aac"))
    with av.open(str(plain)) as source, av.open(str(path), "w") as out:
        out.metadata.update(TAGS | (more or {}))
        out.set_chapters([{"id": i, "start": round(1000 * begin), "end": round(1000 * end), "time_base": MILLISECOND,
                           "metadata": {"title": name}} for i, (name, begin, end) in enumerate(CHAPTERS)])
        tracks: Any = [out.add_stream_from_template(stream, opaque=True) for stream in source.streams]
        for track, title, language, flags in zip(tracks, ("Scene", "Main", "Talk"), ("und", "eng", "fra"),
                                                 (1, 0, Disposition.default | Disposition.comment), strict=True):
            track.disposition = flags
            track.metadata.update(title=title, language=language)
        text: Any = out.add_stream(subtitles)
        text.codec_context.subtitle_header, text.codec_context.time_base = HEADER, MILLISECOND
        text.time_base, text.disposition = MILLISECOND, Disposition.forced
        text.metadata.update(title="Words", language="deu")
        if path.suffix == ".mkv":
            out.add_attachment("cover.png", "image/png", b"\x89PNG\r\n\x1a\n")
            out.add_attachment("font.ttf", "application/x-truetype-font", FONT)
        for packet in subtitle_packets(subtitles):
            packet.stream = text
            out.mux(packet)
        for packet in source.demux():
            if packet.size:
                packet.stream = tracks[packet.stream.index]
                out.mux(packet)
    return path


def chapters(path: Path) -> list[tuple[str, float, float]]:
    with av.open(str(path)) as container:
        found = [(chapter, float(chapter["time_base"] or 1)) for chapter in container.chapters()]
        return [(chapter["metadata"]["title"], chapter["start"] * tick, chapter["end"] * tick)
                for chapter, tick in found]


def texts(path: Path) -> list[tuple[float, float, str]]:
    """Subtitles, with the seconds from the first picture at which they come and go."""
    with av.open(str(path)) as container:
        begin = (container.streams.video[0].start_time or 0) * float(container.streams.video[0].time_base or 1)
        found = []
        for packet in container.demux(subtitles=0):
            words = bytes(packet)[2:] if container.format.name.startswith("mov") else bytes(packet)
            if words and packet.pts is not None:
                first = float(packet.pts * packet.time_base) - begin
                found.append((first, first + float((packet.duration or 0) * packet.time_base), words.decode()))
        return found


def tracks(path: Path) -> list[tuple[str, str | None, str | None, Disposition]]:
    with av.open(str(path)) as container:
        return [(s.type, s.metadata.get("title", s.metadata.get("name")), s.language, s.disposition)
                for s in container.streams if s.type in ("video", "audio", "subtitle")]


@pytest.mark.parametrize(("end", "subtitles"), [("mkv", "srt"), ("mp4", "mov_text")])
def test_tags_chapters_tracks_and_subtitles_go_along(tmp_path: Path, end: str, subtitles: str) -> None:
    clip, out = rich_clip(tmp_path / f"in.{end}", subtitles), tmp_path / f"out.{end}"
    count, notes = copy(clip, out)
    assert count == 50 and notes == (["left out: cover picture"] if end == "mkv" else [])
    with av.open(str(out)) as container:
        tags = {name.lower(): value for name, value in container.metadata.items()}
        fonts = [stream.data for stream in container.streams.attachments]
    assert {name: tags.get(name) for name in TAGS} == TAGS and "major_brand" not in (tags if end == "mkv" else {})
    assert fonts == ([FONT] if end == "mkv" else [])
    both = [track for track in tracks(clip) if track[1] is not None]
    assert [track for track in tracks(out) if track[1] is not None] == both and len(both) == 4
    assert both[2][1:] == ("Talk", "fra", Disposition.default | Disposition.comment)
    assert [name for name, *_ in chapters(out)] == [name for name, *_ in CHAPTERS]
    assert [place[1:] for place in chapters(out)] == [pytest.approx(place[1:], abs=0.002) for place in CHAPTERS]
    assert [(pytest.approx(first, abs=0.002), pytest.approx(last, abs=0.002), words)
            for first, last, words in texts(clip)] == texts(out)


@pytest.mark.parametrize(("end", "subtitles"), [("mkv", "srt"), ("mp4", "mov_text")])
def test_a_part_has_what_belongs_to_it(tmp_path: Path, end: str, subtitles: str) -> None:
    clip, out = rich_clip(tmp_path / f"in.{end}", subtitles), tmp_path / f"out.{end}"
    copy(clip, out, Span(0.5, 1.4))
    with av.open(str(clip)) as container:
        begin = max(0, container.start_time or 0) / 1_000_000
    assert chapters(out) == [("One", 0.0, pytest.approx(0.3 - begin, abs=0.002)),
                             ("Two", pytest.approx(0.3 - begin, abs=0.002), pytest.approx(0.9, abs=0.002))]
    shown = [(first, last) for first, last, _ in texts(out)]
    assert [words for *_, words in texts(out)] == ["Hello", "World"]
    assert shown == [pytest.approx((0, 0.2 - begin), abs=0.03), pytest.approx((0.4 - begin, 0.9), abs=0.03)]
    copy(clip, out, Span(0.0, 0.4))
    assert [words for *_, words in texts(out)] == ["Hello"] and [name for name, *_ in chapters(out)] == ["One"]
    copy(clip, out, Span(1.9))
    assert [name for name, *_ in chapters(out)] == ["Three"] and not texts(out)


def test_what_a_format_cannot_hold_is_said(tmp_path: Path) -> None:
    clip = rich_clip(tmp_path / "in.mkv", "srt", {"director": "Bob", **{f"x{i}": "y" for i in range(5)}})
    assert copy(clip, tmp_path / "out.mp4")[1] == [
        "tags left out: director, x0, x1, x2, x3 and 1 more", "subtitles are left out; .mkv keeps them",
        "left out: cover picture, attachments",
    ]
    assert len(chapters(tmp_path / "out.mp4")) == 3
    assert "subtitles are left out; .mp4 keeps them" in copy(rich_clip(tmp_path / "in.mp4", "mov_text"),
                                                             tmp_path / "out.mkv")[1]
    notes = copy(clip, tmp_path / "out.gif", options=EncodeOptions())[1]
    assert "this format holds no chapters; they are left out" in notes and any("tags left out" in n for n in notes)


def test_the_statement_takes_the_place_of_a_comment(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4", frames=3, comment="seen in May")
    for source, level, found, said in (
        (clip, "off", "seen in May", []),
        (clip, "metadata", COMMENT, ["tags left out: comment"]),
        (tmp_path / "out.mp4", "metadata", COMMENT, []),
    ):
        notes: list[str] = []
        with (
            open_video(source) as video,
            video_writer(tmp_path / "new.mp4", video.info, EXACT, notes.append, Mark(level)) as writer,
        ):
            for frame in video.frames:
                writer.write(frame)
        (tmp_path / "new.mp4").replace(tmp_path / "out.mp4")
        with av.open(str(tmp_path / "out.mp4")) as container:
            assert (container.metadata["comment"], notes) == (found, said)


def test_a_part_that_is_kept_has_no_chapters_behind_its_end(tmp_path: Path) -> None:
    clip = rich_clip(tmp_path / "in.mp4", "mov_text")
    with pytest.raises(KeyboardInterrupt), open_video(clip) as video, \
            video_writer(tmp_path / "out.mp4", video.info, EXACT, print) as writer:
        for frame in video.frames:
            writer.write(frame)
            if frame.index == 24:
                writer.keep(tmp_path / "part.mp4")
                raise KeyboardInterrupt
    assert chapters(tmp_path / "part.mp4")[1:] == [("Two", pytest.approx(0.8, abs=0.002), pytest.approx(1.0, abs=0.03))]


def test_a_note_names_a_container_only_if_it_keeps_all_subtitles() -> None:
    assert [_remedy(codecs) for codecs in ({"ass", "subrip"}, {"subrip", "dvd_subtitle"}, {""})] == [
        "; .mkv keeps them", "", ""]
