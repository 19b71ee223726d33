"""People whom something in front of them covers for a while; no networks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from utils.inference.track import Selection, TrackedFrame, follow
from utils.inference.types import Face
from utils.io.frame import Frame

SHAPE = (120, 400, 3)
KPS = np.array([[-10, -10], [10, -10], [0, 2], [-8, 10], [8, 10]], np.float32)
KNOWN, COVER, LIGHT = np.eye(3)


def run(
    people: dict[float, Sequence[np.ndarray | None]], references: Sequence[np.ndarray] = (KNOWN,)
) -> list[TrackedFrame]:
    """Follow faces whose nose is at some x.

    people: x -> per frame what a look at this face gives; None where there is no face.
    """
    def embed(frame: Frame, faces: list[Face]) -> np.ndarray:
        return np.stack([people[float(face.kps[2, 0])][frame.index] for face in faces])  # type: ignore[arg-type]

    def face(x: float) -> Face:
        return Face(np.array([x - 18, 40, x + 18, 80], np.float32), 1.0, KPS + np.float32([x, 58]))

    picture = np.full(SHAPE, 40, np.uint8)
    frames = [(Frame(picture, index), [face(x) for x, like in people.items() if like[index] is not None])
              for index in range(len(next(iter(people.values()))))]
    selection = Selection(references=np.stack(references), threshold=0.4)
    return list(follow(frames, embed, selection, lambda kps: np.arange(5.0)))


def look(like: float, rest: np.ndarray = COVER) -> np.ndarray:
    """A unit embedding (2,) that is so like KNOWN."""
    return like * KNOWN + np.sqrt(1.0 - like**2) * rest


def swapped(tracked: TrackedFrame) -> list[tuple[float, int]]:
    """(x, person) of faces that get a source."""
    return [(float(face.kps[2, 0]), face.person) for face in tracked.faces]


def test_who_is_partly_covered_for_a_while_stays_the_same() -> None:
    out = run({100.0: [KNOWN] * 10 + [look(0.3)] * 10 + [KNOWN] * 20})
    assert [swapped(t) for t in out] == [[(100.0, 0)]] * 40 and len({f.track for t in out for f in t.faces}) == 1


def test_a_look_that_is_like_the_reference_speaks_for_nobody_else() -> None:
    dim = look(0.45, LIGHT)
    out = run({100.0: [look(0.45)] * 57 + [dim] * 10 + [look(0.45)] * 23})
    assert [swapped(t) for t in out] == [[(100.0, 0)]] * 90 and len({f.track for t in out for f in t.faces}) == 1


def test_who_comes_out_from_behind_something_is_shown_from_the_first_frame_on() -> None:
    out = run({100.0: [KNOWN] * 10 + [None] * 2 + [look(0.1)] * 5 + [KNOWN] * 20})
    assert [len(t.faces) for t in out] == [1] * 10 + [0] * 2 + [1] * 25


def test_one_look_at_a_stranger_takes_nobody_over_who_is_in_sight() -> None:
    out = run({100.0: [look(0.55)] * 40, 250.0: [look(0.1)] * 12 + [look(0.9)] * 3 + [look(0.1)] * 25})
    assert [swapped(t) for t in out] == [[(100.0, 0)]] * 40


@pytest.mark.parametrize(("like", "swaps"), [(0.1, 34), (0.3, 40)])
def test_a_dissolve_to_somebody_who_is_a_little_alike_takes_a_little_longer(like: float, swaps: int) -> None:
    """The face is looked at every ten frames, and every other one once it is somebody else's."""
    out = run({100.0: [KNOWN] * 30 + [look(like)] * 30})
    assert [len(t.faces) for t in out] == [1] * swaps + [0] * (60 - swaps)


def test_a_dissolve_to_another_reference_does_not() -> None:
    out = run({100.0: [KNOWN] * 30 + [look(0.3)] * 30}, [KNOWN, look(0.2)])
    assert [swapped(t) for t in out] == [[(100.0, 0)]] * 34 + [[(100.0, 1)]] * 26
