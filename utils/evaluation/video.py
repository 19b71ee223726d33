"""Steadiness of a swapped video, beside the video that it was made from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from utils.errors import InputError
from utils.evaluation import pixels
from utils.evaluation.landmarkers import Landmarker
from utils.inference.align import estimate
from utils.inference.detect import Detector
from utils.inference.track import most_prominent
from utils.inference.warp import apply, warp
from utils.io.frame import to_uint8
from utils.progress import progress

_SIDE = 128
_FRONTAL = 2  # one template for the whole video: a switch would look like flicker


class Steadiness:
    """Collects what changes from frame to frame in the aligned face of a result and of its target, as long as there is
    one: after frames without a face, it begins anew."""

    def __init__(self, detector: Detector, landmarker: Landmarker) -> None:
        self._detector, self._landmarker = detector, landmarker
        # Each of the result and of the target.
        self._before: list[np.ndarray | None] = [None, None]  # the last aligned face, (S, S, 3) float64
        self._inside: np.ndarray | None = None  # where it was, (S, S) bool
        self._eyes: list[float] = []  # their distance in each frame, pixels
        self._changes: tuple[list[float], list[float]] = ([], [])  # levels from frame to frame
        self._runs: list[tuple[list[np.ndarray], list[np.ndarray]]] = []  # landmarks of frames in a row, frame pixels

    def add(self, result: np.ndarray, target: np.ndarray) -> None:
        """Two frames (H, W, 3) uint8 BGR of the same moment; both are aligned by the target's face."""
        faces = self._detector.detect(target)
        if not faces:
            self._before, self._inside = [None, None], None
            return
        if self._inside is None:
            self._runs.append(([], []))
        kps = faces[most_prominent(faces, target.shape)].kps
        matrix, _ = estimate(kps, _SIDE, _FRONTAL)
        self._eyes.append(float(np.linalg.norm(kps[1] - kps[0])))
        for i, frame in enumerate((result, target)):
            self._runs[-1][i].append(self._landmarker.find(frame, kps))
        inside = pixels.face_mask((_SIDE, _SIDE), apply(matrix, self._runs[-1][0][-1]))
        both = inside if self._inside is None else inside & self._inside
        for i, frame in enumerate((result, target)):
            self._compare(i, warp(frame, matrix, (_SIDE, _SIDE)).astype(np.float64), both)
        self._inside = inside

    def _compare(self, i: int, crop: np.ndarray, inside: np.ndarray) -> None:
        """inside: of the face in this frame and in the one before; what enters or leaves it is no flicker."""
        before = self._before[i]
        if before is not None and inside.any():
            self._changes[i].append(float(np.abs(crop - before)[inside].mean()))
        self._before[i] = crop

    @property
    def frames(self) -> int:
        """Frames with a face so far."""
        return len(self._eyes)

    def summary(self) -> dict[str, float]:
        """Flicker in levels and jitter in eye distances, of the result and of the target."""
        flickers = [float(np.mean(changes)) if changes else 0.0 for changes in self._changes]
        # One distance for all frames: its own noise would move a face that is far from the frame's corner.
        jitters = [jitter([run[i] for run in self._runs]) / float(np.median(self._eyes)) for i in range(2)]
        names = ("flicker", "flicker_target", "jitter", "jitter_target")
        return dict(zip(names, flickers + jitters, strict=True)) | {"frames": self.frames}


def jitter(runs: Iterable[Sequence[np.ndarray]]) -> float:
    """Mean length of the second difference over time of landmarks (106, 2), of several runs of frames: steady motion
    counts 0."""
    lengths = [np.linalg.norm(np.diff(np.stack(run), n=2, axis=0), axis=2) for run in runs if len(run) > 2]
    return float(np.concatenate(lengths).mean()) if lengths else 0.0


def measure(
    result: Path, target: Path, detector: Detector, landmarker: Landmarker, quiet: bool = True
) -> dict[str, float]:
    """Compare two videos frame by frame; raises InputError where they do not belong together."""
    from utils.io.video import open_video

    steadiness = Steadiness(detector, landmarker)
    with (
        open_video(result) as made,
        open_video(target) as known,
        progress(known.info.frames, quiet, "frames") as advance,
    ):
        for frames in zip(made.frames, known.frames, strict=False):
            swapped, original = (to_uint8(frame.image) for frame in frames)
            height, width = original.shape[:2]
            if abs(swapped.shape[0] - height) > 1 or abs(swapped.shape[1] - width) > 1:
                raise InputError(f"{result} has another size than {target}; give the video that it was made from")
            steadiness.add(swapped[:height, :width], original)
            advance()
    if not steadiness.frames:
        raise InputError(f"{target}: no face found in any frame")
    return steadiness.summary()
