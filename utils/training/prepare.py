"""From pairs of stored crops to what a generator step sees: views, colours, embeddings, masks; all on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arcface_model.iresnet import IResNet
from coordinate_reg.points import MIRRORED
from utils.device import to_device
from utils.errors import OptionError
from utils.inference.align import ARCFACE_112
from utils.progress import progress, silenced
from utils.training import augment, geometry
from utils.training.augment import Changes
from utils.training.config import TrainConfig
from utils.training.distributed import gather_rows, rank
from utils.training.draws import Draws
from utils.training.faceres import SIDE, Appearance, FaceRes
from utils.training.faces import Faces, Framing, spaced
from utils.training.invent import Known, most_alike
from utils.training.masks import face_masks, pasting_masks, sure_parts
from utils.training.networks import landmark_view
from utils.training.optimise import mixed_precision
from utils.training.pairs import Pairs, Share, joined
from utils.training.pasting import Pasting
from utils.training.pose import turning
from utils.training.stock import CANDIDATES, Stock
from utils.training.terms import Judges, SwapBatch, rows_of, shown_to_critics
from utils.training.transplant import transplant

_GLANCE = Changes(rotation=5, zoom=0.05, shift=0.03, mirror=0.5)  # of the aligned critic at a swap
_CENTRED = 256  # faces whose mean FaceRes subtracts
_IDENTITY_VIEW = 224  # ArcFace's face was resized from this in the published training


def alignment(kps: Tensor) -> Tensor:
    """Maps (B, 2, 3) from pixels of the 112 alignment of recognisers to those of a picture with keypoints kps (B,
    5, 2)."""
    target = to_device(torch.from_numpy(ARCFACE_112).float(), kps.device).expand(len(kps), 5, 2)
    return geometry.similarity(target, kps)


@torch.no_grad()
def embed_set(faces: Faces, teacher: nn.Module, device: torch.device, dtype: torch.dtype) -> Tensor:
    """What the aligned recogniser sees in each face and its mirror image together; (N, D) float32, normalised."""
    assert faces.images is not None and faces.kps is not None
    rows = []
    with progress(len(faces), silenced(), "crops embedded") as advance:
        for images, kps in zip(faces.images.split(64), faces.kps.split(64), strict=True):
            aligned = geometry.warp(augment.to_float(to_device(images, device)), alignment(to_device(kps, device)), 112)
            with mixed_precision(device, dtype):
                rows.append(F.normalize(teacher(aligned).float() + teacher(aligned.flip(3)).float()))
            advance(len(aligned))
    return torch.cat(rows)


@torch.no_grad()
def centre_on_set(network: FaceRes, faces: Faces, device: torch.device, dtype: torch.dtype) -> None:
    """Let FaceRes subtract the mean of faces of the set from its embeddings."""
    some = spaced(faces, _CENTRED)
    assert some.images is not None and some.kps is not None
    images, kps = (x.to(device) for x in (some.images, some.kps))
    with mixed_precision(device, dtype):
        network.centre_on(_faceres_view(augment.to_float(images), alignment(kps)))


def _faceres_view(images: Tensor, M_align: Tensor) -> Tensor:
    """What FaceRes sees of pictures: M_align (B, 2, 3), pixels of the 112 alignment to those of the pictures."""
    return geometry.warp(images, _faceres_map(M_align), SIDE)


def _faceres_map(M_align: Tensor) -> Tensor:
    return geometry.compose(M_align, geometry.resize_matrix(112, SIDE, len(M_align), M_align.device))


class Preparer:
    """Makes the batches of generator steps."""

    def __init__(self, config: TrainConfig, faces: Faces, encoder: IResNet, judges: Judges, share: Share,
                 device: torch.device, dtype: torch.dtype) -> None:
        self._config, self._faces, self._encoder, self._judges = config, faces, encoder, judges
        self._share, self._device, self._dtype = share, device, dtype
        self._geometry = Changes(config.rotation, config.zoom, config.shift, config.mirror)
        self._colour = Changes(jitter=config.jitter, hue=config.hue)
        self._layout = torch.channels_last if config.channels_last else torch.contiguous_format
        wanted = config.weight_distill > 0 or not config.source_novel
        table = judges.critic.aligned and faces.images is not None and wanted
        known = embed_set(faces, judges.critic.network, device, dtype) if table else None
        self._table = None if config.source_novel else known  # invented people are in no table
        self._centre = known.mean(0) if known is not None and config.weight_distill else None
        if self._centre is not None and len(self._centre) != encoder.num_features:
            raise OptionError(
                f"--weight_distill teaches {len(self._centre)}-dimensional embeddings, but those of --identity "
                f"{config.identity} have {encoder.num_features} dimensions"
            )
        landmarker = config.face_landmarker if config.weight_transplant > 0 else None
        self._stock = Stock(faces, landmarker, device)
        if judges.appearance is not None:
            centre_on_set(judges.appearance, faces, device, dtype)

    @torch.no_grad()
    def __call__(self, pairs: Pairs) -> SwapBatch:
        """Cut, recolour and embed one batch."""
        assert pairs.source_images is not None and pairs.target_images is not None
        source = self._stock.known(pairs.source_images, pairs.source)
        target = self._stock.known(pairs.target_images, pairs.target)
        if self._config.source_novel > 0:
            source = self._invented(source, pairs)
        M_source, M_target = self._views(pairs, "source view"), self._views(pairs, "target view")
        if self._config.alike_targets > 0:
            target = self._alike(source, target, M_source, M_target, pairs)
        Xs = self._coloured(self._cut(source.images, M_source), pairs, "source colour")
        Xt = self._coloured(self._cut(target.images, M_target), pairs, "target colour")
        seen = self._seen(source.images, M_source, pairs)
        with mixed_precision(self._device, self._dtype):
            z_id = self._encoder(seen).float()
        wanted = self._wanted(source, z_id, pairs)
        z_id, wanted, alone = self._blended(z_id, wanted, pairs)
        batch = SwapBatch(Xs, Xt, z_id, wanted, *self._same(pairs), seen=seen, z_teacher=self._z_teacher(wanted))
        batch = self._judged(batch, target, M_target, pairs)
        if self._config.weight_transplant:
            batch = self._with_donors(batch, source, target, M_source, M_target, alone)
        return batch if self._judges.appearance is None else self._with_appearance(batch, source)

    def several(self, group: Sequence[Pairs]) -> list[SwapBatch]:
        """The batches of a group, prepared as one, so that a device is given its work in fewer and larger pieces."""
        if len(group) == 1:
            return [self(group[0])]
        whole, ends = self(joined(group)), np.cumsum([len(pairs) for pairs in group])
        parts = (rows_of(whole, slice(end - len(pairs), end)) for pairs, end in zip(group, ends, strict=True))
        return [replace(part, counted_pairs=whole.counted_pairs.new_full((), pairs.same_share))
                for part, pairs in zip(parts, group, strict=True)]

    def _invented(self, source: Known, pairs: Pairs) -> Known:
        """Put invented people into the place of some sources that are not the target's person."""
        draws = self._draws(pairs, "novel")
        chosen = draws.chance(self._config.source_novel) & ~to_device(torch.from_numpy(pairs.same), self._device)
        return self._stock.between(source, draws).where(chosen, source)

    def _alike(self, source: Known, target: Known, M_source: Tensor, M_target: Tensor, pairs: Pairs) -> Known:
        """Put targets that look into the source's direction into the place of some, so that more of the swaps by
        warping can be believed."""
        draws = self._draws(pairs, "alike")
        different = to_device(torch.from_numpy(~pairs.same), self._device)
        chosen = draws.chance(self._config.alike_targets) & different
        people = np.array(self._faces.identities)
        candidates = [target]
        for face, positions in (self._stock.drawn(draws) for _ in range(CANDIDATES)):
            stranger = to_device(torch.from_numpy(people[positions] != people[pairs.source]), self._device)
            candidates.append(face.where(stranger, target))
        wanted = augment.seen_points(M_source, source.points, MIRRORED)
        seen = [augment.seen_points(M_target, face.points, MIRRORED) for face in candidates]
        return most_alike(wanted, candidates, seen).where(chosen, target)

    def _draws(self, pairs: Pairs, purpose: str) -> Draws:
        return Draws(self._config.seed, purpose, pairs.indices, self._device)

    def _views(self, pairs: Pairs, purpose: str) -> Tensor:
        return augment.views(self._faces.framing, self._config.size, self._geometry, self._draws(pairs, purpose))

    def _cut(self, images: Tensor, M_view: Tensor) -> Tensor:
        size, framing = self._config.size, self._faces.framing
        return augment.cut(images, M_view, size, framing, self._geometry.still)

    def _coloured(self, x: Tensor, pairs: Pairs, purpose: str) -> Tensor:
        return augment.jitter(x, self._colour, self._draws(pairs, purpose)).contiguous(memory_format=self._layout)

    def _same(self, pairs: Pairs) -> tuple[Tensor, Tensor, Tensor]:
        """Which pairs show one person, which of them L_rec counts, and by how many it is divided."""
        same = to_device(torch.from_numpy(pairs.same.astype(np.float32)), self._device)
        return same, same.clone(), same.new_full((), pairs.same_share)  # recordings and compilers tell them apart

    def _seen(self, source: Tensor, M_source: Tensor, pairs: Pairs) -> Tensor:
        """The sources as the identity encoder sees them, in colours of their own as published."""
        size = self._config.size
        side = min(size, _IDENTITY_VIEW) if self._judges.encoder.published else size
        M = geometry.compose(M_source, geometry.resize_matrix(size, side, len(M_source), self._device))
        faces = augment.cut(source, M, side, self._faces.framing, self._geometry.still)
        change = augment.degrade if self._config.degrade else augment.jitter
        seen = change(self._judges.encoder.view(faces), self._colour, self._draws(pairs, "identity colour"))
        return seen.contiguous(memory_format=self._layout)

    def _wanted(self, source: Known, z_id: Tensor, pairs: Pairs) -> Tensor:
        """What the critic would see in the source."""
        if not self._judges.critic.aligned:
            return z_id
        if self._table is not None:
            return self._table[to_device(torch.from_numpy(pairs.source), self._device)]
        with mixed_precision(self._device, self._dtype):
            return self._judges.critic(source.images, alignment(source.kps))

    def _blended(self, z_id: Tensor, wanted: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor, Tensor]:
        """Give some pairs a blend with another identity of the batch: more people than there are photos.

        Also returns which pairs got none, (B,) bool.
        """
        draws = self._draws(pairs, "blend")
        chosen = draws.chance(self._config.identity_blend) & ~to_device(torch.from_numpy(pairs.same), self._device)
        part = (draws.uniform() * chosen)[:, None]
        if self._config.identity_blend == 0:
            return z_id, wanted, ~chosen
        together = len(pairs) * self._share.world
        start = pairs.indices[0] - rank() * len(pairs)  # of the batch over all processes
        away = int(Draws(self._config.seed, "partner", np.array([start])).integers(max(together - 1, 1))[0]) + 1
        at = to_device(torch.from_numpy((pairs.indices - start + away) % together), self._device)
        z_other, other = gather_rows(z_id)[at], gather_rows(wanted)[at]
        length = torch.lerp(z_id.norm(dim=1, keepdim=True), z_other.norm(dim=1, keepdim=True), part)
        mixed = F.normalize(torch.lerp(z_id, z_other, part)) * length  # a blend is shorter than what it is made of
        aim = F.normalize(torch.lerp(F.normalize(wanted), F.normalize(other), part))
        return torch.where(chosen[:, None], mixed, z_id), torch.where(chosen[:, None], aim, wanted), ~chosen

    def _z_teacher(self, wanted: Tensor) -> Tensor | None:
        """The critic's embeddings without what all faces have in common, as the small encoder learned them."""
        return None if self._centre is None else F.normalize(F.normalize(wanted) - self._centre)

    def _judged(self, batch: SwapBatch, target: Known, M_target: Tensor, pairs: Pairs) -> SwapBatch:
        """Add what the judges need of the target."""
        extra: dict[str, Tensor | tuple[Tensor, Tensor]] = {}
        if self._judges.critic.aligned or self._judges.appearance is not None:
            seen = augment.seen_points(M_target, target.kps, augment.KPS_MIRRORED)
            extra["M_align"] = geometry.compose(alignment(seen), self._glance(pairs))
        with mixed_precision(self._device, self._dtype):
            if self._config.id_margin > 0:
                extra["avoided"] = self._judges.critic(batch.Xt, extra.get("M_align"))
            if self._judges.landmarks is not None:
                extra["points"] = self._judges.landmarks(landmark_view(batch.Xt))
            if self._judges.eyes is not None:
                extra["pupils"] = self._judges.eyes(batch.Xt)
        if self._config.weight_pose:
            extra["turning"] = turning(extra["points"])  # type: ignore[arg-type]
        if self._judges.landmarks is not None:
            points = extra["points"].cpu().numpy()  # type: ignore[union-attr]
            extra["face"] = to_device(torch.from_numpy(face_masks(points, self._config.size)), self._device)
            extra["shown"] = to_device(torch.from_numpy(pasting_masks(points, self._config)), self._device)
            if self._config.rim_contrast:
                extra["sure"] = to_device(torch.from_numpy(sure_parts(points)), self._device)
        return SwapBatch(**{**vars(batch), **extra})

    def _glance(self, pairs: Pairs) -> Tensor:
        """How the aligned critic looks at each swap, (B, 2, 3) from its pixels to those of the 112 alignment: a
        likeness that is there for one alignment alone is noise that the generator found."""
        return augment.views(Framing(112, 112), 112, _GLANCE, self._draws(pairs, "glance"))

    def _with_donors(
        self, batch: SwapBatch, source: Known, target: Known, M_source: Tensor, M_target: Tensor, alone: Tensor
    ) -> SwapBatch:
        """Add swaps by warping; they are believed where the source is one other person, and both faces are known."""
        seen = [
            augment.seen_points(M, face.points, MIRRORED)
            for M, face in ((M_source, source), (M_target, target))
        ]
        donor, belief, openings = transplant(batch.Xs, batch.Xt, *seen)
        usable = alone & source.sure & target.sure & (batch.same == 0)
        return replace(batch, donor=donor, belief=belief * usable, openings=openings * target.sure.view(-1, 1, 1, 1))

    def _with_appearance(self, batch: SwapBatch, source: Known) -> SwapBatch:
        """Add what FaceRes makes of the sources and of the swaps by warping."""
        assert self._judges.appearance is not None and batch.M_align is not None
        M_face = _faceres_map(batch.M_align)
        looked = _faceres_view(source.images, alignment(source.kps))
        with mixed_precision(self._device, self._dtype):
            resembled = Appearance(self._judges.appearance(looked).e, [])
            laid_over = None
            if self._config.weight_features:
                assert batch.donor is not None
                # Warped swaps are in the target's light already.
                pasted = shown_to_critics(batch.donor, batch, Pasting(rim_contrast=self._config.rim_contrast))
                laid_over = self._judges.appearance(geometry.warp(pasted, M_face, SIDE))
        return replace(batch, M_face=M_face, resembled=resembled, laid_over=laid_over)
