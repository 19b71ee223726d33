"""The mean of two networks of one training."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT
from utils.training.average import main
from utils.training.export import write_half
from utils.weights_file import read_card, write_card


def written(path: Path, value: float, sides: tuple[int, ...] = (3, 2)) -> Path:
    state = {"a.weight": torch.full(sides, float(value)), "a.count": torch.tensor(int(value))}
    write_card(path.with_suffix(".json"), {"name": path.stem, "network": "Linear", "arguments": {"x": value},
                                           "sha256": write_half(path, state)})
    return path


@pytest.mark.parametrize(("options", "wanted"), [((), 3.0), (("--share", "0.25"), 2.0), (("--share", "0"), 1.0)])
def test_mean_of_two(tmp_path: Path, options: tuple[str, ...], wanted: float) -> None:
    from safetensors.torch import load_file

    one, other, out = written(tmp_path / "a.safetensors", 1), written(tmp_path / "b.safetensors", 5), tmp_path / "c"
    assert main([str(one), str(other), str(out.with_suffix(".safetensors")), *options]) == 0
    state, card = load_file(out.with_suffix(".safetensors")), json.loads(out.with_suffix(".json").read_text())
    assert state["a.weight"].dtype == torch.float16 and bool((state["a.weight"] == wanted).all())
    assert int(state["a.count"]) == 5  # whole numbers are the second's
    assert card["name"] == "c" and card["arguments"] == {"x": 5}
    assert read_card(out.with_suffix(".safetensors")) == card  # whose checksum is right


@pytest.mark.parametrize(("name", "share", "code", "text"), [
    ("c.pth", "0.5", 2, "ends in .safetensors"), ("a.safetensors", "0.5", 2, "a.safetensors would be overwritten"),
    ("b.safetensors", "0.5", 2, "b.safetensors would be overwritten"), ("c.safetensors", "1.5", 2, "from 0 to 1"),
    ("c.safetensors", "0.5", 9, "a.weight is (3, 3), not (3, 2)"),
])
def test_what_cannot_be_averaged(
    tmp_path: Path, name: str, share: str, code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = written(tmp_path / "a.safetensors", 1, (3, 3)), written(tmp_path / "b.safetensors", 5)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert main([str(one), str(other), str(tmp_path / name), "--share", share]) == code
    assert text in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_from_the_command_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "utils.training.average", "nowhere.pth", "b.pth", str(tmp_path / "c.safetensors")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "weights not found: nowhere.pth" in done.stderr and "Traceback" not in done.stderr
