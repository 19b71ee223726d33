"""The mapping from MediaPipe's mesh to the 106 landmarks."""

from __future__ import annotations

import numpy as np
import pytest

from utils.teachers import landmarks106
from utils.teachers.landmarks106 import to_106

LEFT = (1, 9, 10, 11, 12, 13, 14, 15, 16, 2, 3, 4, 5, 6, 7, 8, 0)
RIGHT = (17, 25, 26, 27, 28, 29, 30, 31, 32, 18, 19, 20, 21, 22, 23, 24, 0)


def mesh() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 100, (478, 2)).astype(np.float32)


def test_every_landmark_is_defined_once() -> None:
    contour = set(LEFT) | set(RIGHT)
    assert contour | set(landmarks106._VERTICES) == set(range(106))
    assert not contour & set(landmarks106._VERTICES)


def test_contour_is_even_and_ends_at_temples_and_chin() -> None:
    points, found = mesh(), to_106(mesh())
    np.testing.assert_allclose(found[[1, 17, 0]], points[[127, 356, 152]])
    angles = np.linspace(0, np.pi / 2, 12)
    points[list(landmarks106._LEFT_OVAL)] = np.stack([-np.cos(angles), np.sin(angles)], axis=1)
    steps = np.linalg.norm(np.diff(to_106(points)[list(LEFT)], axis=0), axis=1)
    assert steps.max() < 1.02 * steps.min()


def test_points_are_where_the_mesh_has_them() -> None:
    points, found = mesh(), to_106(mesh())
    pairs = {35: 33, 39: 133, 89: 362, 93: 263, 38: 468, 88: 473, 52: 61, 61: 291, 71: 0, 53: 17, 43: 70, 101: 300}
    np.testing.assert_allclose(found[list(pairs)], points[list(pairs.values())])
    np.testing.assert_allclose(found[34], points[[159, 145]].mean(axis=0), rtol=1e-6)


def test_refuses_a_mesh_without_irises() -> None:
    with pytest.raises(ValueError, match="478"):
        to_106(np.zeros((468, 2)))
