"""Hints: the student's late maps learn what the teacher's show at the same place of the face (FitNets, Romero et al.,
ICLR 2015). An embedding is 128 numbers of a face; the maps tell hundreds at each of many places, so that a student of
few people learns how faces differ instead of these people by heart.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arcface_model.iresnet import IResNet
from utils.training import geometry
from utils.training.sface import SFace


class Hint(NamedTuple):
    """What the teacher shows at the places of a student's map."""

    values: Tensor  # (B, C, g, g) float32, of mean 0 and variance 1 over the set
    known: Tensor  # (B, 1, g, g) float32, 0 where the teacher did not look


class HintedEncoder(nn.Module):
    """The identity encoder, and 1x1 convolutions from its last maps to the teacher's, of use while it learns."""

    def __init__(self, encoder: IResNet, channels: list[int]) -> None:
        """channels: of the teacher's maps, for as many of the encoder's last ones."""
        super().__init__()
        self.encoder = encoder
        widths = encoder.widths[len(encoder.widths) - len(channels) :]
        pairs = zip(widths, channels, strict=True)
        self.project = nn.ModuleList(nn.Conv2d(cin, cout, 1) for cin, cout in pairs)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, list[Tensor]]:
        """x: (B, 3, S, S) float [-1, 1] RGB. Returns z_id (B, D); while training the maps (B, C, g, g) too."""
        maps = self.encoder.stages(x)
        z_id = self.encoder.embed(maps[-1])
        if not self.training:
            return z_id
        return z_id, [conv(m) for conv, m in zip(self.project, maps[len(maps) - len(self.project) :], strict=True)]


class MapScale(NamedTuple):
    """Mean and deviation of each channel of a teacher's map, each (1, C, 1, 1) float32."""

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, maps: Tensor) -> MapScale:
        """Those of maps (N, C, h, w)."""
        deviation, mean = torch.std_mean(maps.float(), (0, 2, 3), keepdim=True)
        return cls(mean, deviation.clamp(min=1e-6))

    def applied(self, maps: Tensor) -> Tensor:
        """Maps (N, C, h, w) of mean 0 and variance 1, float32."""
        return (maps.float() - self.mean) / self.deviation


@torch.no_grad()
def map_scales(teacher: SFace, aligned: Tensor) -> list[MapScale]:
    """The scales of the teacher's maps over some aligned faces (N, 3, 112, 112)."""
    return [MapScale.of(maps) for maps in teacher.with_maps(aligned)[1]]


def as_seen(maps: Tensor, M_align: Tensor, M_view: Tensor, view: int, side: int) -> Hint:
    """The teacher's map where the student looks.

    maps: (B, C, h, w), of the aligned 112 crop. M_align: (B, 2, 3), pixels of that crop to those of the stored one.
    M_view: (B, 2, 3), pixels of the student's crop, of side `view`, to those of the stored one. side: of the
    student's map.
    """
    count, device, height = len(maps), maps.device, maps.shape[-1]
    there = geometry.compose(geometry.invert(M_align), M_view)
    M = geometry.compose(geometry.resize_matrix(height, 112, count, device),
                         geometry.compose(there, geometry.resize_matrix(view, side, count, device)))  # fmt: skip
    axis = torch.arange(side, dtype=M.dtype, device=device)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    at = geometry.transform(M, torch.stack((x, y), 2).view(1, -1, 2).expand(count, -1, -1))
    inside = ((at > -0.5) & (at < height - 0.5)).all(2)
    return Hint(geometry.warp(maps, M, side), inside.view(-1, 1, side, side).float())


def hint_loss(answers: list[Tensor], hints: list[Hint]) -> Tensor:
    """Mean of 1 - cosine between the student's and the teacher's channels at each known place, a scalar."""
    terms = []
    for answer, hint in zip(answers, hints, strict=True):
        unlike = 1 - F.cosine_similarity(answer.float(), hint.values, dim=1)
        terms.append((unlike * hint.known[:, 0]).sum() / hint.known.sum().clamp(min=1))
    return torch.stack(terms).mean()
