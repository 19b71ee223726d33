"""Training of the two small networks of the embedded set by larger ones.

Identity: the student sees the five-template crop, as the pipeline gives it, and learns the embedding that SFace gives
for the same face in SFace's own alignment. No labels are needed: blends of two aligned faces count as further people.
Landmarks: the student learns MediaPipe's points, reduced to the 106.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arcface_model.iresnet import IResNet, iresnet
from coordinate_reg.network import LandmarkNet
from coordinate_reg.points import LEFT_GAPS, MIRRORED, RIGHT_GAPS
from utils.device import to_device
from utils.errors import InputError, OptionError
from utils.inference.identify import both_ways
from utils.training import augment, distill, geometry, invent
from utils.training.config import TrainConfig
from utils.training.draws import Draws
from utils.training.faces import Faces, spaced
from utils.training.hints import (
    Answer,
    HintedEncoder,
    Hints,
    TeacherStatistics,
    as_seen,
    hint_loss,
    share_loss,
    shares_seen,
)
from utils.training.labels import LABELLED, label
from utils.training.networks import load_sface
from utils.training.optimise import mixed_precision
from utils.training.pairs import Share
from utils.training.prepare import alignment, embed_set
from utils.training.sface import Observed
from utils.training.stock import Stock
from utils.training.student import StudentTask, started

LANDMARK_SIDE = 112
_LANDMARK_NET: dict[str, Any] = {"channels": (24, 48, 64, 96), "neck": 20}
_MEASURED = 256  # faces that the scale of the teacher's maps is taken from
_BLENDED = 0.6  # share of the identity student's faces that are blends of two
_EYES = (LEFT_GAPS[1], RIGHT_GAPS[1])  # the lids' middles, between which an eye distance is


class Taught(NamedTuple):
    """Faces that the teacher has seen."""

    images: Tensor  # (B, 3, H, H) float32 [-1, 1] RGB
    M_align: Tensor  # (B, 2, 3), pixels of what the teacher saw to those of the images
    seen: Observed


class IdentityTask(StudentTask):
    """iresnet learns SFace's embeddings."""

    def __init__(self, config: TrainConfig, faces: Faces, held: Faces, share: Share, device: torch.device) -> None:
        """Raises InputError, OptionError, WeightsError."""
        _need_keypoints(config, faces)
        self._arguments: dict[str, Any] = {"depth": config.student_depth, "num_features": config.student_features,
                                           "width": config.student_width, "size": config.student_size}
        self._teacher = load_sface(config, device)
        self._check_teacher(device)
        self._statistics = self._look_at_some(faces, config.student_centred, device) if config.weight_hints else None
        encoder = started(_fresh_encoder(self._arguments), config)
        assert isinstance(encoder, IResNet)
        channels = [] if self._statistics is None else [scale.mean.shape[1] for scale in self._statistics.maps]
        network = HintedEncoder(encoder, channels)
        super().__init__(network, config.student_size, config, faces, held, share, device)
        # Mirrored before the teacher looks, or its maps would be of another picture.
        self._how = replace(self._how, mirror=0.0)
        self._centre: Tensor | float = 0.0
        if config.student_centred:
            self._centre = embed_set(faces, self._teacher, device, self._dtype).mean(0)
        self._known = self._centred(embed_set(self._held, self._teacher, device, self._dtype)) if len(held) else None
        self._ask = torch.compile(self._teacher.observed) if config.compile else self._teacher.observed
        self._stock = Stock(faces, config.face_landmarker if config.source_novel else None, device)

    @torch.no_grad()
    def _check_teacher(self, device: torch.device) -> None:
        taught = self._teacher(torch.zeros(1, 3, 112, 112, device=device)).shape[1]
        if self._arguments["num_features"] != taught:
            raise OptionError(f"--student_features must be {taught}, the dimension of --sface's embeddings, not "
                              f"{self._arguments['num_features']}")

    @torch.no_grad()
    def _look_at_some(self, faces: Faces, centred: bool, device: torch.device) -> TeacherStatistics:
        some = spaced(faces, _MEASURED)
        assert some.images is not None and some.kps is not None
        images = augment.to_float(some.images.to(device))
        seen = self._teacher.observed(geometry.warp(images, alignment(some.kps.to(device)), 112))
        return TeacherStatistics.of(seen, centred)

    def _centred(self, e: Tensor) -> Tensor:
        """Embeddings without what all faces of the set have in common, normalised."""
        return F.normalize(e - self._centre)

    @torch.no_grad()
    def lesson(self, indices: np.ndarray, number: int) -> tuple[Tensor, tuple[Tensor, Hints | None]]:
        """Blended faces; the teacher's normalised embeddings (B, D) of the same, aligned, and what led to them."""
        # The teacher is slow: some steps see other views of the same.
        taught = self._prepared(indices, number, self._look_at)
        draws = self._draws("lesson", indices)
        M_view = self._views(draws)
        crops = augment.degrade(geometry.warp(taught.images, M_view, self._side), self._how, draws)
        return crops, (self._centred(taught.seen.e), self._hints(taught, M_view))

    def _hints(self, taught: Taught, M_view: Tensor) -> Hints | None:
        """What the student's last two maps, of an eighth and a sixteenth of its side, are to show."""
        if self._statistics is None:
            return None
        scaled = [scale.applied(maps) for scale, maps in zip(self._statistics.maps, taught.seen.maps, strict=True)]
        sides = (self._side >> 3, self._side >> 4)
        maps = [as_seen(m, taught.M_align, M_view, self._side, g) for m, g in zip(scaled, sides, strict=True)]
        shares = self._statistics.shares_of(taught.seen, self._centre)
        return Hints(maps, shares_seen(shares, taught.M_align, M_view, self._side, sides[-1]))

    def _look_at(self, indices: np.ndarray) -> Taught:
        """New faces, and what the teacher sees in them."""
        draws = self._draws("faces", indices)
        images, kps = invent.mirrored(self._faces_to_teach(draws), self._config.mirror, draws)
        M_align = alignment(kps)
        aligned = geometry.warp(images, M_align, 112).contiguous(memory_format=self._layout)
        with mixed_precision(self._device, self._dtype):
            return Taught(images, M_align, self._ask(aligned))

    def _faces_to_teach(self, draws: Draws) -> invent.Faces:
        """Mixed faces, and by --source_novel in the place of some of them people between two of the set, who are
        sharper and more like photos."""
        faces = self._mixtures(draws)
        if self._config.source_novel == 0:
            return faces
        chosen = draws.chance(self._config.source_novel)
        between = self._stock.between(self._stock.drawn(draws)[0], draws)
        images = torch.where(chosen.view(-1, 1, 1, 1), between.images, faces[0])
        return images, torch.where(chosen.view(-1, 1, 1), between.kps, faces[1])

    def _mixtures(self, draws: Draws) -> invent.Faces:
        """Stored crops, many mixed with a second one; with --student_novel, people who are further from the stored
        ones."""
        if not self._config.student_novel:
            return self._mixture(_BLENDED, draws)
        one, other = self._mixture(0.9, draws), self._mixture(0.5, draws)
        return invent.recoloured(invent.bent(invent.mixed(one, other, _BLENDED, draws), draws), draws)

    def _mixture(self, share: float, draws: Draws) -> invent.Faces:
        first, second = (self._rows(draws.integers(len(self._faces))) for _ in range(2))
        return invent.mixed(first, second, share, draws)

    def loss(self, answer: Answer, wanted: tuple[Tensor, Hints | None]) -> Tensor:
        """See StudentTask."""
        e, hints = wanted
        loss = distill.identity_loss(answer.z_id.float(), e)
        if hints is None:
            return loss
        apart = hint_loss(answer.maps, hints.maps) + share_loss(answer.shares, hints.shares)
        return loss + self._config.weight_hints * apart

    def _answer(self, network: nn.Module, crops: Tensor) -> Tensor:
        return both_ways(network, crops)

    def networks(self) -> dict[str, dict[str, Tensor]]:
        """See Task."""
        hinted = self._updater.best
        assert isinstance(hinted, HintedEncoder)
        return {"G": hinted.encoder.state_dict()}

    def validate(self) -> dict[str, float]:
        """Agreement with the teacher, retrieval of the person by it, and how alike strangers look to the student."""
        if self._known is None or len(self._known) < 2:
            return {}
        z_id = F.normalize(self._answers(self._held_crops(self._side)))
        alike, among = z_id @ self._known.T, z_id @ z_id.T
        cosine = float(alike.diagonal().mean())
        people = np.array(self._held.identities)
        strangers = torch.from_numpy(people[:, None] != people)
        result = {"val_cosine": cosine, "val_retrieval": float((people[alike.argmax(1).cpu()] == people).mean()),
                  "val_score": 1 - cosine}
        if strangers.any():
            result["val_strangers_p99"] = float(among.cpu()[strangers].quantile(0.99))
        return result

    def card(self, origin: str) -> dict[str, Any]:
        """Its threshold lets one of a hundred pairs of strangers through."""
        threshold = round(self.validate().get("val_strangers_p99", 0.5), 3)
        return self._card("iresnet", self._arguments, origin) | {"similarity_th": threshold}


class LandmarkTask(StudentTask):
    """LandmarkNet learns MediaPipe's points."""

    def __init__(self, config: TrainConfig, faces: Faces, held: Faces, share: Share, device: torch.device) -> None:
        """Raises InputError, WeightsError, ResourceError."""
        _need_keypoints(config, faces)
        labels, score = label(faces, config.face_landmarker)
        seen = np.flatnonzero(score > LABELLED).tolist()
        if not seen:
            raise InputError(f"{faces.paths.folder}: MediaPipe recognises a face in none of its {len(faces)} pictures; "
                             "give --dataset_path with crops that preprocess_vgg.py cut")
        network = started(LandmarkNet(**_LANDMARK_NET), config)
        super().__init__(network, LANDMARK_SIDE, config, faces.subset(seen), held, share, device)
        self._labels = labels[seen].to(device)
        self._known = label(self._held, config.face_landmarker)[0].to(device) if len(held) else None

    @torch.no_grad()
    def lesson(self, indices: np.ndarray, number: int) -> tuple[Tensor, Tensor]:
        """Single faces; their 106 landmarks (B, 106, 2) in shares of the crop's side from its centre."""
        draws = self._draws("lesson", indices)
        at = draws.integers(len(self._faces))
        images, _ = self._rows(at)
        M_view = self._views(draws)
        points = augment.seen_points(
            M_view, self._labels[to_device(torch.from_numpy(at), self._device)], MIRRORED
        )
        return augment.degrade(geometry.warp(images, M_view, self._side), self._how, draws), (
            points + 0.5
        ) / self._side - 0.5

    def loss(self, answer: Tensor, wanted: Tensor) -> Tensor:
        """See StudentTask."""
        return distill.landmark_loss(answer.float(), wanted)

    def validate(self) -> dict[str, float]:
        """Mean error against the teacher, as a share of the eye distance."""
        if self._known is None:
            return {}
        views = augment.plain_views(self._held.framing, self._side, len(self._held), self._device)
        wanted = geometry.transform(geometry.invert(views), self._known)
        found = (self._answers(self._held_crops(self._side)) + 0.5) * self._side - 0.5
        eyes = [wanted[:, list(lids)].mean(1) for lids in _EYES]
        error = (found - wanted).norm(dim=2).mean(1) / (eyes[0] - eyes[1]).norm(dim=1)
        return {
            "val_error": float(error.mean()),
            "val_error_p90": float(error.quantile(0.9)),
            "val_score": float(error.mean()),
        }

    def card(self, origin: str) -> dict[str, Any]:
        """See Task."""
        return self._card("LandmarkNet", _LANDMARK_NET, origin)


def _fresh_encoder(arguments: dict[str, Any]) -> IResNet:
    try:
        return iresnet(**arguments)
    except ValueError as error:
        raise OptionError(f"no such identity student: {error}") from error


def _need_keypoints(config: TrainConfig, faces: Faces) -> None:
    if faces.kps is None:
        raise InputError(
            f"{config.dataset_path} has no index.csv with keypoints, which --task {config.task} needs; cut the "
            "faces with preprocess_vgg.py, with a --margin for augmentation"
        )
