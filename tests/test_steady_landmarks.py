"""Landmarks that tremble are steadied, and those that move are not held back."""

from __future__ import annotations

import numpy as np
import pytest

from utils.inference.smooth import SteadyLandmarks

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


def test_tracks_are_apart_and_a_new_stream_begins_anew() -> None:
    steady = SteadyLandmarks()
    assert np.array_equal(steady.settle(1, PLACE), PLACE)
    assert np.array_equal(steady.settle(2, PLACE + 1), PLACE + 1)
    assert not np.array_equal(steady.settle(1, PLACE + 1), PLACE + 1)
    steady.forget()
    assert np.array_equal(steady.settle(1, PLACE + 2), PLACE + 2)
