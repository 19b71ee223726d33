"""Imports point one way: entry scripts, pipeline and training, stages, networks."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NETWORK_FILES = [
    *ROOT.glob("network/*.py"), ROOT / "arcface_model/iresnet.py", ROOT / "coordinate_reg/network.py",
    ROOT / "models/enhancer.py", ROOT / "models/fan.py",
]
SCRIPTS = {path.stem for path in ROOT.glob("*.py")}
# What is made of the stages of utils.inference, from the lowest.
LAYERS = (("stages",), ("people",), ("frames",), ("photos", "video"), ("pipeline",))
PIPELINES = tuple(f"utils.inference.{name}" for layer in LAYERS[1:] for name in layer)  # training loads stages, too
HEAVY = {"torch", "numpy", "cv2", "onnxruntime", "av", "insightface", "kornia", "skimage", "scipy", "PIL", "rich"}


def imported(path: Path) -> set[str]:
    """Full names of the modules that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("path", NETWORK_FILES, ids=lambda p: p.name)
def test_networks_know_only_torch_and_each_other(path: Path) -> None:
    allowed = {"torch", "network", "arcface_model", "coordinate_reg", "models"} | sys.stdlib_module_names
    assert {name.split(".")[0] for name in imported(path)} <= allowed
    assert not {"pathlib", "os", "io"} & {name.split(".")[0] for name in imported(path)}


@pytest.mark.parametrize("path", sorted(ROOT.glob("utils/**/*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_imports_an_entry_script(path: Path) -> None:
    assert not {name.split(".")[0] for name in imported(path)} & SCRIPTS


@pytest.mark.parametrize("path", sorted(ROOT.glob("utils/inference/*.py")), ids=lambda p: p.name)
def test_inference_knows_no_training(path: Path) -> None:
    others = ("utils.training", "utils.evaluation", "utils.preprocess", "utils.teachers")
    assert not any(name.startswith(others) for name in imported(path))


@pytest.mark.parametrize("path", sorted(ROOT.glob("utils/inference/*.py")), ids=lambda p: p.name)
def test_stages_know_nothing_of_what_is_made_of_them(path: Path) -> None:
    height = next((number for number, layer in enumerate(LAYERS) if path.stem in layer), 0)
    above = tuple(f"utils.inference.{name}" for layer in LAYERS[height:] for name in layer)
    assert not any(name.startswith(above) for name in imported(path))


WHOLE = {name for layer in LAYERS for name in layer} - {"people"}
STAGES = sorted(path for path in ROOT.glob("utils/inference/*.py") if path.stem not in WHOLE)


@pytest.mark.parametrize("path", STAGES, ids=lambda p: p.name)
def test_stages_know_no_command_line(path: Path) -> None:
    assert "utils.inference.config" not in imported(path)


@pytest.mark.parametrize("path", sorted(ROOT.glob("utils/training/*.py")), ids=lambda p: p.name)
def test_training_knows_no_other_command(path: Path) -> None:
    others = (*PIPELINES, "utils.evaluation", "utils.preprocess", "utils.convert")
    assert not any(name.startswith(others) for name in imported(path))


@pytest.mark.parametrize("path", sorted(ROOT.glob("utils/io/*.py")), ids=lambda p: p.name)
def test_media_files_know_no_networks_and_no_stages(path: Path) -> None:
    assert not {"torch", "network", "models"} & {name.split(".")[0] for name in imported(path)}
    assert not any(name.startswith("utils.inference") for name in imported(path))


@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_help_needs_no_heavy_package(script: str) -> None:
    code = (
        f"import sys, {script}\ntry: {script}.main(['--help'])\n"
        f"except SystemExit: print('heavy:', *{HEAVY} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].split() == ["heavy:"]
