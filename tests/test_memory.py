"""What becomes of freed memory, in processes of their own, since it cannot be set back; how full memory is known."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
from pathlib import Path

import cv2
import onnxruntime
import pytest
import torch
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, RuntimeException

from tests.conftest import OPENCV_IS_FULL, ROOT
from utils import errors, memory
from utils.device import full_memory_as_error
from utils.inference.batches import Batches
from utils.onnx_file import open_session

MPS_IS_FULL = ("MPS backend out of memory (MPS allocated: 17.36 GB, other allocations: 613.56 MB, max allowed: "
               "18.13 GB). Tried to allocate 192.00 MB on private pool.")
CODE = """
import re, torch
from pathlib import Path
from utils.memory import {name}
def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
{name}()
torch.ones(1)
before = resident()
for _ in range(32):
    large = torch.ones(16, 2**20)
    del large
print(resident() - before)
"""


FRAMES = """
import resource, numpy as np
from utils.memory import give_freed_frames_back
def cleared():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
give_freed_frames_back()
for i in range(20):
    waiting = [np.full((720, 1280, 3), i, np.uint8) for _ in range(8)]
    before = cleared() if i == 4 else before if i else 0
    del waiting
print((cleared() - before) / 120)
"""
with_glibc = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc alone can be told"
)


def printed_by(code: str) -> float:
    command = [sys.executable, "-c", code]
    return float(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout)


def left_after(name: str) -> float:
    """MiB that are still held when a tensor of 64 MiB was made and freed 32 times."""
    return printed_by(CODE.format(name=name))


@with_glibc
def test_the_memory_of_small_frames_is_used_again() -> None:
    assert printed_by(FRAMES) < 100  # pages cleared by the system per frame, which has 675


def test_models_are_left_out_of_the_search_for_garbage() -> None:
    with pytest.raises(ValueError, match="stop"), memory.uncollected():
        assert gc.get_freeze_count() > 1000
        raise ValueError("stop")
    assert gc.get_freeze_count() == 0


@with_glibc
def test_streams_give_memory_back_and_training_keeps_it() -> None:
    assert left_after("give_freed_frames_back") < 32
    # One, or some where something lies in the heap's way, but not one each time, which were 2,048.
    assert 48 < left_after("keep_freed_memory") < 1024


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "0")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    memory.keep_freed_memory()  # a C library without mallopt
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(ctypes, "CDLL", None)
    memory.give_freed_frames_back()


@pytest.mark.parametrize("error", [
    MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUDA error: out of memory"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory"), cv2.error(OPENCV_IS_FULL),
    RuntimeError(MPS_IS_FULL), RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`"),
    RuntimeError("NCCL error in: NCCLUtils.cpp:77, unhandled cuda error\nLast error:\nCuda failure 2 'out of memory'"),
    Fail("CUDA failure 2: out of memory ; GPU=0 ; hostname=box ; file=cuda_stream_handle.cc ; expr=cudaMalloc(&p, n);"),
    RuntimeException("BFCArena: Failed to allocate memory for requested buffer of size 9"), Fail("std::bad_alloc"),
])
def test_full_memory_is_known_whoever_says_it(error: Exception) -> None:
    with pytest.raises(errors.ResourceError, match=r"^memory is full \(.*\); wait$"), full_memory_as_error("wait"):
        raise error


@pytest.mark.parametrize("error", [RuntimeError("broken"), cv2.error("(-215:Assertion failed)"), KeyboardInterrupt(),
                                   RuntimeError("CUDA error: an illegal memory access was encountered"),
                                   Fail("CUDA failure 700: an illegal memory access was encountered ; GPU=0"),
                                   RuntimeError("Cuda failure 700 'an illegal memory access was encountered'"),
                                   RuntimeError("cusolver error: CUSOLVER_STATUS_INTERNAL_ERROR"),
                                   errors.ResourceError("memory is full (DefaultCPUAllocator); use --device cpu")])
def test_what_is_no_full_memory_passes(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, full_memory_as_error("wait"):
        raise error
    assert caught.value is error


@pytest.mark.parametrize("name", ["cpu", "cuda", "mps"])
def test_batches_shrink_and_the_device_gives_its_memory_back(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given_back: list[str] = []
    for device in ("cuda", "mps"):
        monkeypatch.setattr(f"torch.{device}.empty_cache", lambda device=device: given_back.append(device))

    def work(part: slice) -> list[int]:
        if part.stop - part.start > 2:
            raise RuntimeError(MPS_IS_FULL)
        return list(range(7))[part]

    batches = Batches(8, torch.device(name))
    assert batches.run(work, 7, lambda: given_back.append("prepared")) == list(range(7)) and batches.size == 2
    assert given_back == (["prepared"] if name == "cpu" else ["prepared", name]) * 2


def test_a_model_for_which_memory_is_too_small_is_not_called_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise RuntimeException("Failed to allocate memory for requested buffer of size 9")

    monkeypatch.setattr(onnxruntime, "InferenceSession", full)
    (tmp_path / "model.onnx").write_bytes(b"whole")
    with pytest.raises(errors.ResourceError, match="memory is full"):
        open_session(tmp_path / "model.onnx", torch.device("cpu"))
