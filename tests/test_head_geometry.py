"""What evaluate.py measures on landmarks: the turn of the head, openings, gaze, distances."""

from __future__ import annotations

import numpy as np
import pytest

from tests.heads import face, rotation
from utils.errors import NoFaceInTargetError
from utils.evaluation import geometry, measures


@pytest.mark.parametrize("angles", [(0, 0, 0), (25, 0, 0), (0, -15, 0), (0, 0, 30), (20, 10, -8)])
def test_pose_comes_back(angles: tuple[float, float, float]) -> None:
    found = geometry.head_angles(geometry.head_rotation(face(rotation(*angles))))
    np.testing.assert_allclose(found, angles, atol=1.5)


def test_pose_difference_is_the_angle_between() -> None:
    one, other = rotation(10, 0, 0), rotation(22, 0, 0)
    assert geometry.angle_between(one, other) == pytest.approx(12)
    measured = measures.attributes(face(other), face(one))
    assert measured["pose_degrees"] == pytest.approx(12, abs=1.5)
    assert measured["yaw_degrees"] > 4 * measured["roll_degrees"]


def test_pose_refuses_points_that_coincide() -> None:
    with pytest.raises(NoFaceInTargetError, match="no head"):
        geometry.head_rotation(np.zeros((106, 2)))


def test_openings_and_gaze() -> None:
    assert geometry.mouth_opening(face(mouth=0.4)) == pytest.approx(0.4)
    assert geometry.eye_opening(face(lids=0.25)) == pytest.approx(0.25)
    np.testing.assert_allclose(geometry.gaze(face(look=0.2)), [0.2, 0], atol=1e-6)


def test_correlation_over_swaps() -> None:
    openings = [0.1, 0.2, 0.35, 0.5]
    cases = [measures.attributes(face(mouth=0.5 * value), face(mouth=value)) for value in openings]
    summary = measures.attribute_summary(cases)
    assert summary["mouth_correlation"] == pytest.approx(1)
    assert summary["mouth_difference"] == pytest.approx(0.5 * np.mean(openings))
    assert measures.correlation([1, 1, 1], [1, 2, 3]) is None


def test_landmark_error_is_in_eye_distances() -> None:
    points = face()
    eyes = np.linalg.norm(points[[89, 93]].mean(axis=0) - points[[35, 39]].mean(axis=0))
    assert measures.landmark_error(points + np.array([0.02 * eyes, 0]), points) == pytest.approx(0.02)


def test_landmark_errors_of_no_photo_are_no_figures() -> None:
    assert measures.landmark_summary([]) == {}
    assert measures.landmark_summary([0.1, 0.2, 0.6])["error_median"] == pytest.approx(0.2)
