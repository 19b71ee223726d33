"""Open ONNX files in ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.device import full_memory_as_error, onnx_providers
from utils.errors import ResourceError, WeightsError

if TYPE_CHECKING:
    import torch
    from onnxruntime import InferenceSession

_ERRORS_ONLY = 3


def open_session(path: Path, device: torch.device, any_size: bool = False, threads: int = 0) -> InferenceSession:
    """A session that runs the model of a file.

    any_size: make height and width of input and outputs free where the file fixes them. threads: 0 for one per core.
    Raises WeightsError for broken files, ResourceError when memory is full.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as failures

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = threads
    # Threads that spin between calls would slow the networks in PyTorch down.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        with full_memory_as_error("close other programs, or use --device cpu"):
            model = _with_free_size(path) if any_size else path.read_bytes()
            return onnxruntime.InferenceSession(model, options, providers=onnx_providers(device))
    except (failures.InvalidProtobuf, failures.InvalidGraph, failures.InvalidArgument, failures.Fail,
            failures.RuntimeException, failures.NotImplemented) as error:
        raise WeightsError(f"{path} is not a usable ONNX file or was cut short; download it again") from error
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}") from error


def _with_free_size(path: Path) -> bytes:
    """The model with symbolic batch, height and width; raises WeightsError."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model(str(path))
    except DecodeError as error:
        raise WeightsError(f"{path} is not an ONNX file or was cut short; download it again") from error
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [entry for entry in graph.input if entry.name not in weights]
    # Weights that are listed as inputs could be changed by a caller, so the runtime would not fold them.
    del graph.input[:]
    graph.input.extend(inputs)
    for entries, names in ((graph.input, ("n", "height", "width")), (graph.output, ("n", "rows", "columns"))):
        for entry in entries:
            dimensions = entry.type.tensor_type.shape.dim
            for position, name in zip((0, 2, 3), names, strict=True):
                dimensions[position].dim_param = name
    return model.SerializeToString()


def open_scrfd(path: Path, device: torch.device, score: float, overlap: float, side: int) -> Any:
    """SCRFD of InsightFace's model zoo, ready to detect; raises WeightsError, ResourceError."""
    open_session(path, device)  # says in our words what is wrong with a broken file
    try:
        from insightface.model_zoo import get_model
    except ImportError as error:
        raise ResourceError(f"{path} needs the package insightface: pip install -r requirements.txt") from error
    model = get_model(str(path), providers=onnx_providers(device))
    if model is None or getattr(model, "taskname", "") != "detection":
        raise WeightsError(f"{path} is not an SCRFD detector")
    model.prepare(0 if device.type == "cuda" else -1, nms_thresh=overlap, det_thresh=score, input_size=(side, side))
    return model
