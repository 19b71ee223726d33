"""Colours to and from what encoders take, against FFmpeg's own conversion."""

from __future__ import annotations

import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from utils.io.colour import Colour, from_bgr, pixels_of, to_bgr, yuv_to_bgr
from utils.io.layout import Layout

HEIGHT = 96
LAYOUTS = [Layout(), Layout(10), Layout(10, down=1), Layout(across=1, down=1), Layout(12, 1, 1)]
COLOURS = [Colour(matrix, full_range=full) for matrix in (1, 2, 4, 5, 6, 7, 9, 10) for full in (False, True)]


def gradients() -> np.ndarray:
    """A smooth picture of many colours, (96, 128, 3) uint8 BGR."""
    x, y = np.meshgrid(np.linspace(0, 255, 128), np.linspace(0, 255, HEIGHT))
    return np.stack([x, y, 255 - (x + y) / 2], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("colour", COLOURS, ids=str)
@pytest.mark.parametrize("height", [HEIGHT, 1080])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_planes_are_joined_as_ffmpeg_does(colour: Colour, height: int, layout: Layout) -> None:
    frame = from_bgr(gradients(), colour, layout)
    mine = yuv_to_bgr([pixels_of(plane, layout) for plane in frame.planes], colour, height, layout).astype(int)
    theirs = to_bgr(frame, colour, VideoReformatter(), height)
    assert np.abs(mine - theirs).max() <= 4 and np.abs(mine - theirs).mean() < 0.6


@pytest.mark.parametrize("colour", COLOURS, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_what_is_parted_is_joined_again(colour: Colour, layout: Layout) -> None:
    picture = gradients()
    frame = from_bgr(picture, colour, layout)
    assert frame.format.name == layout.name and frame.color_range == (2 if colour.full_range else 1)
    planes = [pixels_of(plane, layout) for plane in frame.planes]
    assert np.abs(yuv_to_bgr(planes, colour, HEIGHT, layout).astype(int) - picture).mean() < 1.5


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_grey_is_grey_and_white_is_white(layout: Layout) -> None:
    neutral, white = 2 ** (layout.bits - 1), 235 * 2 ** (layout.bits - 8)
    for colour in COLOURS:
        frame = from_bgr(np.full((4, 4, 3), 255, np.uint8), colour, layout)
        planes = [pixels_of(plane, layout) for plane in frame.planes]
        expected = [2**layout.bits - 1 if colour.full_range else white, neutral, neutral]
        assert [int(plane.mean()) for plane in planes] == expected
        assert (yuv_to_bgr(planes, colour, HEIGHT, layout) == 255).all()
