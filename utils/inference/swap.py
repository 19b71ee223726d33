"""Swap crops in batches, in the fastest arithmetic that gives sound numbers."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier

import numpy as np
import torch
from torch import nn

from network.AEI_Net import AEI_Net
from network.fused import FusedAEINet
from network.packed import pack
from utils.device import cores
from utils.errors import WeightsError
from utils.inference.batches import Batches
from utils.inference.pixels import to_images, to_tensor
from utils.inference.soundness import is_sound
from utils.inference.staged import Staged

_HEAVY = 50_000_000  # weights
_CPU_BATCH = 8  # faces, for which the weights of small maps are read once; the encoder would wait for more of them
_LARGE_CPU_BATCH = 4  # of a large generator, which gains nothing by more and takes much memory for each
_MOST_WORKERS, _MOST_THREADS = 8, 8  # of a processor with many cores, and threads of each worker


def inference_form(network: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """The network in the form that runs fast, on its device; `network` stays in float32."""
    if isinstance(network, AEI_Net):
        fused = FusedAEINet(network, dtype)
        return _packed(fused, network) if device.type == "cpu" else fused.to(device)
    return (network if dtype == torch.float32 else copy.deepcopy(network).to(dtype)).to(device)


@torch.inference_mode()
def _packed(fused: FusedAEINet, network: AEI_Net) -> nn.Module:
    """Packed for the processor, with a first face behind it: that one orders the weights."""
    pack(fused)(torch.zeros(1, 3, network.size, network.size), torch.zeros(1, network.c_id))
    return fused


def _threads() -> int:
    """How many may compute at the same time."""
    return min(cores(), torch.get_num_threads())


def _most_workers() -> int:
    return min(_threads(), _MOST_WORKERS)


def _begin(workers: ThreadPoolExecutor, count: int, threads: int) -> None:
    """Let `count` workers begin, each with so many threads of its own.

    The number that was set last, by whichever thread, is that of all that begin to compute later: hence it is set back
    for the other stages as soon as each worker has taken it.
    """
    before, all_there = torch.get_num_threads(), Barrier(count)

    def take_number(_: int) -> None:
        torch.get_num_threads()  # from now on this thread's, whatever others set
        all_there.wait()

    torch.set_num_threads(threads)
    try:
        list(workers.map(take_number, range(count)))
    finally:
        all_there.abort()  # where a thread cannot be started, the others do not wait for it
        torch.set_num_threads(before)


class Swapper:
    """The generator: crops of target faces and source embeddings to swapped crops."""

    def __init__(
        self,
        network: nn.Module,
        size: int,
        device: torch.device,
        dtype: torch.dtype,
        batch_size: int = 40,
    ) -> None:
        """network: AEI-Net in float32. size: side of its crops. batch_size: most faces at once; a CPU takes fewer."""
        self._heavy = sum(parameter.numel() for parameter in network.parameters()) > _HEAVY
        if device.type == "cpu":
            batch_size = min(batch_size, max(_LARGE_CPU_BATCH, _most_workers()) if self._heavy else _CPU_BATCH)
        self.size, self.batches = size, Batches(batch_size, device)
        self._device, self._dtype = device, dtype
        self._workers: ThreadPoolExecutor | None = None
        self._parts = 1
        self._exact = network if dtype != torch.float32 else None  # for the day the fast one fails
        self._place(network)

    def _place(self, network: nn.Module) -> None:
        """Get the network ready in the arithmetic in use."""
        self._network = inference_form(network, self._device, self._dtype)
        self._staged: Staged | None = None
        if self._device.type == "cuda" and isinstance(self._network, FusedAEINet):
            self._staged = Staged(self._network, self.size, self._device)

    @property
    def dtype(self) -> str:
        """Arithmetic in use, as PyTorch names it."""
        return str(self._dtype).removeprefix("torch.")

    @contextmanager
    def in_parts(self) -> Iterator[None]:
        """For as long as the block lasts, let a processor's threads swap faces of their own.

        So another stage that takes a core for a moment holds up one of them; threads that share one face all wait.
        Small networks gain nothing by it.
        """
        count = _most_workers()
        if self._device.type != "cpu" or count < 2 or not self._heavy:
            yield
            return
        with ThreadPoolExecutor(count) as self._workers:
            self._parts = count
            try:
                _begin(self._workers, count, min(_threads() // count, _MOST_THREADS))
                yield
            finally:
                self._workers = None

    def swap(self, crops: Sequence[np.ndarray], z_id: np.ndarray) -> list[np.ndarray]:
        """Give every crop its identity.

        crops: N pictures (size, size, 3) uint8 BGR. z_id: (N, D) float32, raw embeddings.
        Returns N pictures like crops. Raises ResourceError when memory does not even suffice for one
        face, WeightsError for weights that give no numbers.
        """
        def work(part: slice) -> np.ndarray:
            return self._run(crops[part], torch.from_numpy(z_id[part]))

        return self.batches.run(work, len(crops), self._forget)

    def _forget(self) -> None:
        if self._staged is not None:
            self._staged.forget()

    @torch.inference_mode()
    def _run(self, crops: Sequence[np.ndarray], z_id: torch.Tensor) -> np.ndarray:
        images = self._images(crops, z_id)
        if images is None and self._exact is not None:
            self.batches.note(f"the generator overflowed or gave flat pictures in {self.dtype}; going on in float32")
            exact, self._exact, self._dtype = self._exact, None, torch.float32
            self._place(exact)
            images = self._images(crops, z_id)
        if images is None:
            raise WeightsError("the generator overflows even in float32; its weights are damaged, download them again")
        return images

    def _images(self, crops: Sequence[np.ndarray], z_id: torch.Tensor) -> np.ndarray | None:
        """Swapped crops (N, size, size, 3) uint8 BGR, or None where some are not sound."""
        if self._staged is not None:
            return self._staged.swap(crops, z_id, self.batches.size, self.batches.note)
        Y = self._forward(crops, z_id)
        return to_images(Y) if bool(is_sound(Y, self._dtype).all()) else None

    def _forward(self, crops: Sequence[np.ndarray], z_id: torch.Tensor) -> torch.Tensor:
        Xt = to_tensor(crops, self._device).to(self._dtype)
        if self._workers is None:
            return self._network(Xt, z_id)[0]
        return torch.cat(list(self._workers.map(self._part, Xt.chunk(self._parts), z_id.chunk(self._parts))))

    @torch.inference_mode()  # which each thread has to enter by itself
    def _part(self, Xt: torch.Tensor, z_id: torch.Tensor) -> torch.Tensor:
        return self._network(Xt, z_id)[0]
