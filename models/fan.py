"""Eye landmark heatmaps: the stacked hourglass network (FAN) of Adaptive Wing Loss.

Wang et al., ICCV 2019, on the FAN of Bulat and Tzimiropoulos, ICCV 2017, with CoordConv (Liu et al., NeurIPS 2018).
Written from the papers; the attribute names are those of the published `WFLW_4HG.pth` and must stay.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LANDMARKS = 98  # the WFLW layout
LEFT_PUPIL, RIGHT_PUPIL = 96, 97  # left and right of the image
BOUNDARY_THRESHOLD = 0.05
DEPTH = 4
FEATURES = 256


def coordinates(like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Three maps (B, 1, H, W) for a tensor (B, C, H, W): x along the height, y along the width, both -1..1, and radius.

    The published network calls the vertical coordinate x. The radius is divided by its maximum.
    """
    batch, _, height, width = like.shape
    vertical = torch.linspace(-1, 1, height, dtype=like.dtype, device=like.device).view(1, 1, height, 1)
    horizontal = torch.linspace(-1, 1, width, dtype=like.dtype, device=like.device).view(1, 1, 1, width)
    x, y = vertical.expand(batch, 1, height, width), horizontal.expand(batch, 1, height, width)
    radius = torch.sqrt(x * x + y * y)
    return x, y, radius / radius.max()


class CoordConv(nn.Module):
    """Convolution that sees where it is: coordinates are appended to its input."""

    def __init__(self, before: int, after: int, kernel: int, stride: int = 1, boundary: bool = False) -> None:
        super().__init__()
        extra = 5 if boundary else 3
        self.conv = nn.Conv2d(before + extra, after, kernel, stride=stride, padding=kernel // 2)

    def forward(self, x: Tensor, heat: Tensor | None = None) -> Tensor:
        """Convolve x (B, before, H, W); with heat (B, 99, H, W) add coordinates masked by its last map."""
        vertical, horizontal, radius = coordinates(x)
        parts = [x, vertical, horizontal, radius]
        if heat is not None:
            near = heat[:, -1:].clamp(0.0, 1.0) > BOUNDARY_THRESHOLD
            parts += [vertical * near, horizontal * near]
        return self.conv(torch.cat(parts, dim=1))


class ConvBlock(nn.Module):
    """Pre-activation residual block: three 3x3 convolutions in a row, their outputs side by side."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, after // 2, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(after // 2)
        self.conv2 = nn.Conv2d(after // 2, after // 4, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(after // 4)
        self.conv3 = nn.Conv2d(after // 4, after // 4, 3, padding=1, bias=False)
        self.downsample = None
        if before != after:
            self.downsample = nn.Sequential(nn.BatchNorm2d(before), nn.ReLU(), nn.Conv2d(before, after, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Transform x (B, before, H, W) to (B, after, H, W)."""
        first = self.conv1(F.relu(self.bn1(x)))
        second = self.conv2(F.relu(self.bn2(first)))
        third = self.conv3(F.relu(self.bn3(second)))
        skip = x if self.downsample is None else self.downsample(x)
        return torch.cat((first, second, third), dim=1) + skip


class HourGlass(nn.Module):
    """Four times down and up again, with a skip path at every size."""

    def __init__(self, boundary: bool) -> None:
        super().__init__()
        self.coordconv = CoordConv(FEATURES, FEATURES, 1, boundary=boundary)
        for level in range(DEPTH, 0, -1):
            self.add_module(f"b1_{level}", ConvBlock(FEATURES, FEATURES))
            self.add_module(f"b2_{level}", ConvBlock(FEATURES, FEATURES))
        self.b2_plus_1 = ConvBlock(FEATURES, FEATURES)
        for level in range(1, DEPTH + 1):
            self.add_module(f"b3_{level}", ConvBlock(FEATURES, FEATURES))

    def level(self, number: int, x: Tensor) -> Tensor:
        """One level and everything below it, on x (B, 256, H, W)."""
        skip = self.get_submodule(f"b1_{number}")(x)
        y = self.get_submodule(f"b2_{number}")(F.avg_pool2d(x, 2))
        y = self.level(number - 1, y) if number > 1 else self.b2_plus_1(y)
        y = self.get_submodule(f"b3_{number}")(y)
        return skip + F.interpolate(y, scale_factor=2.0, mode="nearest")

    def forward(self, x: Tensor, heat: Tensor | None) -> Tensor:
        """Transform x (B, 256, 64, 64), seeing the previous stack's heat (B, 99, 64, 64) where there is one."""
        return self.level(DEPTH, self.coordconv(x, heat))


class FAN(nn.Module):
    """98 WFLW landmarks and the face's boundary as heatmaps."""

    def __init__(self, stacks: int = 4) -> None:
        super().__init__()
        self.stacks = stacks
        maps = LANDMARKS + 1
        self.conv1 = CoordConv(3, 64, 7, stride=2)
        self.bn1 = nn.BatchNorm2d(64)
        self.conv2 = ConvBlock(64, 128)
        self.conv3 = ConvBlock(128, 128)
        self.conv4 = ConvBlock(128, FEATURES)
        for i in range(stacks):
            self.add_module(f"m{i}", HourGlass(boundary=i > 0))
            self.add_module(f"top_m_{i}", ConvBlock(FEATURES, FEATURES))
            self.add_module(f"conv_last{i}", nn.Conv2d(FEATURES, FEATURES, 1))
            self.add_module(f"bn_end{i}", nn.BatchNorm2d(FEATURES))
            self.add_module(f"l{i}", nn.Conv2d(FEATURES, maps, 1))
            if i < stacks - 1:
                self.add_module(f"bl{i}", nn.Conv2d(FEATURES, FEATURES, 1))
                self.add_module(f"al{i}", nn.Conv2d(maps, FEATURES, 1))

    def stem(self, image: Tensor) -> Tensor:
        """Image (B, 3, 256, 256) to features (B, 256, 64, 64)."""
        x = F.relu(self.bn1(self.conv1(image)))
        x = F.avg_pool2d(self.conv2(x), 2)
        return self.conv4(self.conv3(x))

    def head(self, i: int, x: Tensor, heat: Tensor | None) -> tuple[Tensor, Tensor]:
        """Stack i on x (B, 256, 64, 64): its features, like x, and its heatmaps (B, 99, 64, 64)."""
        y = self.get_submodule(f"top_m_{i}")(self.get_submodule(f"m{i}")(x, heat))
        y = F.relu(self.get_submodule(f"bn_end{i}")(self.get_submodule(f"conv_last{i}")(y)))
        return y, F.relu(self.get_submodule(f"l{i}")(y))

    def forward(self, image: Tensor) -> Tensor:
        """Find landmarks.
        image: (B, 3, 256, 256) float [0, 1] RGB, aligned crop.
        Returns the last stack's heatmaps (B, 99, 64, 64) float, not negative: 98 landmarks, then the boundary.
        Source: Adaptive Wing Loss sec. 5, arXiv:1904.07399."""
        x = self.stem(image)
        y, heat = self.head(0, x, None)
        for i in range(1, self.stacks):
            x = x + self.get_submodule(f"bl{i - 1}")(y) + self.get_submodule(f"al{i - 1}")(heat)
            y, heat = self.head(i, x, heat)
        return heat
