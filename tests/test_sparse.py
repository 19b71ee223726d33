"""Faces looked for in every few frames: followed where that is sure, searched where it is not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import cv2
import numpy as np
import pytest

from utils.inference import sparse
from utils.inference.report import RunReport, profile_table
from utils.inference.sparse import EVERY, FIRST, fill_in, search
from utils.inference.types import Face
from utils.io.frame import Frame

KPS = np.array([[90, 100], [150, 100], [120, 130], [100, 160], [140, 160]], np.float32)


@contextmanager
def no_stage(name: str) -> Iterator[None]:
    yield


class Scene:
    """A textured picture that drifts; `spots` tells in which frames a face is at which shift of KPS."""

    def __init__(self, frames: int, spots: Mapping[int, Sequence[float]]) -> None:
        noise = np.random.default_rng(0).integers(0, 255, (40, 80, 3)).astype(np.uint8)
        wide = cv2.resize(noise, (640, 320), interpolation=cv2.INTER_CUBIC)
        self.frames = [Frame(np.ascontiguousarray(wide[:, 2 * i : 2 * i + 480]), i) for i in range(frames)]
        self.spots, self.searched = spots, list[int]()

    def truth(self, index: int) -> list[np.ndarray]:
        return [KPS + np.array([shift - 2 * index, 0], np.float32) for shift in self.spots.get(index, [])]

    def detect(self, image: np.ndarray) -> list[Face]:
        index = next(frame.index for frame in self.frames if frame.image is image)
        self.searched.append(index)
        return [Face(np.concatenate([kps.min(0), kps.max(0)]), 0.9, kps) for kps in self.truth(index)]

    def run(self) -> list[tuple[Frame, list[Face]]]:
        return list(self.found(self.frames))

    def found(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, list[Face]]]:
        return fill_in(search(frames, self.detect), self.detect, no_stage)


def check(scene: Scene) -> None:
    """Every frame comes out, in order, with all its faces where they are."""
    results = scene.run()
    assert [frame.index for frame, _ in results] == list(range(len(scene.frames)))
    for frame, faces in results:
        truth = scene.truth(frame.index)
        assert len(faces) == len(truth)
        for face, kps in zip(faces, truth, strict=True):
            assert np.abs(face.kps - kps).max() < 0.3
            assert np.abs(face.box - np.concatenate([kps.min(0), kps.max(0)])).max() < 0.5


def test_moving_faces_are_followed_between_searches() -> None:
    count = FIRST + EVERY + 2
    scene = Scene(count, dict.fromkeys(range(count), (60.0, 200.0)))
    check(scene)
    assert scene.searched == [0, FIRST, FIRST + EVERY, count - 1]


@pytest.mark.parametrize("first", range(3, 12))
def test_a_face_that_appears_is_found_in_its_first_frame(first: int) -> None:
    check(Scene(16, {i: [60.0] if i < first else [60.0, 200.0] for i in range(16)}))


@pytest.mark.parametrize("last", range(3, 12))
def test_a_face_that_goes_is_gone_in_the_next_frame(last: int) -> None:
    check(Scene(16, {i: [60.0, 200.0] if i <= last else [200.0] for i in range(16)}))


def test_a_face_that_is_there_only_between_two_searches_is_not_seen() -> None:
    again = FIRST + EVERY
    scene = Scene(again + 2, {i: [60.0, 200.0] if FIRST < i < again else [60.0] for i in range(again + 2)})
    assert [len(faces) for _, faces in scene.run()] == [1] * (again + 2)
    assert scene.searched == [0, FIRST, again, again + 1]


@pytest.mark.parametrize("first", range(3, 12))
def test_who_comes_as_another_goes_is_no_continuation(first: int) -> None:
    check(Scene(16, {i: [60.0] if i < first else [200.0] for i in range(16)}))


def test_two_faces_do_not_become_one() -> None:
    """Two that nearly lie on one another, then one of them and somebody else."""
    check(Scene(16, {i: [60.0, 66.0] if i < 8 else [60.0, 200.0] for i in range(16)}))


@pytest.mark.parametrize(("faces", "searched"), [(6, [0, 4]), (7, [0, 1, 2, 3, 4])])
def test_every_frame_is_searched_where_there_are_many(faces: int, searched: list[int]) -> None:
    scene = Scene(5, dict.fromkeys(range(5), tuple(40.0 * number for number in range(faces))))
    check(scene)
    assert scene.searched == searched


def test_every_frame_is_searched_while_there_is_nobody() -> None:
    scene = Scene(9, {i: [60.0] for i in range(5, 9)})
    check(scene)
    assert scene.searched[:6] == [0, 1, 2, 3, 4, 5]


def test_a_cut_is_searched() -> None:
    scene = Scene(9, dict.fromkeys(range(9), (60.0,)))
    other = cv2.resize(np.random.default_rng(1).integers(0, 255, (40, 60, 3)).astype(np.uint8), (480, 320))
    for i in range(6, 9):
        scene.frames[i] = Frame(np.roll(other, -2 * i, axis=1), i)
    check(scene)
    assert {1, 2, 3, 4, 5, 6, 8} <= set(scene.searched)


def test_large_frames_wait_in_small_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    last = FIRST + EVERY - 1
    scene = Scene(last + 1, dict.fromkeys(range(last + 1), (60.0,)))
    monkeypatch.setattr(sparse, "_MOST_BYTES", 4 * scene.frames[0].image.nbytes)
    check(scene)
    assert scene.searched == [*range(0, last, 4), last]


def test_frames_come_out_soon() -> None:
    count = FIRST + 2 * EVERY + 1
    scene, taken = Scene(count, dict.fromkeys(range(count), (60.0,))), list[int]()

    def source() -> Iterator[Frame]:
        for frame in scene.frames:
            taken.append(frame.index)
            yield frame

    for frame, _ in scene.found(source()):
        assert taken[-1] - frame.index < EVERY


def test_stages_inside_of_others_count_for_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 3.0, 4.0, 5.0, 10.0])
    monkeypatch.setattr("utils.inference.report.time.perf_counter", lambda: next(clock))
    report = RunReport()
    with report.stage("outer"):
        for name in ("inner", "other"):
            with report.stage(name):
                pass
    assert report.seconds == {"inner": 2.0, "other": 1.0, "outer": 7.0}
    lines = profile_table({"swap": 4.0, "blend": 1.0, "wall": 4.0}, 100).splitlines()
    assert lines[1].split() == ["swap", "4.00", "40.00", "100%"] and lines[-1].split()[-1] == "25%"
