"""Published checkpoints load, and give the published numbers.

Names and shapes of every network against the published ones, and outputs against reference outputs for weights that are
made from names (`tests/fill.py`). Relative error = max |difference| / max |reference|.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from arcface_model.iresnet import iresnet100
from models.enhancer import LIPSPADEGenerator, SpectralConv
from models.fan import FAN
from network.AEI_Net import AEI_Net
from network.fused import FusedAEINet
from network.MultiscaleDiscriminator import MultiscaleDiscriminator
from tests import parity_data
from tests.fill import build, draw, image
from utils.inference.swap import inference_form

AEI_BOUND = 5e-4  # batch size and choice of kernel alone move AEI-Net by up to 7e-5
BOUND = 1e-4


def aei(backbone: str, num_blocks: int) -> Callable[[], nn.Module]:
    """A maker of the published AEI-Net."""
    return functools.partial(AEI_Net, backbone, num_blocks=num_blocks, c_id=512)


def discriminator() -> nn.Module:
    """The published discriminator."""
    return MultiscaleDiscriminator(input_nc=3, n_layers=5, norm_layer=nn.InstanceNorm2d)


MAKERS: dict[str, Callable[[], nn.Module]] = {
    **{f"aei_{name}_{n}": aei(name, n) for name in ("unet", "linknet", "resnet") for n in (1, 2, 3)},
    "disc": discriminator,
    "iresnet100": functools.partial(iresnet100, fp16=False),
    "lipspade": LIPSPADEGenerator,
    "fan": FAN,
}


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    return parity_data.golden()


@pytest.fixture(scope="module")
def manifest() -> dict[str, list[list]]:
    return parity_data.manifest()


def check(expected: dict[str, np.ndarray], key: str, output: Tensor, bound: float) -> None:
    """Compare one output with the reference of that key, whole or reduced."""
    for suffix, array in parity_data.reduce_array(output.numpy()).items():
        reference = expected[key + suffix]
        assert array.shape == reference.shape
        error = np.abs(array - reference).max() / np.abs(reference).max()
        assert error <= bound, f"{key}{suffix}: relative error {error:.1e} exceeds {bound:.0e}"


def test_every_published_network_is_compared(manifest: dict[str, list[list]]) -> None:
    assert sorted(MAKERS) == sorted(manifest)


@pytest.mark.parametrize("network", MAKERS)
def test_names_and_shapes(network: str, manifest: dict[str, list[list]]) -> None:
    with torch.device("meta"):
        state = MAKERS[network]().state_dict()
    ours = [[name, list(tensor.shape), str(tensor.dtype).removeprefix("torch.")] for name, tensor in state.items()]
    assert ours == manifest[network]


@pytest.mark.parametrize("backbone", ["unet", "linknet", "resnet"])
@torch.no_grad()
def test_aei_net(backbone: str, golden: dict[str, np.ndarray]) -> None:
    network = build(aei(backbone, 2)).eval()
    Y, z_attr = network(image("Xt", 2, 256), torch.from_numpy(draw("z_id", (2, 512))))
    check(golden, f"aei_{backbone}_2/y", Y, AEI_BOUND)
    assert len(z_attr) == 8
    for i, attribute in enumerate(z_attr):
        check(golden, f"aei_{backbone}_2/attr{i}_mean", attribute.mean(dim=(2, 3)), AEI_BOUND)
        check(golden, f"aei_{backbone}_2/attr{i}_std", attribute.std(dim=(2, 3)), AEI_BOUND)


@torch.no_grad()
def test_both_precisions_of_the_published_generator(golden: dict[str, np.ndarray]) -> None:
    """What `--precision float32` and bfloat16, which `auto` takes where it is fast, make of the published size.

    The bound of bfloat16 is generous: weights made from names magnify rounding, trained ones do not."""
    network = cast(AEI_Net, build(aei("unet", 2)).eval())
    Xt, z_id = image("Xt", 2, 256), torch.from_numpy(draw("z_id", (2, 512)))
    check(golden, "aei_unet_2/y", inference_form(network, torch.device("cpu"), torch.float32)(Xt, z_id)[0], AEI_BOUND)
    short = parity_data.reduce_array(FusedAEINet(network, torch.bfloat16)(Xt, z_id)[0].float().numpy())
    levels = 127.5 * np.abs(short["_pixels"] - golden["aei_unet_2/y_pixels"])
    assert 0.1 < levels.mean() < 3 and np.quantile(levels, 0.99) < 20
    for suffix in ("_mean", "_std"):
        assert np.abs(short[suffix] - golden["aei_unet_2/y" + suffix]).max() * 127.5 < 1


@torch.no_grad()
def test_discriminator(golden: dict[str, np.ndarray]) -> None:
    scales = build(discriminator)(image("Xt", 2, 256))
    assert [len(scale) for scale in scales] == [1, 1, 1]
    for i, scale in enumerate(scales):
        check(golden, f"disc/s{i}", scale[0], BOUND)


@torch.no_grad()
def test_iresnet100(golden: dict[str, np.ndarray]) -> None:
    network = build(MAKERS["iresnet100"], gain=0.5).eval()
    check(golden, "iresnet100/e", network(image("face112", 2, 112)), BOUND)


@torch.no_grad()
def test_fan(golden: dict[str, np.ndarray]) -> None:
    heat = build(FAN).eval()((image("Xt", 1, 256) + 1) / 2)
    check(golden, "fan/heat", heat, BOUND)


@pytest.fixture(scope="module")
def enhancer() -> LIPSPADEGenerator:
    """The filled enhancer, its spectral norms settled by fifty power iterations."""
    network = build(LIPSPADEGenerator)
    for module in network.modules():
        if isinstance(module, SpectralConv):
            for _ in range(50):
                module.iterate()
    return network


@torch.no_grad()
def test_enhancer_in_both_modes_of_pytorch(enhancer: LIPSPADEGenerator, golden: dict[str, np.ndarray]) -> None:
    before = {name: tensor.clone() for name, tensor in enhancer.state_dict().items()}
    face = (image("sr", 2, 256) + 1) / 2
    check(golden, "lipspade/eval", enhancer.eval()(face), BOUND)
    check(golden, "lipspade/train", enhancer.train()(face), BOUND)
    enhancer.load_state_dict(before)


@torch.no_grad()
def test_enhancer_with_statistics_of_each_image(enhancer: LIPSPADEGenerator) -> None:
    before = {name: tensor.clone() for name, tensor in enhancer.state_dict().items()}
    face = (image("sr", 2, 128) + 1) / 2
    published = enhancer.train()(face[:1])
    enhancer.load_state_dict(before)
    enhancer.per_image_statistics()
    together, alone = enhancer(face), enhancer(face[:1])
    assert torch.equal(enhancer(face), together), "the same input twice gives the same output"
    assert all(torch.equal(tensor, before[name]) for name, tensor in enhancer.state_dict().items())
    assert (together[:1] - alone).abs().max() < 1e-5, "a face does not depend on the others of its batch"
    assert (alone - published).abs().max() < 5e-3, "a single face is as published, up to one power iteration"
    enhancer.per_image_statistics(False).eval()
    assert (enhancer(face[:1]) - alone).abs().max() > 1e-2, "running statistics are another thing"


@pytest.mark.shared
def test_data_is_the_reference(shared_dir, golden: dict[str, np.ndarray]) -> None:
    reference = parity_data.reduce_reference(shared_dir / "parity")
    assert sorted(reference) == sorted(golden)
    assert all(np.array_equal(reference[key], golden[key]) for key in reference)


@pytest.mark.shared
@pytest.mark.parametrize("stage", parity_data.STAGES)
def test_data_of_stages_is_the_reference(shared_dir, stage: str) -> None:
    reference = parity_data.reference_of(stage, shared_dir / "parity")
    with np.load(parity_data.DATA / f"{stage}.npz") as arrays:
        assert sorted(arrays.files) == sorted(reference)
        for key, array in reference.items():
            assert arrays[key].dtype == array.dtype and np.array_equal(arrays[key], array), key
