"""Work through many pictures in batches that become smaller when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from utils.device import is_out_of_memory
from utils.errors import ResourceError


class Batches:
    """How many pictures a network gets at once; halved for good whenever they were too many."""

    def __init__(self, size: int, device: torch.device) -> None:
        self.size = size
        self.note: Callable[[str], None] = lambda text: None  # takes messages for the user
        self._device = device

    def run(
        self, work: Callable[[slice], Iterable[Any]], count: int, forget: Callable[[], None] = lambda: None
    ) -> list[Any]:
        """The results for `count` pictures.

        work: part of them -> their results. forget: called when memory ran out, to give back what was prepared for
        larger batches. Raises ResourceError when memory does not even suffice for one.
        """
        results: list[Any] = []
        while len(results) < count:
            try:
                results.extend(work(slice(len(results), len(results) + self.size)))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._shrink(error)
                forget()
                if self._device.type == "cuda":
                    torch.cuda.empty_cache()
                elif self._device.type == "mps":
                    torch.mps.empty_cache()
        return results

    def _shrink(self, error: Exception) -> None:
        if self.size == 1:
            remedy = "close other programs" if self._device.type == "cpu" else "use --device cpu"
            raise ResourceError(f"{self._device} has too little memory for one face; {remedy}") from error
        self.size //= 2
        self.note(f"{self._device} ran out of memory; going on with {self.size} faces at once")
