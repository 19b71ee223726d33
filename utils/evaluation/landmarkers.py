"""Landmarkers to measure pose, expression and gaze with; all give the project's 106 points in picture pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from utils.inference.align import BASE, cut, estimate
from utils.inference.warp import apply, invert


class Landmarker(Protocol):
    """Finds the 106 points of one face."""

    name: str
    network: str  # what it is, for the report

    def find(self, image: np.ndarray, kps: np.ndarray) -> np.ndarray:
        """image: (H, W, 3) uint8 BGR. kps: (5, 2) float, its pixels. Returns (106, 2) float64, its pixels."""
        ...


class OnCrop:
    """The pipeline's own landmarks, embedded or published, on the aligned crop."""

    def __init__(self, name: str, network: str, landmarks: Any) -> None:
        """landmarks: coordinate_reg.landmarks.Landmarks."""
        self.name, self.network, self._landmarks = name, network, landmarks

    def find(self, image: np.ndarray, kps: np.ndarray) -> np.ndarray:
        """Cut, find, map back."""
        crop = cut(image, kps, BASE)
        return apply(invert(crop.M_frame2crop), self._landmarks.find([crop.image])[0].astype(np.float64))


class MediaPipe:
    """MediaPipe's face mesh, run without its detector; a teacher of the embedded landmarks."""

    name, network = "mediapipe", "MediaPipe face_landmarker (478 points, 106 chosen)"

    def __init__(self, path: Path) -> None:
        """path: face_landmarker.task or the .tflite in it. Raises WeightsError, ResourceError."""
        from utils.teachers.mediapipe import MediaPipeLandmarks

        self._mesh = MediaPipeLandmarks(path)

    def find(self, image: np.ndarray, kps: np.ndarray) -> np.ndarray:
        """In the whole picture, which shows more than the crop."""
        from utils.teachers.landmarks106 import to_106

        matrix, _ = estimate(kps, BASE)
        return to_106(self._mesh.in_image(image, matrix, BASE).points).astype(np.float64)
