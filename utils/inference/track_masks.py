"""Masks of a stream's swaps, which neither jump nor tremble from frame to frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from utils.inference import align, mask, rim
from utils.inference.exposure import exposure_of
from utils.inference.keypoints import yaw
from utils.inference.recent import Recent
from utils.inference.report import Stage
from utils.inference.smooth import SteadyLandmarks
from utils.inference.types import FrameFaces, Swap, TrackedFace
from utils.io.frame import Frame

if TYPE_CHECKING:
    from coordinate_reg.landmarks import Landmarks
    from utils.inference.settings import SwapSettings


class TrackMasks:
    """Soft masks for the faces of one stream; a track keeps the parameters of its first frame; where the
    frame's edge cuts the face off there, they are chosen anew at the first whole view."""

    def __init__(self, landmarks: Landmarks, settings: SwapSettings, size: int) -> None:
        """size: sides of the masks, pixels."""
        self._find, self._size = landmarks.find, size
        self._margin, self._contrast = settings.mask_margin, settings.rim_contrast
        self._least = settings.least_contrast
        self._params: Recent[tuple[mask.MaskParams, bool]] = Recent()  # by track; whether of a whole face
        self._steady = SteadyLandmarks()

    def settle(self, faces: FrameFaces, after: np.ndarray) -> list[np.ndarray]:
        """Steady landmarks (106, 2) of the swaps.

        after: (N, 106, 2) float32, as they were found, pixels of the masks.
        """
        return [self._steady.settle(face.track, points, self._size)
                for (_, face), points in zip(faces, after, strict=True)]

    def draw(
        self, faces: FrameFaces, swaps: Sequence[Swap], settled: Sequence[np.ndarray], stage: Stage
    ) -> list[np.ndarray]:
        """N masks (size, size) float32 [0, 1].

        settled: landmarks of the swaps, see `settle`.
        """
        self._params.shrink()
        params = [self._choose(frame, face, points, stage)
                  for points, (frame, face) in zip(settled, faces, strict=True)]
        with stage("mask"):
            return [self._draw(face, swap, points, chosen)
                    for swap, points, chosen, (_, face) in zip(swaps, settled, params, faces, strict=True)]

    def _choose(self, frame: Frame, face: TrackedFace, points: np.ndarray, stage: Stage) -> mask.MaskParams:
        """The numbers of one face's mask; points: (106, 2) float32, settled landmarks of the swap."""
        whole = align.is_whole(face.kps, frame.pixels.shape)
        if face.track not in self._params or (whole and not self._params[face.track][1]):
            with stage("landmarks"):
                target = align.cut(frame.pixels, face.kps, self._size, face.template).image
                # In the light in which the swaps' own are found, too.
                before = self._find([exposure_of(target, self._least).applied(target)])[0]
            self._params[face.track] = mask.choose_params(points, before, self._margin, self._size), whole
        return self._params[face.track][0]

    def _draw(self, face: TrackedFace, swap: Swap, points: np.ndarray, params: mask.MaskParams) -> np.ndarray:
        """One face's mask; points: (106, 2) float32, settled landmarks of the swap."""
        soft = mask.draw(points, params, self._size)
        if not self._contrast:
            return soft
        return rim.limit_mask(soft, points, swap.image, swap.target, self._contrast, yaw(face.kps))
