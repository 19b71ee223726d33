"""The two operations of an AAD layer that touch every pixel, with gradients written out.

Autograd would keep every intermediate map and widen half-precision ones; these keep what the gradients need, in the
precision of the input, so that a training step takes less time and memory. They cannot be differentiated twice.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_EPS = 1e-5  # of InstanceNorm
_PIXELS = (2, 3)


class InstanceNorm(torch.autograd.Function):
    """x, (B, C, H, W) float, less its mean and over its standard deviation, each of a picture and channel.

    Sums of half-precision maps are taken in float32.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Return h, like x."""
        h = x - _mean(x)
        off = _mean(h)  # what rounding the mean to half precision left
        wide = h.float() if h.dtype == torch.float16 else h  # whose squares need not fit into float16
        scale = torch.rsqrt(_mean(wide * wide) - off * off + _EPS).to(h.dtype)
        h = torch.addcmul(-off * scale, h, scale)
        ctx.save_for_backward(h, scale)
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        h, scale = ctx.saved_tensors
        return (grad - _mean(grad)).addcmul_(h, _mean(grad * h), value=-1).mul_(scale)


class Mix(torch.autograd.Function):
    """(1 - M) * A + M * I with A = gamma_attr * h + beta_attr, I = gamma_id * h + beta_id and M = sigmoid(logits)."""

    @staticmethod
    def forward(
        ctx: Any, h: Tensor, gamma_attr: Tensor, beta_attr: Tensor, gamma_id: Tensor, beta_id: Tensor, logits: Tensor
    ) -> Tensor:
        """h, gamma_attr, beta_attr: (B, C, H, W); gamma_id, beta_id: (B, C, 1, 1); logits: (B, 1, H, W). Like h."""
        mask = torch.sigmoid(logits)
        attribute = torch.addcmul(beta_attr, gamma_attr, h)
        difference = torch.addcmul(beta_id, gamma_id, h).sub_(attribute)
        ctx.save_for_backward(h, gamma_attr, gamma_id, mask, difference)
        return torch.addcmul(attribute, mask, difference)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        h, gamma_attr, gamma_id, mask, difference = ctx.saved_tensors
        to_identity = grad * mask
        to_attribute = grad - to_identity
        to_logits = (grad * difference).sum(1, keepdim=True).mul_(mask * (1 - mask))
        to_h = (to_attribute * gamma_attr).addcmul_(to_identity, gamma_id)
        to_gamma_id, to_beta_id = ((to_identity * h).sum(_PIXELS, keepdim=True), to_identity.sum(_PIXELS, keepdim=True))
        return to_h, to_attribute * h, to_attribute, to_gamma_id, to_beta_id, to_logits


def _mean(x: Tensor) -> Tensor:
    """(B, C, 1, 1) in the precision of x."""
    exact = torch.float32 if x.dtype in (torch.bfloat16, torch.float16) else x.dtype
    return x.mean(_PIXELS, keepdim=True, dtype=exact).to(x.dtype)
