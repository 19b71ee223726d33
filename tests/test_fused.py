"""The inference form of AEI-Net gives the numbers of the plain module."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from network import fused
from network.AEI_Net import AEI_Net
from network.folded import fold_encoder
from network.fused import FusedAEINet
from network.packed import PackedConv2d, can_pack, pack
from tests.fill import build, draw, image
from tests.random_weights import GENERATOR
from utils import registry
from utils.device import fastest_dtype
from utils.inference import swap
from utils.inference.swap import Swapper

COMPACT = {"backbone": "unet", "num_blocks": 1, "c_id": 128, "width": 0.5, "size": 128}
SMALL = {"c_id": 16, "width": 0.125, "size": 64}
CASES: list[dict[str, Any]] = [
    COMPACT, {"backbone": "resnet", "num_blocks": 1, "c_id": 16},
    *({"backbone": backbone, "num_blocks": n, **SMALL} for backbone in ("unet", "linknet") for n in (1, 2, 3)),
    {"backbone": "unet", "num_blocks": 2, "c_id": 16, "width": 0.125, "size": 256},
]


def plain(arguments: dict[str, Any]) -> AEI_Net:
    network = build(lambda: AEI_Net(**arguments)).eval()
    assert isinstance(network, AEI_Net)
    return network


def inputs(arguments: dict[str, Any], count: int) -> tuple[Tensor, Tensor]:
    return image("Xt", count, arguments.get("size", 256)), torch.from_numpy(draw("z_id", (count, arguments["c_id"])))


def relative(found: Tensor, wanted: Tensor) -> float:
    return float((found.float() - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize("arguments", CASES, ids=lambda a: "-".join(map(str, a.values())))
@torch.inference_mode()
def test_same_numbers(arguments: dict[str, Any]) -> None:
    network = plain(arguments)
    Xt, z_id = inputs(arguments, 1 if arguments["backbone"] == "resnet" else 2)
    wanted, _ = network(Xt, z_id)
    for inference in (FusedAEINet(network), pack(FusedAEINet(network))):
        found, _ = inference(Xt, z_id)
        assert found.shape == wanted.shape and relative(found, wanted) < 5e-4


@torch.inference_mode()
def test_rows_at_a_time_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    network, (Xt, z_id) = plain(COMPACT), inputs(COMPACT, 1)
    wanted, _ = network(Xt, z_id)
    for most in (2**40, 2**17 + 12345, 2**12):
        monkeypatch.setattr(fused, "_IN_CACHE", most)
        assert relative(FusedAEINet(network)(Xt, z_id)[0], wanted) < 5e-4


@torch.inference_mode()
@pytest.mark.parametrize("ready", [lambda network: network, pack])
def test_everybody_in_a_batch_gets_the_own_identity(ready: Any) -> None:
    network = ready(FusedAEINet(plain(COMPACT)))
    Xt, z_id = inputs(COMPACT, 3)
    together = network(Xt, z_id)[0]
    for i in (2, 0, 1):
        assert relative(network(Xt[i : i + 1], z_id[i : i + 1])[0], together[i : i + 1]) < 5e-4
    assert relative(network(Xt, z_id.flip(0))[0], together) > 1e-3


@torch.inference_mode()
def test_identity_terms_are_computed_once_and_not_hoarded(monkeypatch: pytest.MonkeyPatch) -> None:
    network = FusedAEINet(plain({"backbone": "unet", "num_blocks": 1, **SMALL}))
    calls: list[Tensor] = []
    compute = network._compute_terms

    def count(z_id: Tensor) -> Any:
        calls.append(z_id)
        return compute(z_id)

    monkeypatch.setattr(network, "_compute_terms", count)
    monkeypatch.setattr(fused, "_MOST_PEOPLE", 3)
    people = torch.from_numpy(draw("people", (5, 16)))
    for row in (0, 0, 1, 0, 1):
        network.terms(people[row])
    assert len(calls) == 2
    for row in range(5):
        network.terms(people[row])
    assert len(network._known) == 3


@torch.inference_mode()
def test_bfloat16_keeps_the_picture() -> None:
    network, (Xt, z_id) = plain(COMPACT), inputs(COMPACT, 2)
    wanted = network(Xt, z_id)[0]
    error = FusedAEINet(network, torch.bfloat16)(Xt, z_id)[0].float() - wanted
    same_in_plain = network.bfloat16()(Xt.bfloat16(), z_id.bfloat16())[0].float() - wanted
    # Random weights magnify rounding.
    assert error.abs().mean() * 127.5 < 1.5
    assert error.abs().mean() < 1.1 * same_in_plain.abs().mean()


@torch.inference_mode()
def test_bfloat16_is_not_seen_with_the_weights_that_ship() -> None:
    path = registry.locate("ghost_compact_generator")
    if path is None:
        pytest.skip("the generator that ships is not there")
    network = registry.load_generator(path).network
    assert isinstance(network, AEI_Net)
    Xt, z_id = image("Xt", 2, network.size), torch.from_numpy(draw("z_id", (2, network.generator.up1.in_channels)))
    error = 127.5 * (FusedAEINet(network, torch.bfloat16)(Xt, z_id)[0].float() - network(Xt, z_id)[0]).abs()
    assert error.mean() < 0.6 and error.quantile(0.99) < 3


@torch.inference_mode()
def test_folded_encoder_gives_the_maps_but_the_last() -> None:
    encoder = plain({"backbone": "linknet", "num_blocks": 1, **SMALL}).encoder
    Xt = image("Xt", 2, 64)
    wanted = encoder(Xt)
    found = fold_encoder(encoder)(Xt)
    assert len(found) == len(wanted) - 1
    assert torch.equal(encoder(Xt)[-1], wanted[-1])  # the encoder stays as it was
    assert max(relative(one, other) for one, other in zip(found, wanted, strict=False)) < 1e-4


def test_swapper_takes_the_inference_form() -> None:
    swapper = Swapper(plain(GENERATOR), 64, torch.device("cpu"), torch.float32)
    assert isinstance(swapper._network, FusedAEINet) and swapper.dtype == "float32"
    assert not any(isinstance(module, nn.BatchNorm2d) for module in swapper._network.modules())
    packed = [module for module in swapper._network.modules() if isinstance(module, PackedConv2d)]
    assert bool(packed) == can_pack()
    # Those of the larger maps are not used themselves: one person's are made from them.
    large = [module.attributes for module in swapper._network.blocks[swapper._network.small :].modules()
             if hasattr(module, "attributes")]
    used = [module for module in packed if module not in large and not module._pointwise]
    assert len(large) == 4 and bool(used) == can_pack() and all(module._weight.is_mkldnn for module in used)


@torch.inference_mode()
def test_packed_networks_keep_the_picture_in_bfloat16() -> None:
    if not can_pack():
        pytest.skip("this PyTorch cannot pack weights")
    if fastest_dtype(torch.device("cpu")) != torch.bfloat16:
        pytest.skip("this processor has no bfloat16")
    network, (Xt, z_id) = plain(COMPACT), inputs(COMPACT, 3)
    wanted, ready = network(Xt, z_id)[0], pack(FusedAEINet(network, torch.bfloat16))
    assert not any(isinstance(module, nn.Conv2d) for module in ready.modules())
    error, unpacked = (form(Xt, z_id)[0].float() - wanted for form in (ready, FusedAEINet(network, torch.bfloat16)))
    assert 0 < error.abs().mean() < 1.2 * unpacked.abs().mean()  # random weights magnify rounding


@torch.inference_mode()
@pytest.mark.parametrize("packed", [False, True])
def test_faces_of_several_people_come_out_in_their_order(packed: bool) -> None:
    network, (Xt, z_id) = FusedAEINet(plain(COMPACT)), inputs(COMPACT, 4)
    if packed:
        pack(network)
    z_id = z_id[[0, 1, 0, 2]]
    together = network(Xt, z_id)[0]
    alone = torch.cat([network(Xt[i : i + 1], z_id[i : i + 1])[0] for i in range(4)])
    assert relative(together, alone) < 5e-4 < relative(together[[2, 1, 0, 3]], alone)


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_convolutions_multiply_and_add(dtype: torch.dtype) -> None:
    if not can_pack() or (dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        pytest.skip("this PyTorch cannot pack weights, or not of this kind")
    torch.manual_seed(0)
    conv = nn.Conv2d(33, 48, 3, padding=1).to(dtype)
    packed, bound = PackedConv2d(conv), 1e-5 if dtype == torch.float32 else 1e-2
    x, other = (torch.randn(2, channels, 16, 16, dtype=dtype).to(memory_format=torch.channels_last)
                for channels in (33, 48))
    given, y = other.clone(), conv(x)
    assert relative(packed.times(x, other), (y * other).float()) < bound and torch.equal(other, given)
    for relu in (False, True):
        total = other.clone(memory_format=torch.channels_last)
        wanted = (y + other).relu() if relu else y + other
        assert packed.add_to(x, total, relu) is total and relative(total, wanted.float()) < bound
    wanted_bias = conv.bias
    assert wanted_bias is not None and torch.equal(packed.weight, conv.weight)
    assert packed.bias is not None and torch.equal(packed.bias, wanted_bias)


@torch.inference_mode()
@pytest.mark.parametrize("side", [4, 32])
def test_packed_weights_are_ordered_once_for_the_maps_that_come(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order for other maps, processors without AMX take a hundred times as long."""
    if not can_pack():
        pytest.skip("this PyTorch cannot pack weights")
    reorder, orders = torch.ops.mkldnn._reorder_convolution_weight.default, []

    def noted(*arguments: Any) -> Tensor:
        orders.append(arguments[-1])
        return reorder(*arguments)

    monkeypatch.setattr(torch.ops.mkldnn, "_reorder_convolution_weight", SimpleNamespace(default=noted))
    packed = PackedConv2d(nn.Conv2d(32, 48, 3))
    for size in (side, side, 7):
        packed(torch.randn(3, 32, size, size))
    assert orders == [[1, 32, side, side]]


@torch.inference_mode()
def test_packed_convolutions_take_maps_of_other_sizes_later() -> None:
    if not can_pack():
        pytest.skip("this PyTorch cannot pack weights")
    conv = nn.Conv2d(32, 48, 3, padding=1)
    packed = PackedConv2d(conv)
    for side in (4, 32, 7):
        x = torch.randn(2, 32, side, side).to(memory_format=torch.channels_last)
        assert relative(packed(x), conv(x)) < 1e-5


@torch.inference_mode()
def test_faces_in_parts_are_those_of_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swap, "_HEAVY", 0)
    monkeypatch.setattr(swap, "_threads", lambda: 2)
    swapper = Swapper(plain(GENERATOR), 64, torch.device("cpu"), torch.float32)
    crops = list(np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8))
    z_id = inputs(GENERATOR, 5)[1].numpy()
    whole = swapper.swap(crops, z_id)
    with swapper.in_parts():
        assert swapper._workers is not None and swapper._parts == 2
        parted = swapper.swap(crops, z_id)
    assert swapper._workers is None
    assert max(np.abs(a.astype(int) - b).max() for a, b in zip(whole, parted, strict=True)) <= 1


def test_threads_that_begin_beside_the_parts_do_not_take_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def in_a_new_thread() -> int:
        with ThreadPoolExecutor(1) as new:
            return new.submit(torch.get_num_threads).result()

    monkeypatch.setattr(swap, "_HEAVY", 0)
    monkeypatch.setattr(swap, "_threads", lambda: 2)
    swapper = Swapper(plain(GENERATOR), 64, torch.device("cpu"), torch.float32)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with swapper.in_parts():
            swapper.swap([np.zeros((64, 64, 3), np.uint8)] * 2, inputs(GENERATOR, 2)[1].numpy())
            assert swapper._workers is not None and torch.get_num_threads() == 3
            assert list(swapper._workers.map(lambda _: torch.get_num_threads(), range(2))) == [1, 1]
            assert in_a_new_thread() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.gpu
@torch.inference_mode()
def test_same_numbers_on_a_gpu(gpu: torch.device) -> None:
    torch.backends.cudnn.allow_tf32 = False
    network, (Xt, z_id) = plain(COMPACT), inputs(COMPACT, 3)
    wanted = network(Xt, z_id)[0]
    most = {torch.float32: 1e-3, torch.bfloat16: 0.2}
    for dtype in {torch.float32, fastest_dtype(gpu)}:
        found = FusedAEINet(network, dtype).to(gpu)(Xt.to(gpu), z_id)[0].cpu()
        assert relative(found, wanted) < most[dtype]
