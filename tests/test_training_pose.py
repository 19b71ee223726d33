"""The loss that keeps a head's pose, and the one that asks swaps away from their targets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.heads import face, rotation
from utils.evaluation import geometry
from utils.training import losses
from utils.training.pose import turning, turns


def turned(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    return turns(before, after, turning(before))


def points(turn: np.ndarray, size: float = 1.0, shift: float = 0.0) -> torch.Tensor:
    """Landmarks of the generic head in shares of a crop's side, (1, 106, 2)."""
    return torch.from_numpy((face(turn) / 200 - 0.5) * size + shift).float()[None]


@pytest.mark.parametrize("pose", [(0, 0, 0), (30, 0, 0), (-20, 15, 10)])
@pytest.mark.parametrize("turn", [(4, 0, 0), (0, -4, 0), (0, 0, 4), (2, 2, -2)])
def test_turns_are_those_that_evaluation_measures(pose: tuple[float, ...], turn: tuple[float, ...]) -> None:
    before, after = rotation(*pose), rotation(*turn) @ rotation(*pose)
    angle = float(turned(points(before), points(after)).norm().rad2deg())
    assert angle == pytest.approx(geometry.angle_between(before, after), rel=0.1)


def test_growth_and_shift_are_no_turns() -> None:
    plain = points(rotation(15, 5, 0))
    assert float(turned(plain, plain).norm()) == 0
    assert float(turned(plain, points(rotation(15, 5, 0), 1.1, 0.03)).norm().rad2deg()) < 0.3


def test_the_gradient_turns_the_head_back() -> None:
    before, seen = points(rotation(10, 0, 0)), points(rotation(16, 3, 0)).requires_grad_()
    loss = losses.pose_loss(before, seen, turning(before))
    (gradient,) = torch.autograd.grad(loss, seen)
    step = seen.detach() - 1e-3 * gradient
    assert float(losses.pose_loss(before, step, turning(before))) < float(loss.detach())
    same = before.clone().requires_grad_()
    assert torch.isfinite(torch.autograd.grad(losses.pose_loss(before, same, turning(before)), same)[0]).all()
    nowhere = torch.zeros(1, 106, 2)
    assert torch.isfinite(turned(nowhere, nowhere + 0.1)).all()


def test_the_margin_asks_only_of_swaps_that_are_too_near_to_their_targets() -> None:
    source, target = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    found = torch.tensor([[0.6, 0.8], [0.8, 0.6], [0.6, 0.8]])
    same = torch.tensor([0.0, 0.0, 1.0])
    wanted, avoided = source.expand(3, 2), target.expand(3, 2)
    assert float(losses.margin_loss(wanted, avoided, found, 0.1, same)) == pytest.approx((0.2 + 0.1) / 3)
    assert float(losses.margin_loss(wanted, avoided, found, 0.3, same)) == pytest.approx((0.5 + 0.1) / 3)
