"""Where a video goes on whose work was stopped: nothing is left out, and nothing comes twice."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest

from tests.clips import make_clip
from utils.errors import GhostError, InputError, ResourceError
from utils.inference.types import SwappedFrame
from utils.inference.video import _Partial
from utils.io.encode import video_writer
from utils.io.encoders import EncodeOptions
from utils.io.frame import Frame
from utils.io.span import Span
from utils.io.video import open_video

BURST = [0, 1_000, 4_000, 4_500, 4_517, 4_533, 4_550, 6_000]  # milliseconds


class Writer:
    """Writes nothing."""

    def keep(self, path: Path, following: float | None) -> None:
        pass


def named_start(path: Path, times: list[float], written: int, decoded: int) -> float:
    """What is said after some of the frames were decoded, and some of these written."""
    partial = _Partial(Writer(), path)  # type: ignore[arg-type]
    frames = partial.expecting(Frame(None, i, time) for i, time in enumerate(times))  # type: ignore[arg-type]
    for _ in range(decoded):
        next(frames)
    for i, time in enumerate(times[:written]):
        partial.reached(SwappedFrame(None, i, time))  # type: ignore[arg-type]
    return float(partial._keep().split("--start ")[1].split()[0])


@pytest.mark.parametrize("ahead", [0, 1, 3])
@pytest.mark.parametrize("rate", [Fraction(3), Fraction(25), Fraction(24_000, 1001), Fraction(30_000, 1001),
                                  Fraction(60_000, 1001), Fraction(120), Fraction(240), Fraction(960)])
def test_the_next_frame_is_the_first_at_every_rate(tmp_path: Path, rate: Fraction, ahead: int) -> None:
    for origin in (0.0, 3599.9, 0.0334995):  # float32 would not do, and whole milliseconds are rare
        times = [origin + float(i / rate) for i in range(60)]
        for written in range(1, len(times) - ahead, 7):
            start = named_start(tmp_path / "o.mp4", times, written, written + ahead)
            assert not Span(start).holds(times[written - 1]) and Span(start).holds(times[written])
            assert times[written] - start < 0.001 or not ahead


@pytest.mark.parametrize("ahead", [0, 1])
def test_a_burst_of_frames_is_not_left_out(tmp_path: Path, ahead: int) -> None:
    clip = make_clip(tmp_path / "clip.mp4", len(BURST), times=BURST, tick=Fraction(1, 1000), sound=())
    with open_video(clip) as video:
        times = [frame.time for frame in video.frames]
    for written in range(1, len(times) - ahead):
        start = named_start(tmp_path / "o.mp4", times, written, written + ahead)
        with open_video(clip, Span(start)) as rest:
            found = [frame.time for frame in rest.frames]
        held = [] if ahead else [start]  # the picture that is shown then, where the next one was not known
        assert found in (times[written:], held + times[written:])


@pytest.mark.parametrize("error", [InputError("broken"), ResourceError("broken")])
def test_what_is_done_is_kept_when_frames_fail(tmp_path: Path, error: GhostError) -> None:
    partial = _Partial(Writer(), tmp_path / "o.mp4")  # type: ignore[arg-type]
    with (
        pytest.raises(type(error), match=r"broken; what is done is in .*o\.partial1\.mp4; --start 0\.040 goes on"),
        partial.kept_when_frames_fail(),
    ):
        for frame in partial.expecting(Frame(None, i, i / 25) for i in range(2)):  # type: ignore[arg-type]
            if frame.index:
                raise error
            partial.reached(SwappedFrame(None, 0, 0.0))  # type: ignore[arg-type]


@pytest.mark.parametrize("written", [1, 2, 7])  # within a burst that is reordered, MP4 counts more
def test_a_part_lasts_until_the_rest_begins(tmp_path: Path, written: int) -> None:
    clip = make_clip(tmp_path / "clip.mp4", len(BURST), times=BURST, tick=Fraction(1, 1000), rate=1)  # 8 s of sound
    with pytest.raises(KeyboardInterrupt), open_video(clip) as video, \
            video_writer(tmp_path / "out.mp4", video.info, EncodeOptions(), print) as writer:
        for frame in video.frames:
            if frame.index == written:
                writer.keep(tmp_path / "part.mp4", frame.time)
                raise KeyboardInterrupt
            writer.write(frame)
    with av.open(str(tmp_path / "part.mp4")) as part:
        lasting = [float(stream.duration * stream.time_base) for stream in part.streams]  # type: ignore[operator]
    assert lasting == pytest.approx([BURST[written] / 1000] * 2, abs=0.03)
