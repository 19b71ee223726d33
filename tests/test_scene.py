"""Which frames begin a new scene, in pictures of noise that move, change and light up."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
import pytest

from utils.inference.scene import SceneCuts

WIDTH, HEIGHT = 320, 180


def view(seed: int, x: float = 0.0) -> np.ndarray:
    """(180, 320, 3) float32 [0, 255] BGR: a place with coarse and fine shapes, x pixels further on."""
    places = np.random.default_rng(seed)
    wide = np.zeros((HEIGHT, 4 * WIDTH, 3))
    for cells, share in ((4, 0.7), (16, 0.3)):
        few = places.uniform(0, 255 * share, (cells, 7 * cells, 3))
        wide += cv2.resize(few, (4 * WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    shift = np.float32([[1, 0, -WIDTH - x], [0, 1, 0]])
    return cv2.warpAffine(wide.astype(np.float32), shift, (WIDTH, HEIGHT))


def moving(seed: int, speed: float, frames: int, begin: float = 0.0) -> list[np.ndarray]:
    """Shots that a camera makes while it turns by `speed` pixels a frame, blurred by that."""
    return [np.mean([view(seed, begin + speed * (t + part / 8)) for part in range(6)], axis=0) for t in range(frames)]


def found(frames: Iterable[np.ndarray]) -> list[int]:
    cuts = SceneCuts()
    return [index for index, frame in enumerate(frames) if cuts.begins(np.clip(frame, 0, 255).astype(np.uint8))]


@pytest.mark.parametrize("speed", [4, 12, 25, 45, -45])
def test_motion_is_no_cut_however_fast_it_begins_and_ends(speed: int) -> None:
    still, stopped = [view(1)] * 6, [view(1, 8 * speed)] * 6
    assert found(still + moving(1, speed, 8) + stopped) == []
    assert found(moving(1, speed, 10)) == [], "from the first frame on"
    assert found(moving(1, speed, 6) + moving(1, -speed, 6, 6 * speed)) == [], "forth and back"


@pytest.mark.parametrize("speed", [0, 4, 25])
def test_cuts_are_found_between_still_and_moving_shots(speed: int) -> None:
    shots = [moving(seed, speed * (-1) ** seed, frames) for seed, frames in enumerate((9, 7, 2, 3, 1, 8))]
    assert found(frame for shot in shots for frame in shot) == [9, 16, 18, 21, 22]


def test_a_cut_to_an_alike_picture_is_found_where_nothing_moved() -> None:
    alike = view(1) + 0.7 * (view(2) - 127)
    assert found([view(1)] * 8 + [alike] * 8) == [8]
    assert found([view(1), alike]) == [], "what comes first may be in motion"


def test_a_cut_in_a_dim_scene_is_found() -> None:
    dim = [view(seed) / 2.5 for seed in (1, 2)]
    assert found([dim[0]] * 6 + [dim[1]] * 6) == [6]


def test_flashes_strobes_fades_and_dissolves_are_none() -> None:
    flash = [view(1)] * 6 + [255 - 0.3 * (255 - view(1))] + [view(1)] * 6
    strobe = [view(1, t) * (0.4 if t // 2 % 2 else 1.0) for t in range(16)]
    fade = [view(1) * max(0.0, 1 - t / 12) for t in range(15)] + [view(1) * (t / 12) for t in range(13)]
    dissolve = [view(1) * (1 - t / 12) + view(2) * (t / 12) for t in range(13)]
    assert [found(frames) for frames in (flash, strobe, fade, dissolve)] == [[]] * 4


def test_somebody_who_walks_past_is_none() -> None:
    frames = [view(1).copy() for _ in range(24)]
    for t, frame in enumerate(frames):
        left, right = max(0, 30 * t - 120), min(WIDTH, max(0, 30 * t - 60))
        frame[:, left:right] = 20
    assert found(frames) == []


def test_sixteen_bits_are_seen_like_eight() -> None:
    frames = [np.clip(f, 0, 255).astype(np.uint16) * 257 for f in [view(1)] * 4 + moving(2, 30, 6)]
    cuts = SceneCuts()
    assert [cuts.begins(frame) for frame in frames] == [False] * 4 + [True] + [False] * 5
