"""Keypoints, landmarks and templates of a face are steadied over time, and what moves is not held back."""

from __future__ import annotations

import numpy as np
import pytest

from utils.inference.recent import Recent
from utils.inference.smooth import SteadyLandmarks, Templates, jumped, smooth

FACE = np.array([[-10, -10], [10, -10], [0, 2], [-8, 10], [8, 10]], np.float32)
PLACE = np.array([[50.0, 60.0], [120.0, 90.0], [80.0, 140.0]])


def test_still_points_come_nearer_to_where_they_are() -> None:
    steady, noise = SteadyLandmarks(), np.random.default_rng(0).normal(0, 0.4, (300, *PLACE.shape))
    settled = np.stack([steady.settle(7, PLACE + one) for one in noise])
    away, before = np.linalg.norm(settled[10:] - PLACE, axis=-1), np.linalg.norm(noise[10:], axis=-1)
    assert away.mean() < 0.5 * before.mean()
    steps = [np.linalg.norm(np.diff(points, axis=0), axis=-1).mean() for points in (settled, noise)]
    assert steps[0] < 0.35 * steps[1]


@pytest.mark.parametrize(("moved", "share"), [(0.2, 0.3), (1.0, 0.3), (2.0, 0.5), (3.0, 0.75), (4.0, 1.0), (5.0, 1.0),
                                              (100.0, 1.0)])
def test_the_further_a_point_moves_the_more_of_it_passes_at_once(moved: float, share: float) -> None:
    steady = SteadyLandmarks()
    steady.settle(1, PLACE)
    step = moved * np.array([[0.6, -0.8], [0, 0], [0, 0]])  # one point alone: the others stay
    assert steady.settle(1, PLACE + step) == pytest.approx(PLACE + share * step)


def test_a_point_that_moved_slowly_arrives() -> None:
    steady = SteadyLandmarks()
    steady.settle(1, PLACE)
    for _ in range(30):
        settled = steady.settle(1, PLACE + 1.5)
    assert settled == pytest.approx(PLACE + 1.5, abs=1e-3)


def test_tracks_are_apart() -> None:
    steady = SteadyLandmarks()
    assert np.array_equal(steady.settle(1, PLACE), PLACE)
    assert np.array_equal(steady.settle(2, PLACE + 1), PLACE + 1)
    assert not np.array_equal(steady.settle(1, PLACE + 1), PLACE + 1)


def test_smoothing_is_symmetric_and_shrinks_at_the_ends() -> None:
    kps: list[np.ndarray | None] = [FACE + np.float32(0.1) * i * i for i in range(6)]
    np.testing.assert_allclose(smooth(kps, 0), kps[0])
    np.testing.assert_allclose(smooth(kps, 1)[0], FACE[0] + np.mean([0, 0.1, 0.4]), rtol=1e-5)
    np.testing.assert_allclose(smooth(kps, 3)[0], FACE[0] + np.mean([0.1, 0.4, 0.9, 1.6, 2.5]), rtol=1e-5)
    np.testing.assert_allclose(smooth([*kps[:4], None, kps[5]], 2)[0], FACE[0] + np.mean([0.1, 0.4, 0.9]), rtol=1e-5)


@pytest.mark.parametrize("scale", [0.2, 1.0, 10.0])
def test_jumps_are_relative_to_the_face(scale: float) -> None:
    at_1080p = 4 * FACE  # eyes 80 pixels apart
    assert not jumped(scale * at_1080p, scale * (at_1080p + 4.9))
    assert jumped(scale * at_1080p, scale * (at_1080p + 5.1))
    still = [scale * at_1080p] * 3 + [scale * (at_1080p + 30)] * 3
    assert smooth(still, 2)[0, 0] == pytest.approx(scale * at_1080p[0, 0])  # type: ignore[arg-type]


def test_tracks_that_are_long_gone_are_forgotten() -> None:
    known: Recent[int] = Recent()
    for track in range(1500):
        known[track] = track
        assert known[0] == 0
    assert len(known) == 1500
    known.shrink()
    assert len(known) == 1000 and sorted(known)[1] == 501 and 1499 in known


def test_templates_change_only_for_a_clearly_better_one() -> None:
    def errors(kps: np.ndarray) -> np.ndarray:
        return np.array([50.0, 40.0 - kps[0, 0], 20.0, 50.0, 50.0])

    templates = Templates(errors)
    chosen = [templates.choose(7, np.full((5, 2), value)) for value in (0, 18, 22, 23, 25, 22, 17)]
    assert chosen == [2, 2, 2, 2, 1.9, 1.8, 1.7]
    assert templates.choose(8, np.full((5, 2), 22)) == 1, "another track chooses freely"
    templates.keep_only({8})
    assert templates.choose(7, np.full((5, 2), 22)) == 1, "an ended track is forgotten"


def test_a_track_glides_from_template_to_template() -> None:
    best = 2

    def errors(kps: np.ndarray) -> np.ndarray:
        return np.where(np.arange(5) == best, 10.0, 50.0)

    templates = Templates(errors)
    assert templates.choose(7, FACE) == 2
    best = 4
    there = [templates.choose(7, FACE) for _ in range(22)]
    assert np.diff([2, *there[:20]]) == pytest.approx(0.1) and there[19:] == [4, 4, 4]
    best = 3
    assert templates.choose(7, FACE) == 3.9
    best = 4
    assert templates.choose(7, FACE) == 4, "back at once"
