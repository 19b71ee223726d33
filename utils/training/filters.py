"""Filters of batches of pictures, on the device."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def gaussian_blur(x: Tensor, sigma: float) -> Tensor:
    """Each channel blurred, zeros beyond the border. x: (B, C, H, W) float; sigma: pixels. Returns the same shape."""
    reach = math.ceil(3 * sigma)
    offsets = torch.arange(-reach, reach + 1, device=x.device, dtype=x.dtype)
    bell = (-offsets.square() / (2 * sigma**2)).exp()
    bell = (bell / bell.sum()).expand(x.shape[1], 1, -1)
    x = F.conv2d(x, bell[:, :, None], padding=(0, reach), groups=x.shape[1])
    return F.conv2d(x, bell[..., None], padding=(reach, 0), groups=x.shape[1])
