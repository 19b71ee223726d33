"""Losses of GHOST as pure functions; the caller weighs and adds them.

Source: FaceShifter sec. 3.3, arXiv:1912.13457; GHOST, IEEE Access 2022. All return scalars.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from utils.training.pose import turns


def hinge(logits: Tensor, positive: bool) -> Tensor:
    """Mean hinge of one map of patches, (B, 1, h, w): zero where it is beyond 1 on the right side."""
    return F.relu(1 - logits if positive else 1 + logits).mean()


def adversarial_loss(fake: list[list[Tensor]]) -> Tensor:
    """L_adv of the generator: hinge towards real, summed over the scales (not averaged: the weights were tuned so).

    fake: the discriminator's output for Y, one list per scale, its last entry the map of patches.
    """
    return torch.stack([hinge(scale[-1], True) for scale in fake]).sum()


def discriminator_loss(fake: list[list[Tensor]], real: list[list[Tensor]]) -> Tensor:
    """L_D: half the sum of the hinges of generated (detached Y) and real faces over the scales."""
    wrong = torch.stack([hinge(scale[-1], False) for scale in fake]).sum()
    right = torch.stack([hinge(scale[-1], True) for scale in real]).sum()
    return 0.5 * (wrong + right)


def gradient_penalty(logits: list[Tensor], X: Tensor) -> Tensor:
    """R1: mean squared length of the gradient that the discriminator's judgement has at real faces.

    logits: its maps of patches for X, one per scale, each (B, 1, h, w). X: (B, 3, S, S) float [-1, 1], requires a
    gradient. Source: Mescheder et al., ICML 2018, eq. 9.
    """
    judgement = torch.stack([scale.float().flatten(1).mean(1) for scale in logits]).sum()
    (gradient,) = torch.autograd.grad(judgement, X, create_graph=True)
    return gradient.float().square().flatten(1).sum(1).mean()


def identity_loss(z_wanted: Tensor, z_found: Tensor) -> Tensor:
    """L_id: one minus the cosine between the source's embedding and the swap's, each (B, D)."""
    return (1 - F.cosine_similarity(z_wanted, z_found)).mean()


def margin_loss(z_wanted: Tensor, z_avoided: Tensor, z_found: Tensor, margin: float, same_person: Tensor) -> Tensor:
    """How far swaps fail to be nearer to the source than to the target, by a margin of cosines (triplet loss: Schroff
    et al., CVPR 2015, eq. 2); mean over the batch.

    z_wanted, z_avoided, z_found: (B, D), embeddings of source, target and swap. same_person: (B,) float or bool, 1
    where nothing is asked, since source and target are one person.
    """
    gap = F.cosine_similarity(z_found, z_avoided) - F.cosine_similarity(z_found, z_wanted)
    return (F.relu(gap + margin) * (1 - same_person.to(gap.dtype))).mean()


def attribute_loss(z_attr_target: list[Tensor], z_attr_swap: list[Tensor]) -> Tensor:
    """L_attr: half the sum over the levels of the mean squared distance of the attribute maps, of any precision."""
    distances = [_MeanSquaredDistance.apply(a, b) for a, b in zip(z_attr_swap, z_attr_target, strict=True)]
    return 0.5 * torch.stack(distances).sum()


class _MeanSquaredDistance(torch.autograd.Function):
    """F.mse_loss for large maps in half precision: summed in float32 without a copy of the maps in float32."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        difference = a - b
        ctx.save_for_backward(difference)
        exact = torch.promote_types(difference.dtype, torch.float32)
        # Squares of float16 may be too large for it.
        wide = difference.float() if difference.dtype == torch.float16 else difference
        return (wide * wide).mean(dtype=exact)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        (difference,) = ctx.saved_tensors
        result = difference * (2 / difference.numel() * grad)
        return result, -result


def reconstruction_loss(Y: Tensor, Xt: Tensor, same_person: Tensor, pairs: Tensor | None = None) -> Tensor:
    """L_rec: half the mean squared distance to the target, over the pairs that show one person.

    Y, Xt: (B, 3, S, S) float [-1, 1]. same_person: (B,) float or bool, 1 where source and target are one person.
    pairs: () float, the number of such pairs to divide by where this batch is a part of a larger one (default: its
    own).
    """
    same = same_person.to(Y.dtype)
    per_image = 0.5 * (Y - Xt).square().flatten(1).mean(1)
    return (per_image * same).sum() / ((same.sum() if pairs is None else pairs) + 1e-6)


def eye_loss(target_left: Tensor, target_right: Tensor, swap_left: Tensor, swap_right: Tensor) -> Tensor:
    """L_eyes: distance of the pupils' heatmaps, each (B, h, w), left ones and right ones."""
    return F.mse_loss(swap_left, target_left) + F.mse_loss(swap_right, target_right)


def tone_loss(Y: Tensor, Xt: Tensor, cells: int = 16) -> Tensor:
    """Mean distance of the pictures seen at cells x cells pixels: keeps the target's light and skin tone.

    Y, Xt: (B, 3, S, S) float [-1, 1] RGB.
    """
    return F.l1_loss(F.adaptive_avg_pool2d(Y, cells), F.adaptive_avg_pool2d(Xt, cells))


def surroundings_loss(Y: Tensor, Xt: Tensor, face: Tensor) -> Tensor:
    """Mean distance outside the face, which the swap must leave alone.

    Y, Xt: (B, 3, S, S) float [-1, 1] RGB. face: (B, 1, S, S) float [0, 1], 1 inside the face.
    """
    outside = 1 - face
    difference = ((Y - Xt).abs().mean(1, keepdim=True) * outside).sum((1, 2, 3))
    return (difference / (outside.sum((1, 2, 3)) + 1e-6)).mean()  # per image, so that parts of a batch add up


def transplant_loss(Y: Tensor, donor: Tensor, face: Tensor, belief: Tensor, openings: Tensor) -> Tensor:
    """Mean distance inside the face to a swap by warping, and half of that inside the openings of eyes and mouth.

    Y, donor: (B, 3, S, S) float [-1, 1] RGB. face, openings: (B, 1, S, S) float [0, 1]. belief: (B,) float [0, 1], how
    far each donor shows what is wanted; its openings are the target's and always count.
    """
    difference = (Y - donor).abs().mean(1, keepdim=True)
    inside, open_ = ((difference * mask).sum((1, 2, 3)) / (mask.sum((1, 2, 3)) + 1e-6) for mask in (face, openings))
    return (belief * inside + 0.5 * open_).mean()


def feature_loss(found: list[Tensor], wanted: list[Tensor], belief: Tensor) -> Tensor:
    """Perceptual distance: mean squared distance of the directions that a network's maps have at each place, summed
    over the maps (LPIPS without its weights: Zhang et al., CVPR 2018).

    found, wanted: maps (B, C, h, w) of any precision. belief: (B,) float [0, 1], weight of each pair.
    """
    apart = [(F.normalize(a.float()) - F.normalize(b.float())).square().sum(1).mean((1, 2))
             for a, b in zip(found, wanted, strict=True)]
    return (belief * torch.stack(apart).sum(0)).mean()


def landmark_consistency_loss(points_target: Tensor, points_swap: Tensor) -> Tensor:
    """Mean distance of landmarks (B, P, 2): keeps pose and expression."""
    return (points_swap - points_target).norm(dim=2).mean()


def pose_loss(points_target: Tensor, points_swap: Tensor, turning_target: Tensor) -> Tensor:
    """Mean angle in radians by which the head turned, going by landmarks (B, 106, 2) in shares of the crop's side.

    turning_target: (B, 3, 212) float32, `pose.turning` of points_target.
    """
    return turns(points_target, points_swap, turning_target).norm(dim=1).mean()


def discriminator_is_due(running_L_adv: float, L_adv: float) -> tuple[float, bool]:
    """`--discr_force`: the running mean of L_adv (start it at 20), and whether D may step (it is below 4)."""
    running = 0.98 * running_L_adv + 0.02 * L_adv
    return running, running < 4
