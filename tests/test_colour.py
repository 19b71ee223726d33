"""Colours to and from what encoders take, against FFmpeg's own conversion."""

from __future__ import annotations

import numpy as np
import pytest
from av import VideoFrame
from av.video.reformatter import VideoReformatter

from utils.io.colour import Colour, copy_with_changes, from_bgr, pixels_of, to_bgr, to_planar, yuv_to_bgr
from utils.io.layout import Layout, layout_of
from utils.io.upright import Upright

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


@pytest.mark.parametrize("box", [(21, 12, 41, 30), (20, 13, 40, 31), (1, 1, 8, 8)])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_changes_reach_the_edges_of_their_box(layout: Layout, box: tuple[int, int, int, int]) -> None:
    before, (left, top, right, bottom) = gradients(), box
    after = before.copy()
    after[top:bottom, left:right] ^= 128
    wanted, decoded = from_bgr(after, COLOURS[0], layout), from_bgr(before, COLOURS[0], layout)
    found = copy_with_changes(decoded, layout, before, after, [box], COLOURS[0])
    for one, other in zip(wanted.planes, found.planes, strict=True):
        assert np.array_equal(pixels_of(one, layout), pixels_of(other, layout))


@pytest.mark.parametrize(("of_card", "planes"), [
    ("p010le", "yuv420p10le"), ("p012le", "yuv420p12le"), ("p016le", "yuv420p12le"), ("p210le", "yuv422p10le"),
    ("p212le", "yuv422p12le"), ("p216le", "yuv422p12le"), ("yuv444p10msble", "yuv444p10le"),
    ("yuv444p12msble", "yuv444p12le"),
])
def test_samples_of_a_card_keep_their_bits(of_card: str, planes: str) -> None:
    """It fills the upper bits of 16, in which there are 12 at most."""
    layout = layout_of(planes)
    assert layout is not None
    wanted, random = VideoFrame(64, 48, planes), np.random.default_rng(0)
    for plane in wanted.planes:
        place = pixels_of(plane, layout)
        place[:] = random.integers(0, 2**layout.bits, place.shape)
    decoded = VideoReformatter().reformat(wanted, format=of_card)
    found = to_planar(decoded, Upright(False, False, False), VideoReformatter())
    assert found.format.name == planes
    for one, other in zip(wanted.planes, found.planes, strict=True):
        assert np.array_equal(pixels_of(one, layout), pixels_of(other, layout))
