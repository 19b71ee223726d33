"""The eye loss's view of a face: heatmaps of the two pupils, from the detector of Adaptive Wing Loss."""

from __future__ import annotations

from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from models.fan import FAN, LEFT_PUPIL, RIGHT_PUPIL
from utils.weights_file import build, read_state

_SIDE = 256  # of the detector's input


class EyeHeatmaps(nn.Module):
    """Frozen eye landmark detector; everything stays on the device."""

    def __init__(self, path: Path) -> None:
        """path: WFLW_4HG.pth as a plain state_dict. Raises WeightsError."""
        super().__init__()
        self.network = build(FAN, read_state(path), path, "the eye landmark detector (FAN, 4 stacks)")

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """images: (B, 3, S, S) float [-1, 1] RGB. Returns the left and the right pupil's heatmaps, each (B, 64,
        64) float32."""
        x = (images + 1) / 2
        if x.shape[-1] != _SIDE:
            x = F.interpolate(x, (_SIDE, _SIDE), mode="bilinear", antialias=True, align_corners=False)
        heat = self.network(x)
        return heat[:, LEFT_PUPIL].float(), heat[:, RIGHT_PUPIL].float()
