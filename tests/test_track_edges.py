"""Swaps of faces that enter or leave a video's frame come and go over some frames."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.standins import FRONTAL
from utils.inference import align
from utils.inference.pipeline import load_pipeline
from utils.inference.report import FaceCounts
from utils.inference.track_edges import TrackEdges, share_inside
from utils.inference.visibility import CUT_OFF
from utils.io.frame import Frame
from utils.io.image import read_photo

IMAGES = Path(__file__).resolve().parents[1] / "examples" / "images"
CROP = 224


def inside(x: float, y: float, degrees: float = 0.0) -> float:
    """Of a face with its crop's centre there, in a frame of 400 x 300 pixels, whose crop's middle has 112."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    centred = (FRONTAL - 55.75) * 2  # pixels of the crop around its centre
    M, _ = align.estimate(centred @ np.array([[cos, sin], [-sin, cos]]) + (x, y), CROP)
    return share_inside(M, CROP, (300, 400, 3))


@pytest.mark.parametrize("degrees", [0, 90, 180])
def test_what_lies_inside_falls_evenly_at_every_edge(degrees: float) -> None:
    assert inside(200, 150, degrees) == inside(57, 57, degrees) == inside(342, 242, degrees) == 1
    for out, share in ((28, 0.75), (0, 0.5), (-28, 0.25), (-60, 0)):
        at_edges = (inside(out, 150, degrees), inside(399 - out, 150, degrees),
                    inside(200, out, degrees), inside(200, 299 - out, degrees))
        assert at_edges == pytest.approx([share] * 4, abs=0.01)
    assert inside(0, 0, degrees) == pytest.approx(0.25, abs=0.01)


def test_half_of_a_square_on_its_corner() -> None:
    assert inside(0, 150, 45) == pytest.approx(0.5, abs=0.01)


def test_swaps_fall_with_the_face_and_rise_step_by_step() -> None:
    edges = TrackEdges()
    assert [edges.share(0, share) for share in (1.0, 0.9, 0.65, 0.4, 0.2)] == pytest.approx([1, 1, 0.5, 0, 0])
    assert [edges.share(1, 0.9) for _ in range(5)] == [0.25, 0.5, 0.75, 1, 1], "somebody who enters"
    assert edges.share(2, 1.0) == 1, "somebody who is there after a cut"


def counts(frames: list[np.ndarray], careful: bool) -> list[FaceCounts]:
    pipeline = load_pipeline(device="cpu", model="embedded", select="largest")
    pipeline.set_sources([IMAGES / "portrait.jpg"])
    return [result.report for result in pipeline.run((Frame(f, i) for i, f in enumerate(frames)), careful)]


def test_a_face_that_leaves_fades_in_videos_alone() -> None:
    photo = cv2.resize(read_photo(IMAGES / "selfie.jpg").image, (320, 320), interpolation=cv2.INTER_AREA)
    (face,) = load_pipeline(device="cpu", model="embedded").stages.detector.detect(photo)
    half = [photo[:, round(float(face.kps[2, 0] - 10)):]]
    whole, leaving = counts([photo] * 2, careful=False), counts(half * 2, careful=False)
    assert not any(frame.faded or not frame.swapped for frame in whole)
    assert all(frame.found and (frame.faded + frame.skipped)[CUT_OFF] for frame in leaving)
    (still,) = counts(half, careful=True)
    assert not (still.faded + still.skipped)[CUT_OFF]
