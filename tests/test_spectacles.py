"""Glasses that are drawn on faces, the network that learns from them, and rims that stay in front of swaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.test_training_occlusion import PHOTOS, build
from tests.test_training_students import run
from tests.training_set import options, write_set
from utils import registry
from utils.errors import InputError
from utils.inference.pipeline import SwapPipeline, load_pipeline
from utils.io.frame import Frame
from utils.io.image import read_photo
from utils.training import spectacles
from utils.training.config import parse
from utils.training.occlusion import GlassesTask
from utils.training.setup import load_set
from utils.training.spectacles import with_glasses
from utils.training.textures import SIDE

IMAGES = Path(__file__).resolve().parents[1] / "examples/images"
GREY = np.full((SIDE, SIDE, 3), 128, np.float32)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_set(tmp_path / "set")
    (tmp_path / "held.txt").write_text("0001\n0004\n0007\n")
    return tmp_path


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    return with_glasses(np.random.default_rng(seed), GREY, PHOTOS)


@pytest.fixture
def glasses_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectacles, "LIT", 0.0)
    monkeypatch.setattr(spectacles, "WORN", 1.0)


@pytest.mark.usefixtures("glasses_alone")
def test_rims_cover_some_of_the_eyes_surroundings_and_sunglasses_much(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = []
    for dark in (0.0, 1.0):
        monkeypatch.setattr(spectacles, "_SUNGLASSES", dark)
        masks = [drawn(seed)[1] for seed in range(30)]
        assert all(mask.dtype == np.float32 and mask.min() >= 0 and mask.max() <= 1 for mask in masks)
        assert not any(mask[: SIDE // 8].any() or mask[7 * SIDE // 8 :].any() for mask in masks)
        shares.append([float(mask.mean()) for mask in masks])
    assert min(shares[0]) > 0.001 and max(shares[0]) < 0.25
    assert np.mean(shares[1]) > 1.5 * np.mean(shares[0])


@pytest.mark.usefixtures("glasses_alone")
def test_covered_pixels_look_other_than_the_face(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectacles, "_SEE_THROUGH", 0.0)
    for seed in range(12):
        picture, mask = drawn(seed)
        changed = np.abs(picture - GREY).max(2)
        far = np.ones((SIDE, SIDE), bool)
        far[SIDE // 8 : 7 * SIDE // 8] = False
        assert picture.shape == GREY.shape and picture.dtype == np.float32 and not changed[far].any()
        assert changed[mask > 0.9].mean() > 10 * changed[mask == 0].mean(), seed


def test_some_faces_stay_bare_and_drawings_belong_to_the_sample() -> None:
    masks = [drawn(seed)[1] for seed in range(200)]
    assert 0.05 < np.mean([not mask.any() for mask in masks]) < 0.25
    assert all(np.array_equal(a, b) for a, b in zip(drawn(5), drawn(5), strict=True))


def test_the_network_learns_where_they_are(root: Path) -> None:
    task = build(root, task="glasses", teacher_reuse=100)
    assert isinstance(task, GlassesTask)
    losses = run(task, range(8))
    assert losses[-1] < 0.7 * losses[0], losses
    task.export(root, "a test")
    loaded = registry.load_occlusion(root / "mine.safetensors")
    assert loaded.card["crop_size"] == 128


def test_photos_are_left_out_by_the_first_word_of_a_line(root: Path) -> None:
    (root / "wearers.txt").write_text("0001 clear\n0002 sunglasses\n# 0003\n")
    config = {"task": "glasses", "validation": root / "held.txt"}
    parts = load_set(parse(options(root, "x", **config, without=root / "wearers.txt")))
    whole = load_set(parse(options(root, "x", **config)))
    left = [{path.stem for path in faces.paths} for faces in parts]
    assert left == [{path.stem for path in faces.paths} - {"0001", "0002"} for faces in whole]
    assert "0001" in {path.stem for path in whole[1].paths} and "0002" in {path.stem for path in whole[0].paths}
    (root / "wearers.txt").write_text("absent clear\n")
    with pytest.raises(InputError, match="absent"):
        load_set(parse(options(root, "x", **config, without=root / "wearers.txt")))


@pytest.fixture(scope="module")
def pipeline() -> SwapPipeline:
    return load_pipeline(device="cpu", model="embedded")


class Upper:
    """Takes the upper half of each crop for glasses."""

    def __init__(self) -> None:
        self.seen = 0

    def uncovered(self, targets: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> list[np.ndarray]:
        self.seen += len(targets)
        return [np.where(np.arange(len(mask))[:, None] < len(mask) // 2, 0, mask) for mask in masks]


@pytest.mark.parametrize("likely, wears", [(0.2, False), (0.9, True)])
def test_rims_of_wearers_alone_stay_in_front(
    pipeline: SwapPipeline, likely: float, wears: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = read_photo(IMAGES / "selfie.jpg").image[::2, ::2].copy()
    kps = pipeline.stages.detector.detect(image, careful=True)[0].kps
    eyes, mouth = (tuple(np.rint(points.mean(0)).astype(int)) for points in (kps[:2], kps[3:]))
    pipeline.set_sources(IMAGES / "portrait.jpg")
    changed = []
    for rims in (None, Upper()):
        monkeypatch.setattr(pipeline, "stages", replace(pipeline.stages, rims=rims))
        monkeypatch.setattr("utils.inference.conditioning.Conditioning.glasses",
                            lambda self, faces, stage: np.full(len(faces), likely, np.float32))
        (result,) = pipeline.run([Frame(image)])
        change = np.abs(np.asarray(result.pixels).astype(int) - image)
        changed.append([change[y - 8 : y + 8, x - 20 : x + 20].mean() for x, y in (eyes, mouth)])
    (eyes_before, mouth_before), (eyes_after, mouth_after) = changed
    assert mouth_after == pytest.approx(mouth_before) and min(eyes_before, mouth_before) > 2
    assert (eyes_after < 0.1 * eyes_before) == wears and (eyes_after == pytest.approx(eyes_before)) == (not wears)
    assert rims.seen == wears


@pytest.mark.parametrize("chosen, used", [({}, True), ({"glasses": "source"}, False), ({"occlusion": 0.0}, False)])
def test_the_network_is_loaded_where_swaps_wear_the_targets_glasses(chosen: dict[str, float], used: bool) -> None:
    stages = load_pipeline(device="cpu", model="embedded", **chosen).stages
    assert (stages.rims is not None) == used
    assert [entry.name for entry in stages.models if entry.role == "glasses"] == [registry.EMBEDDED_GLASSES] * used
    known = stages.settings.glasses
    assert known is not None and (known.gain == 0) == used  # nothing is painted that is there already
