"""Where networks run, in which arithmetic, and with which random numbers."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from utils.errors import GhostError, ResourceError

if TYPE_CHECKING:
    import torch

_AMPERE = (8, 0)  # CUDA cards from this capability on compute in bfloat16 natively
_MANY_CORES = 4
_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container; microseconds of processor time, and the period they are for
# What PyTorch, NVIDIA's libraries (cuDNN 9 by two new names), NCCL, OpenCV and ONNX Runtime say when memory is full, in
# no errors of their own.
_FULL = ("DefaultCPUAllocator", "MPS backend out of memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED",
         "CUSOLVER_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED",
         "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED", "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
         "CUDA failure 2: out of memory", "Cuda failure 2 'out of memory'", "Cuda failure 'out of memory'",
         "(-4:Insufficient memory)", "Failed to allocate memory", "std::bad_alloc", "bad allocation")


def choose_device(name: str = "auto") -> torch.device:
    """The device that --device names; auto takes CUDA or the CPU, and MPS never:
    it was not tried yet, and is reported to abort where several threads use it at once, as those of a video do.

    Raises ResourceError when the machine or the installed PyTorch lacks it.
    """
    import torch

    if name == "cpu":  # which a card that is out of order must not keep from the work
        return torch.device(name)
    cuda = torch.cuda.is_available() and _has_kernels()
    present = {"cuda": cuda, "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device("cuda" if cuda else "cpu")
    if not present.get(name):
        raise ResourceError(f"--device {name}: this machine, or its PyTorch {torch.__version__}, has no {name} "
                            "that it can use; give --device auto")
    return torch.device(name)


def _has_kernels() -> bool:
    """Whether the installed PyTorch was built for the CUDA card; newer ones leave out old cards."""
    import torch

    names = [name.removeprefix("sm_") for name in torch.cuda.get_arch_list() if name.startswith("sm_")]
    built_for = [int(name.rstrip("af")) for name in names]
    major, minor = torch.cuda.get_device_capability()
    return not built_for or 10 * major + minor >= min(built_for)


def to_device(x: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor, most often of the processor, on a device. CUDA keeps what it has still to copy; elsewhere nothing would
    keep it, so there the copy is waited for."""
    return x.to(device, non_blocking=device.type == "cuda")


def why_not_cuda(name: str, device: torch.device) -> str:
    """What keeps --device auto from an NVIDIA card whose driver is installed, in words; empty where nothing does."""
    import torch

    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if name != "auto" or device.type != "cpu" or hidden or shutil.which("nvidia-smi") is None:
        return ""
    found = "this machine seems to have an NVIDIA card, but the CPU is used, since "
    if torch.version.cuda is None:
        return f"{found}PyTorch {torch.__version__} is built without CUDA; pytorch.org/get-started has one"
    if torch.cuda.is_available():
        return f"{found}PyTorch {torch.__version__} leaves this card out; an older PyTorch may know it"
    return f"{found}its driver does not work with PyTorch {torch.__version__}; nvidia-smi says which CUDA it knows"


def fastest_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device computes it natively, else float32; float16 overflows in this generator."""
    import torch

    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= _AMPERE
    else:
        native = device.type == "cpu" and _cpu_has_bfloat16()
    return torch.bfloat16 if native else torch.float32


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """The arithmetic that --precision names, for networks that may run in less than float32; auto: the fastest."""
    import torch

    return fastest_dtype(device) if precision == "auto" else torch.float32


def keep_float32_whole() -> None:
    """Forbid PyTorch to shorten float32 to TF32 in convolutions on NVIDIA cards, as it does by itself."""
    import torch

    torch.backends.cudnn.allow_tf32 = False


def _cpu_has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 in hardware (AVX-512 BF16 or AMX)."""
    import torch

    flags = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(flags.get("avx512_bf16") or flags.get("amx_bf16"))


def cores() -> int:
    """Cores that this process may use: fewer than the machine has where a scheduler, `taskset` or the limit of a
    container (`docker run --cpus`) allots them."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, _quota() or allowed)


def _quota() -> int:
    """Whole cores that the processor time allotted to this container fills; 0 where nothing is known of a limit."""
    try:
        time, period = map(int, _QUOTA.read_bytes().split())
        return max(0, -(-time // period))  # rounded up
    except (OSError, ValueError, ZeroDivisionError):  # no such container, "max", or what Linux would not write
        return 0


@contextmanager
def shared_processor() -> Iterator[None]:
    """Divide the cores among stages that work at the same time, for as long as the block lasts: networks only lose by
    waiting for one another's threads."""
    import cv2
    import torch

    before, pictures, threads = torch.get_num_threads(), cv2.getNumThreads(), max(1, min(4, cores() // 2))
    torch.set_num_threads(min(before, threads))
    cv2.setNumThreads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        cv2.setNumThreads(pictures)


def has_many_cores() -> bool:
    """Whether small stages of a video gain from threads of their own; else they would only hold more frames."""
    return cores() >= _MANY_CORES


def half_of_the_cores() -> int:
    """Threads of decoder, encoder or detector beside the networks: more of them cost more time than they save."""
    return max(1, min(16, cores() // 2))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that a device's or the machine's memory is full."""
    import torch

    if isinstance(error, GhostError):
        return False  # has been put into our words
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(text in str(error) for text in _FULL)


@contextmanager
def full_memory_as_error(remedy: str) -> Iterator[None]:
    """Raises ResourceError, with what to do, in the place of what Python and its packages raise when memory is full."""
    try:
        yield
    except Exception as error:  # that of OpenCV and those of ONNX Runtime have no narrower class in common
        if not is_out_of_memory(error):
            raise
        raise ResourceError(f"memory is full ({(str(error) or 'Python').splitlines()[0]}); {remedy}") from error


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and PyTorch."""
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def onnx_providers(device: torch.device) -> list[str | tuple[str, dict[str, str]]]:
    """ONNX Runtime's providers for a device, best first, with their options; TensorRT is never taken unasked."""
    import onnxruntime

    name = "CUDAExecutionProvider"
    if device.type != "cuda" or name not in onnxruntime.get_available_providers():
        return ["CPUExecutionProvider"]
    # By default, all ways to convolve are tried anew for each size of a picture.
    return [(name, {"cudnn_conv_algo_search": "HEURISTIC"}), "CPUExecutionProvider"]
