"""ONNX files with the inputs and outputs of InsightFace's published models, small enough to be made by the tests.

The detector finds coloured spots instead of noses: red, green and blue for its strides 8, 16 and 32, that is for faces
of 96, 192 and 384 of its own pixels. The landmark network sees a frontal face everywhere, shifted to the right by red
light.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.parity_data import golden

STRIDES = (8, 16, 32)
OUTPUTS = (("448", "471", "494"), ("451", "474", "497"), ("454", "477", "500"))  # scores, boxes, key points per stride
ANCHORS = 2
FACE = 12.0  # side of a face in units of its stride
SPOT = {8: (0, 0, 255), 16: (0, 255, 0), 32: (255, 0, 0)}  # BGR
# Key points of the frontal template around the nose, in units of a face of side 1.
FRONTAL = np.array([[39.73, 51.138], [72.27, 51.138], [56.0, 68.493], [42.463, 87.01], [69.537, 87.01]])
KPS = (FRONTAL - FRONTAL[2]) / 64
SHIFT = 1e-4  # landmark units per level of red


def paint_face(image: np.ndarray, nose: tuple[int, int], stride: int = 8) -> None:
    """Make the detector find a face of 12 strides whose nose is there; image: (640, 640, 3) uint8 BGR, changed."""
    x, y = nose
    image[y - stride : y + stride + 1, x - stride : x + stride + 1] = SPOT[stride]


class Graph:
    """Collects nodes and weights."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, value: np.ndarray, kind: type = np.float32) -> str:
        name = f"weight{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, kind), name))
        return name

    def add(self, kind: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        output = output or f"value{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def save(self, path: Path, inputs: list, outputs: list) -> Path:
        graph = helper.make_graph(self.nodes, "standin", inputs, outputs, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(model, str(path))
        return path


def _head(graph: Graph, cells: str, weight: np.ndarray, bias: np.ndarray, name: str, squash: bool = False) -> None:
    """A 1x1 convolution on the cells of a stride, laid out like SCRFD's outputs: (cells * anchors, values)."""
    values = len(bias) // ANCHORS
    y = graph.add("Conv", [cells, graph.weight(weight[:, :, None, None]), graph.weight(bias)])
    y = graph.add("Sigmoid", [y]) if squash else y
    y = graph.add("Transpose", [y], perm=[2, 3, 0, 1])
    graph.add("Reshape", [y, graph.weight(np.array([-1, values]), np.int64)], name)


def make_scrfd(path: Path) -> Path:
    """Write a stand-in for scrfd_10g_bnkps.onnx; its input is RGB, (x - 127.5) / 128."""
    graph = Graph()
    outputs = []
    for i, stride in enumerate(STRIDES):
        cells = graph.add("AveragePool", ["input.1"], kernel_shape=[stride, stride], strides=[stride, stride])
        colour = np.full(3, -8.0)
        colour[i] = 8.0
        half = FACE / 2
        boxes, points = np.tile([half] * 4, ANCHORS), np.tile((KPS * FACE).ravel(), ANCHORS)
        nothing = np.zeros((1, 3))
        scores, boxes_name, points_name = (names[i] for names in OUTPUTS)
        # Of the two anchors of a cell, only the first ever finds anything.
        _head(graph, cells, np.stack([colour, np.zeros(3)]), np.array([-16.0, -16.0]), scores, squash=True)
        _head(graph, cells, np.repeat(nothing, len(boxes), 0), boxes, boxes_name)
        _head(graph, cells, np.repeat(nothing, len(points), 0), points, points_name)
    for names, values in zip(OUTPUTS, (1, 4, 10), strict=True):
        outputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, values]) for name in names]
    entry = helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [1, 3, "?", "?"])
    return graph.save(path, [entry], outputs)


def make_landmarks(path: Path, batch: int | str = "None", answers: int | str = 1) -> Path:
    """Write a stand-in for 2d106det.onnx; its input is RGB, 0..255.

    batch, answers: how many pictures go in and answers come out; a name where the file leaves it free.
    """
    graph = Graph()
    face = (golden()["landmarks"] * 0.5714286 + 32) / 96 - 1  # where the 224 crop lies in the network's input
    shift = np.zeros((212, 3))
    shift[0::2, 0] = SHIFT
    light = graph.add("Flatten", [graph.add("GlobalAveragePool", ["data"])])
    points = graph.add("Gemm", [light, graph.weight(shift), graph.weight(face.ravel())], transB=1)
    rows = answers if isinstance(answers, int) else -1
    graph.add("Reshape", [points, graph.weight(np.array([rows, 212]), np.int64)], "fc1")
    entry = helper.make_tensor_value_info("data", TensorProto.FLOAT, [batch, 3, 192, 192])
    return graph.save(path, [entry], [helper.make_tensor_value_info("fc1", TensorProto.FLOAT, [answers, 212])])
