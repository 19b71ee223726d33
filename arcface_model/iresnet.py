"""ArcFace's improved ResNet: face crop to identity embedding z_id (Deng et al., CVPR 2019, arXiv:1801.07698)."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["IResNet", "iresnet", "iresnet18", "iresnet34", "iresnet50", "iresnet100", "iresnet200"]

LAYERS = {18: [2, 2, 2, 2], 34: [3, 4, 6, 3], 50: [3, 4, 14, 3], 100: [3, 13, 30, 3], 200: [6, 26, 60, 6]}
_PLANES = (64, 128, 256, 512)  # channels of the four stages
_EPS = 1e-5


class PReLU(nn.PReLU):
    """PReLU as two ReLUs: the same numbers, and a backward pass that is many times faster on a CPU."""

    def forward(self, input: Tensor) -> Tensor:
        """input: (B, C, ...) float. Returns the same shape."""
        # A float32 weight would widen half-precision features, and with them all that follows.
        weight = self.weight.to(input.dtype).view(1, -1, *[1] * (input.dim() - 2))
        return F.relu(input) - weight * F.relu(-input)


class IBasicBlock(nn.Module):
    """BN, 3x3 convolution, BN, PReLU, 3x3 convolution (with the stride), BN, plus skip path."""

    def __init__(self, cin: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(cin, eps=_EPS)
        self.conv1 = nn.Conv2d(cin, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes, eps=_EPS)
        self.prelu = PReLU(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes, eps=_EPS)
        self.downsample: nn.Module | None = None
        if stride != 1 or cin != planes:
            self.downsample = nn.Sequential(
                nn.Conv2d(cin, planes, 1, stride, bias=False), nn.BatchNorm2d(planes, eps=_EPS)
            )

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, cin, H, W) float. Returns (B, planes, H / stride, W / stride)."""
        skip = x if self.downsample is None else self.downsample(x)
        x = self.conv1(self.bn1(x))
        x = self.conv2(self.prelu(self.bn2(x)))
        return self.bn3(x) + skip


class IResNet(nn.Module):
    """The encoder.

    layers: blocks of the four stages. num_features: length of z_id. width: multiplier of all channels. size: side of
    the crops in pixels, a multiple of 16 (published: 112).
    """

    def __init__(
        self,
        layers: list[int],
        dropout: float = 0.0,
        num_features: int = 512,
        fp16: bool = False,
        width: float = 1.0,
        size: int = 112,
    ) -> None:
        super().__init__()
        if len(layers) != 4:
            raise ValueError(f"layers {layers}: expected the number of blocks of each of four stages")
        if size % 16:
            raise ValueError(f"size {size}: expected a multiple of 16")
        if width < 1 / _PLANES[0]:
            raise ValueError(f"width {width}: expected {1 / _PLANES[0]} or more, which leaves at least one channel")
        self.fp16, self.size, self.num_features = fp16, size, num_features
        planes = self.widths = [int(c * width) for c in _PLANES]
        self.conv1 = nn.Conv2d(3, planes[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes[0], eps=_EPS)
        self.prelu = PReLU(planes[0])
        cin = planes[0]
        for i, (cout, count) in enumerate(zip(planes, layers, strict=True), 1):
            blocks = [IBasicBlock(cin, cout, 2), *(IBasicBlock(cout, cout) for _ in range(count - 1))]
            setattr(self, f"layer{i}", nn.Sequential(*blocks))
            cin = cout
        self.bn2 = nn.BatchNorm2d(cin, eps=_EPS)
        self.dropout = nn.Dropout(dropout, inplace=True)
        self.fc = nn.Linear(cin * (size // 16) ** 2, num_features)
        self.features = nn.BatchNorm1d(num_features, eps=_EPS)
        # The scale of z_id is the running variance alone, so that its length stays comparable between trainings.
        nn.init.constant_(self.features.weight, 1.0)
        self.features.weight.requires_grad = False

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, 3, size, size) float [-1, 1] RGB, aligned crop. Returns z_id: (B, num_features) float32, raw."""
        return self.embed(self.stages(x)[-1])

    def stages(self, x: Tensor) -> list[Tensor]:
        """What the four stages make of x, each (B, widths[i], size / 2^(i + 1), size / 2^(i + 1))."""
        maps = []
        with self._half(x):
            x = self.prelu(self.bn1(self.conv1(x)))
            for i in range(1, 5):
                x = getattr(self, f"layer{i}")(x)
                maps.append(x)
        return maps

    def embed(self, x: Tensor) -> Tensor:
        """z_id (B, num_features) float32 from what the last stage made."""
        with self._half(x):
            x = torch.flatten(self.bn2(x), 1)
        return self.features(self.fc(self.dropout(x).float()))

    def _half(self, x: Tensor) -> AbstractContextManager[Any]:
        return torch.autocast(x.device.type, torch.float16) if self.fp16 else nullcontext()


def iresnet(depth: int, pretrained: bool = False, progress: bool = True, **kwargs) -> IResNet:
    """Build an encoder of 18, 34, 50, 100 or 200 layers; kwargs are IResNet's (fp16, num_features, width, dropout).

    `pretrained` and `progress` keep the published signature; the caller loads weights, so `pretrained` must be false.
    """
    if pretrained:
        raise ValueError("pretrained=True: load the weights yourself, nothing is downloaded here")
    if depth not in LAYERS:
        raise ValueError(f"depth {depth}: expected one of {', '.join(map(str, LAYERS))}")
    return IResNet(LAYERS[depth], **kwargs)


def iresnet18(pretrained: bool = False, progress: bool = True, **kwargs) -> IResNet:
    """IResNet of 18 layers."""
    return iresnet(18, pretrained, progress, **kwargs)


def iresnet34(pretrained: bool = False, progress: bool = True, **kwargs) -> IResNet:
    """IResNet of 34 layers."""
    return iresnet(34, pretrained, progress, **kwargs)


def iresnet50(pretrained: bool = False, progress: bool = True, **kwargs) -> IResNet:
    """IResNet of 50 layers."""
    return iresnet(50, pretrained, progress, **kwargs)


def iresnet100(pretrained: bool = False, progress: bool = True, **kwargs) -> IResNet:
    """IResNet of 100 layers, the published identity encoder."""
    return iresnet(100, pretrained, progress, **kwargs)


def iresnet200(pretrained: bool = False, progress: bool = True, **kwargs) -> IResNet:
    """IResNet of 200 layers."""
    return iresnet(200, pretrained, progress, **kwargs)
