"""SFace as a differentiable PyTorch network: a teacher of identity (Zhong et al., arXiv:2205.12010), used in training
only.

Its file `face_recognition_sface_2021dec.onnx` (OpenCV model zoo, Apache-2.0) is one chain of convolutions, batch norms
and PReLUs, so it is rebuilt here layer by layer from the ONNX graph.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from arcface_model.iresnet import PReLU
from utils.errors import WeightsError
from utils.training.halving import Halving

_SCALE = 127.5 / 128  # SFace takes 0..255 and maps it to about [-1, 1] itself: (x - 127.5) / 128


class Observed(NamedTuple):
    """What SFace makes of faces."""

    e: Tensor  # (B, 128) float32, L2-normalised
    maps: list[Tensor]  # its last ones of 14 and of 7 pixels, (B, 512, 14, 14) and (B, 1024, 7, 7)
    shares: Tensor  # (B, 128, 7, 7) float32, what each place of the face adds to e


class SFace(nn.Module):
    """Frozen SFace recogniser."""

    def __init__(self, path: Path | str) -> None:
        """path: the ONNX file. Raises WeightsError when it is missing or not this network."""
        super().__init__()
        self.layers = _rebuild(Path(path)).eval().requires_grad_(False)
        halved = [i for i, layer in enumerate(self.layers) if isinstance(layer, Halving)]
        active = [i for i, layer in enumerate(self.layers) if isinstance(layer, PReLU)]
        self._late = (halved[-1] - 1, active[-1])

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, 3, 112, 112) float [-1, 1] RGB, ArcFace alignment. Returns (B, 128) float32, L2-normalised."""
        return nn.functional.normalize(self.layers(x * _SCALE).float())

    def observed(self, x: Tensor) -> Observed:
        """The embeddings, and what leads to them."""
        x = x * _SCALE
        maps = []
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i in self._late:
                maps.append(x)
            if i == self._late[-1]:
                last = self.layers[i + 1 : -2](x).float()  # a batch norm; a flattening and the linear layer follow
        linear = self.layers[-1]
        weight = linear.weight.view(-1, *last.shape[1:])  # type: ignore[operator]
        length = x.float().norm(dim=1)[:, None, None, None]
        shares = torch.einsum("bchw,dchw->bdhw", last, weight) / length
        return Observed(nn.functional.normalize(x.float()), maps, shares)


def _rebuild(path: Path) -> nn.Sequential:
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import numpy_helper

    layers: list[nn.Module] = []
    try:
        graph = onnx.load(str(path)).graph
        values = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}
        for node in graph.node:
            weights = [values[name] for name in node.input if name in values]
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            _append(layers, node.op_type, weights, attributes)
    except (DecodeError, OSError, KeyError, IndexError, ValueError, TypeError, RuntimeError) as error:
        raise WeightsError(f"{path} is not the SFace teacher, or was cut short ({error}); "
                           "see requirements-teachers.txt for where it comes from") from error
    return nn.Sequential(*layers)


def _append(layers: list[nn.Module], kind: str, weights: list[Tensor], attributes: dict) -> None:
    """Add one ONNX node to the chain; a batch norm melts into the layer before it."""
    if kind == "Conv":
        cout, cin, side, _ = weights[0].shape
        groups, stride = attributes["group"], attributes["strides"][0]
        settings = {"padding": side // 2, "groups": groups, "bias": len(weights) > 1}
        if stride == 2 and cin == 1:
            conv: nn.Conv2d = Halving(groups, cout, side, first=0, **settings)
        else:
            conv = nn.Conv2d(cin * groups, cout, side, stride, **settings)
        _fill(conv, weights)
        layers.append(conv)
    elif kind == "BatchNormalization":
        norm = _norm(weights, attributes["epsilon"], flat=isinstance(layers[-1], nn.Linear))
        if isinstance(layers[-1], nn.Conv2d):
            layers[-1] = fuse_conv_bn_eval(layers[-1].eval(), norm)
        elif isinstance(layers[-1], nn.Linear):
            layers[-1] = fuse_linear_bn_eval(layers[-1].eval(), norm)
        else:
            layers.append(norm)
    elif kind == "PRelu":
        layers.append(PReLU(weights[0].numel()))
        _fill(layers[-1], [weights[0].flatten()])
    elif kind == "Flatten":
        layers.append(nn.Flatten())
    elif kind == "Gemm":
        layers.append(nn.Linear(weights[0].shape[1], weights[0].shape[0]))
        _fill(layers[-1], weights)
    elif kind not in ("Sub", "Mul", "Dropout"):
        raise WeightsError(f"ONNX node {kind} does not belong to SFace; expected face_recognition_sface_2021dec.onnx")


def _norm(weights: list[Tensor], eps: float, flat: bool) -> nn.BatchNorm1d | nn.BatchNorm2d:
    norm = (nn.BatchNorm1d if flat else nn.BatchNorm2d)(weights[0].numel(), eps=eps)
    state = dict(zip(("weight", "bias", "running_mean", "running_var"), weights, strict=True))
    norm.load_state_dict(state, strict=False)
    return norm.eval()


@torch.no_grad()
def _fill(layer: nn.Module, weights: list[Tensor]) -> None:
    for parameter, weight in zip(layer.parameters(), weights, strict=True):
        parameter.copy_(weight)
