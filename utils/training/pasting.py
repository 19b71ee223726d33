"""Swaps as the pipeline lays them over their targets."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from utils.training.config import TrainConfig
from utils.training.filters import kept_rim, toned


@dataclass(frozen=True)
class Pasting:
    """How that is done with a generator."""

    tone: float = 0.0  # share of the target's light and skin tone
    rim_contrast: float = 0.0  # see utils.inference.rim; 0: the rim is as sure as the features

    @classmethod
    def of(cls, config: TrainConfig) -> Pasting:
        """As the generator's card will ask for."""
        return cls(config.tone, config.rim_contrast)

    def lay(self, Y: Tensor, Xt: Tensor, shown: Tensor | None, sure: Tensor | None) -> Tensor:
        """Swaps Y and targets Xt, each (B, 3, S, S) float [-1, 1] RGB; shown: (B, 1, S, S) [0, 1], masks; sure: (B, 1,
        64, 64), see `masks.sure_parts`, where rim_contrast is not 0; None: their landmarks are not known. Returns
        pictures like Y."""
        Y = toned(Y, Xt, self.tone) if self.tone else Y
        if shown is None:
            return Y
        if self.rim_contrast and sure is not None:
            shown = shown * kept_rim(Y, Xt, sure, self.rim_contrast)
        return torch.lerp(Xt, Y, shown)


PLAIN = Pasting()  # swaps keep their own colours, and masks are the landmarks' alone
