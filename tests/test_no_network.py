"""The program contacts nobody."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT

WATCHED = """
import os, sys
contacts = []
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request"):
        contacts.append((event, arguments[1:]))
        raise OSError("no network in this test")
sys.addaudithook(watch)
import inference
code = inference.main(sys.argv[1:])
assert not contacts, contacts
assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
assert os.environ["NO_ALBUMENTATIONS_UPDATE"] == "1"
assert os.environ["WANDB_ERROR_REPORTING"] == "false"
sys.exit(code)
"""


def arguments(people: Callable[[int, str], Path], out: Path) -> list[str]:
    return ["--source_paths", str(people(3, "studio_portrait")), "--target_image", str(people(4, "amateur_selfie")),
            "--image_to_image", "--out_image_name", str(out)]


def environment(weights: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items()
            if name not in ("ORT_DISABLE_TELEMETRY", "NO_ALBUMENTATIONS_UPDATE", "WANDB_ERROR_REPORTING")}
    return kept | {"GHOST_WEIGHTS": str(weights)}


def test_a_swap_opens_no_connection(people: Callable[[int, str], Path], random_weights: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WATCHED, *arguments(people, tmp_path / "o.jpg")]
    done = subprocess.run(command, cwd=ROOT, env=environment(random_weights), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "o.jpg").is_file()


def can_trace() -> bool:
    """Whether there is strace, and it may watch here."""
    strace = shutil.which("strace")
    return strace is not None and subprocess.run([strace, "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not can_trace(), reason="needs strace, and leave to use it")
def test_native_code_opens_no_connection(
    people: Callable[[int, str], Path], random_weights: Path, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-e", "trace=connect,sendto", "-o", str(trace), sys.executable,
               str(ROOT / "inference.py"), *arguments(people, tmp_path / "o.jpg")]
    subprocess.run(command, env=environment(random_weights), capture_output=True, check=True)
    assert "AF_INET" not in trace.read_text()


def test_telemetry_is_off_before_onnx_runtime_loads() -> None:
    code = "import os, sys, utils; assert 'onnxruntime' not in sys.modules; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment(Path()), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
