"""The embedded models with random weights, for tests of everything around them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from arcface_model.iresnet import iresnet
from coordinate_reg.network import LandmarkNet
from network.AEI_Net import AEI_Net
from tests.parity_data import golden
from utils.inference.align import BASE

GENERATOR: dict[str, Any] = {"backbone": "unet", "num_blocks": 1, "c_id": 16, "width": 0.125, "size": 64}
IDENTITY: dict[str, Any] = {"depth": 18, "num_features": 16, "width": 0.125, "size": 64}
LANDMARKS: dict[str, Any] = {"channels": [8, 8, 8, 8], "points": 106}


def save(network: nn.Module, folder: Path, name: str, kind: str, arguments: dict, **facts: object) -> Path:
    """Write a network as float16 safetensors with its JSON beside it."""
    path = folder / f"{name}.safetensors"
    save_file({k: v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    card = {"format": 1, "name": name, "network": kind, "arguments": arguments, "licence": "Apache-2.0",
            "origin": "random", "sha256": digest, **facts}
    path.with_suffix(".json").write_text(json.dumps(card))
    return path


def frontal_landmarks() -> torch.Tensor:
    """(106, 2) float32, points of a face that looks at the camera, from the crop's centre in units of its side."""
    return torch.from_numpy((golden()["landmarks"] + 0.5) / BASE - 0.5).float()


def write_weights(folder: Path) -> Path:
    """All three embedded models; the landmarks are always those of one face."""
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    save(AEI_Net(**GENERATOR), folder, "ghost_compact_generator", "AEI_Net", GENERATOR, crop_size=64,
         identity="ghost_compact_identity")
    save(iresnet(**IDENTITY), folder, "ghost_compact_identity", "iresnet", IDENTITY, crop_size=64, similarity_th=0.3)
    landmarks = LandmarkNet(**LANDMARKS)
    nn.init.zeros_(landmarks.fc.weight)
    landmarks.fc.bias.data = frontal_landmarks().flatten()
    save(landmarks, folder, "ghost_compact_landmarks", "LandmarkNet", LANDMARKS, crop_size=112)
    return folder
