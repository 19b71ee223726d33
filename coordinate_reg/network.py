"""The small regressor of the 106 landmarks that ships with the repository."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _conv(cin: int, cout: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(cin, cout, 3, stride, 1, bias=False), nn.BatchNorm2d(cout), nn.ReLU(inplace=True))


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(channels, channels), nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.body(x))


class LandmarkNet(nn.Module):
    """Face crop to 106 landmarks: strided residual convolutions and one linear layer on the last 7x7 map."""

    def __init__(self, channels: tuple[int, ...] = (16, 32, 48, 64), points: int = 106, neck: int = 0) -> None:
        """channels: of the four stages, each of which halves the resolution. neck: channels that the linear layer
        sees; 0: those of the last stage."""
        super().__init__()
        self.points = points
        stages: list[nn.Module] = []
        cin = 3
        for cout in channels:
            stages += [_conv(cin, cout, 2), _Residual(cout)]
            cin = cout
        if neck:
            narrow = nn.Conv2d(cin, neck, 1, bias=False)
            stages.append(nn.Sequential(narrow, nn.BatchNorm2d(neck), nn.ReLU(inplace=True)))
        self.stages = nn.Sequential(*stages)
        self.fc = nn.Linear((neck or cin) * 7 * 7, points * 2)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, 3, 112, 112) [-1, 1] RGB, aligned crop, of the dtype of `stages`; `fc` may compute in another one.

        Returns (B, points, 2) float32: x, y from the crop's centre in units of its side, inside it within [-0.5, 0.5].
        """
        features = self.stages(x).flatten(1)
        with torch.autocast(x.device.type, enabled=False):  # which would round places to a quarter of a pixel
            return self.fc(features.to(self.fc.weight.dtype)).float().unflatten(1, (self.points, 2))
