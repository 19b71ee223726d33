"""The loss terms of a generator step and of a discriminator step, each as one module: the unit that is compiled, and
that averages its gradients over processes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.utils._pytree import register_pytree_node, tree_map_only

from coordinate_reg.network import LandmarkNet
from utils.training import distill, geometry, losses
from utils.training.eyes import EyeHeatmaps
from utils.training.faceres import SIDE, Appearance, FaceRes
from utils.training.filters import gaussian_blur
from utils.training.networks import Critic, landmark_view
from utils.training.optimise import mixed_precision
from utils.training.pasting import PLAIN, Pasting

_BY_LANDMARKS = ("landmarks", "pose")
_BY_APPEARANCE = ("faceres", "features")
_APART = ("attr", "distill", *_BY_LANDMARKS, *_BY_APPEARANCE)  # terms that share what they need


@dataclass(frozen=True)
class SwapBatch:
    """What a generator step sees of B pairs, on the device."""

    Xs: Tensor  # (B, 3, S, S) float32 [-1, 1] RGB, sources
    Xt: Tensor  # (B, 3, S, S), targets
    z_id: Tensor  # (B, c_id) float32, raw embeddings that condition the generator
    wanted: Tensor  # (B, D) float32, what the critic should see in Y
    same: Tensor  # (B,) float32, 1 where both show one person
    counted: Tensor  # (B,) float32, 1 where L_rec counts the pair
    counted_pairs: Tensor  # () float32, such pairs that L_rec is divided by
    avoided: Tensor | None = None  # (B, D) float32, what the critic sees in the target
    M_align: Tensor | None = None  # (B, 2, 3) pixels of the critic's 112 alignment to those of Xt
    points: Tensor | None = None  # (B, 106, 2) float32, the target's landmarks in shares of the crop
    turning: Tensor | None = None  # (B, 3, 212) float32, how its head turns when they move, see `pose.turning`
    face: Tensor | None = None  # (B, 1, S, S) float32 [0, 1], 1 inside the target's face
    shown: Tensor | None = None  # (B, 1, S, S), like face: 1 where the pipeline will show the swap
    sure: Tensor | None = None  # (B, 1, 64, 64), where it does so however much the swap differs from the target
    donor: Tensor | None = None  # (B, 3, S, S), like Xs: swaps by warping
    belief: Tensor | None = None  # (B,) float32 [0, 1], how far each of them shows what is wanted
    openings: Tensor | None = None  # (B, 1, S, S) float32 [0, 1], 1 between the target's lids and lips
    seen: Tensor | None = None  # (B, 3, s, s), like Xs: the sources as an encoder that learns sees them
    z_teacher: Tensor | None = None  # (B, c_id) float32, normalised: what its embedding should be near to
    pupils: tuple[Tensor, Tensor] | None = None  # the target's heatmaps, each (B, 64, 64) float32
    M_face: Tensor | None = None  # (B, 2, 3) pixels of FaceRes's view to those of Xt
    resembled: Appearance | None = None  # what FaceRes makes of the sources, without maps
    laid_over: Appearance | None = None  # what it makes of the swaps by warping, as pasted

    def counting_all(self) -> SwapBatch:
        """The same with all pairs in L_rec."""
        return replace(self, counted=torch.ones_like(self.same), counted_pairs=self.same.new_full((), len(self.same)))


# So that tools for nested tensors find those of a batch.
register_pytree_node(
    SwapBatch,
    lambda batch: (list(vars(batch).values()), list(vars(batch))),
    lambda values, names: SwapBatch(**dict(zip(names, values, strict=True))),
)


def rows_of(batch: SwapBatch, rows: slice) -> SwapBatch:
    """Some pairs of a batch; `counted_pairs` stays."""
    return tree_map_only(Tensor, lambda x: x[rows] if x.dim() else x, batch)


@dataclass(frozen=True)
class Judges:
    """The networks that judge a swap. They are held outside of `nn.Module`s, so nothing trains or saves them."""

    critic: Critic  # of L_id
    encoder: Critic  # the encoder that conditions the generator
    landmarks: LandmarkNet | None = None
    eyes: EyeHeatmaps | None = None
    appearance: FaceRes | None = None


class GeneratorTerms(nn.Module):
    """Y and all loss terms that are switched on, unweighted."""

    def __init__(
        self, G: nn.Module, D: nn.Module, judges: Judges, names: list[str], dtype: torch.dtype,
        critic_blur: float = 0.0, E: nn.Module | None = None, pasting: Pasting = PLAIN, id_margin: float = 0.0,
    ) -> None:
        """names: the terms wanted, of adv, attr, id, encoder, rec, eyes, tone, outside, landmarks, pose, transplant,
        distill, faceres, features.
        critic_blur: of the swaps that the critic sees, standard deviation in pixels. E: an identity encoder that
        learns; without one, the batch's z_id conditions the generator. pasting: as the pipeline does it.
        id_margin: by which swaps should be nearer to source than to target."""
        super().__init__()
        self.G, self.E = G, E
        self._D = (D,)  # in a tuple, so that it is not a part of this module
        self._judges, self._names, self._dtype = judges, names, dtype
        self._critic_blur, self._pasting, self._margin = critic_blur, pasting, id_margin

    def forward(self, batch: SwapBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns Y (B, 3, S, S) float32 [-1, 1] RGB, with its graph, and the terms by name."""
        with mixed_precision(batch.Xt.device, self._dtype):
            z_id = batch.z_id if self.E is None else self.E(batch.seen).float()
            Y, z_attr = self.G(batch.Xt, z_id)
            Y = Y.float()
            names = [name for name in self._names if name not in _APART]
            terms = {name: getattr(self, f"_{name}")(Y, batch) for name in names} | self._keeping(Y, batch)
            terms |= self._appearing(Y, batch)
            if "distill" in self._names:
                assert batch.z_teacher is not None
                terms["distill"] = distill.identity_loss(z_id, batch.z_teacher)
            if "attr" in self._names:
                terms["attr"] = losses.attribute_loss(z_attr, self.G.get_attr(Y))  # type: ignore[operator]
        return Y, terms

    def _adv(self, Y: Tensor, batch: SwapBatch) -> Tensor:
        return losses.adversarial_loss(full_precision(self._D[0](as_pasted(Y, batch, self._pasting))))

    def _id(self, Y: Tensor, batch: SwapBatch) -> Tensor:
        seen = shown_to_critics(Y, batch, self._pasting)
        seen = gaussian_blur(seen, self._critic_blur) if self._critic_blur else seen
        found = self._judges.critic(seen, batch.M_align)
        loss = losses.identity_loss(batch.wanted, found)
        if batch.avoided is None:
            return loss
        return loss + losses.margin_loss(batch.wanted, batch.avoided, found, self._margin, batch.same)

    def _encoder(self, Y: Tensor, batch: SwapBatch) -> Tensor:
        return losses.identity_loss(batch.z_id, self._judges.encoder(shown_to_critics(Y, batch, self._pasting), None))

    def _rec(self, Y: Tensor, batch: SwapBatch) -> Tensor:
        return losses.reconstruction_loss(Y, batch.Xt, batch.counted, batch.counted_pairs)

    def _eyes(self, Y: Tensor, batch: SwapBatch) -> Tensor:
        assert self._judges.eyes is not None and batch.pupils is not None
        return losses.eye_loss(*batch.pupils, *self._judges.eyes(Y))

    def _tone(self, Y: Tensor, batch: SwapBatch) -> Tensor:
        return losses.tone_loss(Y, batch.Xt)

    def _outside(self, Y: Tensor, batch: SwapBatch) -> Tensor:
        assert batch.face is not None
        return losses.surroundings_loss(Y, batch.Xt, batch.face)

    def _transplant(self, Y: Tensor, batch: SwapBatch) -> Tensor:
        assert batch.donor is not None and batch.face is not None
        assert batch.belief is not None and batch.openings is not None
        return losses.transplant_loss(Y, batch.donor, batch.face, batch.belief, batch.openings)

    def _keeping(self, Y: Tensor, batch: SwapBatch) -> dict[str, Tensor]:
        """The terms that look at the landmarks of the swap."""
        names = [name for name in _BY_LANDMARKS if name in self._names]
        if not names:
            return {}
        assert self._judges.landmarks is not None and batch.points is not None
        points = self._judges.landmarks(landmark_view(Y)).float()
        terms = {}
        if "landmarks" in names:
            terms["landmarks"] = losses.landmark_consistency_loss(batch.points.float(), points)
        if "pose" in names:
            assert batch.turning is not None
            terms["pose"] = losses.pose_loss(batch.points.float(), points, batch.turning)
        return terms

    def _appearing(self, Y: Tensor, batch: SwapBatch) -> dict[str, Tensor]:
        """The terms that look at the swap with FaceRes."""
        names = [name for name in _BY_APPEARANCE if name in self._names]
        if not names:
            return {}
        assert self._judges.appearance is not None and batch.M_face is not None
        found = self._judges.appearance(geometry.warp(shown_to_critics(Y, batch, self._pasting), batch.M_face, SIDE))
        terms = {}
        if "faceres" in names:
            assert batch.resembled is not None
            terms["faceres"] = losses.identity_loss(batch.resembled.e, found.e)
        if "features" in names:
            assert batch.laid_over is not None and batch.belief is not None
            terms["features"] = losses.feature_loss(found.maps, batch.laid_over.maps, batch.belief)
        return terms


def as_pasted(Y: Tensor, batch: SwapBatch, pasting: Pasting) -> Tensor:
    """The swap as the pipeline will show it: in the target's light and skin tone, and within the mask, where the
    landmarks for that are known."""
    return pasting.lay(Y, batch.Xt, batch.shown, batch.sure)


def shown_to_critics(Y: Tensor, batch: SwapBatch, pasting: Pasting = PLAIN) -> Tensor:
    """The swap as judges of identity see it: as it will be pasted, so that likeness goes where it will be seen; and
    with the target's gaze and teeth, where the openings of eyes and mouth are known, since these are not the source's
    to decide. They close mouths and blur eyes otherwise."""
    pasted = as_pasted(Y, batch, pasting)
    return pasted if batch.openings is None else torch.lerp(pasted, batch.Xt, batch.openings)


class DiscriminatorTerms(nn.Module):
    """L_D, and the gradient penalty that keeps D from being steep."""

    def __init__(self, D: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.D = D
        self._dtype = dtype

    def forward(self, Y: Tensor, real: Tensor, weight_r1: float = 0.0) -> tuple[Tensor, Tensor]:
        """Y: (B, 3, S, S) float32 [-1, 1] RGB, detached; real: real faces, like Y. Returns L_D and the weighed penalty,
        two scalars."""
        with mixed_precision(Y.device, self._dtype):
            maps = full_precision(self.D(torch.cat((Y, real))))
        count = len(Y)
        loss = losses.discriminator_loss([[m[:count] for m in scale] for scale in maps],
                                         [[m[count:] for m in scale] for scale in maps])
        return loss, 0.5 * weight_r1 * self._penalty(real) if weight_r1 else torch.zeros_like(loss)

    def _penalty(self, real: Tensor) -> Tensor:
        X = real.detach().requires_grad_()
        # Second derivatives leave float16's range.
        wide = torch.float32 if self._dtype == torch.float16 else self._dtype
        with mixed_precision(X.device, wide):
            maps = self.D(X)
        return losses.gradient_penalty([scale[-1] for scale in maps], X)


def full_precision(maps: list[list[Tensor]]) -> list[list[Tensor]]:
    """The discriminator's maps as float32, for the losses."""
    return [[m.float() for m in scale] for scale in maps]
