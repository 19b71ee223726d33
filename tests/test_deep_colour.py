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
from utils.io import encoders, hdr
from utils.io.colour import Colour, from_bgr, pixels_of, yuv_to_bgr
from utils.io.encode import video_writer
from utils.io.encoders import EncodeOptions
from utils.io.layout import Layout, by_loss, layout_of
from utils.io.video import open_video

FULL_RANGE = {"color_range": 2, "colorspace": 5}
DEEP = {"codec": "ffv1", "pixel_format": "yuv422p10le"}
HALVED = "4:2:2 colour becomes 4:2:0"
BOXES = ((0, 0, 13, 11), (21, 13, 40, 29), (49, 35, 64, 48))
COLOUR = (20, 60, 200)  # BGR


def smooth(width: int = 64, height: int = 48) -> np.ndarray:
    """A picture whose colours change everywhere."""
    x, y = np.meshgrid(np.linspace(0, 220, width), np.linspace(0, 220, height))
    return np.stack([x, y, 230 - x], axis=-1).astype(np.uint8)


def rewritten(
    clip: Path, out: Path, encoder: str, preset: str | None = None, changed: bool = False, deep: bool = False
) -> list[str]:
    """Write a video anew, with boxes of one colour if `changed`; returns the notes."""
    notes: list[str] = []
    options = EncodeOptions(encoder, preset=preset)
    with (
        open_video(clip, note=notes.append, deep=deep) as video,
        video_writer(out, video.info, options, notes.append) as writer,
    ):
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
    said = ["4:4:4 colour becomes 4:2:2"] if preset == "lt" else []
    assert rewritten(clip, tmp_path / "out.mov", "prores_ks", preset) == said
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
    assert rewritten(clip, tmp_path / name, encoder) == [*said, HALVED]
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
             for i, tags in enumerate(({}, {"color_range": 2}))]
    clip = tmp_path / "in.h264"
    clip.write_bytes(b"".join(part.read_bytes() for part in parts))
    notes = rewritten(clip, tmp_path / "out.mkv", "ffv1")
    assert sum("change their range" in note for note in set(notes)) == 1
    for before, after in zip(pictures(clip), pictures(tmp_path / "out.mkv"), strict=True):
        assert np.abs(before.astype(int) - after).mean() < 2


@pytest.mark.parametrize(
    ("pixel_format", "codec", "name", "said"),
    [
        ("yuv444p", "libx264", "out.mp4", ["4:4:4 colour becomes 4:2:0"]),
        ("yuv444p", "libx264", "out.webm", ["4:4:4 colour becomes 4:2:0"]),
        ("yuv444p", "libx264", "out.gif", []),
        ("yuvj422p", "mjpeg", "out.mp4", [HALVED]),
        ("rgb24", "libx264rgb", "out.mp4", []),
    ],
)
def test_colours_that_are_halved_are_said_where_they_were_whole_in_a_video(
    tmp_path: Path, pixel_format: str, codec: str, name: str, said: list[str]
) -> None:
    clip = make_clip(tmp_path / "in.mkv", 3, codec=codec, pixel_format=pixel_format, sound=())
    assert rewritten(clip, tmp_path / name, "auto") == said


def test_an_encoder_with_fewer_bits_is_used_with_these(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    works = encoders._opens
    monkeypatch.setattr(encoders, "_opens", lambda *given: given[2].bits == 8 and works(*given))
    clip = make_clip(tmp_path / "in.mkv", frames=3, size=(128, 96), sound=(), **DEEP)
    assert rewritten(clip, tmp_path / "out.mp4", "libx265") == ["10-bit colour becomes 8-bit", HALVED]


def test_short_videos_in_h265(tmp_path: Path) -> None:
    for _ in range(8):  # what x265 leaves unset is sometimes right
        clip = make_clip(tmp_path / "in.mkv", frames=2, size=(128, 96), sound=(), **DEEP)
        assert rewritten(clip, tmp_path / "out.mp4", "libx265") == [HALVED]
        assert len(times(tmp_path / "out.mp4")) == 2


@pytest.mark.parametrize("pixel_format", ["yuv420p10le", "yuv420p", "yuv444p"])
@pytest.mark.parametrize("turn", [90, 180])
def test_turned_pictures_keep_every_bit(tmp_path: Path, pixel_format: str, turn: int) -> None:
    clip = make_clip(tmp_path / "in.mp4", frames=2, pixel_format=pixel_format, turn=turn)
    notes = rewritten(clip, tmp_path / "out.mkv", "ffv1")
    assert notes == ["the video is rotated by a tag; the result is written upright"]
    assert form(tmp_path / "out.mkv")[1] == pixel_format
    for before, after in zip(planes(clip), planes(tmp_path / "out.mkv"), strict=True):
        assert all(np.array_equal(np.rot90(one, turn // 90), other) for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize("tags", [{}, FULL_RANGE], ids=["untagged", "full range"])
def test_halved_rows_become_halved_again_when_they_become_columns(tmp_path: Path, tags: dict[str, int]) -> None:
    clip = make_clip(tmp_path / "in.mp4", frames=2, pixel_format="yuv422p10le", still=smooth(), tags=tags, turn=90)
    notes = rewritten(clip, tmp_path / "out.mkv", "ffv1")
    assert notes == ["the video is rotated by a tag; the result is written upright"]
    assert form(tmp_path / "out.mkv")[1] == "yuv422p10le"
    before, after = planes(clip)[0][0], planes(tmp_path / "out.mkv")[0][0]
    assert np.abs(np.rot90(before).astype(int) - after).max() <= 1
    with open_video(clip) as one, open_video(tmp_path / "out.mkv") as other:
        looks = [next(video.frames).image.astype(int) for video in (one, other)]
    assert np.abs(looks[0] - looks[1]).mean() < 2


def test_without_tags_a_turned_picture_keeps_its_colours(tmp_path: Path) -> None:
    """From 720 lines on players take other colours for granted, and a turn changes how many there are."""
    red = np.full((480, 720, 3), (20, 30, 200), np.uint8)
    clip = make_clip(tmp_path / "in.mp4", frames=1, size=(720, 480), turn=90, sound=(), still=red)
    rewritten(clip, tmp_path / "out.mkv", "ffv1")
    with open_video(clip) as before, open_video(tmp_path / "out.mkv") as after:
        one, other = (next(video.frames).image.astype(int) for video in (before, after))
    assert np.abs(one - other).max() <= 3


@pytest.mark.parametrize("transfer", [16, 18], ids=["PQ", "HLG"])
@pytest.mark.parametrize("turn", [None, 90])
def test_high_dynamic_range_stays(tmp_path: Path, transfer: int, turn: int | None) -> None:
    tags = {"colorspace": 9, "color_primaries": 9, "color_trc": transfer}
    clip = make_clip(tmp_path / "in.mp4", frames=4, codec="libx265", pixel_format="yuv420p10le", tags=tags, turn=turn,
                     still=smooth(), sound=(), options={"x265-params": "log-level=none"})
    notes = rewritten(clip, tmp_path / "out.mkv", "ffv1", changed=turn is None, deep=True)
    assert [note for note in notes if "rotated" not in note] == []
    with av.open(str(tmp_path / "out.mkv")) as container:
        context = container.streams.video[0].codec_context
        assert (context.color_trc, context.colorspace, context.pix_fmt) == (transfer, 9, "yuv420p10le")
    with open_video(tmp_path / "out.mkv", deep=True) as video:
        shown = next(video.frames).image
    luma = planes(clip)[0][0] if turn is None else np.rot90(planes(clip)[0][0])
    touched = np.zeros(luma.shape, bool)
    for left, top, right, bottom in BOXES if turn is None else ():
        touched[top // 2 * 2 : -(-bottom // 2) * 2, left // 2 * 2 : -(-right // 2) * 2] = True
        assert shown[(top + bottom) // 2, (left + right) // 2].astype(int) == pytest.approx(COLOUR, abs=5)
    assert np.array_equal(luma[~touched], planes(tmp_path / "out.mkv")[0][0][~touched])


@pytest.mark.parametrize("more", [None, "max-cll=1000,400"])
def test_data_on_light_is_left_out_and_said(tmp_path: Path, more: str | None) -> None:
    clip = make_clip(tmp_path / "in.mp4", frames=8, codec="libx265", pixel_format="yuv420p10le", sound=(),
                     tags={"color_trc": 16}, options={"x265-params": ":".join(filter(None, ["log-level=none", more]))})
    notes = rewritten(clip, tmp_path / "out.mkv", "ffv1", deep=True)
    assert ["mastering display" in note for note in notes] == [True] * bool(more)


def light_clip(path: Path, bgr: np.ndarray) -> Path:
    """What a camera would make, in PQ, of a picture that a screen of 203 cd/m² and gamma 2.4 shows."""
    to_2020 = [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]  # ITU-R BT.2087
    relative = ((bgr[..., ::-1] / 255.0) ** 2.4 @ np.transpose(to_2020) * 203 / 10_000) ** 0.1593017578125
    signal = ((0.8359375 + 18.8515625 * relative) / (1 + 18.6875 * relative)) ** 78.84375
    luma = signal @ [0.2627, 0.6780, 0.0593]
    chroma = [(signal[..., 2] - luma) / 1.8814, (signal[..., 0] - luma) / 1.4746]
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = *bgr.shape[:2], "yuv420p10le"
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = 9, 9, 16, 1
        frame = av.VideoFrame(bgr.shape[1], bgr.shape[0], "yuv420p10le")
        halved = [cv2.resize(part, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for part in chroma]
        samples = [64 + 876 * luma, *(512 + 896 * part for part in halved)]
        for plane, part in zip(frame.planes, samples, strict=True):
            pixels_of(plane, Layout(10))[:] = np.rint(part)
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            out.mux(packet)
    return path


def test_high_dynamic_range_looks_alike_where_it_is_mapped(tmp_path: Path) -> None:
    clip = light_clip(tmp_path / "in.mkv", smooth(128, 96))
    assert any("HDR" in note for note in rewritten(clip, tmp_path / "out.mp4", "auto"))
    assert np.abs(pictures(tmp_path / "out.mp4")[0].astype(int) - smooth(128, 96)).mean() < 6


def test_high_dynamic_range_is_seen_in_nearly_its_colours(tmp_path: Path) -> None:
    clip = light_clip(tmp_path / "in.mkv", smooth(128, 96))
    with open_video(clip, deep=True) as video:
        seen = next(video.frames).image
    assert np.abs(seen - 0.8 * smooth(128, 96)).mean() < 5


@pytest.mark.parametrize("transfer", [hdr.PQ, hdr.HLG], ids=["PQ", "HLG"])
def test_light_is_shown_and_meant(transfer: int) -> None:
    samples = np.arange(256, dtype=np.float32).reshape(16, 16).repeat(3).reshape(16, 16, 3)
    seen = hdr.to_display(samples, transfer, 1)
    assert (np.diff(seen[..., 0].ravel().astype(int)) >= 0).all() and seen.min() == 0 and seen.max() == 255
    assert np.abs(hdr.from_display(seen, transfer, 1) - samples).max() < 1.1
    white, dim = (148, 112) if transfer == hdr.PQ else (191, 127)  # 203 cd/m², diffuse white, and 50
    assert seen[white // 16, white % 16, 0] == pytest.approx(0.8 * 255, abs=1)
    assert seen[dim // 16, dim % 16, 0] == pytest.approx(0.8 * 255 * (50 / 203) ** (1 / 2.4), abs=2)
    every = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    assert np.array_equal(hdr.to_display(hdr.from_display(every, transfer, 1), transfer, 1), every)


@pytest.mark.parametrize("colour", [Colour(9, 9, 16), Colour(9, 9, 18)], ids=["PQ", "HLG"])
@pytest.mark.parametrize("layout", [Layout(across=1, down=1), Layout(10, 1, 1)], ids=str)
def test_grey_of_a_high_dynamic_range_stays_grey(colour: Colour, layout: Layout) -> None:
    greys = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    samples = [pixels_of(plane, layout) for plane in from_bgr(greys, colour, layout).planes]
    assert all((part == 2 ** (layout.bits - 1)).all() for part in samples[1:])
    off = yuv_to_bgr(samples, colour, 16, layout).astype(int) - greys
    assert abs(off.mean()) < 0.6 and np.abs(off).max() <= (10 if layout.bits == 8 else 2)


def test_high_dynamic_range_in_rgb_is_mapped(tmp_path: Path) -> None:
    grey = np.full((48, 64, 3), 112, np.uint8)  # 50 cd/m² in PQ
    clip = make_clip(tmp_path / "in.mkv", frames=1, codec="ffv1", pixel_format="gbrp10le", still=grey, sound=(),
                     tags={"color_trc": 16, "color_primaries": 9})
    notes = rewritten(clip, tmp_path / "out.mkv", "ffv1", deep=True)
    assert any("HDR" in note and "mapped" in note for note in notes)
    wanted = 255 * (50 / 203) ** (1 / 2.4)
    assert pictures(tmp_path / "out.mkv")[0].mean() == pytest.approx(wanted, abs=6)


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
                         sound=(), options={"flags": flags})
        notes.append(rewritten(clip, tmp_path / "out.mov", "prores_ks"))
    assert notes == [["the video is interlaced; the result shows the lines of both fields at once"], []]
