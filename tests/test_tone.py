"""--tone: the target's light and skin tone on a swap."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch

from utils.errors import OptionError
from utils.inference.config import InferenceConfig
from utils.inference.pipeline import load_pipeline
from utils.inference.stages import load_stages
from utils.inference.tone import match_tone
from utils.training import filters


def picture(seed: int, side: int = 128) -> np.ndarray:
    """Something of many colours and scales, (side, side, 3) uint8."""
    noise = np.random.default_rng(seed).uniform(0, 1, (8, 8, 3)).astype(np.float32)
    fine = np.random.default_rng(seed + 1).uniform(-20, 20, (side, side, 1))
    return np.clip(cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC) * 80 + 90 + fine, 0, 255).astype(
        np.uint8
    )


def coarse(image: np.ndarray, cells: int) -> np.ndarray:
    return cv2.resize(image.astype(np.float32), (cells, cells), interpolation=cv2.INTER_AREA)


def test_of_itself_nothing_changes() -> None:
    face = picture(0)
    assert np.array_equal(match_tone(face, face, 1.0), face)
    assert np.array_equal(match_tone(face, picture(5), 0.0), face)


def test_a_stained_swap_gets_the_targets_colours_and_keeps_its_features() -> None:
    target = picture(0)
    features = np.zeros((128, 128, 1), np.int16)
    features[::4] = 25  # finer than a cell
    stain = np.zeros((128, 128, 3), np.int16)
    stain[20:100, 30:90] = (30, -10, -25)
    swap = np.clip(target + features + stain - 6, 0, 255).astype(np.uint8)
    result = match_tone(swap, target, 1.0)
    before, after = (np.abs(coarse(x, 16) - coarse(target, 16)).mean() for x in (swap, result))
    assert after < before / 3
    rows = result.astype(int).mean((1, 2)) - target.astype(int).mean((1, 2))
    assert np.allclose(rows[::4].mean() - rows[2::4].mean(), 25, atol=1.5)


def test_half_goes_half_of_the_way() -> None:
    swap, target = picture(0), np.full((64, 64, 3), (120, 140, 160), np.uint8)
    none, half, whole = (match_tone(swap, target, share).astype(float) for share in (0.0, 0.5, 1.0))
    assert np.abs((none + whole) / 2 - half).max() <= 1


def test_large_swaps_of_small_crops() -> None:
    swap, target = np.full((512, 512, 3), 90, np.uint8), np.full((128, 128, 3), (100, 120, 140), np.uint8)
    assert np.array_equal(match_tone(swap, target, 1.0), np.full((512, 512, 3), (100, 120, 140), np.uint8))


def test_black_and_white_pictures_stay_so() -> None:
    target = cv2.merge([picture(0)[..., 1]] * 3)
    levels = match_tone(picture(7), target, 0.8).astype(int)
    assert np.ptp(levels, axis=2).max() <= 2
    assert np.ptp(match_tone(picture(7), picture(0), 0.8).astype(int), axis=2).mean() > 20


@pytest.mark.parametrize(("colours", "roundings"), [(0.0, 3), (0.3, 3), (1.0, 1)])
def test_training_sees_the_same(colours: float, roundings: int) -> None:
    swap, target = picture(0), picture(7)
    grey = cv2.merge([cv2.cvtColor(target, cv2.COLOR_BGR2GRAY)] * 3)
    target = cv2.addWeighted(target, colours, grey, 1 - colours, 0)
    tensors = [torch.from_numpy(x[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 127.5 - 1 for x in (swap, target)]
    found = ((filters.toned(*tensors, 0.7)[0].permute(1, 2, 0) + 1) * 127.5).numpy()[..., ::-1]
    assert np.abs(found - match_tone(swap, target, 0.7)).max() <= 0.51 * roundings


@pytest.mark.parametrize("sigma", [1.0, 6.5])
def test_a_blur_is_a_bell_with_nothing_beyond_the_border(sigma: float) -> None:
    image = picture(3, 32)[:24].astype(np.float32)
    reach = int(np.ceil(3 * sigma))
    bell = cv2.getGaussianKernel(2 * reach + 1, sigma, cv2.CV_32F)
    expected = cv2.sepFilter2D(image, -1, bell, bell, borderType=cv2.BORDER_CONSTANT)
    found = filters.gaussian_blur(torch.from_numpy(image).permute(2, 0, 1)[None], sigma)
    assert np.abs(found[0].permute(1, 2, 0).numpy() - expected).max() < 1e-3


def test_the_generators_own_and_the_users(random_weights: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GHOST_WEIGHTS", str(random_weights))
    assert load_stages(InferenceConfig(device="cpu")).settings.tone == 0
    assert load_stages(InferenceConfig(device="cpu", tone=0.5)).settings.tone == 0.5


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_values_beyond_its_range(value: float) -> None:
    with pytest.raises(OptionError, match="--tone must be from 0 to 1"):
        load_pipeline(tone=value)
