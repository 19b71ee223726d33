"""Swaps of faces that enter or leave a video's frame, which come and go over some frames: of half a face detectors and
generators guess the rest, and at the next frame's half nobody finds it."""

from __future__ import annotations

import cv2
import numpy as np

from utils.inference.recent import Recent
from utils.inference.visibility import rising
from utils.inference.warp import apply, invert

_INSIDE = (0.4, 0.9)  # shares of a face's middle within the frame: hidden to the first, shown whole from the second on
_STEP = 0.25  # by which the share of a swap that is shown rises from frame to frame at most


class TrackEdges:
    """How much of a stream's swaps the frame's edge leaves to be shown."""

    def __init__(self) -> None:
        self._shown: Recent[float] = Recent()  # by track

    def share(self, track: int, inside: float) -> float:
        """0..1; it falls with the face, and rises no faster than by a step a frame, since what is found of a face that
        enters seems to lie within the frame. inside: see `share_inside`."""
        self._shown.shrink()
        last = self._shown.get(track, float(inside == 1))
        self._shown[track] = min(rising(inside, *_INSIDE), last + _STEP)
        return self._shown[track]


def share_inside(M_frame2crop: np.ndarray, size: int, shape: tuple[int, ...]) -> float:
    """Share, 0..1, of the middle of a face's crop (`align.middle`) that lies within a frame.

    M_frame2crop: (2, 3). size: side of the crop. shape: of the frame, (H, W, ...).
    """
    height, width = shape[:2]
    start, end = size / 4 - 0.5, size * 3 / 4 - 0.5
    middle = apply(invert(M_frame2crop), np.array([(start, start), (end, start), (end, end), (start, end)]))
    if (middle >= -0.5).all() and (middle <= (width - 0.5, height - 0.5)).all():
        return 1.0
    frame = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32) - np.float32(0.5)
    corners = middle.astype(np.float32)
    return float(cv2.intersectConvexConvex(corners, frame)[0] / cv2.contourArea(corners))
