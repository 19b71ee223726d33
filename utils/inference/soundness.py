"""Whether what a generator made can be a face at all."""

from __future__ import annotations

import torch

_FLAT = 0.01  # standard deviation in every channel, a level or so: even an empty crop gives several times as much


def is_sound(Y: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Whether each picture has finite numbers only and, in less than float32, is not flat: some devices' low precision
    turns faces grey, while float32 can be taken at its word.

    Y: (B, 3, S, S) floating point [-1, 1]. dtype: of the computation. Returns (B,) bool on Y's device.
    """
    spread = Y.float().flatten(2).std(2).amax(1)  # not finite where one of the numbers is not
    whole = torch.isfinite(spread)
    return whole if dtype == torch.float32 else whole & (spread > _FLAT)
