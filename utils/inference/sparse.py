"""Look for faces in every few frames of a video, and follow them through the frames between by how the picture moves.

Where the faces that were followed are not just those that are found again, where one of them could not be followed, and
where there is none to follow, every frame is searched. What stays unseen: a face that appears after one search and is
gone before the next, after EVERY - 1 frames at most, while all others are followed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from utils.inference import motion
from utils.inference.keypoints import face_size
from utils.inference.report import Stage
from utils.inference.types import Face
from utils.inference.warp import apply
from utils.io.frame import Frame

EVERY = 18  # frames from one search to the next
FIRST = 14  # the same at the beginning: with these a first batch of eight frames has those ahead that it waits for
_MOST = 6  # faces; following more costs as much as searching
_MOST_BYTES = 2**28  # of frames that wait for the search in the last of them: ten of 3840x2160
_APART = 0.2  # eye distances by which a face may be found off where it was followed to

Detect = Callable[[np.ndarray], list[Face]]
Found = tuple[Frame, list[Face]]


class Searched(NamedTuple):
    """Frames that come one after another, and the faces of the newest."""

    frames: list[Frame]
    found: list[Face]


def search(frames: Iterable[Frame], detect: Detect) -> Iterator[Searched]:
    """All frames in order, in groups of EVERY at most.

    detect: a picture to its faces, best score first.
    """
    last: Searched | None = None
    waiting: list[Frame] = []
    every = FIRST
    for frame in frames:
        waiting.append(frame)
        full = len(waiting) == every or len(waiting) * frame.pixels.nbytes >= _MOST_BYTES
        if last is None or not 0 < len(last.found) <= _MOST or full:
            every = EVERY if full else every
            last, waiting = Searched(waiting, detect(frame.image)), []
            yield last
    if waiting:
        yield Searched(waiting, detect(waiting[-1].image))


def fill_in(groups: Iterable[Searched], detect: Detect, stage: Stage) -> Iterator[Found]:
    """The frames of `search` with their faces, at most EVERY - 1 frames after they came in. The groups are empty then.

    stage: counts the time spent following.
    """
    last: Found | None = None
    for group in groups:
        found = _between(last, group, detect, stage)
        last = found[-1]
        group.frames.clear()  # here and below: no frame is kept that has passed
        found.reverse()
        while found:
            yield found.pop()


def _between(last: Found | None, group: Searched, detect: Detect, stage: Stage) -> list[Found]:
    """Faces of frames that come right after `last`."""
    frames, found = group
    if len(frames) > 1 and last is not None:
        with stage("track"):
            faces = _follow(last, frames, found)
        if faces is not None:
            return list(zip(frames, faces, strict=True))
    return [*((frame, detect(frame.image)) for frame in frames[:-1]), (frames[-1], found)]


def _follow(last: Found, waiting: Sequence[Frame], found: list[Face]) -> list[list[Face]] | None:
    """Faces of all frames, of which the newest shows `found`; None where it is not sure who went where."""
    if len(found) != len(last[1]):
        return None
    ways: list[list[Face]] = []
    taken: list[Face] = []
    for face in last[1]:
        moves = _moves(face.kps, (last[0], *waiting))
        end = None if moves is None else _carried(face.kps, moves)
        goal = None if end is None else _same(end, found)
        if moves is None or end is None or goal is None or any(goal is other for other in taken):
            return None
        taken.append(goal)
        ways.append(_way(face, goal, moves, goal.kps - end))
    return [list(faces) for faces in zip(*ways, strict=True)]


def _moves(kps: np.ndarray, frames: Sequence[Frame]) -> list[np.ndarray] | None:
    """Maps (2, 3) from each frame to the next for a face that has these key points in the first of them."""
    result: list[np.ndarray] = []
    for before, after in zip(frames, frames[1:], strict=False):
        same_size = before.pixels.shape == after.pixels.shape
        moved = motion.between(before.pixels, after.pixels, kps) if same_size else None
        if moved is None:
            return None
        result.append(moved)
        kps = apply(moved, kps).astype(np.float32)
    return result


def _carried(kps: np.ndarray, moves: Sequence[np.ndarray]) -> np.ndarray:
    """Key points after some moves."""
    for moved in moves:
        kps = apply(moved, kps)
    return kps


def _same(kps: np.ndarray, found: Sequence[Face]) -> Face | None:
    """The face that is where these key points are."""
    off = [float(np.linalg.norm(face.kps - kps, axis=-1).mean()) / face_size(face.kps) for face in found]
    return found[int(np.argmin(off))] if min(off) < _APART else None


def _way(face: Face, goal: Face, moves: Sequence[np.ndarray], correction: np.ndarray) -> list[Face]:
    """A face in all frames up to that in which it was found again.

    correction: (5, 2), what the search changed; the frames between get their share of it.
    """
    result = []
    for i in range(1, len(moves)):
        share = i / len(moves)
        kps = _carried(face.kps, moves[:i]) + share * correction
        box = (1.0 - share) * face.box + share * goal.box
        result.append(Face(box.astype(np.float32), face.score, kps.astype(np.float32), moves[i - 1]))
    return [*result, replace(goal, moved=moves[-1])]
