"""Random numbers that belong to a sample, not to a process.

Each number is a hash of the seed, the purpose, the sample's index in the whole run and a counter. So a batch looks
the same however it is parted among processes, and a resumed run goes on as if it had never stopped.
"""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import Tensor

from utils.device import to_device

_STEP = np.uint64(0x9E3779B97F4A7C15)


def _mix(x: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (Steele et al., OOPSLA 2014): every input bit reaches every output bit."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class Draws:
    """A stream of random numbers for each sample of a batch."""

    def __init__(self, seed: int, purpose: str, indices: np.ndarray, device: torch.device | str = "cpu") -> None:
        """indices: (B,) whole numbers, the samples' places in the run."""
        self.device = torch.device(device)
        start = np.array([seed % 2**63], np.uint64) * _STEP + np.uint64(zlib.crc32(purpose.encode()))
        self._state = _mix(_mix(start) + np.asarray(indices).astype(np.uint64) * _STEP)

    def __len__(self) -> int:
        return len(self._state)

    def next(self) -> np.ndarray:
        """(B,) float64 in [0, 1)."""
        self._state = self._state + _STEP
        return (_mix(self._state) >> np.uint64(11)) * 2.0**-53

    def integers(self, count: int) -> np.ndarray:
        """(B,) int64 in [0, count)."""
        return np.minimum((self.next() * count).astype(np.int64), count - 1)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> Tensor:
        """(B,) float32 in [low, high), on the device."""
        return to_device(torch.from_numpy((self.next() * (high - low) + low).astype(np.float32)), self.device)

    def uniforms(self, count: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """What so many calls of `uniform` give, (B, count)."""
        values = np.stack([self.next() for _ in range(count)], 1) * (high - low) + low
        return to_device(torch.from_numpy(values.astype(np.float32)), self.device)

    def normal(self, *shape: int) -> Tensor:
        """(B, *shape) float32, standard normal, on the device."""
        rows = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in self._seeds()]
        return to_device(torch.stack(rows), self.device)

    def generators(self) -> list[np.random.Generator]:
        """One for each sample, for as many more numbers as it takes."""
        return [np.random.default_rng(seed) for seed in self._seeds()]

    def _seeds(self) -> list[int]:
        return (self.next() * 2**53).astype(np.int64).tolist()

    def chance(self, probability: float) -> Tensor:
        """(B,) bool, True with that probability."""
        return self.uniform() < probability
