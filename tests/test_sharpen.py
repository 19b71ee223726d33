"""--sharpen: swaps about as sharp as the faces that they replace."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from utils.inference import stages
from utils.inference.config import InferenceConfig
from utils.inference.pipeline import load_pipeline
from utils.inference.sharpen import sharpen

IMAGES = Path(__file__).resolve().parents[1] / "examples" / "images"


def picture(seed: int = 0) -> np.ndarray:
    """Something with edges of all directions and lengths, (128, 128, 3) uint8."""
    coarse = np.random.default_rng(seed).integers(60, 196, (32, 32, 3)).astype(np.uint8)
    return cv2.resize(coarse, (128, 128), interpolation=cv2.INTER_NEAREST)


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), sigma)


def detail(image: np.ndarray) -> float:
    """What a picture loses in a blur, levels."""
    return float(np.abs(image.astype(float) - cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1.0)).mean())


def test_a_soft_swap_becomes_sharper_and_keeps_its_colours() -> None:
    target = picture()
    swap = blurred(picture(1), 1.0)
    sharper = sharpen(swap, target, 5.0)
    assert 1.2 * detail(swap) < detail(sharper) < 1.3 * detail(target)
    assert np.allclose(sharper.mean((0, 1)), swap.mean((0, 1)), atol=1)
    assert np.abs(sharper.astype(float) - picture(1)).mean() < np.abs(swap.astype(float) - picture(1)).mean()


def test_no_more_than_is_allowed() -> None:
    target, swap = picture(), blurred(picture(1), 1.0)
    some, much = sharpen(swap, target, 0.2), sharpen(swap, target, 5.0)
    assert detail(swap) < detail(some) < 1.25 * detail(swap) < detail(much)
    assert np.array_equal(sharpen(swap, target, 0.0), swap)


@pytest.mark.parametrize("target", [blurred(picture(), 3.0), np.full((128, 128, 3), 90, np.uint8)])
def test_beside_a_blurred_face_a_swap_stays_soft(target: np.ndarray) -> None:
    swap = blurred(picture(1), 1.0)
    assert np.array_equal(sharpen(swap, target, 1.0), swap)


def test_flat_swaps_stay_as_they_are() -> None:
    flat = np.full((128, 128, 3), 90, np.uint8)
    assert np.array_equal(sharpen(flat, picture(), 1.0), flat)


def test_what_an_enhancer_makes_is_not_sharpened() -> None:
    generator: Any = SimpleNamespace(card={"sharpen": 0.8})
    identity: Any = SimpleNamespace(card={}, path=Path("encoder"), network=SimpleNamespace(num_features=2))
    for options, wanted in (({}, 0.8), ({"use_sr": True}, 0), ({"use_sr": True, "sharpen": 0.5}, 0)):
        assert stages._settings(InferenceConfig(**options), generator, identity).sharpen == wanted


def test_swaps_in_photos_are_sharper(tmp_path: Path) -> None:
    found = []
    for most in (0.0, 1.0):
        pipeline = load_pipeline(InferenceConfig(device="cpu", model="embedded", sharpen=most))
        pipeline.swap_photo(IMAGES / "portrait.jpg", IMAGES / "selfie.jpg", tmp_path / "out.png")
        result = cv2.imread(str(tmp_path / "out.png"))
        assert result is not None
        found.append(detail(result))
    assert found[1] > found[0]
