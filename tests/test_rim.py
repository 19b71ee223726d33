"""What a mask shows of a swap that differs much from its target."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from tests.test_tone import picture
from utils.inference.rim import SIDE, agreement, features, limit_mask, small
from utils.training import filters

SIZE = 224
FOREHEAD, EYES, CHIN = ((slice(*rows), slice(80, 140)) for rows in ((30, 60), (95, 110), (170, 200)))


def face() -> np.ndarray:
    """Landmarks of a round face with eyes at 100, (106, 2) float32, pixels of 224."""
    around = np.linspace(0, np.pi, 33)
    contour = np.stack((112 + 60 * np.cos(around), 95 + 95 * np.sin(around)), 1)
    inner = np.tile([[112.0, 100.0]], (73, 1))
    inner[33 - 33 : 43 - 33] = np.stack((np.linspace(75, 100, 10), np.full(10, 100)), 1)  # an eye
    inner[87 - 33 : 97 - 33] = np.stack((np.linspace(124, 149, 10), np.full(10, 100)), 1)
    inner[43 - 33 : 52 - 33] = np.stack((np.linspace(70, 102, 9), np.full(9, 86)), 1)  # a brow
    inner[97 - 33 :] = np.stack((np.linspace(122, 154, 9), np.full(9, 86)), 1)
    inner[52 - 33 : 72 - 33] = np.stack((np.linspace(90, 134, 20), np.full(20, 150)), 1)  # the mouth
    return np.concatenate((contour, inner)).astype(np.float32)


def hat(image: np.ndarray, levels: int) -> np.ndarray:
    """The picture with a band over the forehead and another over the chin."""
    result = image.astype(int)
    for top, bottom in ((20, 76), (165, 205)):
        result[top * len(image) // SIZE : bottom * len(image) // SIZE] += levels
    return result.clip(0, 255).astype(np.uint8)


def test_a_hat_stays_and_a_chin_goes() -> None:
    target = np.full((128, 128, 3), 100, np.uint8)
    mask = limit_mask(np.ones((SIZE, SIZE), np.float32), face(), hat(target, 120), target, 0.6, 0)
    assert mask[FOREHEAD].max() < 0.05
    assert mask[CHIN].min() > 0.99 and mask[EYES].min() > 0.99


def test_slight_differences_show() -> None:
    target = np.full((128, 128, 3), 100, np.uint8)
    mask = np.random.default_rng(0).random((SIZE, SIZE), np.float32)
    inside = (slice(20, 204),) * 2
    assert np.allclose(limit_mask(mask, face(), hat(target, 35), target, 0.6, 0)[inside], mask[inside], atol=1e-5)


def test_it_fades_as_differences_grow() -> None:
    target = np.full((64, 64, 3), 100, np.uint8)
    forehead = [float(agreement(small(hat(target, levels)), small(target), 0.6)[18, 32]) for levels in (46, 77, 113)]
    assert forehead == pytest.approx([1.0, 0.5, 0.0], abs=0.02)


def test_the_features_follow_the_face() -> None:
    moved = features(face() + np.array([0, 28], np.float32), SIZE)
    assert np.allclose(moved[8:56], features(face(), SIZE)[:48], atol=1e-6)
    assert moved[20, SIDE // 2] == 0 and moved[45, SIDE // 2] > 0.99


@pytest.mark.parametrize("seeds", [(0, 7), (3, 11)])
def test_training_sees_the_same(seeds: tuple[int, int]) -> None:
    swap, target = (picture(seed) for seed in seeds)
    swap = hat(swap, 120)
    tensors = [torch.from_numpy(x[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 127.5 - 1 for x in (swap, target)]
    sure = features(face(), SIZE)
    found = filters.kept_rim(*tensors, torch.from_numpy(sure)[None, None], 0.6)
    alike = agreement(small(swap), small(target), 0.6)
    expected = cv2.resize(alike + sure * (1 - alike), (128, 128), interpolation=cv2.INTER_LINEAR)
    assert expected.min() < 0.1
    assert np.abs(found[0, 0].numpy() - expected).max() < 0.03


def test_the_features_move_by_parts_of_a_pixel() -> None:
    means = [features(face() + np.float32(step), SIZE).mean() for step in np.linspace(0, 7, 15)]
    steps = np.diff(means)
    assert (steps < 0).all() and steps.min() > 3 * steps.max()


def test_dark_hair_stays_where_a_swap_differs_less() -> None:
    target = np.full((128, 128, 3), 150, np.uint8)
    target[:50] = (40, 45, 60)
    swap = target.copy()
    swap[:50] += 25  # by which skin may differ
    mask = np.ones((SIZE, SIZE), np.float32)
    assert limit_mask(mask, face(), swap, target, 0.6, 0)[FOREHEAD].max() < 0.05
    skin = np.full_like(target, 150)
    assert limit_mask(mask, face(), hat(skin, 40), skin, 0.6, 0)[FOREHEAD].min() > 0.95


def test_turned_heads_end_where_the_target_does() -> None:
    target = np.full((128, 128, 3), 100, np.uint8)
    swap = target.copy()
    swap[70:, :45] += 40  # beside a cheek and on it
    mask = np.zeros((SIZE, SIZE), np.float32)
    mask[10:214, 52:172] = 1
    shown = [limit_mask(mask, face(), swap, target, 0.6, yaw)[130:150] for yaw in (0, 30, 40, 50)]
    end, cheek, nose = slice(54, 58), slice(72, 76), slice(106, 118)
    assert np.array_equal(shown[0], shown[1]) and shown[0][:, end].min() > 0.99
    assert 0.9 > shown[2][:, end].mean() > 0.6 > 0.4 > shown[3][:, end].mean()
    assert shown[3][:, cheek].mean() > shown[3][:, end].mean() + 0.2 and shown[3][:, nose].min() > 0.99


def test_a_face_outside_of_its_crop_has_no_skin() -> None:
    picture = np.full((64, 64, 3), 100, np.uint8)
    shown = limit_mask(np.ones((SIZE, SIZE), np.float32), face() + 500, picture, picture, 0.6, 45)
    assert np.isfinite(shown).all()
