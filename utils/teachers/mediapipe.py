"""MediaPipe's face mesh, which labels faces for the small landmark network and measures swaps.

It needs ai-edge-litert (requirements-teachers.txt). Its file is given by path and never downloaded.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from utils.errors import ResourceError, WeightsError
from utils.inference.warp import invert, scale_of, warp
from utils.paths import is_file

_INPUT = 256  # side of the landmarker's input
_MARGIN = 1.5  # the landmarker was trained on squares 1.5 times the box around its points
# Where the five-template crops show the face, in parts of the crop's side: median over 88 varied faces of 1.5 times the
# box around the mesh. The centre's x depends on the template, but the second pass finds it.
_CROP_CENTRE = (0.505, 0.602)
_CROP_SIDE = 1.16
_LEFT_CORNER, _RIGHT_CORNER = 33, 263  # outer eye corners in the mesh
_LANDMARKER = "face_landmarks_detector.tflite"


class Mesh(NamedTuple):
    """What the landmarker saw in one picture."""

    points: np.ndarray  # (478, 3) float32, pixels of the picture, (x, y, depth); the last ten are the irises
    score: float  # presence of a face, 0..1


def _read_model(path: Path) -> bytes:
    """The landmarker's bytes, from the .tflite itself or from the .task archive that holds it."""
    if not is_file(path):
        raise WeightsError(f"--face_landmarker {path}: no such file; expected MediaPipe's face_landmarker.task or "
                           f"{_LANDMARKER}; requirements-teachers.txt says where it comes from")
    if path.suffix != ".task":
        return path.read_bytes()
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(_LANDMARKER)
    except (zipfile.BadZipFile, KeyError) as error:
        raise WeightsError(f"{path}: no face landmarker ({error}); expected an archive with {_LANDMARKER}") from error


def _interpreter(path: Path) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise ResourceError("the MediaPipe landmarker needs `pip install ai-edge-litert`") from error
    try:
        interpreter = Interpreter(model_content=_read_model(path), num_threads=1)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise WeightsError(f"{path}: not a usable .tflite model ({error})") from error
    shape = tuple(interpreter.get_input_details()[0]["shape"])
    if shape != (1, _INPUT, _INPUT, 3):
        raise WeightsError(f"{path}: input of shape {shape}, expected (1, {_INPUT}, {_INPUT}, 3)")
    return interpreter


class MediaPipeLandmarks:
    """MediaPipe's face landmarker without its detector: 478 mesh points in a picture whose face is roughly known.

    Source: Kartynnik et al., arXiv:1907.06724; the model file is Apache-2.0.
    """

    def __init__(self, path: Path | str) -> None:
        """path: face_landmarker.task or the .tflite in it.

        Raises WeightsError, or ResourceError when ai-edge-litert is missing.
        """
        self._interpreter = _interpreter(Path(path))
        self._input = self._interpreter.get_input_details()[0]["index"]
        outputs = self._interpreter.get_output_details()
        self._points = next(o["index"] for o in outputs if int(np.prod(o["shape"])) == 478 * 3)
        # Two single numbers come out: presence has four axes, the other (tongue out) two.
        self._presence = next(o["index"] for o in outputs if tuple(o["shape"]) == (1, 1, 1, 1))

    def in_image(self, image: np.ndarray, M_frame2crop: np.ndarray, size: int) -> Mesh:
        """Find the mesh of one face in a whole picture, which gives the network more context than a crop.

        image: (H, W, 3) uint8 BGR. M_frame2crop: (2, 3), to the five-template crop with side `size`.
        Returns points in pixels of `image`.
        """
        to_frame = invert(M_frame2crop)
        centre = to_frame[:, :2] @ (np.array(_CROP_CENTRE) * size) + to_frame[:, 2]
        across = to_frame[:, 0]  # the crop's x axis in the picture
        side = _CROP_SIDE * size * scale_of(to_frame)
        rough = self._look(image, centre, side, float(np.arctan2(across[1], across[0])))
        return self._refined(image, rough.points[:, :2])

    def _refined(self, image: np.ndarray, points: np.ndarray) -> Mesh:
        """Look once more, framed by the points (478, 2) of the first look."""
        low, high = points.min(axis=0), points.max(axis=0)
        eyes = points[_RIGHT_CORNER] - points[_LEFT_CORNER]
        side = max(_MARGIN * float((high - low).max()), 8.0)
        return self._look(image, (low + high) / 2, side, float(np.arctan2(eyes[1], eyes[0])))

    def _look(self, image: np.ndarray, centre: np.ndarray, side: float, angle: float) -> Mesh:
        """Run the network on the square at `centre` turned by `angle` radians."""
        scale = _INPUT / side
        cosine, sine = np.cos(angle) * scale, np.sin(angle) * scale
        matrix = np.array([[cosine, sine, 0.0], [-sine, cosine, 0.0]])
        matrix[:, 2] = (_INPUT - 1) / 2 - matrix[:, :2] @ centre
        square = warp(image, matrix, (_INPUT, _INPUT))
        self._interpreter.set_tensor(self._input, (square[None, :, :, ::-1] / 255.0).astype(np.float32))
        self._interpreter.invoke()
        points = self._interpreter.get_tensor(self._points).reshape(478, 3)
        presence = float(self._interpreter.get_tensor(self._presence).item())
        back = invert(matrix)
        flat = points[:, :2] @ back[:, :2].T + back[:, 2]
        found = np.concatenate([flat, points[:, 2:] / scale], axis=1).astype(np.float32)
        return Mesh(found, float(1.0 / (1.0 + np.exp(-presence))))
