"""What MediaPipe's landmarker is shown of a picture."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training_set import write_set
from utils.errors import WeightsError
from utils.teachers import mediapipe
from utils.training.faces import decoded, find_faces
from utils.training.labels import label


class Recording:
    """In the place of the network: keeps what it is shown, and sees the same mesh everywhere."""

    def __init__(self) -> None:
        self.shown: list[np.ndarray] = []

    def get_input_details(self) -> list[dict[str, Any]]:
        return [{"index": 0}]

    def get_output_details(self) -> list[dict[str, Any]]:
        return [{"index": 1, "shape": (1, 1, 1, 1434)}, {"index": 2, "shape": (1, 1, 1, 1)}]

    def set_tensor(self, index: int, value: np.ndarray) -> None:
        self.shown.append(value)

    def invoke(self) -> None:
        pass

    def get_tensor(self, index: int) -> np.ndarray:
        x, y = np.meshgrid(np.linspace(60, 200, 22), np.linspace(60, 200, 22))
        mesh = np.stack((x, y, 0 * x), 2).reshape(-1, 3)[:478]
        return mesh if index == 1 else np.full((1, 1, 1, 1), 5.0)


def test_large_faces_do_not_alias(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Recording()
    monkeypatch.setattr(mediapipe, "_interpreter", lambda path: network)
    board = np.indices((1200, 1200)).sum(0) % 2 * 255
    picture = np.repeat(board[..., None], 3, 2).astype(np.uint8)
    mesh = mediapipe.MediaPipeLandmarks(Path("face_landmarker.task")).in_image(picture, np.eye(2, 3), 1000)
    assert len(network.shown) == 2 and all(shown.shape == (1, 256, 256, 3) for shown in network.shown)
    assert max(float(shown[0, 64:-64, 64:-64].std()) for shown in network.shown) < 0.05
    assert mesh.score > 0.9 and mesh.points[:, :2].min() > 0 and mesh.points[:, :2].max() < 1200


def test_a_missing_file_names_its_option_and_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GHOST_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(mediapipe, "_interpreter", mediapipe._read_model)
    faces = decoded(find_faces(write_set(tmp_path / "set", 1, 1), True))
    looked_for = re.escape(str(tmp_path / "face_landmarker.task"))
    with pytest.raises(WeightsError, match=f"--face_landmarker {looked_for}: no such file; .*requirements-teachers"):
        label(faces, "weights/face_landmarker.task")
