"""What covers a face stays in front of its swap: hands, microphones, cups, lettering."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np
import torch
from torch import nn

from network.folded import fold_everywhere
from network.packed import pack
from utils.inference.pixels import to_tensor

if TYPE_CHECKING:
    from network.occlusion import OcclusionNet

_BATCH = 32
# How sure a network is: up to the first the face counts as bare, from the second as covered.
COVERED, RIMS = (0.3, 0.6), (0.5, 0.85)  # the latter of glasses: what is kept beside their rims makes swaps less alike


class Occlusion:
    """Takes away from masks where the target's face is covered."""

    def __init__(
        self, network: nn.Module, device: torch.device, share: float, sure: tuple[float, float] = COVERED
    ) -> None:
        """network: OcclusionNet in evaluation mode, for this alone: its layers are changed. share: 0..1 of what covers
        faces that is shown. sure: from which of its answers, 0..1, on something counts as covered, and wholly."""
        self._side = cast("OcclusionNet", network).size
        placed = fold_everywhere(network).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._network = pack(placed) if device.type == "cpu" else placed
        self._device, self._share, self._certain = device, np.float32(share), sure

    def uncovered(self, targets: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Masks that end where something covers the target.

        targets: N pictures (S, S, 3) uint8 BGR, in the light that the generator knows. masks: N of (T, T) float32
        [0, 1], the same framing. Returns N like masks; those of bare faces as they are.
        """
        return [mask * (1 - self._share * cv2.resize(covered, mask.shape[::-1])) if covered.any() else mask
                for mask, covered in zip(masks, self.covered(targets), strict=True)]

    def covered(self, targets: Sequence[np.ndarray]) -> np.ndarray:
        """Where faces are covered, (N, side, side) float32 [0, 1]; targets: as for `uncovered`."""
        size = (self._side, self._side)
        small = [cv2.resize(target, size, interpolation=cv2.INTER_AREA) for target in targets]
        parts = [self._sure(small[i : i + _BATCH]) for i in range(0, len(small), _BATCH)]
        bare, whole = self._certain
        return ((np.concatenate(parts) - bare) / (whole - bare)).clip(0, 1)

    @torch.inference_mode()
    def _sure(self, crops: list[np.ndarray]) -> np.ndarray:
        x = to_tensor(crops, self._device).contiguous(memory_format=torch.channels_last)
        return self._network(x)[:, 0].sigmoid().cpu().numpy()
