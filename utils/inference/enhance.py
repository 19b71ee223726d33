"""Super-resolution of swapped faces (--use_sr)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import nn

from utils.inference.batches import Batches
from utils.inference.pixels import to_images, to_tensor

_SIDE = 256
_BATCH = 4  # three times the work of a swap each, and much memory


class Enhancer:
    """The enhancer network on crops; every picture for itself, so that a result does not depend on its batch."""

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        """network: models.enhancer.LIPSPADEGenerator with statistics per image."""
        self._network = network.to(device)
        self._device, self.batches = device, Batches(_BATCH, device)

    def enhance(self, crops: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Sharpen swapped crops.

        crops: N pictures (S, S, 3) uint8 BGR. Returns N pictures (256, 256, 3) uint8 BGR. Raises ResourceError when
        memory does not even suffice for one.
        """
        scaled = [cv2.resize(crop, (_SIDE, _SIDE), interpolation=cv2.INTER_LINEAR) for crop in crops]
        return self.batches.run(lambda part: self._run(scaled[part]), len(scaled))

    @torch.inference_mode()
    def _run(self, crops: list[np.ndarray]) -> np.ndarray:
        image = to_tensor(crops, self._device).add(1).div(2)  # the network takes and gives [0, 1]
        return to_images(self._network(image).clamp(0, 1).mul(2).sub(1))
