"""The written-out gradients of an AAD layer's operations against autograd's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from network.mixing import InstanceNorm, Mix

SHAPES = ((2, 5, 6, 4), (2, 5, 6, 4), (2, 5, 6, 4), (2, 5, 1, 1), (2, 5, 1, 1), (2, 1, 6, 4))  # of Mix's arguments


def plain_mix(h: Tensor, gamma_attr: Tensor, beta_attr: Tensor, gamma_id: Tensor, beta_id: Tensor, m: Tensor) -> Tensor:
    mask = torch.sigmoid(m)
    return (1 - mask) * (gamma_attr * h + beta_attr) + mask * (gamma_id * h + beta_id)


def features(*shapes: tuple[int, ...]) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


def gradients(y: Tensor, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    torch.manual_seed(1)
    return torch.autograd.grad(y, inputs, torch.randn(y.shape).to(y))


def test_normalisation_is_instance_norm() -> None:
    [x] = features((2, 3, 5, 4))
    y, expected = InstanceNorm.apply(3 + 2 * x), F.instance_norm(3 + 2 * x)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(gradients(y, [x]), gradients(expected, [x]))


def test_mix_is_the_papers_formula() -> None:
    inputs = features(*SHAPES)
    y, expected = Mix.apply(*inputs), plain_mix(*inputs)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(gradients(y, inputs), gradients(expected, inputs))


@pytest.mark.parametrize("dtype", (torch.bfloat16, torch.float16))
def test_half_precision_stays_half_and_near(dtype: torch.dtype) -> None:
    exact = features(*SHAPES)
    half = [x.detach().to(dtype).requires_grad_() for x in exact]
    y, expected = Mix.apply(InstanceNorm.apply(half[0]), *half[1:]), plain_mix(F.instance_norm(exact[0]), *exact[1:])
    assert y.dtype == dtype
    for found, wanted in zip((y, *gradients(y, half)), (expected, *gradients(expected, exact)), strict=True):
        assert found.dtype == dtype
        assert float((found.double() - wanted).detach().norm() / wanted.detach().norm()) < 0.03


@pytest.mark.parametrize("dtype", (torch.bfloat16, torch.float16))
def test_half_precision_keeps_the_mean_at_zero(dtype: torch.dtype) -> None:
    x = 100 + torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(0)).mul(8)
    y = InstanceNorm.apply(x.to(dtype)).float()
    assert float(y.mean(dim=(2, 3)).abs().max()) < 2e-3
    assert float((y.std(dim=(2, 3)) - 1).abs().max()) < 0.02


def test_gradients_in_channels_last_when_compiled() -> None:
    """AOTAutograd traces the written-out gradients as the compiler does."""
    inputs = [x.detach().float().contiguous(memory_format=torch.channels_last) for x in features(*SHAPES)]

    def work(*x: Tensor) -> Tensor:
        return Mix.apply(InstanceNorm.apply(x[0]), *x[1:])

    found = []
    for function in (work, torch.compile(work, backend="aot_eager")):
        leaves = [x.clone().requires_grad_() for x in inputs]
        found.append(gradients(function(*leaves), leaves))
    torch.testing.assert_close(*found)


def test_large_float16_features_do_not_overflow() -> None:
    x = 4000 * torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(InstanceNorm.apply(x.half()).float(), F.instance_norm(x), atol=5e-3, rtol=0)
