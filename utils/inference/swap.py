"""Swap crops in batches, in the fastest arithmetic that gives sound numbers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from utils.errors import ResourceError, WeightsError
from utils.inference.pixels import to_images, to_tensor


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
        """network: AEI-Net in float32. size: side of its crops."""
        self.size, self.batch_size = size, batch_size
        self.note: Callable[[str], None] = lambda text: None  # takes messages for the user
        self._device = device
        self._exact = network  # kept in float32, for the day the fast one overflows
        self._fast = self._placed(copy.deepcopy(network), dtype) if dtype != torch.float32 else None
        if self._fast is None:
            self._exact = self._placed(network, torch.float32)

    def _placed(self, network: nn.Module, dtype: torch.dtype) -> nn.Module:
        network.to(self._device, dtype)
        return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def dtype(self) -> str:
        """Arithmetic in use, as PyTorch names it."""
        return "float32" if self._fast is None else str(next(self._fast.parameters()).dtype).removeprefix("torch.")

    def swap(self, crops: Sequence[np.ndarray], z_id: np.ndarray) -> list[np.ndarray]:
        """Give every crop its identity.

        crops: N pictures (size, size, 3) uint8 BGR. z_id: (N, D) float32, raw embeddings.
        Returns N pictures like crops. Raises ResourceError when memory does not even suffice for one
        face, WeightsError for weights that give no numbers.
        """
        results: list[np.ndarray] = []
        while len(results) < len(crops):
            part = slice(len(results), len(results) + self.batch_size)
            try:
                results += list(self._run(to_tensor(crops[part]), torch.from_numpy(z_id[part])))
            except torch.OutOfMemoryError as error:
                self._shrink(error)
        return results

    def _shrink(self, error: torch.OutOfMemoryError) -> None:
        """Halve the batch after the device ran out of memory."""
        if self.batch_size == 1:
            raise ResourceError(f"{self._device} has too little memory for one face; use --device cpu") from error
        self.batch_size //= 2
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        self.note(f"{self._device} ran out of memory; going on with {self.batch_size} faces at once")

    @torch.inference_mode()
    def _run(self, crops: torch.Tensor, z_id: torch.Tensor) -> np.ndarray:
        if self._fast is not None:
            Y = self._forward(self._fast, crops, z_id)
            if torch.isfinite(Y).all():
                return to_images(Y)
            self.note(f"the generator overflowed in {self.dtype}; going on in float32")
            self._fast, self._exact = None, self._placed(self._exact, torch.float32)
        Y = self._forward(self._exact, crops, z_id)
        if not torch.isfinite(Y).all():
            raise WeightsError("the generator overflows even in float32; its weights are damaged, get them again")
        return to_images(Y)

    def _forward(self, network: nn.Module, crops: torch.Tensor, z_id: torch.Tensor) -> torch.Tensor:
        dtype = next(network.parameters()).dtype
        crops = crops.to(self._device, dtype, memory_format=torch.channels_last)
        return network(crops, z_id.to(self._device, dtype))[0]
