"""How memory is freed: by the C library, on Linux with glibc (elsewhere nothing happens), and by Python."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -3, -4, -8  # numbers of malloc.h


def give_freed_frames_back() -> None:
    """For streams: return what large frames leave at once, and of the small ones' all but what the next will need; the
    heaps would grow with the number of threads."""
    _set({_MMAP_THRESHOLD: 8 * 2**20, _TRIM_THRESHOLD: 64 * 2**20, _ARENA_MAX: 1})


def keep_freed_memory() -> None:
    """For training on a CPU: every step needs the same large tensors, whose memory would be returned and cleared anew.

    Call it before the first of them.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # PyTorch then asks for huge pages
    _set({_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1, _ARENA_MAX: 1})


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep what exists out of the search for garbage while the block lasts; models are many objects that stay."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _set(parameters: dict[int, int]) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform.startswith("linux") else None
    if mallopt is not None:
        for parameter, value in parameters.items():
            mallopt(parameter, value)
