"""Training of the small network that sees what covers a face, on photos of bare faces that occluders are drawn onto.

It needs no teacher: whatever is drawn, is known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from network.occlusion import OcclusionNet
from utils.device import to_device
from utils.training import augment, geometry
from utils.training.augment import Changes
from utils.training.config import TrainConfig
from utils.training.draws import Draws
from utils.training.faces import Faces
from utils.training.occluders import occluded, photographed
from utils.training.pairs import Share
from utils.training.spectacles import with_glasses
from utils.training.student import StudentTask, started
from utils.training.textures import SIDE, Photos

# Draws on a picture (SIDE, SIDE, 3) float32 [0, 255] RGB; returns it, and (SIDE, SIDE) float32 [0, 1], what it covers.
Draw = Callable[[np.random.Generator, np.ndarray, Photos], tuple[np.ndarray, np.ndarray]]
_OUTSIDE = 0.1  # weight of what is not within the ellipse that faces fill
_DICE = 0.5  # weight of the Dice loss beside the cross entropy
_HELD_DRAWINGS = 4  # on each face that is held out
_HELD_CHANGES = Changes(jitter=0.35)
_LEAST = 10  # pixels that have to be covered for a case to count as covered
_FALSE = 4.0  # weight in the score of what is wrongly called covered


def ellipse(size: int) -> Tensor:
    """Where the face of an aligned crop is, (size, size) bool."""
    axis = torch.linspace(0, 1, size)
    return ((axis - 0.5) / 0.44)[None].square() + ((axis - 0.52) / 0.5)[:, None].square() < 1


def mask_loss(logits: Tensor, masks: Tensor, weights: Tensor) -> Tensor:
    """Binary cross entropy and half a soft Dice loss (Milletari et al., V-Net, 2016), a scalar.

    logits, masks: (B, 1, S, S) float32. weights: (S, S), of the pixels.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, masks, reduction="none") * weights
    found, wanted = logits.sigmoid() * weights, masks * weights
    both = (found * masks).sum((1, 2, 3))
    # A few pixels more on both sides, or faces that nothing covers would weigh as much as the others.
    dice = 1 - (2 * both + 5) / (found.sum((1, 2, 3)) + wanted.sum((1, 2, 3)) + 5)
    return entropy.sum() / weights.sum() / len(masks) + _DICE * dice.mean()


def drawn_on(
    faces: Tensor, size: int, photos: Photos, how: Changes, draws: Draws, draw: Draw = occluded
) -> tuple[Tensor, Tensor]:
    """Draw occluders on faces, and degrade the pictures.

    faces: (B, 3, SIDE, SIDE) float32 [-1, 1] RGB. Returns crops (B, 3, size, size), likewise, and what of them is
    covered, (B, 1, size, size) float32 [0, 1].
    """
    pictures = ((faces + 1) * 127.5).permute(0, 2, 3, 1).cpu().numpy()
    crops, masks = [], []
    for rng, picture in zip(draws.generators(), pictures, strict=True):
        covered, mask = draw(rng, picture, photos)
        crops.append(cv2.resize(photographed(rng, covered), (size, size), interpolation=cv2.INTER_AREA))
        masks.append(cv2.resize(mask, (size, size), interpolation=cv2.INTER_AREA))
    seen, covered_parts = (to_device(torch.from_numpy(np.stack(x)), draws.device) for x in (crops, masks))
    return augment.degrade(augment.to_float(seen.permute(0, 3, 1, 2)), how, draws), covered_parts[:, None]


def agreement(found: Tensor, masks: Tensor, where: Tensor) -> dict[str, float]:
    """How well covered pixels are found, and how much of bare faces is called covered.

    found, masks: (N, 1, S, S) bool. where: (S, S) bool, the only pixels that count.
    """
    found, wanted = found & where, masks & where
    both, either, count = ((x.sum((1, 2, 3))).float() for x in (found & wanted, found | wanted, wanted))
    covered, bare = count > _LEAST, ~masks.any((1, 2, 3))
    iou, recall = (_mean((both / size)[covered]) for size in (either, count))
    false = _mean(found.sum((1, 2, 3))[bare] / where.sum())
    return {"val_iou": iou, "val_recall": recall, "val_false": false, "val_score": 1 - iou + _FALSE * false}


def _mean(values: Tensor) -> float:
    return float(values.mean()) if len(values) else 0.0


class OcclusionTask(StudentTask):
    """OcclusionNet learns what is drawn."""

    net: ClassVar[dict[str, Any]] = {"channels": (18, 30, 42, 54), "size": 64}
    draw: ClassVar[tuple[Draw]] = (occluded,)  # a function alone would become a method

    def __init__(self, config: TrainConfig, faces: Faces, held: Faces, share: Share, device: torch.device) -> None:
        """Raises WeightsError."""
        network, side = started(OcclusionNet(**self.net), config), self.net["size"]
        super().__init__(network, side, config, faces, held, share, device)
        self._photos = _photos(self._faces)
        self._inside = ellipse(self._side).to(device)
        self._weights = torch.where(self._inside, 1.0, _OUTSIDE)
        self._cases = self._held_cases() if len(held) else None

    def lesson(self, indices: np.ndarray, number: int) -> tuple[Tensor, Tensor]:
        """Crops, and what of them is covered, (B, 1, S, S) float32 [0, 1]. Drawing is slow, so `--teacher_reuse` steps
        see the same, mirrored in turn."""
        crops, masks = self._prepared(indices, number, self._drawn)
        if number % self._config.teacher_reuse % 2:
            return crops.flip(3), masks.flip(3)
        return crops, masks

    def _drawn(self, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        images = self._faces.images
        assert images is not None
        draws = self._draws("lesson", indices)
        at = to_device(torch.from_numpy(draws.integers(len(self._faces))), images.device)
        stored = augment.to_float(to_device(images[at], self._device))
        faces = geometry.warp(stored, augment.views(self._faces.framing, SIDE, self._how, draws), SIDE)
        return drawn_on(faces, self._side, self._photos, self._how, draws, *self.draw)

    def _held_cases(self) -> tuple[Tensor, Tensor]:
        """The same drawings for every run."""
        faces = self._held_crops(SIDE).repeat_interleave(_HELD_DRAWINGS, 0)
        draws = Draws(0, "occlusion", np.arange(len(faces)), self._device)
        return drawn_on(faces, self._side, _photos(self._held), _HELD_CHANGES, draws, *self.draw)

    def loss(self, answer: Tensor, wanted: Tensor) -> Tensor:
        """See StudentTask."""
        return mask_loss(answer.float(), wanted, self._weights)

    def validate(self) -> dict[str, float]:
        """Intersection over union and recall where something is drawn; share of bare faces that is called covered."""
        if self._cases is None:
            return {}
        crops, masks = self._cases
        return agreement(self._answers(crops) > 0, masks > 0.5, self._inside)

    def card(self, origin: str) -> dict[str, Any]:
        """See Task."""
        return self._card("OcclusionNet", self.net, origin)


class GlassesTask(OcclusionTask):
    """OcclusionNet learns where glasses are, which are finer than what else covers faces."""

    net: ClassVar[dict[str, Any]] = {"channels": (16, 24, 32, 48), "size": 128}
    draw: ClassVar[tuple[Draw]] = (with_glasses,)


def _photos(faces: Faces) -> Photos:
    assert faces.images is not None
    return Photos(faces.images.permute(0, 2, 3, 1).cpu().numpy(), faces.framing)
