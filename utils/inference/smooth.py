"""Steady key points: a symmetric average over neighbouring frames, and one alignment template per track."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from utils.inference.align import BASE
from utils.inference.keypoints import face_size
from utils.inference.recent import Recent

RADIUS = 2  # frames on either side
_JUMP = 1.0 / 16.0  # of the face's size: 5 pixels on a face with eyes 80 pixels apart, usual at 1080p
_REAL_MOTION = 4.0  # pixels of a 224 crop by which a landmark does not tremble
_LEAST_WEIGHT = 0.3  # of the newest landmarks
_CLEARLY_BETTER = 0.8  # another template has to have this part of the present one's error, or less
_GLIDE = 10  # frames from one template to the next: generators paint another picture in another framing

TemplateErrors = Callable[[np.ndarray], np.ndarray]  # kps (5, 2) -> (5,) sums of point distances, crop pixels


def jumped(before: np.ndarray, after: np.ndarray) -> bool:
    """Whether eyes or nose moved too far between two frames to be averaged.

    before, after: (5, 2) float, pixels (x, y).
    """
    moved = np.abs(after[:3] - before[:3]).max()
    return bool(moved > _JUMP * max(face_size(before), face_size(after)))


def smooth(kps: Sequence[np.ndarray | None], centre: int) -> np.ndarray:
    """Average a face's key points over a symmetric window of up to two frames on either side of `centre`.

    kps: (5, 2) float per consecutive frame, pixels; None where the face is missing or another scene is shown.
    The window shrinks at the ends of a run; a run also ends where eyes or nose jump.
    Returns (5, 2) float32.
    """
    middle = kps[centre]
    assert middle is not None
    window = [middle]
    for offset in range(1, RADIUS + 1):
        low, high = centre - offset, centre + offset
        if low < 0 or high >= len(kps):
            break
        before, after = kps[low], kps[high]
        if before is None or after is None or jumped(before, window[0]) or jumped(window[-1], after):
            break
        window = [before, *window, after]
    return np.stack(window).mean(axis=0, dtype=np.float64).astype(np.float32)


class SteadyLandmarks:
    """Landmarks of each track, freed of what trembles from frame to frame; real motion passes at once.

    Source: the idea of the 1 Euro filter, Casiez et al., CHI 2012: smooth less the faster it moves.
    """

    def __init__(self) -> None:
        self._last: Recent[np.ndarray] = Recent()

    def settle(self, track: int, landmarks: np.ndarray, size: int = BASE) -> np.ndarray:
        """Next landmarks (N, 2) float of a track, in an aligned crop with sides of `size`; returns them steadied, like
        the input."""
        last = self._last.get(track, landmarks)
        moved = np.linalg.norm(landmarks - last, axis=-1, keepdims=True) * (BASE / size) / _REAL_MOTION
        result = last + np.clip(moved, _LEAST_WEIGHT, 1.0) * (landmarks - last)
        self._last[track] = result
        self._last.shrink()
        return result


class Templates:
    """The alignment template that each track keeps until another one fits clearly better, and glides to then.

    Templates are numbered from one profile to the other, so that what lies between two of them is a pose, too.
    """

    def __init__(self, errors: TemplateErrors) -> None:
        self._errors = errors
        self._chosen: dict[int, int] = {}
        self._steps: dict[int, int] = {}  # where each track is on its way, in parts of 1 / _GLIDE

    def choose(self, track: int, kps: np.ndarray) -> float:
        """Template 0..4, or between two of them, for a track whose face has the key points (5, 2) in its next frame."""
        errors = self._errors(kps)
        best = int(np.argmin(errors))
        current = self._chosen.get(track, best)
        if errors[best] < _CLEARLY_BETTER * errors[current]:
            current = best
        self._chosen[track] = current
        step = self._steps.get(track, current * _GLIDE)
        step += int(np.sign(current * _GLIDE - step))
        self._steps[track] = step
        return step / _GLIDE

    def keep_only(self, tracks: set[int]) -> None:
        """Forget the tracks that have ended."""
        for known in (self._chosen, self._steps):
            for track in known.keys() - tracks:
                del known[track]
