"""SCRFD and the 106 landmarks through InsightFace and ONNX Runtime, with stand-ins for the published files."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from coordinate_reg.landmarks import PublishedLandmarks
from tests import standins
from tests.parity_data import golden
from utils.errors import WeightsError
from utils.inference.detect import SCRFD_OVERLAP, SCRFD_SCORE, SCRFD_SIDE, Scrfd
from utils.onnx_file import open_scrfd, open_session

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def scrfd(tmp_path_factory: pytest.TempPathFactory) -> Scrfd:
    pytest.importorskip("insightface")
    path = standins.make_scrfd(tmp_path_factory.mktemp("onnx") / "scrfd_10g_bnkps.onnx")
    return Scrfd(open_scrfd(path, CPU, SCRFD_SCORE, SCRFD_OVERLAP, SCRFD_SIDE))


def picture(height: int = 640, width: int = 640) -> np.ndarray:
    """An empty frame."""
    return np.full((height, width, 3), 90, np.uint8)


@pytest.mark.parametrize("stride", standins.STRIDES)
def test_face_of_every_stride_with_its_key_points(scrfd: Scrfd, stride: int) -> None:
    image = picture()
    standins.paint_face(image, (320, 352), stride)
    (face,) = scrfd.detect(image)
    side = standins.FACE * stride
    assert face.score > 0.9
    assert np.abs(face.kps - (standins.KPS * side + [320, 352])).max() <= 1.5 * stride
    assert np.abs(face.box[2:] - face.box[:2] - side).max() < 1e-3
    assert face.kps.dtype == face.box.dtype == np.float32


@pytest.mark.parametrize("shape", [(1280, 960), (480, 1280), (1080, 1920)])
def test_large_frames_are_letterboxed_and_scaled_back(scrfd: Scrfd, shape: tuple[int, int]) -> None:
    image, scale = picture(*shape), max(shape) / 640
    seen = picture()
    nose = (300, 160)
    standins.paint_face(seen, nose)
    resized = cv2.resize(seen, None, fx=scale, fy=scale)[: shape[0], : shape[1]]
    image[: resized.shape[0], : resized.shape[1]] = resized
    (face,) = scrfd.detect(image)
    assert np.abs(face.kps[2] - scale * np.array(nose)).max() <= 12 * scale


def test_several_faces_best_first_and_none(scrfd: Scrfd) -> None:
    image = picture()
    standins.paint_face(image, (160, 160), 8)
    standins.paint_face(image, (448, 416), 16)
    faces = scrfd.detect(image)
    assert len(faces) == 2
    assert faces[0].score >= faces[1].score
    assert scrfd.detect(picture()) == []


class Farsighted:
    """Sees a face, white on black, that takes half of the picture's height at most."""

    session = SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"])

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows, columns = np.nonzero(image[..., 0])
        if not len(rows) or rows.max() - rows.min() > len(image) / 2:
            return np.zeros((0, 5), np.float32), np.zeros((0, 5, 2), np.float32)
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1, 0.9]
        return np.float32([box]), np.float32([[[columns.min(), rows.min()]] * 5])


@pytest.mark.parametrize(("height", "width"), [(75, 121), (30, 40)])
def test_a_face_that_fills_the_picture_is_looked_for_in_a_border(height: int, width: int) -> None:
    image = np.zeros((80, 130, 3), np.uint8)
    image[3 : 3 + height, 5 : 5 + width] = 255
    (face,) = Scrfd(Farsighted()).detect(image)
    assert face.box.tolist() == [5, 3, 5 + width, 3 + height] and face.kps.tolist() == [[5, 3]] * 5
    assert Scrfd(Farsighted()).detect(np.zeros((80, 130, 3), np.uint8)) == []


@pytest.mark.parametrize(("height", "width"), [(1, 800), (800, 1), (1, 640), (3, 1900)])  # the last with its border
def test_there_is_no_face_in_a_line(scrfd: Scrfd, height: int, width: int) -> None:
    assert scrfd.detect(picture(height, width)) == []


def test_sixteen_bits(scrfd: Scrfd) -> None:
    image = picture()
    standins.paint_face(image, (320, 320))
    (deep,) = scrfd.detect(image.astype(np.uint16) * 256)
    (plain,) = scrfd.detect(image)
    assert np.array_equal(deep.kps, plain.kps)


def test_another_model_is_not_taken_for_a_detector(tmp_path: Path) -> None:
    pytest.importorskip("insightface")
    path = standins.make_landmarks(tmp_path / "scrfd_10g_bnkps.onnx")
    with pytest.raises(WeightsError, match="not an SCRFD detector"):
        open_scrfd(path, CPU, SCRFD_SCORE, SCRFD_OVERLAP, SCRFD_SIDE)


def test_damaged_file_is_named(tmp_path: Path) -> None:
    path = standins.make_scrfd(tmp_path / "scrfd_10g_bnkps.onnx")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(WeightsError, match=r"scrfd_10g_bnkps\.onnx is not a usable ONNX file"):
        open_scrfd(path, CPU, SCRFD_SCORE, SCRFD_OVERLAP, SCRFD_SIDE)


@pytest.mark.parametrize(("batch", "answers"), [(1, 1), ("None", 1), ("None", "None")])
@pytest.mark.parametrize("side", [224, 256])
def test_landmarks_in_pixels_of_the_crop(tmp_path: Path, batch: int | str, answers: int | str, side: int) -> None:
    path = standins.make_landmarks(tmp_path / "2d106det.onnx", batch, answers)
    landmarks = PublishedLandmarks(open_session(path, CPU))
    black, red = np.zeros((side, side, 3), np.uint8), np.zeros((side, side, 3), np.uint8)
    red[..., 2] = 255  # BGR
    found = landmarks.find([black, red, black])
    assert found.shape == (3, 106, 2) and found.dtype == np.float32
    assert np.abs(found[0] - golden()["landmarks"] * side / 224).max() < 0.01
    assert np.array_equal(found[0], found[2])
    # Two thirds of the network's sight are the crop, so 4/9 of it is red: RGB, 0..255, nothing subtracted.
    shift = standins.SHIFT * 255 * 4 / 9 * 96 * side / 128
    assert np.abs(found[1] - found[0] - [shift, 0]).max() < 0.02
