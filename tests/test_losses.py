"""Losses against the published code's values, their gradients, and parts of batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests import fill
from utils.training import losses

GOLDEN = np.load(Path(__file__).parent / "data" / "losses.npz")
BOUND = 1e-4
WEIGHTS = {"adv": 1, "attr": 10, "id": 20, "rec": 10, "eyes": 5}


def draw(name: str, shape: tuple[int, ...]) -> Tensor:
    """Standard normal numbers that belong to a name, as in the reference."""
    return torch.as_tensor(fill.draw(name, shape))


def picture(name: str) -> Tensor:
    return torch.tanh(draw(name, (4, 3, 32, 32)))


def maps(letter: str) -> list[list[Tensor]]:
    """The discriminator's output, three scales."""
    return [[draw(f"{letter}{i}", (4, 1, side, side))] for i, side in enumerate((11, 7, 5))]


def attributes(letter: str) -> list[Tensor]:
    shapes = ((4, 16, 2, 2), (4, 16, 4, 4), (4, 8, 8, 8))
    return [draw(f"{letter}{i}", shape) for i, shape in enumerate(shapes)]


def terms(same: Tensor) -> dict[str, Tensor]:
    z_id = draw("embed", (4, 512))
    heat = [draw(f"h{i}", (4, 64, 64)) for i in range(4)]
    return {
        "adv": losses.adversarial_loss(maps("d")),
        "attr": losses.attribute_loss(attributes("Xa"), attributes("Ya")),
        "id": losses.identity_loss(z_id, z_id + draw("ZYn", (4, 512))),
        "rec": losses.reconstruction_loss(picture("Y"), picture("Xt"), same),
        "eyes": losses.eye_loss(*heat),
    }


@pytest.mark.parametrize("case", ["mixed", "none", "all"])
def test_golden_values(case: str) -> None:
    values = terms(torch.from_numpy(GOLDEN[f"{case}_same_person"]))
    for name, value in values.items():
        assert float(value) == pytest.approx(float(GOLDEN[f"{case}_L_{name}"]), rel=BOUND, abs=1e-7), name
    total = sum(WEIGHTS[name] * float(value) for name, value in values.items())
    assert total == pytest.approx(float(GOLDEN[f"{case}_lossG"]), rel=BOUND)
    running, due = losses.discriminator_is_due(20.0, float(values["adv"]))
    assert running == pytest.approx(float(GOLDEN[f"{case}_loss_adv_accumulated"]), rel=BOUND) and not due
    L_D = losses.discriminator_loss(maps("f"), maps("r"))
    assert float(L_D) == pytest.approx(float(GOLDEN[f"{case}_lossD"]), rel=BOUND)


def test_discriminator_is_due_below_four() -> None:
    assert losses.discriminator_is_due(4.0, 3.9)[1] and not losses.discriminator_is_due(4.0, 4.1)[1]


def test_the_gradient_of_attribute_loss_is_that_of_finite_differences() -> None:
    """The one loss that reckons its gradient itself."""
    Y, Xt = picture("Y").double().requires_grad_(), picture("Xt").double()
    direction = torch.randn(Y.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    (gradient,) = torch.autograd.grad(losses.attribute_loss([Xt], [Y]), Y)
    with torch.no_grad():
        step = 1e-6 * direction
        slope = float(losses.attribute_loss([Xt], [Y + step]) - losses.attribute_loss([Xt], [Y - step])) / 2e-6
    assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-6) and abs(slope) > 1e-3


def test_gradient_penalty_is_the_slope_of_a_linear_judge() -> None:
    X = picture("Xt").requires_grad_()
    weight = draw("w", (1, 3, 1, 1)).requires_grad_()
    maps = [F.conv2d(X, weight), F.conv2d(F.avg_pool2d(X, 2), weight)]
    penalty = losses.gradient_penalty(maps, X)
    pixels = X.shape[2] * X.shape[3]  # each adds 1 / pixels of the weight, on both scales
    assert float(penalty.detach()) == pytest.approx(float((2 * weight).detach().square().sum()) / pixels, rel=1e-4)
    penalty.backward()
    assert weight.grad is not None and torch.allclose(weight.grad, 8 * weight.detach() / pixels, rtol=1e-4)


def test_reconstruction_counts_only_pairs_of_one_person() -> None:
    Y = picture("Y").requires_grad_()
    losses.reconstruction_loss(Y, picture("Xt"), torch.tensor([1.0, 0, 0, 0])).backward()
    assert Y.grad is not None and Y.grad[0].abs().sum() > 0 and Y.grad[1:].abs().sum() == 0


def test_parts_of_a_batch_add_up() -> None:
    Y, Xt, same = picture("Y"), picture("Xt"), torch.tensor([1.0, 0, 1, 1])
    whole = losses.reconstruction_loss(Y, Xt, same)
    share = torch.tensor(1.5)  # three pairs in two parts
    parts = [losses.reconstruction_loss(Y[i : i + 2], Xt[i : i + 2], same[i : i + 2], share) for i in (0, 2)]
    assert float(sum(parts) / 2) == pytest.approx(float(whole), rel=1e-5)
    face = F.interpolate(draw("mask", (4, 1, 8, 8)).sigmoid(), (32, 32))
    whole = losses.surroundings_loss(Y, Xt, face)
    parts = [losses.surroundings_loss(Y[i : i + 2], Xt[i : i + 2], face[i : i + 2]) for i in (0, 2)]
    assert float(sum(parts) / 2) == pytest.approx(float(whole), rel=1e-5)


@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16, torch.float16))
def test_attribute_loss_is_half_the_mean_squared_distance_in_any_precision(dtype: torch.dtype) -> None:
    exact = [draw(letter, (2, 8, 16, 16)).double().requires_grad_() for letter in "ab"]
    rounded = [x.detach().to(dtype).requires_grad_() for x in exact]
    expected, found = 0.5 * F.mse_loss(*exact), losses.attribute_loss(rounded[:1], rounded[1:])
    assert found.dtype == torch.float32
    bound = 1e-5 if dtype == torch.float32 else 0.01
    torch.testing.assert_close(found.double(), expected, rtol=bound, atol=0)
    wanted = torch.autograd.grad(expected, exact)
    for gradient, right in zip(torch.autograd.grad(1000 * found, rounded), wanted, strict=True):
        assert float((gradient.double() / 1000 - right).norm() / right.norm()) < bound


def test_attribute_loss_of_large_float16_maps_is_finite() -> None:
    far = torch.full((1, 1, 2, 2), 1000.0, dtype=torch.float16)
    assert losses.attribute_loss([far], [-far]).item() == pytest.approx(0.5 * 2000**2)
