"""--identity_strength and a generator's identity_reach: between the target's identity and the source's, and beyond."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from utils.errors import OptionError
from utils.inference.conditioning import Conditioning
from utils.inference.config import InferenceConfig
from utils.inference.embeddings import STRONGEST, steer
from utils.inference.report import RunReport
from utils.inference.stages import load_stages
from utils.inference.types import TrackedFace
from utils.io.frame import Frame

SOURCE = np.array([[1.0, 0, 0], [0, 2.0, 0]], np.float32)


class Eyes:
    """An identifier that sees the brightness of a frame, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def embed(self, image: np.ndarray, faces: list[Any]) -> np.ndarray:
        """(N, 3) float32."""
        self.asked += 1
        return np.full((len(faces), 3), float(image.flat[0]), np.float32)


def wanted(strength: float | None, reach: float = 0) -> tuple[np.ndarray, Eyes]:
    """Embeddings of one person's track in two frames, and of another one's in the second."""
    eyes = Eyes()
    settings: Any = SimpleNamespace(identity_strength=strength, identity_reach=reach, glasses=None, target_glasses=True)
    frames = [Frame(np.full((2, 2, 3), level, np.uint8), index) for index, level in enumerate((1, 4))]
    faces = [(0, 0, 7), (1, 0, 7), (1, 1, 8)]  # frame, person, track
    kps = np.zeros((5, 2), np.float32)
    conditioning = Conditioning(eyes, settings)  # type: ignore[arg-type]
    shown = [(frames[f], TrackedFace(kps, p, t, 0)) for f, p, t in faces]
    return conditioning.embeddings(SOURCE, shown, RunReport().stage), eyes


def test_as_it_is_costs_nothing() -> None:
    for strength, reach in ((1.0, 0.0), (1.0, 9.0), (None, 0.0)):
        z_id, eyes = wanted(strength, reach)
        assert np.array_equal(z_id, SOURCE[[0, 0, 1]]) and eyes.asked == 0


def test_each_appearance_is_looked_at_once() -> None:
    own = np.array([[1.0] * 3, [1.0] * 3, [4.0] * 3], np.float32)
    for strength in (0.0, 0.5, 1.3):
        z_id, eyes = wanted(strength)
        assert np.allclose(z_id, own + strength * (SOURCE[[0, 0, 1]] - own)) and eyes.asked == 2


@pytest.mark.parametrize(("reach", "shares"), [(0.5, (1, 1)), (2.0, (2**0.5, 1)), (7.2, (2, 7.2 / 6))])
def test_alike_people_are_set_further_apart(reach: float, shares: tuple[float, float]) -> None:
    """The ways are 2 ** 0.5 and 6 long: neither less than the whole way, nor more than twice."""
    z_id, _ = wanted(None, reach)
    own = np.array([[1.0] * 3, [4.0] * 3], np.float32)
    assert np.allclose(z_id[[0, 2]], own + np.array(shares)[:, None] * (SOURCE - own)) and z_id.dtype == np.float32


def test_a_person_into_itself_stays() -> None:
    own = np.ones((1, 4), np.float32)
    assert np.array_equal(steer(own, own, None, 20.0), own)


def test_the_generators_own_and_the_users(
    random_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = shutil.copytree(random_weights, tmp_path / "weights")
    monkeypatch.setenv("GHOST_WEIGHTS", str(weights))
    assert load_stages(InferenceConfig(device="cpu", identity_strength=0.0)).settings.identity_strength == 0
    for reach in (0.0, 7.5):
        card = weights / "ghost_compact_generator.json"
        card.write_text(json.dumps(json.loads(card.read_text()) | {"identity_reach": reach}))
        settings = load_stages(InferenceConfig(device="cpu")).settings
        assert (settings.identity_strength, settings.identity_reach) == (None, reach)


def test_masks_and_turns_are_the_generators_or_the_users(
    random_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = shutil.copytree(random_weights, tmp_path / "weights")
    monkeypatch.setenv("GHOST_WEIGHTS", str(weights))
    card, own = weights / "ghost_compact_generator.json", {"max_yaw": 50.0, "mask_wider": 4, "mask_higher": 0.5,
                                                           "rim_contrast": 0.4, "tone": 0.3, "sharpen": 0.7,
                                                           "detail": 0.6, "match_blur": 0.4}
    card.write_text(json.dumps(json.loads(card.read_text()) | own))
    users = {"max_yaw": 0.0, "mask_wider": -3, "mask_higher": 0.0, "rim_contrast": 0.0, "tone": 0.0,
             "sharpen": 0.0, "detail": 0.0, "match_blur": 0.0}
    for wanted, options in ((own, {}), (users, users)):
        found = load_stages(InferenceConfig(device="cpu", **options)).settings  # type: ignore[arg-type]
        seen = (found.max_yaw, found.mask_margin.wider, found.mask_margin.higher, found.rim_contrast, found.tone,
                found.sharpen, found.detail, found.match_blur)
        assert seen == tuple(wanted.values())


@pytest.mark.parametrize(
    "option",
    [{"max_yaw": -1}, {"mask_wider": 101}, {"mask_higher": float("nan")}, {"rim_contrast": -0.1}, {"sharpen": -1},
     {"detail": 1.1}, {"match_blur": 1.1}, {"occlusion": -0.1}],
)
def test_masks_and_turns_that_cannot_be(option: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=f"--{next(iter(option))} must be from"):
        InferenceConfig(**option).check_values()


@pytest.mark.parametrize("value", [-0.1, 2.5, float("nan")])
def test_values_beyond_its_range(value: float) -> None:
    with pytest.raises(OptionError, match=f"--identity_strength must be from 0 to {STRONGEST:g}, not {value}"):
        InferenceConfig(identity_strength=value).check_values()
