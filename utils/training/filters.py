"""Filters of batches of pictures, on the device."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from utils.inference.tone import COLOUR_CELLS, LIGHT_CELLS

_LUMA = (0.299, 0.587, 0.114)  # of RGB, ITU-R BT.601


def gaussian_blur(x: Tensor, sigma: float) -> Tensor:
    """Each channel blurred, zeros beyond the border. x: (B, C, H, W) float; sigma: pixels. Returns the same shape.

    As products with a matrix for each axis, since a CPU's thin convolutions take many times longer.
    """
    height, width = x.shape[-2:]
    return _bell(height, sigma, x) @ x @ _bell(width, sigma, x)


def _bell(size: int, sigma: float, like: Tensor) -> Tensor:
    """Each position's weights of all others, (size, size)."""
    reach = math.ceil(3 * sigma)
    at = torch.arange(max(size, 2 * reach + 1), device=like.device, dtype=like.dtype)
    apart = at[:, None] - at
    bells = (-apart.square() / (2 * sigma**2)).exp() * (apart.abs() <= reach)
    return bells[:size, :size] / bells[reach].sum()


def toned(Y: Tensor, Xt: Tensor, share: float) -> Tensor:
    """As utils.inference.tone.toned, without its rounding: swaps Y with the light and skin tone of targets Xt, each
    (B, 3, S, S) float [-1, 1] RGB."""
    size = Y.shape[-2:]
    apart = F.adaptive_avg_pool2d(Xt - Y, COLOUR_CELLS)
    light = (apart * apart.new_tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)
    coarse = F.adaptive_avg_pool2d(light, LIGHT_CELLS)
    shift = sum(F.interpolate(x, size, mode="bilinear", align_corners=False) for x in (apart - light, coarse))
    return (Y + share * shift).clamp(-1, 1)
