"""The small network that sees what covers a face: hands, microphones, cups, lettering."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn


class _Separable(nn.Module):
    """Depthwise and pointwise convolution, batch norm and ReLU, with a shortcut where the channels stay."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(cin, cin, 3, padding=1, groups=cin, bias=False)
        self.pointwise = nn.Conv2d(cin, cout, 1, bias=False)
        self.norm = nn.BatchNorm2d(cout)
        self.shortcut = cin == cout

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu_(self.norm(self.pointwise(self.depthwise(x))))
        return x + y if self.shortcut else y


class OcclusionNet(nn.Module):
    """A U-Net of separable convolutions (Ronneberger et al., MICCAI 2015; Howard et al., MobileNets, 2017).

    It looks at squares of four pixels at once, and paints four at once.
    """

    def __init__(self, channels: tuple[int, ...] = (18, 30, 42, 54), size: int = 64) -> None:
        """channels: of the maps of a half, a quarter, ... of the crop's side. size: of the crops, pixels."""
        super().__init__()
        self.size = size
        first = channels[0]
        self.stem = nn.Sequential(nn.Conv2d(12, first, 3, padding=1, bias=False), nn.BatchNorm2d(first),
                                  nn.ReLU(inplace=True), _Separable(first, first))
        steps = list(pairwise(channels))
        self.down = nn.ModuleList(nn.Sequential(_Separable(a, b), _Separable(b, b)) for a, b in steps)
        self.narrow = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in steps)
        self.up = nn.ModuleList(_Separable(a, a) for a, _ in steps)
        self.last = nn.Conv2d(first, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, 3, S, S) [-1, 1] RGB, aligned crop, S a multiple of two to the number of its maps.

        Returns (B, 1, S, S) logits: above 0 where the face is covered.
        """
        maps = [self.stem(F.pixel_unshuffle(x, 2))]
        for down in self.down:
            maps.append(down(F.avg_pool2d(maps[-1], 2)))
        h = maps.pop()
        for narrow, up in zip(reversed(self.narrow), reversed(self.up), strict=True):
            h = up(F.interpolate(narrow(h), scale_factor=2.0, mode="bilinear", align_corners=False) + maps.pop())
        return F.pixel_shuffle(self.last(h), 2)
