"""Which device and arithmetic are chosen, and how many cores count."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from onnxruntime.capi.onnxruntime_inference_collection import check_and_normalize_provider_args

from utils.device import (
    choose_device,
    cores,
    fastest_dtype,
    half_of_the_cores,
    has_many_cores,
    onnx_providers,
    seed_everything,
    to_device,
    why_not_cuda,
)
from utils.errors import ResourceError

CPU = torch.device("cpu")


@pytest.mark.parametrize(("built", "available", "said"), [(None, False, "without CUDA"), ("12.8", True, "leaves this"),
                                                          ("12.8", False, "driver")])
def test_a_card_that_is_not_used_is_said(
    built: str | None, available: bool, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert why_not_cuda("auto", CPU) == ""
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert why_not_cuda("auto", CPU) == "", "hidden on purpose"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert said in why_not_cuda("auto", CPU) and why_not_cuda("cpu", CPU) == ""


@pytest.mark.parametrize(("capability", "chosen"), [((7, 0), "cpu"), ((7, 5), "cuda"), ((12, 0), "cuda")])
def test_cards_that_pytorch_was_not_built_for_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], chosen: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80", "sm_90a", "sm_100f", "compute_120"])
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    assert choose_device("auto").type == chosen
    if chosen == "cpu":
        with pytest.raises(ResourceError, match="cuda that it can use"):
            choose_device("cuda")


@pytest.mark.parametrize("card", [True, False])
def test_the_gpu_of_a_mac_is_taken_only_by_name(card: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: card)
    monkeypatch.setattr("utils.device._has_kernels", lambda: card)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto").type == ("cuda" if card else "cpu") and choose_device("mps").type == "mps"


def test_absent_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto") == CPU and choose_device("cpu") == CPU
    for name in ("cuda", "mps"):
        with pytest.raises(ResourceError, match=f"--device {name}"):
            choose_device(name)
    assert onnx_providers(CPU) == ["CPUExecutionProvider"]


def test_a_card_that_is_out_of_order_leaves_the_processor_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("CUDA error: unknown error")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", broken)
    assert choose_device("cpu") == CPU


@pytest.mark.parametrize(("name", "waits"), [("cuda", False), ("mps", True), ("cpu", True)])
def test_only_uploads_to_a_card_are_not_waited_for(name: str, waits: bool) -> None:
    seen: list[Any] = []
    tensor: Any = SimpleNamespace(to=lambda device, non_blocking: seen.append((device.type, not non_blocking)))
    to_device(tensor, torch.device(name))
    assert seen == [(name, waits)]


@pytest.mark.parametrize("there", [True, False])
def test_onnx_runtime_does_not_search_for_each_size_of_a_picture(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [*["CUDAExecutionProvider"] * there, "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["TensorrtExecutionProvider", *names])
    providers = onnx_providers(torch.device("cuda"))
    chosen, options = check_and_normalize_provider_args(providers, None, names)
    assert chosen == names and options[0] == ({"cudnn_conv_algo_search": "HEURISTIC"} if there else {})


@pytest.mark.parametrize(("capability", "dtype"), [((7, 5), torch.float32), ((8, 0), torch.bfloat16)])
def test_arithmetic_of_cuda_cards(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int],
                                  dtype: torch.dtype) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert fastest_dtype(torch.device("cuda")) == dtype


def test_arithmetic_of_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    for flags, dtype in (({"amx_bf16": True}, torch.bfloat16), ({"avx2": True}, torch.float32)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda flags=flags: flags)
        assert fastest_dtype(CPU) == dtype
    assert fastest_dtype(torch.device("mps")) == torch.float32


def test_seeds() -> None:
    def draw() -> tuple[float, float]:
        return np.random.rand(), torch.rand(1).item()

    seed_everything(7)
    first = draw()
    seed_everything(7)
    assert draw() == first


@pytest.mark.parametrize(
    ("count", "threads", "many"),
    [(1, 1, False), (2, 1, False), (4, 2, True), (8, 4, True), (64, 16, True)],
)
def test_threads_go_by_the_number_of_cores(
    count: int, threads: int, many: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("utils.device.cores", lambda: count)
    assert half_of_the_cores() == threads and has_many_cores() == many


def test_only_the_cores_that_are_allowed_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utils.device._QUOTA", tmp_path / "none")
    monkeypatch.setattr(os, "cpu_count", lambda: 96)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 5, 7}, raising=False)
    assert cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS and Windows
    assert cores() == 96
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores() == 1


@pytest.mark.parametrize(
    ("quota", "count"),
    [("400000 100000\n", 4), ("150000 100000\n", 2), ("1000 100000\n", 1), ("9000000 100000\n", 64),
     ("max 100000\n", 64), ("", 64), ("400000", 64), ("100000 0", 64), ("-1 100000", 64), ("1 2 3", 64),
     ("\udcff 1", 64)],
)
def test_the_processor_time_of_a_container_counts_as_cores(
    quota: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)), raising=False)
    (tmp_path / "cpu.max").write_bytes(os.fsencode(quota))
    monkeypatch.setattr("utils.device._QUOTA", tmp_path / "cpu.max")
    assert cores() == count
    monkeypatch.setattr("utils.device._QUOTA", tmp_path)  # a folder cannot be read
    assert cores() == 64
