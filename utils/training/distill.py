"""Losses of the two small networks of the embedded set, which learn from larger ones."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def identity_loss(z_id: Tensor, e: Tensor) -> Tensor:
    """Direction and, gently, length: embeddings of unit variance, so that the generator sees one scale.

    z_id: (B, D) float, the student's raw output. e: (B, D) float, the teacher's, normalised. Returns a scalar.
    """
    scale = e.shape[1] ** 0.5
    return (1 - F.cosine_similarity(z_id, e)).mean() + 0.1 * F.mse_loss(z_id, e * scale)


def landmark_loss(points: Tensor, target: Tensor) -> Tensor:
    """Wing loss (Feng et al., CVPR 2018) in shares of the crop's side.

    points, target: (B, 106, 2) float, units of the crop's side. Returns a scalar.
    """
    w, epsilon = 0.05, 0.01
    d = (points - target).abs()
    curve = w * torch.log1p(d / epsilon)
    gap = w - w * math.log1p(w / epsilon)  # makes the two branches meet
    return torch.where(d < w, curve, d - gap).mean()
