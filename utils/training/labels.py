"""The landmarks that the small networks learn from."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from utils import registry
from utils.progress import counted, silenced
from utils.teachers.landmarks106 import to_106
from utils.teachers.mediapipe import MediaPipeLandmarks
from utils.training.faces import Faces

LABELLED = 0.5  # presence that MediaPipe must report for a face to be learned from


def label(faces: Faces, path: str) -> tuple[Tensor, np.ndarray]:
    """MediaPipe's 106 landmarks of faces in memory (N, 106, 2), pixels of the stored crops, and how sure it is (N,).

    Raises WeightsError, ResourceError.
    """
    assert faces.images is not None
    teacher = MediaPipeLandmarks(registry.resolve_file(path))
    border = (faces.framing.side - faces.framing.face) / 2
    M = np.array([[1.0, 0.0, -border], [0.0, 1.0, -border]])
    images = counted(faces.images.cpu(), "crops labelled", silenced())
    pictures = (image.permute(1, 2, 0).flip(2).contiguous().numpy() for image in images)
    meshes = [teacher.in_image(picture, M, faces.framing.face) for picture in pictures]
    points = np.stack([to_106(mesh.points) for mesh in meshes])
    return torch.from_numpy(points), np.array([mesh.score for mesh in meshes], np.float32)
