"""Conversion between the pipeline's pictures (uint8 BGR) and what its PyTorch networks take (float RGB in [-1, 1])."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

LUMA = (0.299, 0.587, 0.114)  # shares of RGB in brightness, ITU-R BT.601


def to_tensor(crops: Sequence[np.ndarray], device: torch.device | None = None) -> torch.Tensor:
    """Crops for a network.

    crops: N pictures (S, S, 3) uint8 [0, 255] BGR, all of one size. device: of the result; None: the CPU.
    Returns (N, 3, S, S) float32 [-1, 1] RGB.
    """
    import torch

    batch = np.ascontiguousarray(np.stack(crops)[..., ::-1].transpose(0, 3, 1, 2))
    # Bytes travel to the device: a quarter of what the numbers would take.
    return from_levels(torch.from_numpy(batch).to(device))


def to_images(tensor: torch.Tensor) -> np.ndarray:
    """A network's output as pictures.

    tensor: (N, 3, S, S) floating point [-1, 1] RGB, any device.
    Returns (N, S, S, 3) uint8 [0, 255] BGR, rounded.
    """
    return np.ascontiguousarray(to_levels(tensor.detach()).permute(0, 2, 3, 1).cpu().numpy()[..., ::-1])


def from_levels(levels: torch.Tensor) -> torch.Tensor:
    """Bytes of pictures as numbers: uint8 [0, 255] of any shape -> float32 [-1, 1] of the same shape."""
    return levels.float().div_(255).sub_(0.5).div_(0.5)


def to_levels(tensor: torch.Tensor) -> torch.Tensor:
    """Numbers as bytes of pictures, rounded: floating point [-1, 1] of any shape -> uint8 [0, 255] of that shape."""
    return tensor.float().div(2).add(0.5).mul(255).round().clamp(0, 255).byte()
