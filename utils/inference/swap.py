"""Swap crops in batches, in the fastest arithmetic that gives sound numbers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from network.AEI_Net import AEI_Net
from network.fused import FusedAEINet
from utils.errors import ResourceError, WeightsError
from utils.inference.pixels import to_images, to_tensor

_HEAVY = 50_000_000  # weights


def inference_form(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The network in the form that runs fast; `network` stays in float32."""
    if isinstance(network, AEI_Net):
        return FusedAEINet(network, dtype)
    return network if dtype == torch.float32 else copy.deepcopy(network).to(dtype)


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
        self._device, self._dtype = device, dtype
        self._exact = network if dtype != torch.float32 else None  # for the day the fast one overflows
        self._network = inference_form(network, dtype).to(device)

    @property
    def dtype(self) -> str:
        """Arithmetic in use, as PyTorch names it."""
        return str(self._dtype).removeprefix("torch.")

    @property
    def heavy(self) -> bool:
        """Whether the network takes most of a video's time on a processor."""
        return sum(parameter.numel() for parameter in self._network.parameters()) > _HEAVY

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
                results += list(self._run(crops[part], torch.from_numpy(z_id[part])))
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
    def _run(self, crops: Sequence[np.ndarray], z_id: torch.Tensor) -> np.ndarray:
        Y = self._forward(crops, z_id)
        if not torch.isfinite(Y).all() and self._exact is not None:
            self.note(f"the generator overflowed in {self.dtype}; going on in float32")
            self._network, self._dtype = inference_form(self._exact, torch.float32).to(self._device), torch.float32
            self._exact, Y = None, self._forward(crops, z_id)
        if not torch.isfinite(Y).all():
            raise WeightsError("the generator overflows even in float32; its weights are damaged, get them again")
        return to_images(Y)

    def _forward(self, crops: Sequence[np.ndarray], z_id: torch.Tensor) -> torch.Tensor:
        return self._network(to_tensor(crops, self._device).to(self._dtype), z_id)[0]
