"""Faces of people who lie or stand on their heads, which detectors do not know: photos are searched turned as well."""

from __future__ import annotations

import numpy as np

from utils.inference.detect import Detector, overlap
from utils.inference.keypoints import roll
from utils.inference.types import Face

_SURE = 0.65  # score of a detection that nobody need look at again
_MOST_ROLL = 45.0  # degrees; a face that is tilted further is upright in the picture turned by a quarter
_SAME = 0.3  # overlap from which two detections are one face


def _back(face: Face, quarters: int, size: tuple[int, int]) -> Face:
    """A face of the picture turned left by some quarters in that of `size` (width, height) itself."""
    width, height = size

    def point(points: np.ndarray) -> np.ndarray:
        x, y = points[..., 0], points[..., 1]
        places = {1: (width - 1 - y, x), 2: (width - 1 - x, height - 1 - y), 3: (y, height - 1 - x)}
        return np.stack(places[quarters], axis=-1).astype(np.float32)

    corners = point(face.box.reshape(2, 2))
    return Face(np.concatenate([corners.min(axis=0), corners.max(axis=0)]), face.score, point(face.kps))


class AnyWayUp:
    """A detector that looks for faces of any direction where time allows it."""

    def __init__(self, detector: Detector) -> None:
        self._detector, self.providers = detector, detector.providers

    def detect(self, image: np.ndarray, careful: bool = False) -> list[Face]:
        """All faces, best score first; see Detector. careful: also those that are upright in the picture turned by
        quarters, where some were not found for sure or none at all."""
        found = self._detector.detect(image, careful)
        sure = [face for face in found if face.score >= _SURE and roll(face.kps) <= _MOST_ROLL]
        if not careful or (found and len(sure) == len(found)):
            return found
        others = [face for face in found if roll(face.kps) <= _MOST_ROLL]
        for quarters in (1, 2, 3):
            turned = self._detector.detect(np.ascontiguousarray(np.rot90(image, quarters)), careful)
            others += [_back(face, quarters, image.shape[1::-1]) for face in turned if roll(face.kps) <= _MOST_ROLL]
        for face in sorted(others, key=lambda face: -face.score):
            if all(overlap(face, other) <= _SAME for other in sure):
                sure.append(face)
        return sorted(sure or found, key=lambda face: -face.score)
