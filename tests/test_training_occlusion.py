"""Occluders are drawn as the masks say, the same ones for each sample, and the network learns to see them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.test_training_students import run
from tests.training_set import draw_face, options, write_set
from utils import registry
from utils.training import occluders
from utils.training.augment import Changes, Framing
from utils.training.config import parse
from utils.training.draws import Draws
from utils.training.occlusion import OcclusionTask, agreement, drawn_on, ellipse, mask_loss
from utils.training.setup import build_task
from utils.training.textures import SIDE, Photos

PHOTOS = Photos(np.stack([draw_face(seed)[..., ::-1] for seed in range(4)]), Framing(80, 64))
NOTHING = -100.0  # darker than anything that is drawn
KINDS = pytest.mark.parametrize("kind", [kind for kind, _ in occluders.KINDS], ids=lambda kind: kind.__name__)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_set(tmp_path / "set")
    (tmp_path / "set/index.csv").unlink()  # keypoints are not needed
    (tmp_path / "held.txt").write_text("0001\n0004\n0007\n")
    return tmp_path


def build(root: Path, **more: Any) -> OcclusionTask:
    chosen = {"task": "occlusion", "validation": root / "held.txt", "batch_size": 4, "lr_G": 3e-3, "optim_level": "O0",
              "rotation": 5, "mirror": 0.5, "export_name": "mine", "optimizer": "adamw", "beta1": 0.9} | more
    task = build_task(parse(options(root, "occlusion", **chosen)), torch.device("cpu"))
    assert isinstance(task, OcclusionTask)
    return task


def faces(count: int) -> torch.Tensor:
    """The same bare grey, (count, 3, SIDE, SIDE)."""
    return torch.zeros(count, 3, SIDE, SIDE)


def drawn(places: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    return drawn_on(faces(len(places)), 64, PHOTOS, Changes(jitter=0.35), Draws(0, "lesson", places))


@KINDS
def test_masks_are_where_the_picture_changes(kind: occluders.Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(occluders, "_cast_shadow", lambda rng, picture, alpha: picture)
    for seed in range(12):
        rng = np.random.default_rng(seed)
        picture, mask = occluders.laid(rng, np.full((SIDE, SIDE, 3), NOTHING, np.float32), kind(rng, PHOTOS))
        changed = (picture != NOTHING).any(2)
        assert picture.shape == (SIDE, SIDE, 3) and picture.dtype == mask.dtype == np.float32
        assert not changed[mask == 0].any() and changed[mask > 1e-4].all()
        assert picture[mask == 1].min(initial=0) >= 0 and mask.min() >= 0 and mask.max() <= 1 + 1e-6


@KINDS
def test_each_kind_draws_something_inside_the_crop(kind: occluders.Kind) -> None:
    for seed in range(60):
        mask, look = kind(np.random.default_rng(seed), PHOTOS)
        assert 20 < (mask > 127).sum() < SIDE * SIDE and look.shape == (SIDE, SIDE, 3) and np.isfinite(look).all()


def test_shadows_and_light_cover_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = np.full((SIDE, SIDE, 3), 100, np.float32)
    monkeypatch.setattr(occluders, "COVERED", 0.0)
    for light in (0.0, 1.0):
        monkeypatch.setattr(occluders, "LIT", light)
        for seed in range(5):
            picture, mask = occluders.occluded(np.random.default_rng(seed), bare, PHOTOS)
            assert not mask.any() and np.array_equal(picture, bare) == (light == 0.0)


def test_a_cast_shadow_is_no_part_of_what_casts_it() -> None:
    alpha = np.zeros((SIDE, SIDE), np.float32)
    alpha[40:80, 40:80] = 1
    shadow = occluders._cast_shadow(np.random.default_rng(0), np.full((SIDE, SIDE, 3), 100, np.float32), alpha)
    assert ((shadow[..., 0] < 99) & (alpha == 0)).any() and shadow.max() == 100


def test_about_a_third_of_the_faces_stay_bare() -> None:
    bare = ~drawn(np.arange(200))[1].flatten(1).any(1)
    assert 0.25 < float(bare.float().mean()) < 0.45


def test_drawings_belong_to_the_sample() -> None:
    whole = drawn(np.arange(12))
    parts = [drawn(np.arange(i, i + 3)) for i in (0, 3, 6, 9)]
    for seen, pieces in zip(whole, zip(*parts, strict=True), strict=True):
        assert torch.equal(seen, torch.cat(pieces))
    crops, masks = whole
    assert crops.shape == (12, 3, 64, 64) and masks.shape == (12, 1, 64, 64) and masks.dtype == torch.float32
    assert float(masks.min()) >= 0 and float(masks.max()) <= 1 and len(masks.sum((1, 2, 3)).unique()) > 4
    assert crops.dtype == torch.float32 and float(crops.abs().max()) <= 1


def test_crops_and_masks_stay_together() -> None:
    """Where nothing lies on a grey face and nothing shines on it, it stays grey; what is covered seldom does."""
    crops, masks = drawn_on(faces(60), 64, PHOTOS, Changes(), Draws(0, "lesson", np.arange(60)))
    off = (crops - crops.flatten(2).median(2).values[..., None, None]).abs().amax(1, keepdim=True)
    assert float(off[masks > 0.99].mean()) > 4 * float(off[masks == 0].mean())


def test_steps_share_drawings_mirrored_in_turn(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task, made = build(root, teacher_reuse=2), []
    draw = task._drawn
    monkeypatch.setattr(task, "_drawn", lambda indices: made.append(indices.tolist()) or draw(indices))
    lessons = [take() for take in task.batches(range(3))]
    assert made == [list(range(4)), list(range(8, 12))]
    for first, second, third in zip(*lessons, strict=True):
        assert torch.equal(first.flip(3), second) and not torch.equal(first, third)


def test_the_loss_is_small_for_the_right_answer_and_most_within_the_ellipse() -> None:
    inside = ellipse(64)
    assert inside[33, 32] and not inside[0, 0] and 0.6 < float(inside.float().mean()) < 0.75
    weights = torch.where(inside, 1.0, 0.1)
    masks = torch.zeros(2, 1, 64, 64)
    masks[0, :, 20:40, 20:40] = 1
    right = masks * 20 - 10
    assert float(mask_loss(right, masks, weights)) < 0.01 < 1 < float(mask_loss(-right, masks, weights))
    right[1, :, 30:33, 30:33] = 10  # nine pixels of 4096, but half a Dice loss of one of the two faces
    assert 0.15 < float(mask_loss(right, masks, weights)) < 0.25
    for place, share in ((slice(30, 33), 1.0), (slice(0, 3), 0.1)):
        covered = torch.full((2, 1, 64, 64), 20.0)
        covered[0, :, place, place] = -20
        entropy = 9 * 20 * share / float(weights.sum()) / 2
        assert float(mask_loss(covered, torch.ones(2, 1, 64, 64), weights)) == pytest.approx(entropy, rel=0.05)


def test_agreement_is_measured_within_the_ellipse_on_covered_and_bare_faces() -> None:
    where = torch.zeros(8, 8, dtype=torch.bool)
    where[:, 2:] = True
    masks, found = torch.zeros(3, 1, 8, 8, dtype=torch.bool), torch.zeros(3, 1, 8, 8, dtype=torch.bool)
    masks[0, :, :6], found[0, :, :3] = True, True  # half of it
    masks[1, :, :1] = True  # too little to count
    found[2, :, :2] = True  # a quarter of a bare one
    assert agreement(found, masks, where) == {"val_iou": 0.5, "val_recall": 0.5, "val_false": 0.25, "val_score": 1.5}


def test_the_network_learns_and_its_file_gives_the_same_answers(root: Path) -> None:
    task = build(root, teacher_reuse=100)
    cases = task._cases
    assert cases is not None and len(cases[0]) == 12
    before = task.validate()
    losses = run(task, range(12))
    assert losses[-1] < 0.5 * losses[0] and losses[-1] < min(losses[:6]), losses
    assert task.validate()["val_score"] < before["val_score"]
    task.export(root, "a test")
    loaded = registry.load_occlusion(root / "mine.safetensors")
    assert loaded.card["crop_size"] == 64 and (root / "mine.safetensors").stat().st_size < 58_000
    with torch.no_grad():
        assert torch.allclose(loaded.network.eval()(cases[0]), task._answers(cases[0]), rtol=0.02, atol=0.02)


def test_held_out_drawings_are_those_of_every_run(root: Path) -> None:
    one, other = build(root), build(root, seed=5, jitter=0.1, rotation=0)
    assert one._cases is not None and other._cases is not None
    assert all(torch.equal(a, b) for a, b in zip(one._cases, other._cases, strict=True))
    assert build(root, validation="").validate() == {}


def test_training_goes_on_exactly_even_between_steps_that_share_drawings(root: Path) -> None:
    whole, first, second = (build(root, teacher_reuse=2) for _ in range(3))
    expected = run(whole, range(5))
    begun = run(first, range(3))
    second.load_state_dict(first.state_dict())
    assert begun + run(second, range(3, 5)) == expected
