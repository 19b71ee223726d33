"""The networks of an evaluation, by name, and the pipeline that is measured."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from arcface_model.iresnet import IResNet
from utils import registry
from utils.device import choose_device
from utils.errors import NobodyMatchedError, WeightsError
from utils.evaluation import landmarkers, recognisers
from utils.evaluation.config import SHARED, EvaluateConfig
from utils.evaluation.people import LabelledPhoto
from utils.evaluation.run import Portrait
from utils.inference.config import InferenceConfig
from utils.inference.identify import both_ways
from utils.io.frame import Frame
from utils.io.profile import read_in_srgb
from utils.onnx_file import open_session
from utils.paths import is_file

if TYPE_CHECKING:
    from utils.inference.pipeline import SwapPipeline

_IDENTITY = {"arcface": registry.PUBLISHED_IDENTITY, "embedded": registry.EMBEDDED_IDENTITY}


def load_recogniser(name: str, config: EvaluateConfig) -> recognisers.Recogniser:
    """A recogniser of utils.evaluation.config.RECOGNISERS; raises ResourceError or WeightsError where it is missing."""
    teacher = name in config.teachers
    if name == "dlib":
        return recognisers.Dlib(teacher)
    if name == "sface":
        return recognisers.SFace(open_session(_sface(config), choose_device("cpu")), teacher)
    loaded = registry.load_identity(_IDENTITY[name])
    device = choose_device(config.device)
    network = cast(IResNet, loaded.network.to(device))
    if loaded.mirrored:
        return recognisers.Encoder(
            name, loaded.path.name, teacher, lambda crops: both_ways(network, crops.to(device)), network.size
        )
    return recognisers.Encoder(name, loaded.path.name, teacher, lambda crops: network(crops.to(device)), None)


def _sface(config: EvaluateConfig) -> Path:
    path = _path(config.sface or os.environ.get("GHOST_SFACE"))
    if path is None or not is_file(path):
        missing = f"; {path} does not exist" if path else ""
        raise WeightsError(
            "--recogniser sface needs face_recognition_sface_2021dec.onnx of OpenCV's model zoo: give --sface "
            f"or GHOST_SFACE{missing}"
        )
    return path


def load_landmarker(name: str, config: EvaluateConfig) -> landmarkers.Landmarker:
    """A landmarker of utils.evaluation.config.LANDMARKERS; raises ResourceError or WeightsError where it is missing."""
    from coordinate_reg.landmarks import EmbeddedLandmarks, PublishedLandmarks

    if name == "mediapipe":
        return landmarkers.MediaPipe(_face_landmarker(config))
    device = choose_device(config.device)
    if name == "2d106":
        path = registry.require("2d106det")
        return landmarkers.OnCrop("2d106", path.name, PublishedLandmarks(open_session(path, device)))
    loaded = registry.load_landmarks(registry.require(registry.EMBEDDED_LANDMARKS))
    return landmarkers.OnCrop("embedded", loaded.path.name, EmbeddedLandmarks(loaded.network, device))


def _face_landmarker(config: EvaluateConfig) -> Path:
    path = _path(config.face_landmarker or os.environ.get("GHOST_FACE_LANDMARKER"))
    if path is None:
        raise WeightsError(
            "--landmarker mediapipe needs MediaPipe's face_landmarker.task: give --face_landmarker or "
            "GHOST_FACE_LANDMARKER, or choose --landmarker embedded"
        )
    return path


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def read_picture(photo: LabelledPhoto) -> np.ndarray:
    """(H, W, 3) uint8 BGR, upright, in the colours that the pipeline sees; raises InputError."""
    return read_in_srgb(photo.path)


class PipelineSwap:
    """The pipeline of inference.py, up to the final picture."""

    def __init__(self, config: EvaluateConfig) -> None:
        """Raises WeightsError, OptionError, ResourceError."""
        from utils.inference.pipeline import load_pipeline

        options: dict[str, Any] = {name: getattr(config, name) for name in SHARED}
        options |= {"G_path": config.G_path, "given": ("G_path",)} if config.G_path else {}
        self.pipeline: SwapPipeline = load_pipeline(InferenceConfig(select="largest", **options))
        self._source: Path | None = None

    @property
    def models(self) -> list[dict[str, Any]]:
        """What swaps: role, name and licence of each model."""
        keys = ("role", "name", "licence")
        return [{key: getattr(entry, key) for key in keys} for entry in self.pipeline.stages.models]

    def __call__(self, source: Portrait, target: Portrait) -> np.ndarray:
        """The target's picture with the source's identity; raises NobodyMatchedError where it stays as it was."""
        if source.photo.path != self._source:
            self.pipeline.set_sources([source.photo.path])
            self._source = source.photo.path
        (result,) = self.pipeline.run([Frame(target.image)], careful=True)
        if not result.report.swapped:
            reasons = ", ".join(result.report.skipped.elements()) or "no face found"
            raise NobodyMatchedError(f"{target.photo.path}: not swapped ({reasons})")
        return result.image
