"""Hints: the student's late maps learn what the teacher's show at the same place of the face (FitNets, Romero et al.,
ICLR 2015). An embedding is 128 values about a face; the maps tell hundreds at each of many places, so that a student of
few people learns how faces differ instead of these people by heart. The teacher's last layer is linear, so its
embedding is a sum over places of the face, and the student learns the summands too.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arcface_model.iresnet import IResNet
from utils.training import geometry
from utils.training.sface import Observed

_FINE = 4  # points along a side at which a place's share is measured


class Hint(NamedTuple):
    """What the teacher shows at the places of a student's map."""

    values: Tensor  # (B, C, g, g) float32, of mean 0 and variance 1 over the set
    known: Tensor  # (B, 1, g, g) float32, 0 where the teacher did not look


class Hints(NamedTuple):
    """All that a student is to learn beside the embedding."""

    maps: list[Hint]
    shares: Tensor  # (B, D, g, g) float32


class Answer(NamedTuple):
    """What a student makes of faces while it learns."""

    z_id: Tensor  # (B, D)
    maps: list[Tensor]  # its last ones as the teacher's, (B, C, g, g)
    shares: Tensor  # (B, D, g, g) float32, what each place adds to z_id


class HintedEncoder(nn.Module):
    """The identity encoder, and 1x1 convolutions from its last maps to the teacher's, of use while it learns."""

    def __init__(self, encoder: IResNet, channels: list[int]) -> None:
        """channels: of the teacher's maps, for as many of the encoder's last ones."""
        super().__init__()
        self.encoder = encoder
        widths = encoder.widths[len(encoder.widths) - len(channels) :]
        pairs = zip(widths, channels, strict=True)
        self.project = nn.ModuleList(nn.Conv2d(cin, cout, 1) for cin, cout in pairs)

    def forward(self, x: Tensor) -> Tensor | Answer:
        """x: (B, 3, S, S) float [-1, 1] RGB. Returns z_id (B, D) alone, or while training all of it."""
        if not self.training:
            return self.encoder(x)
        maps = self.encoder.stages(x)
        shares = self._shares(maps[-1])
        z_id = self.encoder.features(shares.sum((2, 3)) + self.encoder.fc.bias)
        late = maps[len(maps) - len(self.project) :]
        variance = self.encoder.features.running_var
        assert variance is not None
        scale = (variance + self.encoder.features.eps).rsqrt()
        return Answer(z_id, [conv(m) for conv, m in zip(self.project, late, strict=True)],
                      shares * scale.view(1, -1, 1, 1))

    def _shares(self, last: Tensor) -> Tensor:
        """What each place of the last stage's map adds to the sum that the linear layer makes of all, (B, D, g, g)."""
        x = self.encoder.bn2(last).float()
        return torch.einsum("bchw,dchw->bdhw", x, self.encoder.fc.weight.view(-1, *x.shape[1:]))


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


class TeacherStatistics(NamedTuple):
    """What a teacher shows of all faces alike, from which hints are measured."""

    maps: list[MapScale]
    shares: Tensor  # (1, D, h, w) float32

    @classmethod
    def of(cls, seen: Observed, centred: bool) -> TeacherStatistics:
        """That of some faces. centred: whether embeddings are taught less their mean, as the shares then are too."""
        shares = seen.shares.mean(0, keepdim=True)
        return cls([MapScale.of(maps) for maps in seen.maps], shares if centred else torch.zeros_like(shares))

    def shares_of(self, seen: Observed, centre: Tensor | float) -> Tensor:
        """Shares (B, D, h, w) that add up to embeddings less `centre` (D,) at unit variance, as the student's have."""
        apart = (seen.e - centre).norm(dim=1)[:, None, None, None]
        return (seen.shares - self.shares) * (seen.e.shape[1] ** 0.5 / apart)


def as_seen(maps: Tensor, M_align: Tensor, M_view: Tensor, view: int, side: int) -> Hint:
    """The teacher's map where the student looks.

    maps: (B, C, h, w), of the aligned 112 crop. M_align: (B, 2, 3), pixels of that crop to those of the stored one.
    M_view: (B, 2, 3), pixels of the student's crop, of side `view`, to those of the stored one. side: of the
    student's map.
    """
    count, device, height = len(maps), maps.device, maps.shape[-1]
    M = _places(height, M_align, M_view, view, side)
    axis = torch.arange(side, dtype=M.dtype, device=device)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    at = geometry.transform(M, torch.stack((x, y), 2).view(1, -1, 2).expand(count, -1, -1))
    inside = ((at > -0.5) & (at < height - 0.5)).all(2)
    return Hint(geometry.warp(maps, M, side), inside.view(-1, 1, side, side).float())


def shares_seen(shares: Tensor, M_align: Tensor, M_view: Tensor, view: int, side: int) -> Tensor:
    """What the places that the student looks at add to the teacher's embedding: (B, D, h, w) to (B, D, side, side).

    The rest as in `as_seen`. Whatever the view is, the sum over the places stays about the same.
    """
    fine = _FINE * side
    there = as_seen(shares, M_align, M_view, view, fine)
    M = _places(shares.shape[-1], M_align, M_view, view, fine)
    area = torch.linalg.det(M[:, :, :2]).abs()[:, None, None, None]  # of a place in places of the teacher
    return F.avg_pool2d(there.values * there.known, _FINE, divisor_override=1) * area


def _places(height: int, M_align: Tensor, M_view: Tensor, view: int, side: int) -> Tensor:
    """Maps (B, 2, 3) from places in a student's map to those in a teacher's of this height."""
    count, device = len(M_view), M_view.device
    there = geometry.compose(geometry.invert(M_align), M_view)
    return geometry.compose(geometry.resize_matrix(height, 112, count, device),
                            geometry.compose(there, geometry.resize_matrix(view, side, count, device)))


def share_loss(answer: Tensor, wanted: Tensor) -> Tensor:
    """Mean of 1 - cosine between all shares (B, D, g, g) of a face, a scalar; the embedding gives their length."""
    return (1 - F.cosine_similarity(answer.flatten(1), wanted.flatten(1))).mean()


def hint_loss(answers: list[Tensor], hints: list[Hint]) -> Tensor:
    """Mean of 1 - cosine between the student's and the teacher's channels at each known place of a face, and over the
    faces, so that parts of a batch add up; a scalar."""
    terms = []
    for answer, hint in zip(answers, hints, strict=True):
        unlike, known = 1 - F.cosine_similarity(answer.float(), hint.values, dim=1), hint.known[:, 0]
        terms.append(((unlike * known).sum((1, 2)) / known.sum((1, 2)).clamp(min=1)).mean())
    return torch.stack(terms).mean()
