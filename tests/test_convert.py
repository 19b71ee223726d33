"""convert_weights.py: formats, precision, the report, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import convert_weights
from arcface_model.iresnet import iresnet, iresnet100
from coordinate_reg.network import LandmarkNet
from models.enhancer import LIPSPADEGenerator
from models.fan import FAN
from network.AEI_Net import AEI_Net
from network.MultiscaleDiscriminator import MultiscaleDiscriminator
from tests.fill import build
from utils import convert, weights_file
from utils.convert import _difference, recognise
from utils.errors import OutputError, WeightsError
from utils.registry import commercial_use, load_generator, load_identity
from utils.weights_file import read_state

ROOT = Path(__file__).resolve().parents[1]
SMALL: dict[str, Callable[[], nn.Module]] = {
    "AEI_Net(backbone='unet', num_blocks=3, c_id=16, width=0.125, size=64)":
        lambda: AEI_Net("unet", num_blocks=3, c_id=16, width=0.125, size=64),
    "AEI_Net(backbone='linknet', num_blocks=1, c_id=16, width=0.25, size=128)":
        lambda: AEI_Net("linknet", num_blocks=1, c_id=16, width=0.25, size=128),
    "iresnet(depth=18, num_features=16, width=0.125, size=64)":
        lambda: iresnet(18, num_features=16, width=0.125, size=64),
    "LandmarkNet(channels=[8, 12, 16], points=106, neck=0)": lambda: LandmarkNet((8, 12, 16)),
    "LandmarkNet(channels=[8, 12], points=106, neck=6)": lambda: LandmarkNet((8, 12), neck=6),
    "LIPSPADEGenerator(ngf=4)": lambda: LIPSPADEGenerator(4),
    "FAN(stacks=1)": lambda: FAN(1),
    "MultiscaleDiscriminator(input_nc=3, ndf=4, n_layers=5, num_D=3)":
        lambda: MultiscaleDiscriminator(3, 4, 5, nn.InstanceNorm2d),
    "MultiscaleDiscriminator(input_nc=3, ndf=4, n_layers=4, num_D=2)":
        lambda: MultiscaleDiscriminator(3, 4, 4, nn.InstanceNorm2d, num_D=2),
}


def save(make: Callable[[], nn.Module], path: Path) -> dict[str, torch.Tensor]:
    """Write a filled network as .pth; returns its tensors."""
    state = build(make).state_dict()
    torch.save(state, path)
    return state


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict:
    """Convert; returns the result."""
    assert convert_weights.main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refuse(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Convert in vain; returns exit code and message."""
    code = convert_weights.main([*map(str, arguments)])
    return code, capsys.readouterr().err


@pytest.mark.parametrize(("file", "make", "use"), [
    ("backbone.pth", "iresnet(depth=18, num_features=16, width=0.125, size=64)", "no"),
    ("10_net_G.pth", "LIPSPADEGenerator(ngf=4)", "no"),
    ("G_unet_3blocks.pth", "AEI_Net(backbone='unet', num_blocks=3, c_id=16, width=0.125, size=64)", "unclear"),
    ("mine.pth", "LandmarkNet(channels=[8, 12, 16], points=106, neck=0)", "unclear"),
])
def test_commercial_use_is_that_of_the_published_file(
    file: str, make: str, use: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GHOST_WEIGHTS", str(tmp_path))
    save(SMALL[make], tmp_path / file)
    run(capsys, tmp_path / file, tmp_path / "other.safetensors")
    assert commercial_use("other", json.loads((tmp_path / "other.json").read_text())["licence"]) == use


@pytest.mark.parametrize("name", SMALL)
def test_there_and_back(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, middle, back = tmp_path / "a.pth", tmp_path / "b.safetensors", tmp_path / "c.pth"
    state = save(SMALL[name], source)
    result = run(capsys, source, middle)
    assert result["architecture"] == name
    # Sums may be taken in another order where tensors lie differently in memory; they themselves are compared below.
    assert result["largest_difference"] < 1e-4
    run(capsys, middle, back)
    returned = torch.load(back, weights_only=True)
    assert sorted(returned) == sorted(state)
    for key, tensor in state.items():
        assert torch.equal(returned[key], tensor) and returned[key].dtype == tensor.dtype


@pytest.mark.parametrize("name", ["generator", "identity", "landmarks"])
def test_shipped_weights(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = ROOT / "weights" / f"ghost_compact_{name}.safetensors", tmp_path / "a.safetensors"
    assert run(capsys, source, target)["largest_difference"] < 1e-5  # two runs of one network differ on some processors
    before, after = read_state(source), read_state(target)
    assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)


def test_half_precision_and_what_it_costs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = tmp_path / "a.pth", tmp_path / "b.safetensors"
    make = next(iter(SMALL.values()))
    save(make, source)
    result = run(capsys, source, target, "--dtype", "float16")
    assert 0 < result["relative_difference"] < 0.05
    assert result["output_bytes"] < 0.55 * result["source_bytes"]
    network = build(make).eval()
    generator = torch.Generator().manual_seed(0)
    inputs = [2 * torch.rand(shape, generator=generator) - 1 for shape in ((1, 3, 64, 64), (1, 16))]
    with torch.inference_mode():
        before = network(*inputs)
        network.load_state_dict(read_state(target))
        after = network(*inputs)
    pairs = zip([before[0], *before[1]], [after[0], *after[1]], strict=True)
    difference = max(float((a - b).abs().max()) for a, b in pairs)
    assert result["largest_difference"] == pytest.approx(difference, rel=1e-3)


def test_json_says_how_to_build_the_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = tmp_path / "mine.pth", tmp_path / "out" / "mine.safetensors"
    save(next(iter(SMALL.values())), source)
    run(capsys, source, target, "--dtype", "float16")
    card = json.loads(target.with_suffix(".json").read_text())
    assert card["sha256"] == hashlib.sha256(target.read_bytes()).hexdigest()
    assert (card["origin"], card["licence"], card["name"]) == ("converted from mine.pth", "unknown", "mine")
    assert card["crop_size"] == 64


@pytest.mark.parametrize(("numbers", "identity"), [(512, "arcface"), (16, None)])
def test_an_encoder_of_another_length_is_not_guessed(
    numbers: int, identity: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "a.pth", tmp_path / "b.safetensors"
    save(lambda: AEI_Net("unet", num_blocks=1, c_id=numbers, width=0.125, size=64), source)
    advice = run(capsys, source, target)["advice"]
    assert json.loads(target.with_suffix(".json").read_text()).get("identity") == identity
    if identity:
        assert not advice and load_generator(target).card["identity"] == identity
        return
    assert f"{target.with_suffix('.json')} does not say which identity encoder" in advice
    with pytest.raises(WeightsError, match="does not say identity"):
        load_generator(target)
    assert "embedding of the encoder that it was trained with" in run(capsys, source, tmp_path / "b.onnx")["advice"]


def test_a_generator_takes_its_own_encoder_along(
    random_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here, there = shutil.copytree(random_weights, tmp_path / "here"), tmp_path / "there"
    source, name = here / "ghost_compact_generator.safetensors", "ghost_compact_identity"
    target, copy = there / "mine.safetensors", there / f"{name}.safetensors"
    assert f"{copy}: the identity encoder" in run(capsys, source, target)["advice"]
    loaded = load_identity(load_generator(target).card["identity"], beside=target)
    assert loaded.path == copy and copy.read_bytes() == (here / copy.name).read_bytes()
    run(capsys, source, there / "again.safetensors")
    copy.write_bytes(b"another")
    code, said = refuse(capsys, source, there / "third.pth")
    assert code == 2 and f"{copy} is another identity encoder than {here / copy.name}" in said
    assert copy.read_bytes() == b"another" and not (there / "third.pth").exists()


def test_an_installed_encoder_stays_where_it_is(
    random_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GHOST_WEIGHTS", str(random_weights))
    target = tmp_path / "there/mine.safetensors"
    assert not run(capsys, random_weights / "ghost_compact_generator.safetensors", target)["advice"]
    assert sorted(path.name for path in target.parent.iterdir()) == ["mine.json", "mine.safetensors"]


def test_weights_are_never_left_without_their_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, card: dict) -> None:
        raise OutputError(f"cannot write {path}: the disk is full")

    monkeypatch.setattr(convert, "write_card", full)
    save(next(iter(SMALL.values())), tmp_path / "a.pth")
    code, said = refuse(capsys, tmp_path / "a.pth", tmp_path / "b.safetensors")
    assert code == OutputError.exit_code and "the disk is full" in said
    assert [path.name for path in tmp_path.iterdir()] == ["a.pth"]


def test_converted_identity_encoder_is_taken_from_beside_its_generator(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(iresnet100, tmp_path / "backbone.pth")
    run(capsys, tmp_path / "backbone.pth", tmp_path / "arcface.safetensors", "--dtype", "float16")
    loaded = load_identity("arcface", beside=tmp_path / "G.safetensors")
    assert loaded.path == tmp_path / "arcface.safetensors"
    assert loaded.card["similarity_th"] == 0.15


def test_what_the_json_of_the_source_says_is_kept(
    random_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, middle, back = (tmp_path / name for name in ("a.safetensors", "b.pth", "c.safetensors"))
    for path in (source, source.with_suffix(".json")):
        path.write_bytes((random_weights / "ghost_compact_identity").with_suffix(path.suffix).read_bytes())
    run(capsys, source, middle)
    assert "sha256" not in json.loads(middle.with_suffix(".json").read_text())
    run(capsys, middle, back, "--dtype", "float16")
    cards = [json.loads(path.with_suffix(".json").read_text()) for path in (source, back)]
    for key in ("licence", "origin", "similarity_th", "crop_size"):
        assert cards[0][key] == cards[1][key]
    assert load_identity("c", beside=tmp_path / "G.safetensors").path == back


def test_pth_beside_its_conversion_still_loads(
    random_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "G.pth", tmp_path / "G.safetensors"
    save(lambda: AEI_Net("unet", num_blocks=1, c_id=512, width=0.125, size=64), source)
    run(capsys, source, target, "--dtype", "float16")
    assert load_generator(source).path == source
    run(capsys, target, source)
    assert load_generator(target).card["sha256"] == hashlib.sha256(target.read_bytes()).hexdigest()


def test_report_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(next(iter(SMALL.values())), tmp_path / "a.pth")
    assert convert_weights.main([str(tmp_path / "a.pth"), str(tmp_path / "b.pth"), "--dtype", "float16"]) == 0
    words = capsys.readouterr().out
    assert "float16" in words and "largest difference of the output" in words


def test_state_dict_inside_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = save(SMALL["LIPSPADEGenerator(ngf=4)"], tmp_path / "a.pth")
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "a.pth")
    assert run(capsys, tmp_path / "a.pth", tmp_path / "b.pth")["largest_difference"] == 0.0


def test_foreign_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "a.pth")
    code, message = refuse(capsys, tmp_path / "a.pth", tmp_path / "b.safetensors")
    assert code == 9 and "holds no network of this project (first tensor: weight)" in message
    assert not (tmp_path / "b.safetensors").exists()


def test_incomplete_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = save(next(iter(SMALL.values())), tmp_path / "a.pth")
    del state["generator.up1.weight"]
    torch.save(state, tmp_path / "a.pth")
    code, message = refuse(capsys, tmp_path / "a.pth", tmp_path / "b.safetensors")
    assert code == 9 and "generator.up1.weight" in message


@pytest.mark.parametrize("name", SMALL)
def test_tensors_of_impossible_shapes(name: str) -> None:
    """Whatever shape a tensor claims to have, there is a message, at the latest from the network."""
    whole, path = build(SMALL[name]).state_dict(), Path("a.pth")
    for key, tensor in whole.items():
        for damaged in (torch.zeros(()), torch.zeros(0), tensor.new_zeros((0, *tensor.shape[1:]))):
            if damaged.shape == tensor.shape:
                continue
            state = whole | {key: damaged}
            with pytest.raises(WeightsError, match=r"^a\.pth"):
                found = recognise(state, path)
                if str(found) == name:  # a network that is built already
                    weights_file.fitting(whole, state, path, name)
                weights_file.build(found.make, state, path, str(found))


def test_a_network_without_width(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = save(next(iter(SMALL.values())), tmp_path / "a.pth")
    torch.save(state | {"encoder.conv1.0.weight": torch.zeros(0, 3, 4, 4)}, tmp_path / "a.pth")
    code, message = refuse(capsys, tmp_path / "a.pth", tmp_path / "b.safetensors")
    assert code == WeightsError.exit_code and "cannot build AEI_Net" in message


def test_a_network_that_gives_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = save(SMALL["LandmarkNet(channels=[8, 12, 16], points=106, neck=0)"], tmp_path / "a.pth")
    torch.save({key: torch.zeros_like(tensor) for key, tensor in state.items()}, tmp_path / "a.pth")
    result = run(capsys, tmp_path / "a.pth", tmp_path / "b.safetensors")
    assert result["largest_difference"] == result["relative_difference"] == 0
    nothing, little = [torch.zeros(3)], [torch.full((3,), 1e-6)]
    assert _difference(nothing, little) == pytest.approx((1e-6, float("inf")))


def test_values_beyond_half_precision(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = save(next(iter(SMALL.values())), tmp_path / "a.pth")
    state["generator.up1.bias"][0] = 1e6
    torch.save(state, tmp_path / "a.pth")
    code, message = refuse(capsys, tmp_path / "a.pth", tmp_path / "b.safetensors", "--dtype", "float16")
    assert code == 9 and "generator.up1.bias has values up to 1e+06, too large for float16" in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pth"]


@pytest.mark.parametrize(
    ("source", "target", "code", "words"),
    [
        ("missing.pth", "b.safetensors", 9, "weights not found"),
        ("a.pth", "a.pth", 2, "would be overwritten"),
        ("a.onnx", "b.pth", 2, "expected a name that ends in .pth or .safetensors"),
        ("a.pth", "b.pt", 2, "expected a name that ends in .pth or .safetensors or .onnx"),
        ("a.txt", "b.pth", 2, "expected a name that ends in .pth or .safetensors"),
        ("a.pth", "a.pth/b.pth", 8, "cannot write"),
    ],
)
def test_wrong_names(
    source: str, target: str, code: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(next(iter(SMALL.values())), tmp_path / "a.pth")
    found, message = refuse(capsys, tmp_path / source, tmp_path / target)
    assert (found, words in message) == (code, True), message


def test_wrong_option(capsys: pytest.CaptureFixture[str]) -> None:
    code, message = refuse(capsys, "a.pth", "b.pth", "--dtype", "int8")
    assert code == 2 and "int8" in message
