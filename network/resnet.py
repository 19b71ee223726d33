"""ResNet attribute encoder: six bottleneck stages over a two-step stem; every stage's output is an attribute map."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

_PLANES = (32, 64, 128, 256, 512, 256)
_EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions with a skip path; the stride is on the first of them, ReLU after the sum."""

    def __init__(self, cin: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        cout = planes * _EXPANSION
        self.conv1 = nn.Conv2d(cin, planes, 1, stride, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, cout, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(cout)
        self.downsample: nn.Module | None = None
        if stride != 1 or cin != cout:
            self.downsample = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, cin, H, W) float. Returns (B, 4 * planes, H / stride, W / stride)."""
        skip = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return F.relu(self.bn3(self.conv3(x)) + skip)


class MLAttrEncoderResnet(nn.Module):
    """The `resnet` backbone of AEI-Net, for crops of 256 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(3, 64, 7, 1, 3, bias=False)
        self.bn0 = nn.BatchNorm2d(64)
        self.conv1 = nn.Conv2d(64, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        cin = 64
        for i, planes in enumerate(_PLANES, 1):
            cout = planes * _EXPANSION
            setattr(self, f"layer{i}", nn.Sequential(Bottleneck(cin, planes, 2), Bottleneck(cout, planes)))
            cin = cout
        self.apply(_init)

    def forward(self, Xt: Tensor) -> list[Tensor]:
        """Xt: (B, 3, 256, 256) float [-1, 1] RGB. Returns eight maps, 2x2 to 256x256 pixels, deepest first."""
        maps = [F.relu(self.bn0(self.conv0(Xt)))]
        maps.append(F.relu(self.bn1(self.conv1(maps[-1]))))
        for i in range(1, len(_PLANES) + 1):
            maps.append(getattr(self, f"layer{i}")(maps[-1]))
        return maps[::-1]


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        side = module.kernel_size[0]
        nn.init.normal_(module.weight, 0, math.sqrt(2.0 / (side * side * module.out_channels)))
