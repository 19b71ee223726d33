"""Weights and inputs made from names alone, so that outputs can be compared without shipping weights.

Every tensor's values come from a random generator seeded with the CRC-32 of the tensor's name, and are scaled so that
a network filled with them neither explodes nor fades.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal float32 numbers that belong to a name."""
    return np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape, dtype=np.float32)


def values(name: str, shape: tuple[int, ...], gain: float = 1.0) -> np.ndarray:
    """What a floating-point tensor of this name and shape is filled with, float32."""
    normal = draw(name, shape)
    leaf = name.rpartition(".")[2]
    if leaf == "running_var":
        return 0.5 + np.abs(normal)
    if leaf == "running_mean":
        return 0.1 * normal
    if len(shape) >= 2:
        return normal * np.float32(gain / np.sqrt(np.prod(shape[1:])))
    return 1.0 + 0.1 * normal if leaf.startswith("weight") else 0.1 * normal


@torch.no_grad()
def fill(module: nn.Module, gain: float = 1.0) -> nn.Module:
    """Overwrite all parameters and buffers of a network in place; integer buffers become zero."""
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.from_numpy(values(name, tuple(tensor.shape), gain)))
        else:
            tensor.zero_()
    return module


def build(make: Callable[[], nn.Module], gain: float = 1.0) -> nn.Module:
    """Make a network and fill it, without spending time on its own initialisation."""
    with torch.device("meta"):
        module = make()
    return fill(module.to_empty(device="cpu"), gain)


def image(name: str, n: int, size: int) -> Tensor:
    """Smooth pictures (n, 3, size, size) float32 in (-1, 1) that belong to a name."""
    coarse = torch.from_numpy(draw(name, (n, 3, 16, 16)))
    return torch.tanh(F.interpolate(coarse, (size, size), mode="bicubic", align_corners=False))
