"""Faces of people who lie or stand on their heads."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from utils.inference.keypoints import roll
from utils.inference.pipeline import SwapPipeline, load_pipeline
from utils.inference.report import FaceCounts
from utils.inference.turned import AnyWayUp, _back
from utils.inference.types import Face, Visibility
from utils.inference.visibility import TURNED
from utils.io.image import read_photo

IMAGES = Path(__file__).resolve().parents[1] / "examples" / "images"


@pytest.fixture(scope="module")
def pipeline() -> SwapPipeline:
    return load_pipeline(device="cpu")


def tilted(image: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """A picture turned around its middle, on a canvas that holds all of it, and the matrix that did so."""
    height, width = image.shape[:2]
    side = int(np.hypot(height, width))
    M = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    M[:, 2] += (side - np.array([width, height])) / 2
    return cv2.warpAffine(image, M, (side, side), borderValue=(90, 90, 90)), M


@pytest.mark.parametrize("degrees", [70, 90, 110, 180, 250, 270])
def test_photos_show_faces_of_any_direction(pipeline: SwapPipeline, degrees: int) -> None:
    image = cv2.resize(read_photo(IMAGES / "selfie.jpg").image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    (upright,) = pipeline.stages.detector.detect(image, careful=True)
    turned, M = tilted(image, degrees)
    face = pipeline.stages.detector.detect(turned, careful=True)[0]
    wanted = upright.kps @ M[:, :2].T + M[:, 2]
    eyes = np.linalg.norm(wanted[1] - wanted[0])
    assert np.linalg.norm(face.kps - wanted, axis=1).max() < 0.12 * eyes
    assert (face.box[:2] < face.kps.min(axis=0)).all() and (face.box[2:] > face.kps.max(axis=0)).all()


@pytest.mark.parametrize("degrees", [90, 180])
def test_a_source_may_lie(pipeline: SwapPipeline, tmp_path: Path, degrees: int) -> None:
    cv2.imwrite(str(tmp_path / "lying.png"), tilted(read_photo(IMAGES / "selfie.jpg").image, degrees)[0])
    swaps = []
    for source in (IMAGES / "selfie.jpg", tmp_path / "lying.png"):
        pipeline.swap_photo(source, IMAGES / "selfie_2.jpg", tmp_path / "swap.png")
        swaps.append(cv2.imread(str(tmp_path / "swap.png")).astype(int))
    target = read_photo(IMAGES / "selfie_2.jpg").image
    changed = (swaps[0] != target).any(axis=2)
    assert np.abs(swaps[0] - swaps[1])[changed].mean() < 0.3 * np.abs(swaps[0] - target)[changed].mean()


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_what_is_found_in_a_turned_picture_is_at_its_pixel(quarters: int) -> None:
    numbers = np.arange(7 * 11).reshape(7, 11)  # 11 pixels wide
    y, x = np.indices(np.rot90(numbers, quarters).shape).reshape(2, -1)
    points = np.stack([x, y], axis=-1).astype(np.float32)
    box = np.array([0, 1, 2, 4], np.float32)
    back = _back(Face(box, 0.9, points), quarters, (11, 7))
    found = numbers[back.kps[:, 1].astype(int), back.kps[:, 0].astype(int)]
    assert np.array_equal(found, np.rot90(numbers, quarters).ravel())
    corners = _back(Face(box, 0.9, box.reshape(2, 2)), quarters, (11, 7)).kps
    assert back.box.tolist() == [*corners.min(axis=0), *corners.max(axis=0)]


class Counting:
    """A detector that finds the same faces in every picture."""

    providers = ()

    def __init__(self, *faces: Face) -> None:
        self.faces, self.count = list(faces), 0

    def detect(self, image: np.ndarray, careful: bool = False) -> list[Face]:
        self.count += 1
        return self.faces


def drawn(score: float, degrees: float = 0, x: float = 20) -> Face:
    across = 8 * np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])
    kps = np.array([x, 20]) + np.stack([-across, across, 0 * across, -across, across])
    return Face(np.array([x - 12, 8, x + 12, 32], np.float32), score, kps.astype(np.float32))


@pytest.mark.parametrize(("faces", "careful", "count"), [
    ([drawn(0.9), drawn(0.8, x=60)], True, 1), ([drawn(0.9), drawn(0.5, x=60)], True, 4), ([], True, 4),
    ([drawn(0.9, 60)], True, 4), ([], False, 1), ([drawn(0.5, 60)], False, 1),
])
def test_only_photos_with_doubtful_faces_are_searched_again(faces: list[Face], careful: bool, count: int) -> None:
    detector = Counting(*faces)
    AnyWayUp(detector).detect(np.zeros((80, 100, 3), np.uint8), careful)
    assert detector.count == count


def test_a_sure_face_stays_what_it_is() -> None:
    sure = drawn(0.7)
    found = AnyWayUp(Counting(sure, drawn(0.9, 80, x=60))).detect(np.zeros((40, 40, 3), np.uint8), careful=True)
    assert any(face is sure for face in found)
    assert roll(drawn(1, 30).kps) == pytest.approx(30) and roll(drawn(1, -30).kps) == pytest.approx(30)


def test_what_nobody_sees_does_not_count_as_swapped() -> None:
    report = FaceCounts()
    report.add(Visibility(0.05, TURNED), 0)
    report.add(Visibility(0.5, TURNED), 0)
    assert (report.swapped, report.skipped, report.faded) == (1, {TURNED: 1}, {TURNED: 1})
