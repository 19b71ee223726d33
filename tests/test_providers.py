"""Which provider of ONNX Runtime really runs a model is said, not the one that was wanted, and gives memory back."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from utils import registry
from utils.inference import detectors, stages
from utils.inference.config import InferenceConfig
from utils.inference.detect import CenterFace

ON_CPU = ["CPUExecutionProvider"]


def test_the_models_line_and_the_result_say_it(random_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GHOST_WEIGHTS", str(random_weights))
    loaded = stages.load_stages(InferenceConfig(device="cpu"))
    assert {entry.role: entry.provider for entry in loaded.models} == {
        "generator": None, "identity": None, "detector": "CPUExecutionProvider", "landmarks": None}
    assert ", detector centerface (CPUExecutionProvider), landmarks ghost_compact_landmarks; on" in loaded.summary()


@pytest.mark.parametrize("providers", [ON_CPU, ["CUDAExecutionProvider", *ON_CPU]])
def test_it_is_what_the_session_says(providers: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    place = SimpleNamespace(name="input", shape=["n", 3, 192, 192])
    session = SimpleNamespace(get_providers=lambda: providers, get_inputs=lambda: [place], get_outputs=lambda: [place])
    for module in (stages, detectors):
        monkeypatch.setattr(module, "open_session", lambda *arguments, **options: session)
    monkeypatch.setattr(detectors, "open_scrfd", lambda *arguments: SimpleNamespace(session=session))
    monkeypatch.setattr(registry, "locate", lambda name: Path(f"{name}.onnx"))
    models = [stages._detector(published, torch.device("cuda"), 0)[1] for published in (True, False)]
    models.append(stages._landmarks(True, torch.device("cuda"), torch.float32)[1])
    assert [(entry.name, entry.provider) for entry in models] == [
        (name, providers[0]) for name in ("scrfd", "centerface", "2d106det")]


@pytest.mark.parametrize(
    ("providers", "arenas"), [(ON_CPU, "cpu:0"), (["CUDAExecutionProvider", *ON_CPU], "cpu:0;gpu:0")]
)
def test_large_pictures_leave_no_memory_to_the_detector(providers: list[str], arenas: str) -> None:
    """Neither on the processor nor, where it runs there, on the card."""
    shrunk = []

    def run(outputs: None, inputs: dict[str, np.ndarray], options: Any) -> list[np.ndarray]:
        shrunk.append(options and options.get_run_config_entry("memory.enable_memory_arena_shrinkage"))
        return [np.zeros((1, count, 4, 4), np.float32) for count in (1, 2, 2, 10)]

    place = SimpleNamespace(name="input")
    session: Any = SimpleNamespace(get_providers=lambda: providers, get_inputs=lambda: [place], run=run)
    detector = CenterFace(session)
    detector.detect(np.zeros((8, 8, 3), np.uint8), careful=True)
    assert set(shrunk) == {arenas}
    shrunk.clear()
    detector.detect(np.zeros((8, 8, 3), np.uint8))
    assert set(shrunk) == {None}  # frames of a video use it again
