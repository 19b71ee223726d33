"""How a face moved between two frames, seen in the pictures: far steadier than finding its key points twice."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from utils.inference.keypoints import face_size
from utils.inference.warp import warp
from utils.io.frame import Pixels, to_uint8

_SIDE = 128  # of the patches that are compared, pixels
_EYES = 36.0  # face size there
_GRID = np.stack(np.meshgrid(np.arange(34, 95, 6), np.arange(34, 101, 6)), axis=-1).reshape(-1, 1, 2).astype(np.float32)
_LEAST_FOLLOWED = 24  # points
_STRAY = 1.0  # pixels of a patch by which a followed point may deviate from the common motion
_LEVELS = (1, 2)  # of the pyramids: the second one for motion that the first does not catch, at twice the time
_FLOW = {"winSize": (11, 11), "criteria": (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 15, 0.01)}
_LEAST_WEIGHT = 0.02  # of a detection that agrees with the motion
_TURNED_WEIGHT = 0.25  # of a detection of another pose: with more, key points would jump
_TURNED = 0.1  # face sizes by which one point is off, from which it is another pose
_ELSEWHERE = 0.12  # face sizes by which all points are off, from which the detection alone counts
_FAR = 0.5  # the same for one point


def _patch(image: Pixels, M_frame2patch: np.ndarray) -> np.ndarray:
    """(128, 128) uint8 grey around a face; of decoded frames their luma, which spares them a conversion to colours."""
    if isinstance(image, np.ndarray):
        return cv2.cvtColor(to_uint8(warp(image, M_frame2patch, (_SIDE, _SIDE), average=False)), cv2.COLOR_BGR2GRAY)
    return image.layout.to_bytes(warp(image.luma, M_frame2patch, (_SIDE, _SIDE), average=False))


def _good(before: np.ndarray, after: np.ndarray, level: int) -> tuple[np.ndarray, np.ndarray]:
    """Points of the grid in one patch and where they are in the next, (N, 1, 2) float32 each."""
    flow: dict[str, Any] = {**_FLOW, "maxLevel": level}
    moved, found, _ = cv2.calcOpticalFlowPyrLK(before, after, _GRID, None, **flow)  # type: ignore[call-overload]
    back, returned, _ = cv2.calcOpticalFlowPyrLK(after, before, moved, None, **flow)  # type: ignore[call-overload]
    same = np.linalg.norm(back - _GRID, axis=-1)[:, 0] < _STRAY / 2
    kept = same & (found[:, 0] > 0) & (returned[:, 0] > 0)
    return _GRID[kept], moved[kept]


def _common(points: np.ndarray, moved: np.ndarray) -> np.ndarray | None:
    """The affine map (2, 3) that most points agree on; None where too few do."""
    if len(points) < _LEAST_FOLLOWED:
        return None
    motion, agreed = cv2.estimateAffine2D(points, moved, method=cv2.RANSAC, ransacReprojThreshold=_STRAY)
    return motion if motion is not None and agreed.sum() >= _LEAST_FOLLOWED else None


def between(before: Pixels, after: Pixels, kps: np.ndarray) -> np.ndarray | None:
    """How a face moved from one frame to the next, by the motion of the pictures.

    before, after: (H, W, 3) uint8 or uint16 BGR; of decoded frames luma alone is looked at. kps: (5, 2) float32, pixels
    (x, y), in `before`.
    Returns the map (2, 3) float64 from `before` to `after`, or None where the pictures do not tell.
    Source: Lucas-Kanade flow forth and back on a grid, and the affine map that most of its points agree on.
    """
    scale = _EYES / face_size(kps)
    M = np.column_stack([np.eye(2) * scale, _SIDE / 2 - scale * kps.mean(axis=0)])
    patches = _patch(before, M), _patch(after, M)
    motion = next((found for level in _LEVELS if (found := _common(*_good(*patches, level))) is not None), None)
    if motion is None:
        return None
    shift = (motion[:, :2] @ M[:, 2] + motion[:, 2] - M[:, 2]) / scale
    return np.column_stack([motion[:, :2], shift])


def settle(carried: np.ndarray, found: np.ndarray, age: int) -> np.ndarray:
    """Key points from where motion carried them and where the detector found them, (5, 2) float32 each.

    All detections count alike at first, old ones less with time. The more a point disagrees, the more the newest
    counts: the face turned. Where all points, or one by far, are elsewhere, the face did not move like the picture, and
    the newest alone counts.
    age: number of frames for which the face has been followed.
    """
    off = np.linalg.norm(found - carried, axis=-1) / face_size(found)
    if off.min() > _ELSEWHERE or off.max() > _FAR:
        return found
    turned = _TURNED_WEIGHT * min(1.0, float(off.max()) / _TURNED) ** 2
    weight = max(_LEAST_WEIGHT, 1.0 / (age + 1.0), turned)
    return (carried + weight * (found - carried)).astype(np.float32)
