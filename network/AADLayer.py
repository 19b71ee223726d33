"""Adaptive attentional denormalisation (AAD), FaceShifter sec. 3.1, arXiv:1912.13457.

Symbols: h features, z_attr attribute map, z_id identity embedding, M attention mask, A attribute and I identity branch.
"""

from __future__ import annotations

from torch import Tensor, nn

from network.mixing import InstanceNorm, Mix


class AADLayer(nn.Module):
    """Normalise features and re-colour them by attributes and by identity, mixed by a learned mask."""

    def __init__(self, c_x: int, attr_c: int, c_id: int) -> None:
        """c_x: channels of the features; attr_c: channels of the attribute map; c_id: length of the embedding."""
        super().__init__()
        self.conv1 = nn.Conv2d(attr_c, c_x, 1)  # gamma_attr
        self.conv2 = nn.Conv2d(attr_c, c_x, 1)  # beta_attr
        self.fc1 = nn.Linear(c_id, c_x)  # gamma_id
        self.fc2 = nn.Linear(c_id, c_x)  # beta_id
        self.conv_h = nn.Conv2d(c_x, 1, 1)

    def forward(self, h_in: Tensor, z_attr: Tensor, z_id: Tensor) -> Tensor:
        """Return (1 - M) * A + M * I.

        h_in: (B, c_x, H, W) float features. z_attr: (B, attr_c, H, W) float. z_id: (B, c_id) float, raw embedding.
        Returns (B, c_x, H, W).
        """
        h = InstanceNorm.apply(h_in)
        gamma_id, beta_id = self.fc1(z_id)[..., None, None], self.fc2(z_id)[..., None, None]
        return Mix.apply(h, self.conv1(z_attr), self.conv2(z_attr), gamma_id, beta_id, self.conv_h(h))


class AADBlock(nn.Module):
    """AAD residual block: `num_blocks` times AAD, ReLU, 3x3 convolution, plus a skip path of one such triple.

    The triples lie flat in one ModuleList, since that is how published files name their tensors.
    """

    def __init__(self, cin: int, cout: int, c_attr: int, c_id: int, num_blocks: int) -> None:
        super().__init__()
        self.add_blocks = nn.ModuleList()
        for i in range(num_blocks):
            self.add_blocks += _triple(cin, cout if i == num_blocks - 1 else cin, c_attr, c_id)
        self.last_add_block = nn.ModuleList(_triple(cin, cout, c_attr, c_id)) if cin != cout else None

    def forward(self, h: Tensor, z_attr: Tensor, z_id: Tensor) -> Tensor:
        """h: (B, cin, H, W) float; z_attr: (B, c_attr, H, W) float; z_id: (B, c_id) float. Returns (B, cout, H, W)."""
        skip = h if self.last_add_block is None else _run(self.last_add_block, h, z_attr, z_id)
        return _run(self.add_blocks, h, z_attr, z_id) + skip


def _triple(cin: int, cout: int, c_attr: int, c_id: int) -> list[nn.Module]:
    return [AADLayer(cin, c_attr, c_id), nn.ReLU(), nn.Conv2d(cin, cout, 3, padding=1, bias=False)]


def _run(layers: nn.ModuleList, h: Tensor, z_attr: Tensor, z_id: Tensor) -> Tensor:
    for layer in layers:
        h = layer(h, z_attr, z_id) if isinstance(layer, AADLayer) else layer(h)
    return h
