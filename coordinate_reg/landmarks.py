"""Aligned crop to the 106 landmarks that the mask is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, cast

import cv2
import numpy as np
import torch
from torch import nn

from coordinate_reg.points import COUNT
from network.folded import fold_everywhere
from network.packed import pack
from utils.inference.pixels import to_tensor

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from coordinate_reg.network import LandmarkNet

_BATCH = 32


class Landmarks(Protocol):
    """Finds the landmarks of aligned faces."""

    def find(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        """crops: N pictures (S, S, 3) uint8 BGR. Returns (N, 106, 2) float32, crop pixels (x, y)."""
        ...


class PublishedLandmarks:
    """InsightFace's 2d106det; it gets the crop in the middle two thirds of its input, like a detector's box."""

    _SIDE = 192

    def __init__(self, session: InferenceSession) -> None:
        self._session = session
        entry = session.get_inputs()[0]
        self._input = entry.name
        # A file may leave the batch of its input free and fix that of its output: then it takes one picture.
        fixed = [size for size in (entry.shape[0], session.get_outputs()[0].shape[0]) if isinstance(size, int)]
        self._batch = min(fixed, default=_BATCH)

    def find(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        """crops: N pictures (S, S, 3) uint8 BGR. Returns (N, 106, 2) float32, crop pixels (x, y)."""
        side = self._SIDE
        scale, shift = side / 1.5 / crops[0].shape[0], side / 6
        M = np.array([[scale, 0, shift], [0, scale, shift]])
        seen = np.stack([cv2.warpAffine(crop, M, (side, side)) for crop in crops])[..., ::-1].transpose(0, 3, 1, 2)
        blobs = np.ascontiguousarray(seen, np.float32)  # RGB, 0..255
        parts = [self._session.run(None, {self._input: blobs[i : i + self._batch]})[0]
                 for i in range(0, len(blobs), self._batch)]
        points = np.concatenate(parts).reshape(len(crops), COUNT, 2)
        return (((points + 1) * (side / 2) - shift) / scale).astype(np.float32)


class EmbeddedLandmarks:
    """The small regressor that ships with the repository."""

    _SIDE = 112

    def __init__(self, network: nn.Module, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        """network: coordinate_reg.network.LandmarkNet in evaluation mode, for this alone: its layers are changed.

        dtype: of the convolutions; bfloat16 moves landmarks by less than half a pixel of a 224 crop, as a mean.
        """
        cast("LandmarkNet", fold_everywhere(network)).stages.to(dtype)
        placed = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._network = pack(placed) if device.type == "cpu" else placed
        self._device, self._dtype = device, dtype

    def find(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        """crops: N pictures (S, S, 3) uint8 BGR. Returns (N, 106, 2) float32, crop pixels (x, y)."""
        size = crops[0].shape[0]
        small = [cv2.resize(crop, (self._SIDE, self._SIDE), interpolation=cv2.INTER_AREA) for crop in crops]
        parts = [self._run(small[i : i + _BATCH]) for i in range(0, len(small), _BATCH)]
        return (np.concatenate(parts) + 0.5) * size - 0.5

    @torch.inference_mode()
    def _run(self, crops: list[np.ndarray]) -> np.ndarray:
        return self._network(to_tensor(crops, self._device).to(self._dtype)).float().cpu().numpy()
