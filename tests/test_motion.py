"""Motion of a face seen in the pictures."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from utils.inference.motion import between, settle
from utils.inference.warp import apply

KPS = np.array([[90, 100], [150, 100], [120, 130], [100, 160], [140, 160]], np.float32)
TURN = np.array([[3, 0], [-6, 0], [24, 0], [6, 0], [-3, 0]], np.float32)  # of a head: the nose goes furthest


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3)).astype(np.uint8)
    return cv2.resize(noise, (256, 256), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_key_points_follow_a_turn_a_shift_and_a_zoom(picture: np.ndarray, dtype: type) -> None:
    picture = picture.astype(dtype) * (257 if dtype == np.uint16 else 1)
    M = cv2.getRotationMatrix2D((120, 130), 3.0, 1.02)
    M[:, 2] += (4.3, -2.6)
    after = cv2.warpAffine(picture, M, (256, 256), borderMode=cv2.BORDER_REPLICATE)
    moved = between(picture, after, KPS)
    assert moved is not None
    np.testing.assert_allclose(apply(moved, KPS), KPS @ M[:, :2].T + M[:, 2], atol=0.15)


def test_a_jump_that_only_the_coarser_pyramid_shows_is_followed(picture: np.ndarray) -> None:
    M = np.array([[1, 0, 20], [0, 1, 0]], np.float32)
    moved = between(picture, cv2.warpAffine(picture, M, (256, 256), borderMode=cv2.BORDER_REFLECT), KPS)
    assert moved is not None
    np.testing.assert_allclose(apply(moved, KPS), KPS + np.array([20, 0]), atol=0.15)


def test_pictures_that_tell_nothing_are_not_believed(picture: np.ndarray) -> None:
    grey = np.full_like(picture, 128)
    assert between(grey, grey, KPS) is None
    assert between(picture, picture[::-1].copy(), KPS) is None


def test_noise_of_the_detector_is_averaged_out() -> None:
    rng = np.random.default_rng(0)
    kps = KPS + rng.normal(0, 1, KPS.shape).astype(np.float32)
    for age in range(1, 100):
        kps = settle(kps, (KPS + rng.normal(0, 1, KPS.shape)).astype(np.float32), age)
    assert np.abs(kps - KPS).mean() < 0.25


def test_a_detection_far_from_the_motion_wins() -> None:
    np.testing.assert_allclose(settle(KPS, KPS + 10, 50), KPS + 10)
    np.testing.assert_allclose(settle(KPS, KPS + 1, 50), KPS + 0.02, atol=1e-3)


def test_key_points_follow_a_turning_head() -> None:
    kps, behind = KPS, []
    for frame in range(60):
        turned = KPS + np.float32(min(1.3, frame / 20)) * TURN
        kps = settle(kps, turned, 50 + frame)
        behind.append(abs(turned - kps).max())
    assert max(behind) < 6 and np.mean(behind) < 4


def test_a_head_found_turned_does_not_snap() -> None:
    np.testing.assert_allclose(settle(KPS, KPS + 0.75 * TURN, 50), KPS + 0.25 * 0.75 * TURN, atol=1e-3)
    np.testing.assert_allclose(settle(KPS, KPS + 1.5 * TURN, 50), KPS + 1.5 * TURN, err_msg="something else is seen")
