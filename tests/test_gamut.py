"""Colours of wide gamut are seen as those of BT.709, and swaps come back as what was seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import ColorPrimaries, ColorTrc

from tests.clips import make_clip, planes
from utils.io.encode import video_writer
from utils.io.encoders import EncodeOptions
from utils.io.gamut import BT2020, narrowed, widened
from utils.io.video import open_video

SKIN = (110, 150, 205)  # BGR
FACE = (16, 12, 48, 36)
WIDE = {"colorspace": 5, "color_primaries": 9, "color_trc": 14}


def of(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((48, 64, 3), colour, np.uint8)


def test_skin_is_paler_in_numbers_of_bt2020() -> None:
    """Against the conversion of ITU-R BT.2087 with the light of BT.1886."""
    light = (np.array(SKIN[::-1]) / 255) ** 2.4
    exact = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]) @ light
    wide = widened(of(SKIN))[0, 0]
    assert wide == pytest.approx(255 * exact[::-1] ** (1 / 2.4), abs=2)
    assert np.ptp(wide) < 0.85 * np.ptp(SKIN)


def test_colours_come_back_and_grey_stays() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    assert np.abs(narrowed(widened(colours)) - colours).max() < 0.1
    greys = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    assert np.abs(widened(greys) - greys).max() < 0.1 and np.abs(narrowed(greys) - greys).max() < 0.1


def in_bt709(path: Path) -> np.ndarray:
    """The first picture of a video by FFmpeg, BGR."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        mapped = frame.reformat(format="bgr24", dst_color_primaries=ColorPrimaries.BT709, dst_color_trc=ColorTrc.BT709)
        return mapped.to_ndarray()


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le", "yuv444p"])
def test_a_swap_has_the_colours_that_were_seen(tmp_path: Path, pixel_format: str) -> None:
    behind = cv2.convertScaleAbs(widened(of((60, 120, 90))))
    clip = make_clip(tmp_path / "in.mkv", frames=1, codec="ffv1", pixel_format=pixel_format, still=behind, tags=WIDE)
    left, top, right, bottom = FACE
    with open_video(clip) as video, video_writer(tmp_path / "out.mkv", video.info, EncodeOptions("ffv1"), print) as out:
        assert video.info.colour.primaries == BT2020
        for frame in video.frames:
            pixels = frame.pixels.copy()
            assert pixels[0:4, 0:4].reshape(-1, 3).mean(axis=0) == pytest.approx([60, 120, 90], abs=5)
            pixels[top:bottom, left:right][:] = SKIN
            out.write(replace(frame, pixels=pixels, changed=(FACE,)))
    before, after = (planes(path)[0][0] for path in (clip, tmp_path / "out.mkv"))
    inside = np.zeros(before.shape, bool)
    inside[top:bottom, left:right] = True
    assert np.array_equal(before[~inside], after[~inside]) and (before[inside] != after[inside]).all()
    assert in_bt709(tmp_path / "out.mkv")[24, 32].astype(int) == pytest.approx(SKIN, abs=6)
    with open_video(tmp_path / "out.mkv") as video:
        assert next(video.frames).image[24, 32].astype(int) == pytest.approx(SKIN, abs=3)


def test_rgb_video_of_wide_gamut_becomes_bt709(tmp_path: Path) -> None:
    wide = cv2.convertScaleAbs(widened(of(SKIN)))
    clip = make_clip(tmp_path / "in.mkv", frames=1, codec="ffv1", pixel_format="gbrp10le", still=wide, sound=(),
                     tags={"color_primaries": 9, "color_trc": 14})
    with open_video(clip) as video:
        assert video.info.colour.primaries == 1
        assert next(video.frames).image[24, 32].astype(int) == pytest.approx(SKIN, abs=2)
