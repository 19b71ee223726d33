"""Animations: how long the last picture is shown, and how often all of them are."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest
from PIL import Image

from tests.clips import make_clip, picture, times
from tests.test_video_io import EXACT, copy
from utils.io.encoders import EncodeOptions
from utils.io.span import Span
from utils.io.stills import loops
from utils.io.video import open_video

SHOWN = [100, 100, 100, 100, 3000]  # milliseconds
FORMATS = {"in.gif": "GIF", "in.webp": "WEBP", "in.apng": "PNG"}


def animation(path: Path, loop: int | None = None) -> Path:
    stills = [Image.fromarray(picture(i)[..., ::-1]) for i in range(len(SHOWN))]
    more = {} if loop is None else {"loop": loop}
    stills[0].save(path, FORMATS[path.name], save_all=True, append_images=stills[1:], duration=SHOWN, **more)
    return path


def shown(path: Path) -> tuple[list[int], int | None]:
    """Milliseconds of all pictures of a GIF, and what it says of repeating them."""
    with Image.open(path) as image:
        durations = []
        for number in range(image.n_frames):  # type: ignore[attr-defined]
            image.seek(number)
            image.load()
            durations.append(image.info["duration"])
        return durations, image.info.get("loop")


def length(path: Path) -> float:
    """Seconds that a file says it lasts."""
    with av.open(str(path)) as container:
        return (container.duration or 0) / 1_000_000


@pytest.mark.parametrize("name", FORMATS)
def test_the_last_picture_is_shown_as_long_as_before(tmp_path: Path, name: str) -> None:
    clip = animation(tmp_path / name)
    copy(clip, tmp_path / "out.gif", options=EncodeOptions())
    assert shown(tmp_path / "out.gif")[0] == SHOWN
    copy(clip, tmp_path / "out.gif", Span(0.0, 2.0), EncodeOptions())
    assert shown(tmp_path / "out.gif")[0] == [*SHOWN[:-1], 1600]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("out", "encoder"), [("out.mp4", "auto"), ("out.mp4", "libx265"), ("out.mov", "prores_ks"),
                                              ("out.mkv", "ffv1"), ("out.webm", "auto")])
def test_videos_last_as_long_and_nothing_is_said_to_be_missing(
    tmp_path: Path, name: str, out: str, encoder: str
) -> None:
    _, notes = copy(animation(tmp_path / name), tmp_path / out, options=EncodeOptions(encoder))
    assert length(tmp_path / out) == pytest.approx(3.4, abs=0.01) and not notes
    assert times(tmp_path / out) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4], abs=0.001)


@pytest.mark.parametrize("name", ["in.mp4", "in.mkv", "in.ts", "in.webp"])
@pytest.mark.parametrize(("span", "expected"), [
    (Span(5, 8), {0: 0}), (Span(5), {0: 0, 5: 1, 15: 2}), (Span(12, 21), {0: 1, 8: 2}), (Span(9.96, 11), {0.04: 1}),
])
def test_a_part_may_begin_while_a_picture_is_shown(
    tmp_path: Path, name: str, span: Span, expected: dict[float, int]
) -> None:
    """span: of pictures at 0, 10 and 20 s; expected: seconds of the part, and which of them begins to be shown."""
    clip, stills = tmp_path / name, [Image.fromarray(picture(i)[..., ::-1]) for i in range(3)]
    if name == "in.webp":
        stills[0].save(clip, save_all=True, append_images=stills[1:], duration=10_000, lossless=True)
    else:
        make_clip(clip, 3, times=[0, 10_000, 20_000], tick=Fraction(1, 1000), sound=())
    with open_video(clip, span) as video:
        frames = {round(frame.time - span.start, 3): frame.image.mean() for frame in video.frames}
    assert list(frames) == pytest.approx(list(expected), abs=0.001)
    assert list(frames.values()) == pytest.approx([picture(i).mean() for i in expected.values()], abs=2)
    if len(frames) == 1 and 0 in frames:
        assert video.info.last_shown == [pytest.approx(span.shown(span.start, 10), abs=0.001)]


@pytest.mark.parametrize("options", [EXACT, EncodeOptions()])  # without and with frames that are reordered
def test_a_result_that_is_changed_again_does_not_seem_to_end_early(tmp_path: Path, options: EncodeOptions) -> None:
    copy(animation(tmp_path / "in.gif"), tmp_path / "a.mp4", options=options)
    _, notes = copy(tmp_path / "a.mp4", tmp_path / "b.mp4")
    assert not notes and length(tmp_path / "b.mp4") == pytest.approx(3.4, abs=0.11)


def test_other_videos_last_as_long_as_before(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4", frames=20, rate=10, sound=())
    copy(clip, tmp_path / "out.mp4")
    assert length(tmp_path / "out.mp4") == pytest.approx(length(clip), abs=0.001) == 2.0
    copy(clip, tmp_path / "out.gif", Span(0.0, 0.5), EncodeOptions())
    assert shown(tmp_path / "out.gif") == (5 * [100], 0)


@pytest.mark.parametrize(("rate", "said"), [(50, False), (60, True), (240, True)])
def test_a_gif_keeps_its_speed_in_browsers(tmp_path: Path, rate: int, said: bool) -> None:
    """They show what has a shorter time than 20 ms for 100 ms."""
    clip = make_clip(tmp_path / "in.mp4", frames=rate // 2, rate=rate, tick=Fraction(1, 12000), sound=())
    _, notes = copy(clip, tmp_path / "out.gif", options=EncodeOptions())
    durations, _ = shown(tmp_path / "out.gif")
    assert min(durations) >= 20 and max(durations) <= 30 and sum(durations) == pytest.approx(500, abs=20)
    assert set(notes) == ({"GIF shows at most 50 frames a second; frames that come sooner are left out"} if said
                          else set())


@pytest.mark.parametrize(
    ("name", "loop", "expected"),
    [
        ("in.gif", None, None),
        ("in.gif", 0, 0),
        ("in.gif", 3, 3),
        ("in.webp", 0, 0),
        ("in.webp", 1, None),  # WebP and APNG count how often all is shown, GIF how often it is repeated
        ("in.webp", 3, 2),
        ("in.apng", 0, 0),
        ("in.apng", 1, None),
        ("in.apng", 3, 2),
    ],
)
def test_an_animation_is_repeated_as_often_as_before(
    tmp_path: Path, name: str, loop: int | None, expected: int | None
) -> None:
    copy(animation(tmp_path / name, loop), tmp_path / "out.gif", options=EncodeOptions())
    assert shown(tmp_path / "out.gif")[1] == expected


def test_what_pillow_cannot_read_says_nothing_of_repeating(tmp_path: Path) -> None:
    (tmp_path / "in.gif").write_bytes(b"GIF89a broken")
    assert loops(tmp_path / "in.gif", "GIF") == 0
