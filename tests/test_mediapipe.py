"""What MediaPipe's landmarker is shown of a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from utils.teachers import mediapipe


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
