"""Convolutions by Winograd's filtering give the numbers of PyTorch's, and packed networks use them where they pay."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from network import winograd
from network.packed import PackedConv2d, can_pack
from network.winograd import Winograd


def maps(batch: int, channels: int, height: int, width: int) -> Tensor:
    torch.manual_seed(batch + channels + height)
    return torch.randn(batch, channels, height, width).to(memory_format=torch.channels_last)


def convolution(cin: int, cout: int, bias: bool = True) -> nn.Conv2d:
    torch.manual_seed(cin + cout)
    return nn.Conv2d(cin, cout, 3, padding=1, bias=bias).requires_grad_(False)


def error(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize("at_once", [1, 3 * 5 * 24, 4 * 5 * 24, 11 * 5 * 24, 2**20])
@pytest.mark.parametrize("bias", [False, True])
def test_same_numbers_in_parts_of_any_size(at_once: int, bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """From one row of tiles at a time on: parts of a picture, one, some and all of three."""
    monkeypatch.setattr(winograd, "_AT_ONCE", at_once)
    conv, x = convolution(24, 40, bias), maps(3, 24, 16, 20)
    filtered, wanted = Winograd(conv.weight, conv.bias), conv(x)
    found = filtered(x)
    assert found.is_contiguous(memory_format=torch.channels_last) and error(found, wanted) < 3e-5
    total = maps(3, 40, 16, 20)
    expected = total + wanted
    assert filtered.add_to(x, total) is total and error(total, expected) < 3e-5


@pytest.mark.skipif(not can_pack(), reason="this PyTorch cannot pack weights")
@pytest.mark.parametrize("cin, cout, height, width, pays", [
    (128, 128, 16, 32, True), (128, 144, 20, 16, True), (128, 64, 32, 32, False), (64, 128, 32, 32, False),
    (128, 128, 8, 8, False), (128, 128, 18, 16, False),
])
def test_packed_convolutions_use_it_where_it_pays(cin: int, cout: int, height: int, width: int, pays: bool) -> None:
    conv, x = convolution(cin, cout), maps(2, cin, height, width)
    packed, wanted = PackedConv2d(conv), conv(x)
    assert error(packed(x), wanted) < 3e-5
    assert (packed._winograd is not None) == pays
    total = maps(2, cout, height, width)
    expected = total + wanted
    assert error(packed.add_to(x, total), expected) < 3e-5
    assert error(packed.leaky(x, 0.2), nn.functional.leaky_relu(wanted, 0.2)) < 3e-5


@pytest.mark.skipif(not can_pack(), reason="this PyTorch cannot pack weights")
def test_maps_of_other_sizes_come_before_and_after() -> None:
    conv = convolution(128, 128)
    packed = PackedConv2d(conv)
    for side in (8, 16, 9, 32):
        x = maps(1, 128, side, side)
        assert error(packed(x), conv(x)) < 3e-5


def test_layers_that_would_take_much_memory_stay_direct() -> None:
    x = maps(1, 1, 16, 16)
    sizes = ((128, 128), (512, 512), (1024, 512), (1024, 1024))
    assert [Winograd.pays(torch.empty(cout, cin, 3, 3), x) for cin, cout in sizes] == [True, True, False, False]


@pytest.mark.skipif(not can_pack(), reason="this PyTorch cannot pack weights")
def test_pointwise_convolutions_are_called_in_any_order() -> None:
    conv, x, other = nn.Conv2d(48, 48, 1).requires_grad_(False), maps(2, 48, 8, 8), maps(2, 48, 8, 8) + 1
    packed, wanted = PackedConv2d(conv), conv(x)
    assert error(packed(x), wanted) < 1e-5
    assert error(packed.times(x, other), wanted * other) < 1e-5
    assert error(packed(x), wanted) < 1e-5


@pytest.mark.skipif(not can_pack(), reason="this PyTorch cannot pack weights")
@pytest.mark.parametrize("arguments", [
    {"kernel_size": 3, "padding": 1, "stride": 2}, {"kernel_size": 3, "padding": 2, "dilation": 2},
    {"kernel_size": 3, "padding": 0}, {"kernel_size": 3, "padding": 1, "groups": 2}, {"kernel_size": 1, "stride": 2},
    {"kernel_size": 1, "padding": 1}, {"kernel_size": 1, "groups": 2}, {"kernel_size": 1},
])
def test_other_convolutions_stay_what_they_are(arguments: dict[str, int]) -> None:
    conv = nn.Conv2d(256, 256, **arguments).requires_grad_(False)
    packed, x = PackedConv2d(conv), maps(2, 256, 32, 32)
    assert error(packed(x), conv(x)) < 1e-5 and packed._winograd is None


@pytest.mark.skipif(not (can_pack() and torch.ops.mkldnn._is_mkldnn_bf16_supported()), reason="no bfloat16 to pack")
def test_bfloat16_stays_direct() -> None:
    """Its eight bits do not bear the differences that the transforms take."""
    conv = convolution(128, 128).to(torch.bfloat16)
    packed = PackedConv2d(conv)
    packed(maps(1, 128, 16, 16).to(torch.bfloat16))
    assert packed._winograd is None
