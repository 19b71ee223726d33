"""Look for faces in every few frames of a video, and follow them through the frames between by how the picture moves.

Nothing is missed: where the faces that were followed are not just those that are found again, where one of them could
not be followed, and where there is none to follow, every frame is searched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager

import numpy as np

from utils.inference import motion
from utils.inference.associate import face_size
from utils.inference.types import Face, Frame

EVERY = 4  # frames from one search to the next
_MOST = 6  # faces; following more costs as much as searching
_APART = 0.2  # eye distances by which a face may be found off where it was followed to

Detect = Callable[[np.ndarray], list[Face]]
Stage = Callable[[str], AbstractContextManager[None]]
Found = tuple[Frame, list[Face]]


def detect_sparsely(frames: Iterable[Frame], detect: Detect, stage: Stage) -> Iterator[Found]:
    """Frames in order with their faces, at most EVERY - 1 frames after they came in.

    detect: a picture to its faces, best score first. stage: counts the time spent following.
    """
    last: Found | None = None
    waiting: list[Frame] = []
    for frame in frames:
        waiting.append(frame)
        if last is None or not 0 < len(last[1]) <= _MOST or len(waiting) == EVERY:
            group = _search(last, waiting, detect, stage)
            last, waiting = group[-1], []
            yield from group
    if waiting:
        yield from _search(last, waiting, detect, stage)


def _search(last: Found | None, waiting: Sequence[Frame], detect: Detect, stage: Stage) -> list[Found]:
    """Faces of frames that come right after `last`."""
    *between, newest = waiting
    found = detect(newest.image)
    faces: list[list[Face]] | None = None
    if between and last is not None:
        with stage("track"):
            faces = _follow(last, waiting, found)
    if faces is None:
        faces = [detect(frame.image) for frame in between]
    return [*zip(between, faces, strict=True), (newest, found)]


def _follow(last: Found, waiting: Sequence[Frame], found: list[Face]) -> list[list[Face]] | None:
    """Faces of all frames but the newest, where `found` are; None where that is not sure."""
    if len(found) != len(last[1]):
        return None
    paths = [_path(face.kps, (last[0], *waiting)) for face in last[1]]
    goals: list[Face] = []
    for path in paths:
        goal = None if path is None else _same(path[-1], found)
        if goal is None or any(goal is other for other in goals):
            return None
        goals.append(goal)
    count = len(waiting)
    return [[_between(face, goal, path, i / count) for face, goal, path in zip(last[1], goals, paths, strict=True)
             if path is not None] for i in range(1, count)]


def _path(kps: np.ndarray, frames: Sequence[Frame]) -> list[np.ndarray] | None:
    """Key points (5, 2) in each of some frames, from those in the first; None where the picture does not tell."""
    path = [kps]
    for before, after in zip(frames, frames[1:], strict=False):
        if before.image.shape != after.image.shape:
            return None
        moved = motion.carry(before.image, after.image, path[-1])
        if moved is None:
            return None
        path.append(moved)
    return path


def _same(kps: np.ndarray, found: Sequence[Face]) -> Face | None:
    """The face that is where these key points are."""
    off = [float(np.linalg.norm(face.kps - kps, axis=-1).mean()) / face_size(face.kps) for face in found]
    return found[int(np.argmin(off))] if min(off) < _APART else None


def _between(face: Face, goal: Face, path: Sequence[np.ndarray], share: float) -> Face:
    """A face on its way: where it was followed to, and a share of what the next search corrected."""
    kps = path[round(share * (len(path) - 1))] + share * (goal.kps - path[-1])
    box = (1.0 - share) * face.box + share * goal.box
    return Face(box.astype(np.float32), face.score, kps.astype(np.float32))
