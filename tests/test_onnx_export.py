"""ONNX files from convert_weights.py: names, ranges and batches that the programs which load them rely on."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import convert_weights
from arcface_model.iresnet import iresnet
from coordinate_reg.network import LandmarkNet
from models.enhancer import LIPSPADEGenerator
from network.AEI_Net import AEI_Net
from network.MultiscaleDiscriminator import MultiscaleDiscriminator
from tests.fill import build, draw, image

SIDE, NUMBERS = 256, 512  # of the published generators
QUARTER_OF_A_LEVEL = 0.5 / 255  # of [-1, 1]


def generator(blocks: int = 2) -> AEI_Net:
    """Slim, but with the inputs of the published ones."""
    network: AEI_Net = build(lambda: AEI_Net("unet", blocks, NUMBERS, width=0.125)).eval()  # type: ignore[assignment]
    return network


def export(network: nn.Module, folder: Path, *options: str) -> Path:
    """Convert to ONNX by the command line."""
    torch.save(network.state_dict(), folder / "network.pth")
    path = folder / "network.onnx"
    assert convert_weights.main([str(folder / "network.pth"), str(path), "--json", *options]) == 0
    onnx.checker.check_model(str(path), full_check=True)
    return path


def session(path: Path) -> onnxruntime.InferenceSession:
    """A file in ONNX Runtime."""
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_facefusion_can_swap_with_it(blocks: int, tmp_path: Path) -> None:
    """As FaceFusion 3.8.1 calls its GHOST models."""
    network = generator(blocks)
    file = session(export(network, tmp_path))
    crop = (127.5 * image("crop", 1, SIDE)[0].permute(1, 2, 0).numpy() + 127.5).astype(np.uint8)  # BGR
    prepared = ((crop[:, :, ::-1] / 255.0 - 0.5) / 0.5).transpose(2, 0, 1)[None].astype(np.float32)
    feeds = {"source": draw("embedding", (1, NUMBERS)), "target": prepared}
    assert {entry.name for entry in file.get_inputs()} == set(feeds)
    swapped = file.run(None, feeds)[0][0]
    with torch.inference_mode():
        wanted = network(torch.from_numpy(prepared), torch.from_numpy(feeds["source"]))[0][0].numpy()
    assert swapped.shape == (3, SIDE, SIDE) and swapped.dtype == np.float32
    assert np.abs(swapped).max() < 1.00001
    assert np.abs(swapped - wanted).max() < QUARTER_OF_A_LEVEL  # processors differ in the order of their sums
    assert np.abs(swapped - file.run(None, feeds | {"source": -feeds["source"]})[0][0]).max() > 0.1


def test_facefusion_gets_its_checksum(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = export(generator(), tmp_path)
    assert path.with_suffix(".hash").read_bytes() == f"{zlib.crc32(path.read_bytes()):08x}".encode()
    advice = json.loads(capsys.readouterr().out)["advice"]
    assert ".assets/models/ghost_2_256.onnx" in advice and "ghost_2_256.hash" in advice
    assert "crossface_ghost.onnx" in advice and "less like the source" in advice


@pytest.mark.parametrize(("blocks", "output"), [(1, "781"), (2, "1165"), (3, "1549")])
def test_visomaster_finds_its_output(blocks: int, output: str, tmp_path: Path) -> None:
    (tmp_path / "network.hash").write_text("of a file that was there")
    path = export(generator(blocks), tmp_path, "--onnx_for", "visomaster")
    assert [entry.name for entry in session(path).get_outputs()] == [output]
    assert not path.with_suffix(".hash").exists()


def test_batches_and_one_source_for_all(tmp_path: Path) -> None:
    network = generator(1)
    file = session(export(network, tmp_path))
    targets, sources = image("targets", 3, SIDE), torch.from_numpy(draw("sources", (3, NUMBERS)))
    for some in (sources, sources[:1]):
        swapped = file.run(["output"], {"target": targets.numpy(), "source": some.numpy()})[0]
        with torch.inference_mode():
            assert np.abs(swapped - network(targets, some.expand(3, -1))[0].numpy()).max() < QUARTER_OF_A_LEVEL


OTHERS: list[tuple[Callable[[], nn.Module], int]] = [
    (lambda: iresnet(18, num_features=16, width=0.125, size=64), 64),
    (lambda: LandmarkNet((8, 12, 16)), 56),
    (lambda: LIPSPADEGenerator(4).per_image_statistics(), 256),  # as --use_sr computes it
]


@pytest.mark.parametrize(("make", "side"), OTHERS)
def test_other_networks(make: Callable[[], nn.Module], side: int, tmp_path: Path) -> None:
    network, pictures = build(make).eval(), image("pictures", 3, side)
    path = export(network, tmp_path)
    result = session(path).run(["output"], {"input": pictures.numpy()})[0]
    with torch.inference_mode():
        wanted = network(pictures).numpy()
    assert np.abs(result - wanted).max() < 1e-4 * max(1, np.abs(wanted).max())
    assert not path.with_suffix(".hash").exists()


def test_half_precision_inside(tmp_path: Path) -> None:
    network = generator(1)
    path = export(network, tmp_path, "--dtype", "float16")
    weights = [entry for entry in onnx.load(str(path)).graph.initializer if len(entry.dims) == 4]
    assert {entry.data_type for entry in weights} == {onnx.TensorProto.FLOAT16}
    feeds: dict[str, Any] = {"target": image("target", 1, SIDE).numpy(), "source": draw("source", (1, NUMBERS))}
    swapped = session(path).run(["output"], feeds)[0]
    assert swapped.dtype == np.float32
    with torch.inference_mode():
        wanted = network(*map(torch.from_numpy, feeds.values()))[0].numpy()
    assert 0 < np.abs(swapped - wanted).mean() < 0.02


def test_other_encoders_generators_fit_no_other_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(generator(1).state_dict(), tmp_path / "network.pth")
    assert convert_weights.main([str(tmp_path / "network.pth"), str(tmp_path / "network.safetensors")]) == 0
    card = json.loads((tmp_path / "network.json").read_text())
    (tmp_path / "network.json").write_text(json.dumps(card | {"identity": "mine"}))
    assert convert_weights.main([str(tmp_path / "network.safetensors"), str(tmp_path / "network.onnx")]) == 0
    assert "512-dimensional embedding of mine, is for programs of your own" in capsys.readouterr().out


def refused(network: nn.Module, folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
    """Export in vain, which must leave nothing behind; returns exit code and message."""
    torch.save(network.state_dict(), folder / "network.pth")
    code = convert_weights.main([str(folder / "network.pth"), str(folder / "network.onnx"), *options])
    assert [path.name for path in folder.iterdir()] == ["network.pth"]
    return code, capsys.readouterr().err


def test_numbers_that_half_precision_cannot_hold_on_the_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = generator(1)
    with torch.no_grad():
        network.generator.up1.weight.fill_(6e4)
    code, message = refused(network, tmp_path, capsys, "--dtype", "float16")
    assert code == 9 and "do not fit into float16" in message and "--dtype float32" in message


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_broken_numbers(dtype: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = generator(1)
    with torch.no_grad():
        network.generator.up1.bias[0] = float("nan")
    code, message = refused(network, tmp_path, capsys, "--dtype", dtype)
    assert code == 9 and "network.pth" in message and "broken" in message


def test_networks_of_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = build(lambda: MultiscaleDiscriminator(3, 4, 4, nn.InstanceNorm2d, num_D=2))
    code, message = refused(network, tmp_path, capsys)
    assert code == 2 and "MultiscaleDiscriminator serves training only" in message
