"""--identity_strength: between the target's own identity and the source's, and beyond."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from utils.errors import OptionError
from utils.inference.config import InferenceConfig
from utils.inference.pipeline import SwapPipeline
from utils.inference.stages import load_stages
from utils.inference.types import Frame, TrackedFace

SOURCE = np.array([[1.0, 0, 0], [0, 2.0, 0]], np.float32)


class Eyes:
    """An identifier that sees the brightness of a frame, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def embed(self, image: np.ndarray, faces: list[Any]) -> np.ndarray:
        """(N, 3) float32."""
        self.asked += 1
        return np.full((len(faces), 3), float(image.flat[0]), np.float32)


def wanted(strength: float) -> tuple[np.ndarray, Eyes]:
    """Embeddings of one person's track in two frames, and of another one's in the second."""
    eyes = Eyes()
    stages: Any = SimpleNamespace(identity_strength=strength, identifier=eyes, seconds=0.0)
    pipeline = SwapPipeline(stages, InferenceConfig())
    pipeline._z_id = SOURCE
    frames = [Frame(np.full((2, 2, 3), level, np.uint8), index) for index, level in enumerate((1, 4))]
    faces = [(0, 0, 7), (1, 0, 7), (1, 1, 8)]  # frame, person, track
    kps = np.zeros((5, 2), np.float32)
    return pipeline._wanted_identities([(frames[f], TrackedFace(kps, p, t, 0)) for f, p, t in faces]), eyes


def test_as_it_is_costs_nothing() -> None:
    z_id, eyes = wanted(1.0)
    assert np.array_equal(z_id, SOURCE[[0, 0, 1]]) and eyes.asked == 0


def test_each_appearance_is_looked_at_once() -> None:
    own = np.array([[1.0] * 3, [1.0] * 3, [4.0] * 3], np.float32)
    for strength in (0.0, 0.5, 1.3):
        z_id, eyes = wanted(strength)
        assert np.allclose(z_id, own + strength * (SOURCE[[0, 0, 1]] - own)) and eyes.asked == 2


def test_the_generators_own_and_the_users(random_weights: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GHOST_WEIGHTS", str(random_weights))
    assert load_stages(InferenceConfig(device="cpu")).identity_strength == 1
    assert load_stages(InferenceConfig(device="cpu", identity_strength=0.0)).identity_strength == 0


@pytest.mark.parametrize("value", [-0.1, 2.5, float("nan")])
def test_values_beyond_its_range(value: float) -> None:
    with pytest.raises(OptionError, match="--identity_strength must be from 0 to 2"):
        InferenceConfig(identity_strength=value).check_values()
