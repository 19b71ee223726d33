"""Decoded pictures: any part is what the whole picture shows there, and stays what was written to it; of the result,
what was not written to keeps its samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.clips import make_clip, planes
from utils.inference.motion import between
from utils.inference.scene import thumbnail
from utils.io.decoded import DecodedPicture
from utils.io.encode import video_writer
from utils.io.encoders import EncodeOptions
from utils.io.frame import Frame
from utils.io.layout import layout_of
from utils.io.video import open_video

WIDTH, HEIGHT = 420, 730  # from 720 lines on, colours without a tag are BT.709


FULL_RANGE = {"color_range": 2, "colorspace": 5}
CODED = [("libx264", "yuv420p", {}), ("libx264", "yuv420p", FULL_RANGE), ("libx264", "yuv444p", {}),
         ("ffv1", "yuv422p10le", {}), ("ffv1", "yuv444p12le", FULL_RANGE)]


@pytest.fixture(params=CODED, ids=str)
def frames(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[list[Frame]]:
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    codec, pixel_format, tags = request.param
    clip = make_clip(tmp_path / "in.mkv", frames=1, size=(WIDTH, HEIGHT), still=noise, sound=(), tags=tags, codec=codec,
                     pixel_format=pixel_format, options={"crf": "0"})
    with open_video(clip) as video:
        frame = next(video.frames)
        yield [frame, replace(frame, pixels=frame.pixels.copy())]


def test_parts_are_those_of_the_whole_picture(frames: list[Frame]) -> None:
    whole = frames[0].image
    assert whole.shape == (HEIGHT, WIDTH, 3) and whole.std() > 30
    rng = np.random.default_rng(1)
    for _ in range(40):
        pixels = frames[1].pixels.copy()
        assert isinstance(pixels, DecodedPicture) and pixels.shape == whole.shape and pixels.nbytes >= whole.nbytes
        for _ in range(3):
            top, bottom = sorted(rng.integers(0, HEIGHT + 1, 2))
            left, right = sorted(rng.integers(0, WIDTH + 1, 2))
            assert np.array_equal(pixels[top:bottom, left:right], whole[top:bottom, left:right])
        assert np.array_equal(np.asarray(pixels), whole)


def test_what_was_written_to_a_copy_stays_there_alone(frames: list[Frame]) -> None:
    original, wanted = frames[0].pixels, frames[1].image.copy()
    copy = original.copy()
    copy[300:400, 100:200][:] = 7
    wanted[300:400, 100:200] = 7
    assert np.array_equal(copy[200:350, 50:380], wanted[200:350, 50:380])  # converts more, around what was written
    assert np.array_equal(np.asarray(copy.copy()), wanted) and np.array_equal(np.asarray(copy), wanted)
    assert np.array_equal(np.asarray(original), frames[1].image)


def test_what_is_converted_already_is_copied_as_well(frames: list[Frame]) -> None:
    original, before = frames[0].pixels, frames[1].image.copy()
    assert np.array_equal(np.asarray(original), before)
    copy = original.copy()
    copy[300:400, 100:200][:] ^= 128
    again = copy.copy()
    again[500:600, 100:200][:] ^= 128
    assert np.array_equal(np.asarray(original), before)
    changed = [(np.asarray(pixels) != before).all(axis=2).sum() for pixels in (copy, again)]
    assert changed == [100 * 100, 2 * 100 * 100]


def test_parts_that_grow_together_keep_what_was_written(frames: list[Frame]) -> None:
    copy, wanted = frames[0].pixels.copy(), frames[1].image.copy()
    for place in (np.s_[20:60, 20:60], np.s_[500:600, 300:400], np.s_[100:300, 40:100]):
        copy[place][:] = 7
        wanted[place] = 7
    across = np.s_[50:520, 50:310]
    assert np.array_equal(copy[across], wanted[across]) and np.array_equal(np.asarray(copy), wanted)


def test_only_what_is_looked_at_is_converted(frames: list[Frame]) -> None:
    pixels = frames[0].pixels
    assert isinstance(pixels, DecodedPicture)
    for place in (np.s_[200:210, 200:210], np.s_[205:215, 200:215], np.s_[20:30, 20:30]):
        assert pixels[place].any()
    assert sum(part.size for _, part in pixels._parts) == (128 * 128 + 64 * 64) * 3


def test_motion_needs_no_conversion(frames: list[Frame]) -> None:
    pixels = frames[0].pixels
    assert isinstance(pixels, DecodedPicture)
    luma = pixels.layout.to_bytes(pixels.luma)
    assert luma.shape == (HEIGHT, WIDTH) and luma.dtype == np.uint8
    kps = np.array([[170, 300], [230, 300], [200, 330], [180, 360], [220, 360]], np.float32)
    moved = between(pixels, pixels, kps)
    assert moved is not None and not pixels._parts
    np.testing.assert_allclose(moved, [[1, 0, 0], [0, 1, 0]], atol=1e-3)
    grey = frames[1].image @ (0.1, 0.6, 0.3)
    assert np.corrcoef(luma.ravel(), grey.ravel())[0, 1] > 0.98 and luma.max() > 220  # the upper bits


def test_thumbnails_need_no_conversion(tmp_path: Path) -> None:
    x, y = np.meshgrid(np.linspace(0, 200, 1280), np.linspace(0, 200, 720))
    smooth = np.stack([x, y, 200 - x], axis=-1).astype(np.uint8)
    clip = make_clip(tmp_path / "in.mp4", frames=2, size=(1280, 720), still=smooth, sound=())
    with open_video(clip) as video:
        frame = next(video.frames)
    pixels = frame.pixels
    assert isinstance(pixels, DecodedPicture)
    seen = thumbnail(pixels)
    assert not pixels._parts
    assert np.abs(seen - thumbnail(frame.image)).max() < 0.01
    few = pixels[100:400:7, 30:1000:9]
    assert few.shape == (43, 108, 3) and np.abs(few.astype(int) - frame.image[100:400:7, 30:1000:9]).max() < 6


@pytest.mark.parametrize("box", [(0, 0, 64, 48), (9, 7, 50, 40)])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p", "yuv444p", "yuv422p10le", "yuv420p12le"])
def test_in_a_changed_part_only_what_looks_different_is_written(
    tmp_path: Path, pixel_format: str, box: tuple[int, int, int, int]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    clip = make_clip(tmp_path / "in.mkv", frames=1, still=noise, sound=(), codec="ffv1", pixel_format=pixel_format)
    with (
        open_video(clip) as video,
        video_writer(tmp_path / "out.mkv", video.info, EncodeOptions("ffv1"), print) as writer,
    ):
        frame = next(video.frames)
        pixels = frame.pixels.copy()
        pixels[20:24, 30:34][:] ^= 128
        pixels[30:31, 40:41][..., 0] ^= 128  # blue alone, of one pixel of four that share their colour
        writer.write(replace(frame, pixels=pixels, changed=(box,)))
    layout = layout_of(pixel_format)
    assert layout is not None
    touched = np.zeros((48, 64), bool)
    touched[20:24, 30:34] = touched[30, 40] = True
    for one, other, (down, across) in zip(planes(clip)[0], planes(tmp_path / "out.mkv")[0], layout.sides, strict=True):
        change = np.abs(one.astype(int) - other)
        assert change[20 // down : 24 // down, 30 // across : 34 // across].max() > 16
        assert change[30 // down, 40 // across] > 4
        where = touched.reshape(len(one), down, -1, across).any(axis=(1, 3))
        assert not change[~where].any()
