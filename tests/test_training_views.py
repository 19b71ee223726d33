"""Encoders and landmark networks see crops in training as they do in the pipeline, and the published encoder as it was
trained."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coordinate_reg.landmarks import EmbeddedLandmarks
from coordinate_reg.network import LandmarkNet
from tests.training_set import options, write_networks
from utils import registry
from utils.inference import align
from utils.inference.identify import Identifier
from utils.inference.pixels import to_tensor
from utils.inference.types import Face
from utils.training import filters, generator, networks
from utils.training.config import parse
from utils.training.setup import build_task

CPU = torch.device("cpu")
STILL = {"rotation": 0, "zoom": 0, "shift": 0, "mirror": 0, "jitter": 0, "hue": 0}


def picture(side: int) -> np.ndarray:
    """Colours of all scales, those of single pixels too, (side, side, 3) uint8 BGR."""
    random, total = np.random.default_rng(side), np.zeros((side, side, 3))
    while side > 4:
        noise = random.uniform(-1, 1, (side, side, 3))
        total += cv2.resize(noise, total.shape[:2], interpolation=cv2.INTER_LINEAR)
        side //= 2
    return np.clip(127.5 + 45 * total, 0, 255).astype(np.uint8)


class Watcher(nn.Module):
    """An encoder that keeps what it is shown."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.shown = size, torch.empty(0)

    def forward(self, x: Tensor) -> Tensor:
        self.shown = x
        return x.flatten(1)


def plain(x: Tensor, side: int) -> Tensor:
    return F.interpolate(x, (side, side), mode="bilinear", align_corners=False)


def error(found: Tensor, wanted: Tensor) -> float:
    """In levels, root of the mean square, without the border."""
    return float((found - wanted)[..., 2:-2, 2:-2].square().mean().sqrt()) * 127.5


@pytest.mark.parametrize("side", [224, 256, 512])
def test_encoders_see_in_training_what_the_pipeline_shows_them(side: int) -> None:
    photo, network = picture(640), Watcher(64)
    kps = align.TEMPLATES[2].astype(np.float32) * 640 / align.BASE
    Identifier(network, CPU, direct=True).embed(photo, [Face(np.zeros(4), 1.0, kps)])
    crop = to_tensor([align.cut(photo, kps, side).image])
    seen = networks.Critic(network, aligned=False).view(crop)
    assert error(seen, network.shown[:1]) < 8 < 10 < error(plain(crop, 64), network.shown[:1])


@pytest.mark.parametrize("side", [256, 512])
def test_landmark_networks_see_in_training_what_the_pipeline_shows_them(
    side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    crop, shown = picture(side), []
    finder = EmbeddedLandmarks(LandmarkNet((8, 8, 8, 8)).eval(), CPU)
    monkeypatch.setattr(finder, "_network", lambda x: (shown.append(x), torch.zeros(1, 106, 2))[1])
    finder.find([crop])
    pixels = to_tensor([crop])
    assert error(networks.landmark_view(pixels), shown[0]) < 0.9 * error(plain(pixels, 112), shown[0])


@pytest.mark.parametrize("published", [False, True])
def test_sources_are_shown_to_the_encoder_at_once_and_published_from_224(
    tmp_path: Path, published: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    nets = write_networks(tmp_path / "nets")
    (tmp_path / "set").mkdir()
    for i in range(2):
        cv2.imwrite(str(tmp_path / "set" / f"{i}.png"), picture(256 + i)[:256, :256])
    encoder = registry.load_identity("tiny_identity", beside=nets / "G.safetensors").network
    monkeypatch.setattr(generator, "load_identity", lambda config, device: (networks.frozen(encoder, device), {}))
    named = {"identity": "arcface"} if published else {}
    task = build_task(parse(options(tmp_path, "views", vgg=False, same_identity=False, size=256, width=0.125,
                                    batch_size=2, **STILL, **named)), CPU)
    seen = next(task.batches(range(1)))().seen
    Xs = torch.cat([to_tensor([cv2.imread(str(path))]) for path in sorted((tmp_path / "set").iterdir())])
    wanted = plain(filters.resized(Xs, 224), 112) if published else filters.resized(Xs, 112)
    assert all(min(error(one, other) for other in wanted) < 1 for one in seen)


def test_the_published_encoder_sees_crops_as_published() -> None:
    crop = torch.rand(2, 3, 256, 256)
    view = networks.Critic(Watcher(112), aligned=False, published=True).view(crop)
    assert torch.equal(view, plain(crop, 112))


@pytest.mark.parametrize(("size", "side"), [(64, 112), (64, 64), (128, 112), (224, 64), (512, 64)])
def test_resized_pictures_and_their_gradient(size: int, side: int) -> None:
    x = torch.rand(2, 3, size, size, requires_grad=True)
    weights = torch.rand(2, 3, side, side)
    wanted = F.interpolate(x, (side, side), mode="bilinear", align_corners=False, antialias=True)
    found = filters.resized(x, side)
    assert torch.allclose(found, wanted, atol=1e-5)
    (gradient,), (expected,) = (torch.autograd.grad((y * weights).sum(), x) for y in (found, wanted))
    assert torch.allclose(gradient, expected, atol=1e-5)


def test_mixed_precision_rounds_no_views() -> None:
    x = torch.rand(1, 3, 128, 128)
    with torch.autocast("cpu", torch.bfloat16):
        mixed, rounded_before = filters.resized(x, 64), filters.resized(x.bfloat16(), 64)
    assert torch.equal(mixed, filters.resized(x, 64))
    assert torch.equal(rounded_before, filters.resized(x.bfloat16().float(), 64))
