"""Which swaps show, which fade, which are left out, and which sources are weak."""

from __future__ import annotations

import numpy as np
import pytest

from utils.inference.align import TEMPLATES, estimate
from utils.inference.keypoints import yaw
from utils.inference.people import source_warning
from utils.inference.report import FaceCounts, RunReport
from utils.inference.types import Visibility
from utils.inference.visibility import TINY, TURNED, UNCLEAR, visibility_of
from utils.inference.warp import apply

LIMIT = 60.0


def landmarks_on(kps: np.ndarray) -> np.ndarray:
    """106 landmarks whose eyes, nose and mouth corners lie on five keypoints."""
    points = np.zeros((106, 2), np.float32)
    points[[35, 41, 40, 42, 39, 37, 33, 36]] = kps[0]
    points[[89, 95, 94, 96, 93, 91, 87, 90]] = kps[1]
    points[[86, 52, 61]] = kps[2:]
    return points


def judge(kps: np.ndarray, moved: float = 0.0, limit: float = LIMIT) -> Visibility:
    M, _ = estimate(kps, 224)
    found = apply(M, kps)
    return visibility_of(kps, landmarks_on(found + moved * np.linalg.norm(found[1] - found[0])), M, limit)


FRONTAL, LEFT, PROFILE = TEMPLATES[2] / 2, TEMPLATES[1] / 2, TEMPLATES[0] / 2


def test_frontal_faces_show() -> None:
    assert judge(FRONTAL) == Visibility() and Visibility().share == 1 and Visibility().reason == ""


def test_yaw_grows_from_template_to_template_on_both_sides() -> None:
    angles = [yaw(template) for template in TEMPLATES]
    assert angles[2] < 8 < 20 < angles[1] < angles[0]
    assert angles[0] == pytest.approx(angles[4], abs=3) and angles[1] == pytest.approx(angles[3], abs=3)


def seen_from(angle: float, eyes: float, roll: float = 0) -> np.ndarray:
    """Keypoints (5, 2) of a head that is turned, and then laid on its side, by degrees, with so many pixels between its
    eyes where it looks at the camera."""
    head = np.array([(-0.5, -0.4, 0), (0.5, -0.4, 0), (0, 0, 0.55), (-0.35, 0.4, 0), (0.35, 0.4, 0)]) * eyes
    x = head[:, 0] * np.cos(np.radians(angle)) + head[:, 2] * np.sin(np.radians(angle))
    cos, sin = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    return np.stack([x, head[:, 1]], axis=1) @ np.array([[cos, sin], [-sin, cos]]) + 300


@pytest.mark.parametrize("roll", [0, 45])
@pytest.mark.parametrize("angle", [0, 30, 45, 60])
def test_faces_count_as_large_as_they_are_however_they_are_turned(angle: float, roll: float) -> None:
    def share(eyes: float) -> float:
        kps = seen_from(angle, eyes, roll)
        M, _ = estimate(kps, 224)
        return visibility_of(kps, landmarks_on(apply(M, kps)), M, 180.0).share

    assert yaw(seen_from(angle, 8, roll)) == pytest.approx(angle, abs=1e-6)
    assert [share(eyes) for eyes in (5.9, 6.0, 8.0, 10.0, 30.0)] == pytest.approx([0, 0, 0.5, 1, 1])
    assert 0 < share(6.1) < 0.02 and 0.98 < share(9.9) < 1


def test_swaps_fade_over_the_last_degrees_before_the_limit() -> None:
    shares = [judge(seen_from(angle, 100)).share for angle in (LIMIT - 15, LIMIT - 7.5, LIMIT)]
    assert shares == pytest.approx([1, 0.5, 0], abs=1e-6)


@pytest.mark.parametrize("angle", [0, 35])
def test_a_turned_source_counts_as_large_as_it_is(angle: float) -> None:
    assert source_warning(seen_from(angle, 20.1)) == ""
    assert source_warning(seen_from(angle, 19.0)).startswith("has 19 pixels between the eyes; from 20 on")
    assert "turned away by about 41 degrees" in source_warning(seen_from(41, 100))
    assert source_warning(seen_from(39, 100)) == ""


def test_profiles_tiny_and_unclear_faces_are_left_out() -> None:
    assert judge(PROFILE).share == 0 and judge(PROFILE).reason == TURNED
    assert judge(FRONTAL * 5 / 32).share == 0 and judge(FRONTAL * 5 / 32).reason == TINY
    assert judge(FRONTAL, moved=0.6).share == 0 and judge(FRONTAL, moved=0.6).reason == UNCLEAR


def test_generators_that_know_all_yaws_show_profiles_alone() -> None:
    for kps in (FRONTAL, LEFT, PROFILE, TEMPLATES[4] / 2):
        assert judge(kps, limit=0) == Visibility()
    assert judge(FRONTAL, moved=0.6, limit=0) == Visibility(0.0, UNCLEAR)
    assert judge(FRONTAL * 5 / 32, limit=0) == Visibility(0.0, TINY) and judge(PROFILE / 8, limit=0).reason == TINY


def test_landmarks_far_from_the_keypoints_speak_against_frontal_faces_alone() -> None:
    """In a profile, where the hidden eye is, is a guess; its landmarks are 60 % of the eyes' distance off here."""
    shares = []
    for angle in (0, 45, 52.5, 60, 80):
        kps = seen_from(angle, 100)
        M, _ = estimate(kps, 224)
        shares.append(visibility_of(kps, landmarks_on(apply(M, kps + np.array([60, 0]))), M, 0.0).share)
    assert shares == pytest.approx([0, 0, 0.5, 1, 1], abs=1e-6)


def test_weak_sources_are_told_from_good_ones() -> None:
    assert source_warning(FRONTAL) == source_warning((FRONTAL + LEFT) / 2) == ""
    assert "turned away by about" in source_warning(PROFILE)
    assert "pixels between the eyes" in source_warning(FRONTAL / 3)


def test_in_between_they_fade_steadily() -> None:
    shares = [judge(FRONTAL, moved=step).share for step in np.linspace(0.1, 0.4, 9)]
    assert shares == sorted(shares, reverse=True) and 0 < shares[4] < 1
    part = FRONTAL + (PROFILE - FRONTAL) * np.linspace(0, 1, 12)[:, None, None]
    shares = [judge(kps).share for kps in part]
    assert shares == sorted(shares, reverse=True) and any(0 < share < 1 for share in shares)


def test_the_report_counts_them() -> None:
    frame, report = FaceCounts(found=3), RunReport()
    for kps in (FRONTAL, PROFILE):
        frame.add(judge(kps), 0)
    frame.add(judge(FRONTAL, moved=0.25), 0)
    report.count(frame)
    counted = report.as_dict()["faces"]
    assert counted == {"found": 3, "swapped": 2, "skipped": {TURNED: 1}, "faded": {UNCLEAR: 1}}
    assert any("fades" in note for note in report.notes)
