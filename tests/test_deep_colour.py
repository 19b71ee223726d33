"""Videos for editing: bits and colours that H.264 for players does not hold, in ProRes, FFV1, H.265 and AV1."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from tests.clips import make_clip, packets, pictures, planes, times
from tests.conftest import Call, People
from utils.io import encoders
from utils.io.encode import video_writer
from utils.io.encoders import EncodeOptions
from utils.io.layout import Layout, by_loss, layout_of
from utils.io.video import open_video

FULL_RANGE = {"color_range": 2, "colorspace": 5}
DEEP = {"codec": "ffv1", "pixel_format": "yuv422p10le"}
BOXES = ((0, 0, 13, 11), (21, 13, 40, 29), (49, 35, 64, 48))
COLOUR = (20, 60, 200)  # BGR


def smooth(width: int = 64, height: int = 48) -> np.ndarray:
    """A picture whose colours change everywhere."""
    x, y = np.meshgrid(np.linspace(0, 220, width), np.linspace(0, 220, height))
    return np.stack([x, y, 230 - x], axis=-1).astype(np.uint8)


def rewritten(clip: Path, out: Path, encoder: str, preset: str | None = None, changed: bool = False) -> list[str]:
    """Write a video anew, with boxes of one colour if `changed`; returns the notes."""
    notes: list[str] = []
    options = EncodeOptions(encoder, preset=preset)
    with open_video(clip, note=notes.append) as video, video_writer(out, video.info, options, notes.append) as writer:
        for frame in video.frames:
            pixels = frame.pixels.copy()
            for left, top, right, bottom in BOXES if changed else ():
                pixels[top:bottom, left:right][:] = COLOUR
            writer.write(replace(frame, pixels=pixels, changed=BOXES if changed else ()))
    return notes


def form(path: Path) -> tuple[str, str, str | None]:
    """Codec, pixel format and profile of a video."""
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        return context.codec.canonical_name, str(context.pix_fmt), context.profile


@pytest.mark.parametrize("pixel_format", ["yuv422p10le", "yuv420p10le", "yuv444p12le", "yuv444p", "yuv422p"])
@pytest.mark.parametrize("tags", [{}, {"color_range": 2, "colorspace": 5}], ids=["untagged", "full range"])
def test_what_is_not_changed_keeps_every_bit(tmp_path: Path, pixel_format: str, tags: dict[str, int]) -> None:
    clip = make_clip(tmp_path / "in.mkv", frames=2, codec="ffv1", pixel_format=pixel_format, still=smooth(), tags=tags)
    assert rewritten(clip, tmp_path / "out.mkv", "ffv1", changed=True) == []
    assert form(tmp_path / "out.mkv")[:2] == ("ffv1", pixel_format)
    layout = layout_of(pixel_format)
    assert layout is not None
    touched = np.zeros((48, 64), bool)
    for left, top, right, bottom in BOXES:
        touched[top // 2 * 2 : -(-bottom // 2) * 2, left // 2 * 2 : -(-right // 2) * 2] = True
    for before, after in zip(planes(clip), planes(tmp_path / "out.mkv"), strict=True):
        for one, other, (down, across) in zip(before, after, layout.sides, strict=True):
            kept = ~touched[::down, ::across]
            assert np.array_equal(one[kept], other[kept]) and not np.array_equal(one, other)
    with open_video(tmp_path / "out.mkv") as video:
        shown = next(video.frames).image
    for left, top, right, bottom in BOXES:
        assert shown[(top + bottom) // 2, (left + right) // 2].astype(int) == pytest.approx(COLOUR, abs=4)


@pytest.mark.parametrize(
    ("source", "preset", "pixel_format", "profile"),
    [
        ({"codec": "ffv1", "pixel_format": "yuv422p10le"}, None, "yuv422p10le", "HQ"),
        ({"codec": "ffv1", "pixel_format": "yuv422p10le"}, "proxy", "yuv422p10le", "Proxy"),
        ({"codec": "ffv1", "pixel_format": "yuv444p10le"}, None, "yuv444p12le", "4444"),  # decoders give two bits more
        ({"pixel_format": "yuv420p"}, None, "yuv422p10le", "HQ"),
        ({"tags": FULL_RANGE}, None, "yuv422p10le", "HQ"),
        ({"codec": "ffv1", "pixel_format": "yuv422p10le", "tags": FULL_RANGE}, None, "yuv422p10le", "HQ"),
        ({"codec": "ffv1", "pixel_format": "yuv444p10le"}, "lt", "yuv422p10le", "LT"),
        ({"codec": "ffv1", "pixel_format": "yuv422p10le"}, "4444", "yuv444p12le", "4444"),
    ],
    ids=str,
)
def test_prores(tmp_path: Path, source: dict[str, Any], preset: str | None, pixel_format: str, profile: str) -> None:
    clip = make_clip(tmp_path / "in.mkv", frames=5, size=(320, 240), still=smooth(320, 240), **source)
    assert rewritten(clip, tmp_path / "out.mov", "prores_ks", preset) == []
    assert form(tmp_path / "out.mov") == ("prores", pixel_format, profile)
    assert times(tmp_path / "out.mov") == pytest.approx(times(clip), abs=0.001)
    assert packets(tmp_path / "out.mov") == packets(clip) != []
    with open_video(clip) as before, open_video(tmp_path / "out.mov") as after:
        one, other = (next(video.frames).image.astype(int) for video in (before, after))
    assert np.abs(one - other).mean() < (4 if preset else 1)


@pytest.mark.parametrize(
    ("encoder", "name", "pixel_format", "said"),
    [
        ("libx265", "out.mp4", "yuv420p10le", []),
        ("libsvtav1", "out.mkv", "yuv420p10le", []),
        ("libx264", "out.mp4", "yuv420p", ["10-bit colour becomes 8-bit"]),
        ("libvpx-vp9", "out.webm", "yuv420p", ["10-bit colour becomes 8-bit"]),
    ],
)
def test_players_formats_keep_ten_bits_where_players_do(
    tmp_path: Path, encoder: str, name: str, pixel_format: str, said: list[str]
) -> None:
    clip = make_clip(tmp_path / "in.mkv", frames=3, size=(128, 96), still=smooth(128, 96), sound=(), **DEEP)
    assert rewritten(clip, tmp_path / name, encoder) == said
    assert form(tmp_path / name)[1] == pixel_format
    with open_video(clip) as before, open_video(tmp_path / name) as after:
        one, other = (next(video.frames).image.astype(int) for video in (before, after))
    assert np.abs(one - other).mean() < 3


@pytest.mark.parametrize("tags", [{}, {"color_range": 2, "colorspace": 5}], ids=["untagged", "full range"])
def test_grey_steps_stay_in_place_from_one_layout_to_another(tmp_path: Path, tags: dict[str, int]) -> None:
    steps = np.repeat(np.linspace(20, 230, 8).astype(np.uint8), 16)[None, :, None].repeat(96, 0).repeat(3, 2)
    clip = make_clip(tmp_path / "in.mkv", frames=1, size=(128, 96), still=steps, sound=(), tags=tags, **DEEP)
    rewritten(clip, tmp_path / "out.mp4", "libx264")
    deep, shallow = planes(clip)[0][0][48, 8::16] / 4, planes(tmp_path / "out.mp4")[0][0][48, 8::16]
    assert shallow == pytest.approx(deep, abs=2.5)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert (container.streams.video[0].codec_context.color_range == 2) == ("color_range" in tags)


@pytest.mark.parametrize("pixel_format", ["yuva444p12le", "yuva422p10le", "yuva420p"])
def test_transparency_is_left_out_and_the_colours_stay(tmp_path: Path, pixel_format: str) -> None:
    clip = make_clip(tmp_path / "in.mkv", frames=2, codec="ffv1", pixel_format=pixel_format, still=smooth(), sound=())
    assert rewritten(clip, tmp_path / "out.mkv", "ffv1") == []  # nothing can be seen through
    assert form(tmp_path / "out.mkv")[1] == pixel_format.replace("a", "")
    for before, after in zip(planes(clip), planes(tmp_path / "out.mkv"), strict=True):
        assert all(np.array_equal(*pair) for pair in zip(before[:3], after, strict=True))


@pytest.mark.parametrize("pixel_format", ["uyvy422", "yuyv422"])
def test_samples_in_one_plane_are_kept_as_well(tmp_path: Path, pixel_format: str) -> None:
    clip = make_clip(tmp_path / "in.mkv", codec="rawvideo", sound=(), pixel_format=pixel_format, still=smooth())
    assert rewritten(clip, tmp_path / "out.mkv", "ffv1") == []
    assert form(tmp_path / "out.mkv")[1] == "yuv422p"
    with av.open(str(clip)) as container:
        packed: Any = next(container.decode(video=0)).planes[0]
        luma = np.frombuffer(packed, np.uint8).reshape(48, -1)[:, pixel_format.index("y") :: 2].copy()
    assert np.array_equal(planes(tmp_path / "out.mkv")[0][0], luma)


def test_frames_of_another_range_keep_their_brightness(tmp_path: Path) -> None:
    parts = [make_clip(tmp_path / f"{i}.h264", frames=3, still=smooth(), sound=(), tags=tags, options={"crf": "1"})
             for i, tags in enumerate(({}, {"color_range": 2}))]  # fmt: skip
    clip = tmp_path / "in.h264"
    clip.write_bytes(b"".join(part.read_bytes() for part in parts))
    notes = rewritten(clip, tmp_path / "out.mkv", "ffv1")
    assert sum("change their range" in note for note in set(notes)) == 1
    for before, after in zip(pictures(clip), pictures(tmp_path / "out.mkv"), strict=True):
        assert np.abs(before.astype(int) - after).mean() < 2


def test_an_encoder_with_fewer_bits_is_used_with_these(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    works = encoders._opens
    monkeypatch.setattr(encoders, "_opens", lambda *given: given[2].bits == 8 and works(*given))
    clip = make_clip(tmp_path / "in.mkv", frames=3, size=(128, 96), sound=(), **DEEP)
    assert rewritten(clip, tmp_path / "out.mp4", "libx265") == ["10-bit colour becomes 8-bit"]


def test_short_videos_in_h265(tmp_path: Path) -> None:
    for _ in range(8):  # what x265 leaves unset is sometimes right
        clip = make_clip(tmp_path / "in.mkv", frames=2, size=(128, 96), sound=(), **DEEP)
        assert rewritten(clip, tmp_path / "out.mp4", "libx265") == []
        assert len(times(tmp_path / "out.mp4")) == 2


def test_turned_pictures_have_eight_bits(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4", frames=2, pixel_format="yuv420p10le", turn=90)
    notes = rewritten(clip, tmp_path / "out.mkv", "ffv1")
    assert notes == ["the video is rotated by a tag; the result is written upright", "10-bit colour becomes 8-bit"]
    assert form(tmp_path / "out.mkv")[1] == "yuv420p"


def test_pictures_of_a_folder_keep_their_colours_and_odd_sides(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    picture = np.random.default_rng(0).integers(0, 256, (47, 63, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "frames" / "1.png"), picture)
    assert rewritten(tmp_path / "frames", tmp_path / "out.mkv", "ffv1") == []
    assert form(tmp_path / "out.mkv")[1] == "yuv444p"
    with open_video(tmp_path / "out.mkv") as video:
        assert np.abs(next(video.frames).image.astype(int) - picture).max() <= 3


def test_nearest_layout() -> None:
    offered = [Layout(10, down=1), Layout(10, 1, 1)]
    assert by_loss(Layout(), offered) == by_loss(Layout(10, down=1), offered) == offered
    assert by_loss(Layout(across=1, down=1), offered) == by_loss(Layout(12, 1, 1), offered) == offered[::-1]
    assert by_loss(Layout(10), [Layout(), Layout(10)])[0] == Layout(10)
    assert by_loss(Layout(12, 1, 1), [Layout(10), Layout(across=1, down=1)])[0] == Layout(10)


@pytest.mark.parametrize("name", ["yuv420p", "yuvj422p", "yuv444p10le", "yuv422p12le"])
def test_names(name: str) -> None:
    layout = layout_of(name)
    assert layout is not None and layout.name == name.replace("j", "")
    assert layout_of("nv12") is layout_of("rgb24") is layout_of("yuva444p") is layout_of("yuv422p10be") is None


def test_a_deep_video_is_swapped_in_the_face_alone(call: Call, people: People, tmp_path: Path) -> None:
    source, target = (str(people(number, "studio_portrait")) for number in (5, 2))
    still = cv2.imread(target)
    assert still is not None
    still = cv2.resize(still, (256, 256), interpolation=cv2.INTER_AREA)
    clip = make_clip(tmp_path / "in.mkv", frames=3, size=(256, 256), still=still, **DEEP)
    out = tmp_path / "out.mkv"
    options = ("--out_video_name", out, "--encoder", "ffv1")
    code, result, _ = call("--source_paths", source, "--target_video", clip, *options)
    assert code == 0 and result["frames_skipped"] == 0 and not result["notes"]
    for before, after in zip(planes(clip), planes(out), strict=True):
        assert before[0].max() > 255
        for one, other in zip(before, after, strict=True):
            change = np.abs(one.astype(int) - other)
            rows, columns = change.shape[0] // 16, change.shape[1] // 16
            assert change[:rows].max() == 0 and change[6 * rows : 9 * rows, 7 * columns : 9 * columns].max() > 16


def test_interlaced_video_is_said(tmp_path: Path) -> None:
    notes = []
    for flags in ("+ildct", "-ildct"):
        clip = make_clip(tmp_path / "in.mov", frames=2, size=(128, 96), codec="prores_ks", pixel_format="yuv422p10le",
                         sound=(), options={"flags": flags})  # fmt: skip
        notes.append(rewritten(clip, tmp_path / "out.mov", "prores_ks"))
    assert notes == [["the video is interlaced; the result shows the lines of both fields at once"], []]
