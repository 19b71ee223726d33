"""AAD layers of one person for inference on an x86 processor: both branches are mixed within two convolutions."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from network.packed import PackedConv2d


class Mixed:
    """An AAD layer of one person without its normalisation and its mask, and the ReLU after it.

    With symbols as in `network.AADLayer` and s = 1 - M, the share of the attributes, the layer is h * G + B where
    G = s * (W z_attr + b) + (1 - s) * gamma_id = [W, b - gamma_id] [s * z_attr, s] + gamma_id, and B alike: one
    convolution that multiplies and one that adds, instead of four more passes over the map.
    """

    def __init__(self, attributes: PackedConv2d, identity: Tensor) -> None:
        """attributes: gives gamma and beta, (B, 2 * C, H, W), of z_attr. identity: (1, 2, C, 1, 1) float32."""
        weights, biases = (cast(Tensor, values).chunk(2) for values in (attributes.weight, attributes.bias))
        self._gamma, self._beta = (_mixing(*parts) for parts in zip(weights, biases, identity[0], strict=True))

    def __call__(self, h: Tensor, z_attr: Tensor) -> Tensor:
        """h: (B, C, H, W) normalised; z_attr: (B, attr_c + 1, H, W), times s, the last channel s. Returns like h."""
        return self._beta.add_to(z_attr, self._gamma.times(z_attr, h), relu=True)


def _mixing(weight: Tensor, bias: Tensor, identity: Tensor) -> PackedConv2d:
    """weight: (C, attr_c, 1, 1); bias: (C,); identity: (C, 1, 1) float32."""
    column = (bias[:, None, None] - identity)[:, None].to(weight.dtype)
    conv = nn.Conv2d(weight.shape[1] + 1, len(weight), 1, device="meta")
    conv.weight = nn.Parameter(torch.cat((weight, column), dim=1), requires_grad=False)
    conv.bias = nn.Parameter(identity.flatten().to(weight.dtype), requires_grad=False)
    return PackedConv2d(conv)
