"""A tiny training set and tiny networks, made in a moment: what training tests run on."""

from __future__ import annotations

import csv
import json
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file

from arcface_model.iresnet import iresnet
from coordinate_reg.network import LandmarkNet
from utils.training.faces import Faces

SIZE, MARGIN = 64, 8
FRONTAL = np.float32([[39.73, 51.138], [72.27, 51.138], [56.0, 68.493], [42.463, 87.01], [69.537, 87.01]])
KPS = FRONTAL * SIZE / 112 + MARGIN


def draw_face(seed: int) -> np.ndarray:
    """A face of coloured shapes, (80, 80, 3) uint8 BGR."""
    random = np.random.default_rng(seed)
    side = SIZE + 2 * MARGIN
    image = np.full((side, side, 3), random.integers(0, 255, 3), np.uint8)
    centre = (side // 2, side // 2)
    cv2.ellipse(image, centre, (int(random.integers(20, 30)), 34), 0, 0, 360, random.integers(60, 255, 3).tolist(), -1)
    for x, y in KPS[:2]:
        cv2.circle(image, (int(x), int(y)), int(random.integers(3, 6)), random.integers(0, 120, 3).tolist(), -1)
    left, right = KPS[3].astype(int).tolist(), KPS[4].astype(int).tolist()
    cv2.line(image, left, right, random.integers(0, 200, 3).tolist(), int(random.integers(1, 5)))
    return image


def write_set(folder: Path, people: int = 6, photos: int = 2) -> Path:
    """Crops in one sub-folder per person, with index.csv as preprocess_vgg.py writes it."""
    rows = []
    for person in range(people):
        (folder / f"n{person:03d}").mkdir(parents=True)
        for photo in range(photos):
            name = f"n{person:03d}/{person * photos + photo:04d}.png"
            cv2.imwrite(str(folder / name), draw_face(1000 * person + photo))
            rows.append([name, f"n{person:03d}", MARGIN, *KPS.flatten().tolist(), 2, 0.9])
    kps = [f"kp{i}_{axis}" for i in range(1, 6) for axis in "xy"]
    columns = ["file", "identity", "margin", *kps, "template", "score"]
    with (folder / "index.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return folder


def grid_landmarks(faces: Faces, path: str) -> tuple[torch.Tensor, np.ndarray]:
    """In the place of utils.training.labels.label: a grid over the face, all sure."""
    x, y = np.meshgrid(np.linspace(20, 60, 11), np.linspace(24, 66, 10))
    points = np.stack((x, y), 2).reshape(-1, 2)[:106].astype(np.float32)
    return torch.from_numpy(points).expand(len(faces), 106, 2), np.ones(len(faces), np.float32)


def write_networks(folder: Path) -> Path:
    """A tiny identity encoder and a landmark network with random weights, as files with their JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(5)
    # No smaller: PyTorch 2.13 on CPU writes beyond its memory in the backward pass of 1x1 convolutions of stride 2 with
    # 8 channels or fewer, float32, channels last.
    encoder = {"depth": 18, "num_features": 16, "width": 0.25}
    for name, network, kind, arguments in (
        ("tiny_identity", iresnet(**encoder), "iresnet", encoder),
        ("tiny_landmarks", LandmarkNet((4, 4, 4, 4)), "LandmarkNet", {"channels": [4, 4, 4, 4]}),
    ):
        for module in network.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.running_var.uniform_(0.5, 1.5)
        save_file(network.state_dict(), folder / f"{name}.safetensors")
        card = {"format": 1, "name": name, "network": kind, "arguments": arguments, "crop_size": 112}
        (folder / f"{name}.json").write_text(json.dumps(card))
    return folder


def prepared(folder: Path) -> Path:
    """A folder with the tiny set and the tiny networks."""
    write_set(folder / "set")
    write_networks(folder / "nets")
    return folder


def train(arguments: list[str]) -> int:
    """Run train.py here; returns the exit code."""
    import train as script

    return script.main(arguments)


def options(root: Path, run: str, **more: object) -> list[str]:
    """A command line for a tiny generator on the tiny set below `root`; `more` adds or replaces options."""
    chosen = {
        "run_name": run, "output": root, "dataset_path": root / "set",
        "identity": root / "nets/tiny_identity.safetensors",
        "landmarks": root / "nets/tiny_landmarks.safetensors", "pretrained": False, "size": SIZE, "width": 0.25,
        "num_blocks": 1, "discr_layers": 2, "discr_channels": 8, "discr_scales": 2, "batch_size": 4, "device": "cpu",
        "ema": 0.9, "log_step": 1, "save_epoch": 0, "workers": 0, "show_step": 1000, "quiet": True,
    } | more
    return [word for name, value in chosen.items() for word in (f"--{name}", str(value))]


def write_faceres(folder: Path) -> dict[str, torch.Tensor]:
    """The FaceRes teacher's two files with random weights; returns these by name."""
    random = torch.Generator().manual_seed(7)
    widths = [32, 64, 128, 128, 256, 256, *[512] * 6, 1024, 1024]
    shapes = {"conv1/convolution/merged_input": (3, 3, 3, 32), "conv1_bn/batchnorm_1/sub": (32,)}
    for i, (cin, cout) in enumerate(pairwise(widths), 1):
        shapes |= {f"conv_dw_{i}/depthwise_kernel": (3, 3, cin, 1), f"conv_dw_{i}_bn/batchnorm_1/mul": (cin,),
                   f"conv_dw_{i}_bn/batchnorm_1/sub": (cin,), f"conv_pw_{i}_bn/batchnorm_1/sub": (cout,),
                   f"conv_pw_{i}/convolution/merged_input": (1, 1, cin, cout)}
    weights = {}
    for name, shape in shapes.items():
        fan_in = shape[0] * shape[1] * (shape[2] if "depthwise" not in name else 1) if len(shape) == 4 else 1
        values = torch.randn(shape, generator=random) * (2 / fan_in) ** 0.5
        # Ready for pixels of 0 to 255 and for maps that stop at 6.
        scaled = 0.5 + 0.2 * values if len(shape) == 1 else values / (50 if name.startswith("conv1/") else 1)
        weights[name] = scaled.half().float()
    entries = [{"name": name, "shape": list(shape), "dtype": "float32", "quantization": {"dtype": "float16"}}
               for name, shape in shapes.items()]
    manifest = [{"paths": ["faceres.bin"], "weights": entries}]
    (folder / "faceres.json").write_text(json.dumps({"modelTopology": {}, "weightsManifest": manifest}))
    (folder / "faceres.bin").write_bytes(b"".join(w.half().numpy().tobytes() for w in weights.values()))
    return weights
