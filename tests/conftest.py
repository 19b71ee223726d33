"""Fixtures that several test files share."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from tests.random_weights import write_weights
from utils.device import choose_device
from utils.errors import ResourceError
from utils.io.image import read_photo

ROOT = Path(__file__).resolve().parents[1]
OPENCV_IS_FULL = "OpenCV(5.0.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 9 bytes"
Call = Callable[..., tuple[int, dict[str, Any], str]]
People = Callable[[int, str], Path]


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Ctrl-C and a closed terminal reach the processes that tests start, even where a shell started the tests in the
    background, or nohup did, which ignore them for all of them."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def one_thread_each() -> None:
    """Where several processes test at once, their threads would wait for one another."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that tests start
        torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """What one test silences, the next one hears again."""
    yield
    logging.getLogger("ghost").setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def gpu() -> torch.device:
    """A card of NVIDIA's, else the GPU of a Mac; tests that need one are skipped without either."""
    for name in ("cuda", "mps"):
        with suppress(ResourceError):
            return choose_device(name)
    pytest.skip("no CUDA device and no MPS device")


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with reference data beside the repository; tests that need it are skipped without it."""
    path = ROOT.parent / "shared"
    if not path.is_dir():
        pytest.skip("no reference data beside the repository")
    return path


@pytest.fixture(scope="session")
def random_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder with small random networks under the embedded models' names."""
    return write_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def call(random_weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run inference.py in this process, with small random networks: arguments -> exit code, JSON on standard output,
    standard error."""
    import inference

    monkeypatch.setenv("GHOST_WEIGHTS", str(random_weights))

    def run(*arguments: object) -> tuple[int, dict[str, Any], str]:
        code = inference.main([*map(str, arguments), "--json", "--device", "cpu"])
        said = capsys.readouterr()
        return code, json.loads(said.out) if said.out else {}, said.err

    return run


@pytest.fixture(scope="session")
def people() -> People:
    """Photos of generated people: (number 1..10, name such as studio_portrait) -> file."""
    spec = importlib.util.find_spec("openpeople")
    if spec is None or spec.origin is None:
        pytest.skip("needs openpeople: pip install -r requirements-dev.txt")
    folder = Path(spec.origin).parent / "data" / "curated"
    return lambda number, name: folder / f"P{number:03}" / "assets" / f"{name}.jpg"


@pytest.fixture(scope="session")
def photos(people: People, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Small photos: a, b (portraits), pair (both in one picture, a on the left and larger), nobody."""
    folder = tmp_path_factory.mktemp("photos")
    images: dict[str, np.ndarray] = {}
    for name, number in (("a", 2), ("b", 5)):
        image = read_photo(people(number, "studio_portrait")).image
        images[name] = cv2.resize(image, (360, 360), interpolation=cv2.INTER_AREA)
    images["pair"] = np.hstack([images["a"], np.pad(cv2.resize(images["b"], (280, 280)), ((40, 40), (0, 0), (0, 0)))])
    images["nobody"] = np.full((200, 300, 3), 120, np.uint8)
    for name, image in images.items():
        cv2.imwrite(str(folder / f"{name}.png"), image)
    return {name: str(folder / f"{name}.png") for name in images}


def swap(source: str, target: str, out: Path, *more: str) -> list[str]:
    """The arguments of a photo swap."""
    result = ["--out_image_name", str(out)]
    return ["--source_paths", source, "--target_image", target, "--image_to_image", "True", *result, *more]
