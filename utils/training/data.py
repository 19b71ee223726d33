"""Faces for training: decoded once, cut and augmented in batches on the device.

The folder is what preprocess_vgg.py writes with a margin: crops in the five-template framing, wider than the network's view
so that shifts and turns find real pixels, and index.csv with the keypoints of every crop.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from utils.errors import InputError
from utils.training import geometry


@dataclass(frozen=True)
class FaceSet:
    """All crops of a small training set, in memory."""

    images: Tensor  # (N, 3, H, H) uint8 RGB
    kps: Tensor  # (N, 5, 2) float32, pixels of the stored crops
    names: list[str]
    size: int  # side of the framing without margin, stored pixels: H = size + 2 * margin

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, keep: list[int]) -> FaceSet:
        """The faces at these positions."""
        return FaceSet(self.images[keep], self.kps[keep], [self.names[i] for i in keep], self.size)


def load_faces(folder: Path | str) -> FaceSet:
    """Read crops and keypoints written by preprocess_vgg.py. Raises InputError naming what is missing."""
    import cv2

    folder = Path(folder)
    index = folder / "index.csv"
    if not index.is_file():
        raise InputError(f"{index}: not found; make the folder with preprocess_vgg.py")
    with index.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise InputError(f"{index}: lists no faces")
    images, kps = [], []
    for row in rows:
        image = cv2.imread(str(folder / row["file"]))
        if image is None:
            raise InputError(f"{folder / row['file']}: cannot be read as a picture, though index.csv lists it")
        images.append(torch.from_numpy(image[:, :, ::-1].transpose(2, 0, 1).copy()))
        kps.append([[float(row[f"kp{i}_x"]), float(row[f"kp{i}_y"])] for i in range(1, 6)])
    side = images[0].shape[-1]
    margin = int(float(rows[0].get("margin", 0) or 0))
    return FaceSet(
        torch.stack(images), torch.tensor(np.float32(kps)), [row["identity"] for row in rows], side - 2 * margin
    )


def split(faces: FaceSet, validation: Path | str) -> tuple[FaceSet, FaceSet]:
    """Part the faces into training and validation; `validation` is a text file with one name per line."""
    held = set(Path(validation).read_text().split())
    keep = [i for i, name in enumerate(faces.names) if Path(name).stem not in held]
    out = [i for i, name in enumerate(faces.names) if Path(name).stem in held]
    return faces.subset(keep), faces.subset(out)


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the random changes; each is drawn uniformly and per image."""

    rotation: float = 6.0  # degrees, either way
    scale: float = 0.04  # share, either way
    shift: float = 0.03  # share of the crop's side, either way
    mirror: float = 0.5  # probability
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2


def uniform(count: int, low: float, high: float, device: torch.device) -> Tensor:
    """Draw `count` numbers from the global generator of the CPU, so that a run is the same on every device."""
    return (torch.rand(count) * (high - low) + low).to(device)


def random_views(faces: FaceSet, count: int, size: int, how: Augmentation, device: torch.device) -> Tensor:
    """Random maps from pixels of a `size` crop to pixels of the stored crops, (count, 2, 3)."""
    angle = uniform(count, -how.rotation, how.rotation, device).deg2rad()
    zoom = uniform(count, 1 - how.scale, 1 + how.scale, device) * (faces.size / size)
    flip = torch.where(uniform(count, 0, 1, device) < how.mirror, -1.0, 1.0)
    c, s = zoom * angle.cos(), zoom * angle.sin()
    R = torch.stack((torch.stack((c * flip, -s), 1), torch.stack((s * flip, c), 1)), 1)
    shift = torch.stack([uniform(count, -how.shift, how.shift, device) for _ in range(2)], 1) * faces.size
    centre_out = torch.full((count, 2, 1), (size - 1) / 2, device=device)
    centre_in = torch.full((count, 2, 1), (faces.images.shape[-1] - 1) / 2, device=device) + shift[..., None]
    return torch.cat((R, centre_in - R @ centre_out), 2)


def view_kps(M_out2in: Tensor, kps: Tensor) -> Tensor:
    """Keypoints (B, 5, 2) of the stored crops as seen in the views; a mirrored face's left becomes its right."""
    seen = geometry.transform(geometry.invert(M_out2in), kps)
    mirrored = torch.linalg.det(M_out2in[:, :, :2]) < 0
    return torch.where(mirrored[:, None, None], seen[:, [1, 0, 2, 4, 3]], seen)


def jitter_colours(images: Tensor, how: Augmentation) -> Tensor:
    """Change brightness, contrast and saturation of each image. images: (B, 3, H, W) float [-1, 1] RGB; returns the same."""
    n, device = len(images), images.device

    def factor(strength: float) -> Tensor:
        return uniform(n, 1 - strength, 1 + strength, device)[:, None, None, None]

    x = (images + 1) / 2 * factor(how.brightness)
    mean = x.mean((1, 2, 3), keepdim=True)
    x = mean + (x - mean) * factor(how.contrast)
    grey = (x * x.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    x = grey + (x - grey) * factor(how.saturation)
    return x.clamp(0, 1) * 2 - 1


def to_float(images: Tensor) -> Tensor:
    """(B, 3, H, W) uint8 RGB to float32 [-1, 1]."""
    return images.float() / 127.5 - 1
