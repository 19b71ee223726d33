"""Write networks as ONNX files, for ONNX Runtime and for the programs that run GHOST generators with it."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from network.AADLayer import AADLayer
from utils.errors import OptionError, WeightsError
from utils.io.atomic import atomic_path
from utils.onnx_file import open_session

if TYPE_CHECKING:
    import numpy as np

_OPSET = 17
_CHUNK = 2**24  # bytes
_INPUTS = {
    "AEI_Net": ("target", "source"), "iresnet": ("input",), "LandmarkNet": ("input",), "LIPSPADEGenerator": ("input",),
}
_OUTPUT = "output"
_PUBLISHED = {"size": 256, "c_id": 512}  # what both programs feed
_VISOMASTER_OUTPUTS = {1: "781", 2: "1165", 3: "1549"}  # by AAD layers per block; it asks for these names


def write_onnx(
    network: nn.Module, name: str, arguments: Mapping[str, Any], example: tuple[Tensor, ...], path: Path,
    dtype: str = "float32", program: str = "facefusion",
) -> None:
    """Write a network, in evaluation mode and of no further use afterwards, with free batch sizes; a generator's source
    may be one for many targets.

    name, arguments: of its class. example: inputs, float32. dtype: of what lies between inputs and output, which are
    float32 in any case. program: whose names a generator's output gets.
    Raises OptionError for networks that serve training only, WeightsError where numbers do not fit into the precision.
    """
    if name not in _INPUTS:
        raise OptionError(f"a {name} serves training only; ONNX files are for generators, identity encoders, landmark "
                          "networks and the enhancer")
    for layer in network.modules():
        if isinstance(layer, AADLayer):
            layer.__class__ = _PlainAADLayer
    inputs = _INPUTS[name]
    batches = {entry: {0: f"{entry}s"} for entry in inputs} | {_OUTPUT: {0: f"{inputs[0]}s"}}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the exporter is the older one, which needs no further package
        torch.onnx.export(_FirstOutput(network).eval(), example, str(path), input_names=list(inputs),
                          output_names=[_OUTPUT], dynamic_axes=batches, opset_version=_OPSET, dynamo=False)
        if dtype == "float16":
            _check_range(network, example)
            _halve(path)
    if (name, program) == ("AEI_Net", "visomaster"):
        _rename_output(path, _VISOMASTER_OUTPUTS[arguments["num_blocks"]])


class _PlainAADLayer(AADLayer):
    """The layer in a few operations of ONNX."""

    def forward(self, h_in: Tensor, z_attr: Tensor, z_id: Tensor) -> Tensor:
        h = F.instance_norm(h_in)
        attribute = self.conv1(z_attr) * h + self.conv2(z_attr)
        identity = self.fc1(z_id)[..., None, None] * h + self.fc2(z_id)[..., None, None]
        return attribute + self.conv_h(h).sigmoid() * (identity - attribute)


class _FirstOutput(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> Tensor:
        result: Tensor | tuple[Tensor, ...] = self.network(*inputs)
        return result[0] if isinstance(result, tuple) else result


def _check_range(network: nn.Module, example: tuple[Tensor, ...]) -> None:
    """Raises WeightsError where what a layer gives does not fit into half precision."""
    largest = 0.0

    def look(module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal largest
        if isinstance(output, Tensor):
            largest = max(largest, float(output.abs().max()))

    hooks = [module.register_forward_hook(look) for module in network.modules()]
    network(*example)
    for hook in hooks:
        hook.remove()
    if largest > torch.finfo(torch.float16).max:
        raise WeightsError(f"this network computes values up to {largest:.3g} inside, which do not fit into float16; "
                           "use --dtype float32")


def _halve(path: Path) -> None:
    """Compute in half precision between inputs and outputs in float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    model = OnnxModel(convert_float_to_float16(onnx.load_model(str(path)), keep_io_types=True))
    model.topological_sort()  # which the specification asks for
    onnx.save_model(model.model, str(path))


def _rename_output(path: Path, name: str) -> None:
    """Give the file's output a name that the exporter would refuse."""
    model = onnx.load_model(str(path))
    model.graph.output[0].name = name
    for node in model.graph.node:
        node.output[:] = [name if entry == _OUTPUT else entry for entry in node.output]
    onnx.save_model(model, str(path))


def run_onnx(path: Path, inputs: tuple[Tensor, ...]) -> np.ndarray:
    """What the file gives for inputs in float32."""
    session = open_session(path, torch.device("cpu"))
    names = [entry.name for entry in session.get_inputs()]
    result: np.ndarray = session.run(None, dict(zip(names, (value.numpy() for value in inputs), strict=True)))[0]
    return result


def complete(name: str, arguments: Mapping[str, Any], identity: str, path: Path, program: str) -> str:
    """Write the checksum that FaceFusion wants beside a generator, or remove that of the file which this one replaced;
    returns where the file goes or why it does not.

    identity: the encoder that a generator was trained with.
    """
    if (name, program) == ("AEI_Net", "facefusion"):
        _write_checksum(path)
    else:
        path.with_suffix(".hash").unlink(missing_ok=True)
    if name != "AEI_Net":
        return ""
    numbers, side = arguments["c_id"], arguments.get("size", _PUBLISHED["size"])
    if ({"size": side, "c_id": numbers}, identity) != (_PUBLISHED, "arcface"):
        return ("FaceFusion and VisoMaster-Fusion feed GHOST models 256 pixels and the published encoder's "
                f"512-dimensional embedding; this one, for {side} pixels and the {numbers}-dimensional embedding of "
                f"{identity}, is for programs of your own")
    blocks = arguments["num_blocks"]
    if program == "visomaster":
        return (f"in VisoMaster-Fusion it takes the place of ghost_unet_{blocks}_block.onnx, whose sha256 in "
                "app/processors/models_data.py has to become this file's")
    return (f"for FaceFusion, copy it to .assets/models/ghost_{blocks}_256.onnx, and "
            f"{path.with_suffix('.hash').name} beside it as ghost_{blocks}_256.hash. FaceFusion makes the source's "
            "embedding out of another encoder's, with its crossface_ghost.onnx, so that swaps are a little less like "
            "the source than here")


def _write_checksum(path: Path) -> None:
    """CRC-32 in eight hexadecimal digits, in a file of the same name that ends in .hash."""
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            value = zlib.crc32(chunk, value)
    with atomic_path(path.with_suffix(".hash")) as temporary:
        temporary.write_text(f"{value:08x}", encoding="ascii")
