"""What the benchmarks run on: the weights that ship, others of the published sizes from names, and moving stills."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.common import IMAGES  # noqa: E402 - the repository is not installed as a package
from coordinate_reg.network import LandmarkNet  # noqa: E402
from examples.demo_video import write_clip  # noqa: E402
from tests.fill import build  # noqa: E402
from tests.published_set import NETWORKS  # noqa: E402
from tests.random_weights import frontal_landmarks, save  # noqa: E402
from utils.weights_file import read_card  # noqa: E402

SOURCE = IMAGES / "portrait.jpg"
_PORTRAIT = (0.5, 0.4)  # where the selfie's face is, in parts of its width and height


def _landmark_arguments() -> dict[str, Any]:
    return dict(read_card(ROOT / "weights" / "ghost_compact_landmarks.safetensors")["arguments"])


def _landmarks() -> nn.Module:
    """A landmark network of the shipped size that always finds the same face, so that masks are as large as usual."""
    network = build(lambda: LandmarkNet(**_landmark_arguments()))
    assert isinstance(network, LandmarkNet)
    nn.init.zeros_(network.fc.weight)
    network.fc.bias.data = frontal_landmarks().flatten()
    return network


def write_set(name: str, folder: Path) -> Path:
    """Write the weights of a set, `embedded` or `published`; returns the folder, for GHOST_WEIGHTS.

    `embedded` is what ships, with all that its JSONs ask for. Detector of both is CenterFace; the landmarks of
    `published` come from a network of the shipped size.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if name == "embedded":
        for shipped in (ROOT / "weights").glob("ghost_compact_*"):
            shutil.copy(shipped, folder)
        return folder
    save(_landmarks(), folder, "ghost_compact_landmarks", "LandmarkNet", _landmark_arguments(), crop_size=112)
    for file in ("G_unet_2blocks.pth", "backbone.pth"):
        torch.save(NETWORKS[file]().state_dict(), folder / file)
    return folder


def still(faces: int, size: tuple[int, int], height: int = 480) -> np.ndarray:
    """A picture (H, W, 3) uint8 BGR with the selfie's face several times, a head every `height` pixels or so.

    size: width and height of the frames that will show it.
    """
    photo = cv2.imread(str(IMAGES / "selfie.jpg"))
    assert photo is not None
    side = min(photo.shape[:2])
    x, y = (int(part * length - side / 2) for part, length in zip(_PORTRAIT, photo.shape[1::-1], strict=True))
    head = photo[max(0, y) : max(0, y) + side, max(0, x) : max(0, x) + side]
    head = cv2.resize(head, (height, height), interpolation=cv2.INTER_AREA)
    canvas = np.full((round(size[1] * 1.1), round(size[0] * 1.1), 3), 110, np.uint8)
    columns = min(faces, canvas.shape[1] // height)
    for number in range(faces):
        row, column = divmod(number, columns)
        top = round(canvas.shape[0] * 0.1) + row * height
        left = (canvas.shape[1] - columns * height) // 2 + column * height
        canvas[top : top + height, left : left + height] = head
    return canvas


def make_clip(path: Path, frames: int, size: tuple[int, int], faces: int = 0) -> Path:
    """Write a moving still; faces: 0 for the selfie as it is, filling the picture, else as in `still`."""
    picture = cv2.imread(str(IMAGES / "selfie.jpg")) if faces == 0 else still(faces, size)
    assert picture is not None
    write_clip(path, picture, frames, size, period=frames)
    return path
