"""Multiscale PatchGAN discriminator (pix2pixHD, Wang et al., CVPR 2018, arXiv:1711.11585)."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn


class MultiscaleDiscriminator(nn.Module):
    """The same patch discriminator at `num_D` scales of the image."""

    def __init__(
        self,
        input_nc: int,
        ndf: int = 64,
        n_layers: int = 3,
        norm_layer: Callable[[int], nn.Module] = nn.BatchNorm2d,
        use_sigmoid: bool = False,
        num_D: int = 3,
        getIntermFeat: bool = False,
    ) -> None:
        """GHOST uses n_layers=5 and InstanceNorm2d. Raises ValueError for the two options that it never used."""
        super().__init__()
        if use_sigmoid or getIntermFeat:
            raise ValueError("use_sigmoid and getIntermFeat are not supported: the losses need raw maps of patches")
        self.num_D = num_D
        for i in range(num_D):
            setattr(self, f"layer{i}", _patch_layers(input_nc, ndf, n_layers, norm_layer))

    def forward(self, image: Tensor) -> list[list[Tensor]]:
        """image: (B, input_nc, H, W) float [-1, 1] RGB.

        Returns one list per scale, finest first, each with one map (B, 1, h, w): high for real, low for fake patches.
        """
        result = []
        for i in reversed(range(self.num_D)):
            result.append([getattr(self, f"layer{i}")(image)])
            if i:
                image = F.avg_pool2d(image, 3, 2, 1, count_include_pad=False)
        return result


def _patch_layers(cin: int, ndf: int, n_layers: int, norm: Callable[[int], nn.Module]) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(cin, ndf, 4, 2, 2), nn.LeakyReLU(0.2, inplace=True)]
    channels = ndf
    for i in range(1, n_layers + 1):
        wider = min(channels * 2, 8 * ndf)
        stride = 2 if i < n_layers else 1
        layers += [nn.Conv2d(channels, wider, 4, stride, 2), norm(wider), nn.LeakyReLU(0.2, inplace=True)]
        channels = wider
    return nn.Sequential(*layers, nn.Conv2d(channels, 1, 4, 1, 2))
