"""Swaps by warping: the source's features at the target's places, in the target's light."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from utils.training import geometry
from utils.training.masks import face_masks
from utils.training.transplant import likeness, masks, splines, transplant

SIZE = 128


@pytest.fixture(scope="module")
def points() -> Tensor:
    """The 106 landmarks of a made-up frontal face, (1, 106, 2) pixels."""
    contour = [0, *range(1, 33)]
    face = np.zeros((106, 2), np.float32)
    angles = np.linspace(0.05, 0.95, 33) * np.pi
    face[contour] = np.stack((64 + 40 * np.cos(angles), 62 + 52 * np.sin(angles)), 1)
    random = np.random.default_rng(3)
    rest = np.setdiff1d(np.arange(106), contour)
    face[rest] = random.uniform((36, 44), (92, 100), (len(rest), 2))
    for outline, (x, y) in (((35, 41, 40, 42, 39, 37, 33, 36), (48, 56)), ((89, 95, 94, 96, 93, 91, 87, 90), (80, 56)),
                            ((65, 66, 62, 70, 69, 57, 60, 54), (64, 94))):
        turn = np.linspace(0, 2 * np.pi, len(outline), endpoint=False)
        face[list(outline)] = np.stack((x - 8 * np.cos(turn), y - 4 * np.sin(turn)), 1)
    return torch.from_numpy(face)[None]


def picture(value: float) -> Tensor:
    """A grey picture with light that changes slowly from left to right."""
    return (value + torch.linspace(-0.2, 0.2, SIZE)).expand(1, 3, SIZE, SIZE).clone()


def test_equal_landmarks_leave_every_pixel_where_it_is(points: Tensor) -> None:
    axis = (2 * torch.arange(SIZE) + 1) / SIZE - 1
    (grid,) = splines(points, [points], SIZE)
    inner = slice(2, -2)  # the coarse grid ends before the outermost pixels
    assert torch.allclose(grid[0, inner, inner, 0], axis[inner].expand(SIZE - 4, -1), atol=2e-4)
    assert torch.allclose(grid[0, inner, inner, 1], axis[inner, None].expand(-1, SIZE - 4), atol=2e-4)


def test_the_spline_meets_the_landmarks(points: Tensor) -> None:
    contour = points[:, :33]
    moved = contour + torch.tensor([5.0, -3.0]) + 3 * torch.sin(contour.flip(2) / 20)
    (grid,) = splines(contour, [moved], SIZE)
    at = ((2 * contour + 1) / SIZE - 1)[:, None]
    found = torch.nn.functional.grid_sample(grid.permute(0, 3, 1, 2), at, align_corners=False)[0, :, 0].T
    assert torch.allclose((found + 1) * SIZE / 2 - 0.5, moved[0], atol=0.4)


def test_features_come_from_the_source_and_light_from_the_target(points: Tensor) -> None:
    Xs, Xt = picture(0.4), picture(-0.4)
    Xs[:, :, 70:74, 62:66] = -0.5  # a mole
    points_t = points + torch.tensor([6.0, 4.0])
    donor, belief, _ = transplant(Xs, Xt, points, points_t)
    change = donor - Xt
    assert float(belief) == pytest.approx(1, abs=1e-3)
    y, x = divmod(int(change[0, 0].argmin()), SIZE)
    assert abs(y - 76) <= 3 and abs(x - 70) <= 3
    assert float(change[0, 0, 76, 70]) < -0.4
    away = torch.ones(SIZE, SIZE, dtype=torch.bool)
    away[50:102, 44:96] = False
    assert float(change[0, :, away].abs().max()) < 0.05


def test_outside_of_the_face_and_in_its_openings_the_target_stays(points: Tensor) -> None:
    Xt = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    donor, _, _ = transplant(picture(0.5), Xt, points, points)
    face, openings = masks(points, SIZE)
    outside = (face == 0).expand_as(Xt)
    assert outside.float().mean() > 0.3 and torch.equal(donor[outside], Xt[outside])
    inside = (openings > 0.99).expand_as(Xt)
    assert inside.sum() > 3 * 60 and torch.allclose(donor[inside], Xt[inside], atol=0.03)


def test_faces_in_other_poses_are_believed_less(points: Tensor) -> None:
    turned = geometry.transform(torch.tensor([[[0.9, -0.2, 5.0], [0.2, 0.9, -3.0]]]), points)
    squeezed = points * torch.tensor([0.6, 1.0])
    assert float(likeness(points, turned, SIZE)) == pytest.approx(1, abs=1e-3)
    assert float(likeness(points, squeezed, SIZE)) < 0.5


def test_a_negative_margin_narrows_a_mask(points: Tensor) -> None:
    shares = ((points + 0.5) / SIZE - 0.5).numpy()
    wide, bare, narrow = (face_masks(shares, SIZE, margin).sum() for margin in (9 / 128, 1 / 128, -5 / 128))
    assert wide > bare * 1.1 and bare > narrow * 1.1
