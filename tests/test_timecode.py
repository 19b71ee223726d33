"""Time codes: counted as editing programs do, and those of a part go into its file."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.clips import make_clip
from utils.io.encode import video_writer
from utils.io.encoders import EncodeOptions
from utils.io.span import Span
from utils.io.timecode import advanced
from utils.io.video import open_video

NTSC = Fraction(30000, 1001)


@pytest.mark.parametrize(
    ("before", "frames", "rate", "after"),
    [
        ("01:00:00:00", 24 * 61 + 5, Fraction(24000, 1001), "01:01:01:05"),
        ("00:00:59;29", 1, NTSC, "00:01:00;02"),
        ("00:09:59;29", 1, NTSC, "00:10:00;00"),
        ("00:10:59;28", 2, NTSC, "00:11:00;02"),
        ("00:00:00;00", 107892, NTSC, "01:00:00;00"),  # frames of an hour
        ("00:00:59;59", 1, 2 * NTSC, "00:01:00;04"),
        ("00:00:59;24", 1, Fraction(25), "00:01:00:00"),  # 25 frames need no left-out numbers
        ("00:00:00:12", 1, Fraction(25, 2), "00:00:01:00"),
        ("23:59:59:24", 1, Fraction(25), "00:00:00:00"),
        ("10:20:30:12", 0, Fraction(25), "10:20:30:12"),
        ("noon", 1, Fraction(25), None),
    ],
)
def test_known_ones(before: str, frames: int, rate: Fraction, after: str | None) -> None:
    assert advanced(before, frames, rate) == after


@given(st.integers(0, 3_000_000), st.integers(0, 3_000_000), st.sampled_from([":", ";"]))
def test_two_steps_are_one(first: int, second: int, mark: str) -> None:
    middle = advanced(f"00:00:00{mark}00", first, NTSC)
    assert middle is not None
    assert advanced(middle, second, NTSC) == advanced(f"00:00:00{mark}00", first + second, NTSC)


def timecode_of(path: Path) -> str | None:
    with av.open(str(path)) as container:
        tags = {name.lower(): value for name, value in container.streams.video[0].metadata.items()}
        return tags.get("timecode")


@pytest.mark.parametrize(("name", "encoder"), [("out.mov", "prores_ks"), ("out.mp4", "auto"), ("out.mkv", "ffv1")])
@pytest.mark.parametrize(("start", "expected"), [(0.0, "01:00:00:10"), (0.6, "01:00:01:00")])
def test_results_have_that_of_their_first_frame(
    tmp_path: Path, name: str, encoder: str, start: float, expected: str
) -> None:
    clip = make_clip(tmp_path / "in.mov", frames=30, timecode="01:00:00:10", sound=())
    with (
        open_video(clip, Span(start)) as video,
        video_writer(tmp_path / name, video.info, EncodeOptions(encoder), print) as writer,
    ):
        for frame in video.frames:
            writer.write(frame)
    assert timecode_of(tmp_path / name) == expected


def test_the_code_is_that_of_the_frame_which_is_taken(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mkv", frames=30, rate=10, tick=Fraction(1, 1000), timecode="01:00:00:03", sound=())
    for start, expected in ((0.601, "01:00:01:00"), (0.6, "01:00:00:09")):
        with open_video(clip, Span(start)) as video:
            assert video.info.timecode == expected


def test_rates_that_a_format_cannot_count(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mkv", frames=4, rate=300, tick=Fraction(1, 300), timecode="01:00:00:03", sound=())
    for name, said in (("out.mp4", ["this format holds no time code at 300 frames a second; it is left out"]),
                       ("out.mkv", [])):
        notes: list[str] = []
        with (
            open_video(clip) as video,
            video_writer(tmp_path / name, video.info, EncodeOptions(), notes.append) as writer,
        ):
            for frame in video.frames:
                writer.write(frame)
        assert notes == said


def test_no_time_code_is_invented(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mov", frames=3, sound=())
    with open_video(clip) as video, video_writer(tmp_path / "out.mov", video.info, EncodeOptions(), print) as writer:
        for frame in video.frames:
            writer.write(frame)
    assert timecode_of(tmp_path / "out.mov") is None
