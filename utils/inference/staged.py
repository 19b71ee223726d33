"""The generator on a CUDA device: memory that is used again for every batch, and recorded graphs.

Launching its some hundred operations takes Python longer than computing them for a few faces. A recorded graph launches
all of them at once, but always for the same number of faces in the same memory. So there is a graph for one face and
for every fourth number of faces, recorded when it is first wanted, and those between are filled up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch

from network.fused import FusedAEINet
from utils.device import is_out_of_memory
from utils.inference.pixels import from_levels, to_levels
from utils.inference.soundness import is_sound

# Faces by which graphs differ: videos of 720p and 1080p come in batches of 25 and 11 (`_MOST_BYTES` in frames.py).
_STEP = 4
_WARM_UP = 3  # runs before the recording, in which the libraries choose their ways

Note = Callable[[str], None]


class _Batch:
    """The generator for one number of faces, with all memory that its data pass through."""

    def __init__(self, network: FusedAEINet, count: int, size: int, device: torch.device) -> None:
        self.count, self._network = count, network
        pinned, shape = device.type == "cuda", (count, size, size, 3)
        self._given = torch.empty(shape, dtype=torch.uint8, pin_memory=pinned)  # BGR, like the others
        self._crops = torch.zeros(shape, dtype=torch.uint8, device=device)
        # Pictures and, behind them, whether each is sound: both come back at once.
        self._results = torch.empty(self._crops.numel() + count, dtype=torch.uint8, device=device)
        self._taken = torch.empty(self._results.shape, dtype=torch.uint8, pin_memory=pinned)
        self._people = b""  # whose terms are in place
        self._terms: list[torch.Tensor] = []
        self._launch: Callable[[], None] = self._compute

    def swap(self, crops: Sequence[np.ndarray], z_id: torch.Tensor) -> np.ndarray | None:
        """See Staged.swap; N is at most `count`."""
        np.stack(crops, out=self._given.numpy()[: len(crops)])
        self._crops.copy_(self._given, non_blocking=True)
        self._place(torch.cat((z_id, z_id[-1:].expand(self.count - len(z_id), -1))))
        self._launch()
        self._taken.copy_(self._results, non_blocking=True)
        if self._results.device.type == "cuda":
            torch.cuda.current_stream().synchronize()
        pictures, sound_ones = np.split(self._taken.numpy(), [-self.count])
        if not sound_ones[: len(crops)].all():
            return None
        return pictures.reshape(self._crops.shape)[: len(crops)].copy()

    def _place(self, z_id: torch.Tensor) -> None:
        """Put the people's terms where the graph reads them; those of a video are mostly the ones before."""
        people = z_id.numpy().tobytes()
        if people == self._people:
            return
        fresh = self._network.terms_of(z_id)
        if not self._terms:
            self._terms = fresh
        for place, term in zip(self._terms, fresh, strict=True):
            place.copy_(term)
        self._people = people

    def _compute(self) -> None:
        x = from_levels(self._crops.flip(3)).permute(0, 3, 1, 2)
        Y = self._network.generate(x.to(self._network.dtype, memory_format=torch.channels_last), self._terms)
        self._results[: -self.count].view(self._crops.shape).copy_(to_levels(Y).permute(0, 2, 3, 1).flip(3))
        self._results[-self.count :].copy_(is_sound(Y, self._network.dtype))

    def record(self, z_id: torch.Tensor, stream: torch.cuda.Stream, pool: Any) -> None:
        """Record the computation as a graph, on the current stream.

        z_id: (N, D), embeddings of whomever. pool: of the memory that graphs share, since they take turns.

        Raises RuntimeError where that does not work.
        """
        self._place(z_id[:1].expand(self.count, -1).contiguous())
        for _ in range(_WARM_UP):
            self._compute()
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        # Other threads use the device meanwhile: they must neither disturb the recording nor be disturbed.
        with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            self._compute()
        self._launch = graph.replay


class Staged:
    """The generator in batches of some fixed sizes."""

    def __init__(self, network: FusedAEINet, size: int, device: torch.device) -> None:
        """network: on `device`. size: side of its crops."""
        self._network, self._size, self._device = network, size, device
        self._batches: dict[int, _Batch] = {}
        self._recording = device.type == "cuda"
        # A stream of its own, so that the other stages' short work need not wait for it.
        self._stream = torch.cuda.Stream(device) if self._recording else None
        self._pool = torch.cuda.graph_pool_handle() if self._recording else None

    @property
    def recorded(self) -> bool:
        """Whether graphs are used."""
        return self._recording

    @torch.inference_mode()
    def swap(self, crops: Sequence[np.ndarray], z_id: torch.Tensor, most: int, note: Note) -> np.ndarray | None:
        """Swapped crops, or None where some are not sound.

        crops: N pictures (size, size, 3) uint8 BGR. z_id: (N, D) float32, raw, on the CPU. most: N at most, in this
        call and others. note: told where graphs cannot be recorded. Returns (N, size, size, 3) uint8 BGR.
        """
        count = 1 if len(crops) == 1 else min(-(-len(crops) // _STEP) * _STEP, most)
        with self._on_stream():
            if count not in self._batches:
                self._batches[count] = self._new(count, z_id, note)
            return self._batches[count].swap(crops, z_id)

    def forget(self) -> None:
        """Give back the memory of all batches."""
        self._batches.clear()

    def _on_stream(self) -> AbstractContextManager[Any]:
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def _new(self, count: int, z_id: torch.Tensor, note: Note) -> _Batch:
        batch = _Batch(self._network, count, self._size, self._device)
        if self._recording and self._stream is not None:
            try:
                batch.record(z_id, self._stream, self._pool)
            except RuntimeError as error:  # of an old driver, for instance
                if is_out_of_memory(error):
                    raise
                self._recording = False
                note(f"CUDA cannot record the generator ({str(error).splitlines()[0]}); going on without")
        return batch
