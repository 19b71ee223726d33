"""What becomes of frames between the stages; no networks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from utils.inference import blend, frames
from utils.inference.config import InferenceConfig
from utils.inference.frames import FramePipeline, _Batch, _NewFace
from utils.inference.report import FaceCounts
from utils.inference.track import TrackedFrame
from utils.inference.types import Mask, Swap, TrackedFace, Visibility
from utils.inference.visibility import TURNED
from utils.io.frame import Frame

SIDE = 32
FACE = TrackedFace(np.zeros((5, 2), np.float32), person=0, track=0, template=2)


def tracked(index: int, faces: int = 1) -> TrackedFrame:
    return TrackedFrame(Frame(np.full((SIDE, SIDE, 3), 40, np.uint8), index), [FACE] * faces, FaceCounts())


def pipeline(at_once: int = 4) -> FramePipeline:
    swapper = SimpleNamespace(batches=SimpleNamespace(size=at_once))
    stages: Any = SimpleNamespace(seconds=0.0, swapper=swapper, settings=SimpleNamespace(grain=0.0), mixer=blend.mix)
    return FramePipeline(stages, InferenceConfig())


def test_a_swap_shows_as_far_as_it_is_visible() -> None:
    """One after another, half of the mask of each in the middle row."""
    alpha, M = np.ones((SIDE, SIDE), np.float32), np.eye(2, 3)
    alpha[SIDE // 2] = 0.5
    swap = Swap(np.full((SIDE, SIDE, 3), 240, np.uint8), M, np.zeros((SIDE, SIDE, 3), np.uint8))
    shares = (1.0, 0.5, 0.2, 0.0)
    new_faces = [_NewFace(swap, Mask(alpha, M), Visibility(share, TURNED if share < 1 else "")) for share in shares]
    batch = _Batch([tracked(i) for i in range(4)], [], [], [], [], np.zeros((0, 4)), np.zeros(0))
    results = list(pipeline()._pasted(batch, new_faces))
    for result, share in zip(results, shares, strict=True):
        assert result.image[4, 4].astype(int) == pytest.approx(40 + 200 * share, abs=2)
        assert result.image[SIDE // 2, 4].astype(int) == pytest.approx(40 + 100 * share, abs=2)
        assert bool(result.changed) == (share > 0)
    assert [(r.report.swapped, r.report.faded[TURNED], r.report.skipped[TURNED]) for r in results] == [
        (1, 0, 0), (1, 1, 0), (1, 1, 0), (0, 0, 1)]
    assert all((entry.frame.image == 40).all() for entry in batch.frames), "frames that came in stay"


@pytest.mark.parametrize(("faces", "groups"), [
    ([1] * 10, [4, 4, 2]), ([3, 3, 1, 5, 1], [2, 2, 1]), ([0] * 10, [4, 4, 2]),
    ([0, 0, 0, 1, 0, 3, 0], [6, 1]),  # with a face, others wait for more
])
def test_frames_wait_for_a_batch_of_faces_or_for_none(faces: list[int], groups: list[int]) -> None:
    come = [tracked(i, count) for i, count in enumerate(faces)]
    gone = list(pipeline()._batches(come))
    assert [len(batch) for batch in gone] == groups and [entry for batch in gone for entry in batch] == come


@pytest.mark.parametrize(("faces", "groups"), [([0, 1, 0, 0, 0, 0, 0], [3, 3, 1]), ([2, 2, 0, 0, 0], [2, 3])])
def test_large_frames_do_not_wait_in_great_numbers(
    monkeypatch: pytest.MonkeyPatch, faces: list[int], groups: list[int]
) -> None:
    come = [tracked(i, count) for i, count in enumerate(faces)]
    monkeypatch.setattr(frames, "_MOST_BYTES", 3 * come[0].frame.pixels.nbytes)
    assert [len(batch) for batch in pipeline()._batches(come)] == groups
