"""Masks against reference masks, bit for bit."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from utils.inference import mask
from utils.inference.smooth import SteadyLandmarks

GOLDEN = Path(__file__).parent / "data" / "mask.npz"


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


@pytest.mark.parametrize("case", range(8))
def test_parameters_and_mask(golden: dict[str, np.ndarray], case: int) -> None:
    swap, target = golden["landmarks_swap"][case], golden["landmarks_target"][case]
    params = mask.choose_params(swap, target)
    assert [params.erode, params.sigma_x, params.sigma_y] == golden["params"][case].tolist()
    drawn = mask.draw(swap, params, 224)
    assert drawn.dtype == np.float32
    assert np.array_equal(drawn, golden["mask"][case].astype(np.float32) / 255)


@pytest.mark.parametrize("size", [64, 112, 200, 320, 448, 1024])
@pytest.mark.parametrize("case", range(8))
def test_the_size_of_the_crop_changes_neither_the_choice_nor_the_shape(
    golden: dict[str, np.ndarray], case: int, size: int
) -> None:
    swap, target = golden["landmarks_swap"][case], golden["landmarks_target"][case]
    scaled = [(points + 0.5) * (size / 224) - 0.5 for points in (swap, target)]
    params = mask.choose_params(*scaled, size=size)  # type: ignore[misc]
    assert params == mask.choose_params(swap, target)
    drawn = cv2.resize(mask.draw(scaled[0], params, size), (224, 224), interpolation=cv2.INTER_AREA)
    assert np.abs(drawn - mask.draw(swap, params, 224)).mean() < (0.02 if size > 100 else 0.05)


@pytest.mark.parametrize("sigma", [(5, 10), (1.43, 2.86), (35.7, 10.2)])
def test_blurred_like_by_opencv(sigma: tuple[float, float]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (96, 90), np.uint8)
    assert np.array_equal(mask._blurred(noise, *sigma), cv2.GaussianBlur(noise, (0, 0), sigma[0], sigmaY=sigma[1]))


def test_landmarks_are_steadied_alike_in_crops_of_all_sizes() -> None:
    moved = []
    for size in (112, 224, 448):
        steady, points = SteadyLandmarks(), np.full((106, 2), size / 2)
        steady.settle(0, points, size)
        moved.append((steady.settle(0, points + 2 * size / 224, size) - points) / size)
    assert np.allclose(moved, moved[1]) and 0.3 / 224 < moved[1].max() < 1.9 / 224


def test_all_four_kinds_are_covered(golden: dict[str, np.ndarray]) -> None:
    assert len(np.unique(golden["params"], axis=0)) == 4


def test_brows_move_up(golden: dict[str, np.ndarray]) -> None:
    points = golden["landmarks_swap"][0]
    low, high = mask.MaskParams(5, 5, 5, 0.0), mask.MaskParams(5, 5, 5, 2.7)
    assert mask.draw(points, high, 224)[:112].sum() > mask.draw(points, low, 224)[:112].sum()


def test_a_generator_of_wider_reach_shows_more_and_higher(golden: dict[str, np.ndarray]) -> None:
    swap, target = golden["landmarks_swap"][0], golden["landmarks_target"][0]
    published = mask.choose_params(swap, target)
    assert mask.choose_params(swap, target, mask.MaskMargin()) == published
    margins = mask.MaskMargin(wider=12), mask.MaskMargin(higher=1.0)
    wide, high = (mask.choose_params(swap, target, margin) for margin in margins)
    assert wide.erode == published.erode - 12 and high.brow == published.brow + 1
    drawn = [mask.draw(swap, params, 224) > 0.5 for params in (published, wide, high)]
    rows = [np.flatnonzero(shown.any(1)) for shown in drawn]
    assert drawn[1][drawn[0]].all() and drawn[1].sum() > 1.05 * drawn[0].sum()
    assert rows[2][0] < rows[0][0] - 4 and rows[2][-1] == rows[0][-1], "upwards only"
    even = mask.MaskParams(0, 5, 5, 2.0)
    assert mask.draw(swap, even, 224).sum() > mask.draw(swap, published, 224).sum()


def test_points_far_outside(golden: dict[str, np.ndarray]) -> None:
    points = golden["landmarks_swap"][0] + 1000
    assert not mask.draw(points, mask.MaskParams(5, 5, 5, 2.0), 224).any()


@pytest.mark.parametrize(("offset", "erode"), [
    (6.5, 15), (6.0, 10), (3.5, 10), (3.0, 5), (0.0, 5), (-3.0, 5), (-3.5, -5),
])
def test_limits_of_the_offset(offset: float, erode: int) -> None:
    target = np.full((106, 2), 100.0)
    swap = target.copy()
    swap[[1, 2, 13], 0] += offset / 3  # left contour moves inwards
    swap[[17, 18, 29], 0] += 40  # right contour outwards: counts less
    swap[:, 1] += 50  # heights do not count
    assert mask.choose_params(swap, target).erode == erode
    swap[[1, 2, 13], 0] = target[[1, 2, 13], 0] - 40
    swap[[17, 18, 29], 0] = target[[17, 18, 29], 0] - offset / 3
    assert mask.choose_params(swap, target).erode == erode
