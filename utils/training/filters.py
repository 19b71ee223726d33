"""Filters of batches of pictures, on the device."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from utils.inference.tone import COLOUR_CELLS, LIGHT_CELLS

_LUMA = (0.299, 0.587, 0.114)  # of RGB, ITU-R BT.601


def gaussian_blur(x: Tensor, sigma: float) -> Tensor:
    """Each channel blurred, zeros beyond the border. x: (B, C, H, W) float; sigma: pixels. Returns the same shape."""
    reach = math.ceil(3 * sigma)
    offsets = torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype)
    bell = (-offsets.square() / (2 * sigma**2)).exp()
    bell = (bell / bell.sum()).expand(x.shape[1], 1, -1)
    x = F.conv2d(x, bell[:, :, None], padding=(0, reach), groups=x.shape[1])
    return F.conv2d(x, bell[..., None], padding=(reach, 0), groups=x.shape[1])


def toned(Y: Tensor, Xt: Tensor, share: float) -> Tensor:
    """As utils.inference.tone.toned, without its rounding: swaps Y with the light and skin tone of targets Xt, each
    (B, 3, S, S) float [-1, 1] RGB."""
    size = Y.shape[-2:]
    apart = F.adaptive_avg_pool2d(Xt - Y, COLOUR_CELLS)
    light = (apart * apart.new_tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)
    coarse = F.adaptive_avg_pool2d(light, LIGHT_CELLS)
    shift = sum(F.interpolate(x, size, mode="bilinear", align_corners=False) for x in (apart - light, coarse))
    return (Y + share * shift).clamp(-1, 1)
