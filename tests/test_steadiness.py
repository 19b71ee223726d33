"""A still photo under a moving crop: the face must not tremble."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.steadiness import IMAGES, deviation, measure
from examples.demo_video import hand_motion, set_in_motion
from utils import registry
from utils.inference import align
from utils.inference.pipeline import load_pipeline
from utils.inference.warp import apply
from utils.io.frame import Frame

SIZE, FRAMES = (480, 480), 30


@pytest.fixture(scope="module")
def still() -> np.ndarray:
    image = cv2.imread(str(IMAGES / "selfie.jpg"))
    assert image is not None
    return image


def own_frame(still: np.ndarray, kps: list[np.ndarray]) -> np.ndarray:
    """Key points (frames, 5, 2) where the face stands still, in units of the eyes' distance there."""
    own = np.stack([apply(M, k) for M, k in zip(hand_motion(still.shape, FRAMES, SIZE), kps, strict=True)])
    return own / np.linalg.norm(own[:, 1] - own[:, 0], axis=-1).mean()


def test_aligned_crops_stand_still(still: np.ndarray, random_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GHOST_WEIGHTS", str(random_weights))
    pipeline = load_pipeline(device="cpu", select="largest")
    pipeline.set_sources([IMAGES / "portrait.jpg"])
    images = list(set_in_motion(still, FRAMES, SIZE))
    frames = [Frame(image, index) for index, image in enumerate(images)]
    tracked = [entry.faces[0] for entry in pipeline._tracked(pipeline.found(frames))]
    found = own_frame(still, [pipeline.stages.detector.detect(image)[0].kps for image in images])
    steady = own_frame(still, [face.kps for face in tracked])
    assert np.abs(np.diff(steady, axis=0)).mean() < 0.2 * np.abs(np.diff(found, axis=0)).mean()
    assert steady[5:].std(axis=0).mean() < 0.01
    assert len({face.template for face in tracked}) == len({face.track for face in tracked}) == 1
    crops = [align.cut(i, f.kps, 64, f.template).image for i, f in zip(images, tracked, strict=True)]
    assert np.abs(np.diff(np.stack(crops).astype(float), axis=0)).mean() < 2.0, "levels from frame to frame"


def test_deviation_is_in_percent_of_the_eyes() -> None:
    landmarks = np.zeros((2, 106, 2))
    landmarks[:, 92] = (50, 0)
    landmarks[1] += (1, 0)
    assert deviation(landmarks) == pytest.approx(100 * 0.5 / 50 / 2)


@pytest.mark.skipif(registry.locate("ghost_compact_landmarks") is None, reason="needs the embedded weights")
def test_the_swap_stands_still(still: np.ndarray) -> None:
    pipeline = load_pipeline(device="cpu", model="embedded")
    pipeline.set_sources([IMAGES / "portrait.jpg"])
    for frames in (5, FRAMES):  # each counts its own
        result = measure(pipeline, still, frames, SIZE)
        assert result["swapped_frames"] == frames
    assert result["percent_of_eyes"]["swapped"] < 0.5
