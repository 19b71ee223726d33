"""How the C library handles freed memory; on Linux with glibc, elsewhere nothing happens."""

from __future__ import annotations

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -3, -4, -8  # numbers of malloc.h


def give_freed_frames_back() -> None:
    """For streams: return the memory of freed frames at once; the heaps would grow with the length of the video and
    the number of threads."""
    _set({_MMAP_THRESHOLD: 5 * 2**19, _ARENA_MAX: 2})


def keep_freed_memory() -> None:
    """For training on a CPU: every step needs the same large tensors, whose memory would be returned and cleared anew.

    Call it before the first of them.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # PyTorch then asks for huge pages
    _set({_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1, _ARENA_MAX: 1})


def _set(parameters: dict[int, int]) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform.startswith("linux") else None
    if mallopt is not None:
        for parameter, value in parameters.items():
            mallopt(parameter, value)
