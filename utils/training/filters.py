"""Filters of batches of pictures, on the device."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from utils.inference import rim
from utils.inference.pixels import LUMA
from utils.inference.tone import COLOUR_CELLS, COLOURFUL, GREY, LIGHT_CELLS


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


def resized(x: Tensor, side: int) -> Tensor:
    """Pictures of another side without aliasing: (B, C, S, S) float to (B, C, side, side) float32.

    The numbers of F.interpolate's bilinear form with `antialias`, which knows no bfloat16 on a CPU and has no gradient
    on mps. In full precision, so that networks see in training what they see in the pipeline.
    """
    weights = _triangles(x.shape[-1], side, x.device)
    with torch.autocast(x.device.type, enabled=False):
        return weights @ x.float() @ weights.T


def _triangles(size: int, side: int, device: torch.device) -> Tensor:
    """Weights of `size` pixels in each one of `side`, (side, size)."""
    step = size / side
    centre = (torch.arange(side, device=device) + 0.5) * step - 0.5
    apart = (torch.arange(size, device=device) - centre[:, None]).abs()
    weights = (1 - apart / max(step, 1.0)).clamp(min=0)
    return weights / weights.sum(1, keepdim=True)


def toned(Y: Tensor, Xt: Tensor, share: float) -> Tensor:
    """As utils.inference.tone.match_tone, without its rounding: swaps Y with the light and skin tone of targets Xt,
    each (B, 3, S, S) float [-1, 1] RGB."""
    size, wanted = Y.shape[-2:], F.adaptive_avg_pool2d(Xt, COLOUR_CELLS)
    colours = _colourfulness(wanted)
    Y = torch.lerp(_light(Y).expand_as(Y), Y, colours)
    apart = wanted - F.adaptive_avg_pool2d(Y, COLOUR_CELLS)
    light = _light(apart)
    coarse = share * F.adaptive_avg_pool2d(light, LIGHT_CELLS)
    colour = (apart - light) * (1 - colours * (1 - share))
    shift = sum(F.interpolate(x, size, mode="bilinear", align_corners=False) for x in (colour, coarse))
    return (Y + shift).clamp(-1, 1)


def _light(x: Tensor) -> Tensor:
    """Brightness of (B, 3, H, W) RGB, (B, 1, H, W)."""
    # Not by a tensor of the three numbers: recordings on CUDA cannot upload it.
    return sum(share * x[:, i : i + 1] for i, share in enumerate(LUMA))  # type: ignore[return-value]


def _colourfulness(cells: Tensor) -> Tensor:
    """As that of utils.inference.tone, (B, 1, 1, 1); cells: (B, 3, COLOUR_CELLS, COLOUR_CELLS) [-1, 1]."""
    middle = slice(COLOUR_CELLS // 4, -COLOUR_CELLS // 4)
    face = (cells[..., middle, middle] + 1) * 127.5
    light = _light(face)
    chroma = (face - light).abs().amax(1).mean((1, 2)) / light.mean((1, 2, 3)).clamp(min=1)
    return ((chroma - GREY) / (COLOURFUL - GREY)).clamp(0, 1)[:, None, None, None]


def kept_rim(Y: Tensor, Xt: Tensor, sure: Tensor, contrast: float) -> Tensor:
    """By how much utils.inference.rim.limit_mask lowers a mask, were it not for hair and turned heads.

    Y, Xt: swaps and targets, (B, 3, S, S) float [-1, 1] RGB. sure: (B, 1, SIDE, SIDE), its `features`. Returns
    (B, 1, S, S) without a gradient.
    """
    with torch.no_grad():
        small = F.adaptive_avg_pool2d(torch.stack((Y, Xt)).flatten(0, 1), rim.SIDE).unflatten(0, (2, -1))
        one, other = (small + 1) * 127.5
        apart = ((one - other).abs() / ((one + other) / 2 + rim.DARK)).amax(1, keepdim=True)
        means = F.avg_pool2d(F.pad(apart, [rim.MEAN // 2] * 4, mode="reflect"), rim.MEAN, 1)
        widest = F.max_pool2d(means, rim.WIDER, 1, rim.WIDER // 2)
        alike = gaussian_blur((2 - widest * (2 / contrast)).clamp(0, 1), rim.FEATHER)
        return F.interpolate(alike + sure * (1 - alike), Y.shape[-2:], mode="bilinear", align_corners=False)
