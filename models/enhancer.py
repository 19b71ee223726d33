"""Face enhancer: the LIPSPADE generator, which redraws a 256x256 face under the guidance of that same face.

HiFaceGAN (Yang et al., ACM MM 2020): a suppression encoder with LIP pooling (Gao et al., ICCV 2019) and a decoder of
SPADE residual blocks (Park et al., CVPR 2019). Written from the papers; the attribute names are those of the published
checkpoint and must stay.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAK = 0.2
LIP_SHARPNESS = 12.0  # logits of the pooling weights lie in (0, 12), so exp() stays below 1.7e5


class LIPPool(nn.Module):
    """Halve a feature map by a mean whose weights are learned (local importance-based pooling)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.logit = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.InstanceNorm2d(channels, affine=True),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Pool x (B, C, H, W) to (B, C, H/2, W/2)."""
        weight = torch.exp(LIP_SHARPNESS * self.logit(x))
        return F.avg_pool2d(x * weight, 3, 2, 1) / F.avg_pool2d(weight, 3, 2, 1)


class LIPEncoder(nn.Module):
    """Image to features at a 32nd of its size, with detail that does not belong to the face suppressed."""

    def __init__(self, ngf: int) -> None:
        super().__init__()
        widths = [ngf * factor for factor in (1, 2, 4, 8, 16, 16)]
        layers: list[nn.Module] = [nn.Conv2d(3, ngf, 3, padding=1, bias=False), nn.InstanceNorm2d(ngf), nn.ReLU()]
        for before, after in itertools.pairwise(widths):
            layers += [LIPPool(before), nn.Conv2d(before, after, 3, padding=1), nn.InstanceNorm2d(after), nn.ReLU()]
        self.model = nn.Sequential(*layers[:-1])

    def forward(self, image: Tensor) -> Tensor:
        """Encode image (B, 3, 256, 256) float [0, 1] RGB as (B, 16 ngf, 8, 8)."""
        return self.model(image)


class SpectralConv(nn.Module):
    """Convolution whose weight is divided by its largest singular value, estimated by power iteration.

    The buffers are those of PyTorch's first spectral norm: `weight_orig`, `weight_u`, `weight_v`. In training mode
    every call moves u and v by one iteration, unless `frozen`.
    Source: Miyato et al., Spectral Normalization for GANs, ICLR 2018.
    """

    weight_u: Tensor
    weight_v: Tensor

    def __init__(self, before: int, after: int, kernel: int, bias: bool = True) -> None:
        super().__init__()
        self.frozen = False
        self.padding = kernel // 2
        plain = nn.Conv2d(before, after, kernel, bias=bias)
        self.bias = plain.bias
        self.weight_orig = plain.weight
        self.register_buffer("weight_u", F.normalize(torch.randn(after), dim=0))
        self.register_buffer("weight_v", F.normalize(torch.randn(before * kernel * kernel), dim=0))

    @torch.no_grad()
    def iterate(self) -> None:
        """Move u and v one power iteration towards the leading singular vectors."""
        matrix = self.weight_orig.flatten(1)
        self.weight_v.copy_(F.normalize(matrix.t() @ self.weight_u, dim=0, eps=1e-12))
        self.weight_u.copy_(F.normalize(matrix @ self.weight_v, dim=0, eps=1e-12))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x (B, before, H, W) to (B, after, H, W)."""
        if self.training and not self.frozen:
            self.iterate()
        # Copies, so that the next call's iteration does not spoil this call's backward pass.
        left, right = self.weight_u.clone(), self.weight_v.clone()
        sigma = left @ (self.weight_orig.flatten(1) @ right)
        return F.conv2d(x, self.weight_orig / sigma, self.bias, padding=self.padding)


class SPADE(nn.Module):
    """Normalise features, then scale and shift every pixel by what a guide image says there."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.per_image = False
        hidden = min(128, channels)
        self.param_free_norm = nn.BatchNorm2d(channels, affine=False)
        self.mlp_shared = nn.Sequential(nn.Conv2d(3, hidden, 3, padding=1), nn.ReLU())
        self.mlp_gamma = nn.Conv2d(hidden, channels, 3, padding=1, bias=False)
        self.mlp_beta = nn.Conv2d(hidden, channels, 3, padding=1, bias=False)

    def normalise(self, x: Tensor) -> Tensor:
        """Remove mean and variance: of each image by itself, or as the batch norm's own mode has it."""
        if self.per_image:
            return F.instance_norm(x, eps=self.param_free_norm.eps)
        return self.param_free_norm(x)

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """Modulate x (B, C, H, W) by guide (B, 3, any size) RGB [0, 1]."""
        hidden = self.mlp_shared(F.interpolate(guide, size=x.shape[2:], mode="nearest"))
        return self.normalise(x) * self.mlp_gamma(hidden) + self.mlp_beta(hidden)


class SPADEBlock(nn.Module):
    """Residual block of two guided convolutions, with a guided 1x1 on the skip path where channels change."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        middle = min(before, after)
        self.learned_skip = before != after
        self.conv_0 = SpectralConv(before, middle, 3)
        self.conv_1 = SpectralConv(middle, after, 3)
        if self.learned_skip:
            self.conv_s = SpectralConv(before, after, 1, bias=False)
        self.norm_0 = SPADE(before)
        self.norm_1 = SPADE(middle)
        if self.learned_skip:
            self.norm_s = SPADE(before)

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """Transform x (B, before, H, W) to (B, after, H, W) under guide (B, 3, any size) RGB [0, 1]."""
        skip = self.conv_s(self.norm_s(x, guide)) if self.learned_skip else x
        y = self.conv_0(F.leaky_relu(self.norm_0(x, guide), LEAK))
        y = self.conv_1(F.leaky_relu(self.norm_1(y, guide), LEAK))
        return skip + y


class LIPSPADEGenerator(nn.Module):
    """The enhancer of the published `10_net_G.pth`.

    Three ways to take statistics: `eval()` and `train()` as PyTorch has them, and `per_image_statistics()`, the
    product's: every image is normalised by its own mean and variance and nothing is updated, so a result depends
    neither on the other images of the batch nor on earlier calls.
    """

    def __init__(self, ngf: int = 48) -> None:
        super().__init__()
        wide = 16 * ngf
        widths = [wide, 8 * ngf, 4 * ngf, 2 * ngf, ngf]
        self.fc = nn.Conv2d(3, wide, 3, padding=1)  # in the checkpoint, not used
        self.head_0 = SPADEBlock(wide, wide)
        self.G_middle_0 = SPADEBlock(wide, wide)
        self.G_middle_1 = SPADEBlock(wide, wide)
        self.ups = nn.ModuleList(SPADEBlock(before, after) for before, after in itertools.pairwise(widths))
        self.to_rgbs = nn.ModuleList(nn.Conv2d(width, 3, 3, padding=1) for width in widths[1:])  # only the last is used
        self.lip_encoder = LIPEncoder(ngf)

    def per_image_statistics(self, enabled: bool = True) -> LIPSPADEGenerator:
        """Normalise each image by itself and keep every buffer as it is, whatever the training mode says."""
        for module in self.modules():
            if isinstance(module, SPADE):
                module.per_image = enabled
            elif isinstance(module, SpectralConv):
                module.frozen = enabled
        return self

    def forward(self, image: Tensor) -> Tensor:
        """Redraw a face.
        image: (B, 3, 256, 256) float [0, 1] RGB, aligned crop; its sides are multiples of 32.
        Returns the face, like image but from tanh: clamp it to [0, 1].
        Source: HiFaceGAN sec. 3, arXiv:2005.05005."""
        x = self.head_0(self.lip_encoder(image), image)
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        x = self.G_middle_1(self.G_middle_0(x, image), image)
        for block in self.ups:
            x = block(F.interpolate(x, scale_factor=2.0, mode="nearest"), image)
        return torch.tanh(self.to_rgbs[-1](F.leaky_relu(x, LEAK)))
