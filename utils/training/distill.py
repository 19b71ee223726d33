"""The two small networks of the embedded set, taught by larger ones.

Identity: the student sees the five-template crop, as the pipeline gives it, and learns the embedding that SFace
gives for the
same face in SFace's own alignment. No labels are needed, so blends of two aligned faces count as further people.
Landmarks: the student learns MediaPipe's points, reduced to the 106.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from utils.training import geometry
from utils.training.data import Augmentation, FaceSet, jitter_colours, random_views, to_float, uniform, view_kps
from utils.training.sface import ARCFACE_112

STUDENT_SIZE = 112


def blend_faces(faces: FaceSet, count: int, share: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Draw stored crops; a `share` of them mixed with a second one, evenly or by a smooth random mask.

    Returns images (count, 3, H, H) float32 [-1, 1] RGB and keypoints (count, 5, 2), mixed in proportion.
    """
    first, second = torch.randint(len(faces), (2, count))
    a, b = (to_float(faces.images[i].to(device)) for i in (first, second))
    even = uniform(count, 0, 1, device)[:, None, None, None].expand(-1, 1, 4, 4)
    mask = torch.where(
        uniform(count, 0, 1, device)[:, None, None, None] < 0.5, even, torch.rand(count, 1, 4, 4).to(device)
    )
    mask = mask * (uniform(count, 0, 1, device) < share)[:, None, None, None]
    weight = mask.mean((1, 2, 3))[:, None, None]
    kps_a, kps_b = faces.kps[first].to(device), faces.kps[second].to(device)
    mask = F.interpolate(mask, a.shape[-2:], mode="bicubic", align_corners=False).clamp(0, 1)
    return a + mask * (b - a), kps_a + weight * (kps_b - kps_a)


def degrade(images: Tensor, how: Augmentation) -> Tensor:
    """What cameras do: colour, blur by a lower resolution, noise. images: (B, 3, H, W) float [-1, 1] RGB; returns
    the same."""
    n, device = len(images), images.device
    x = jitter_colours(images, how)
    small = F.interpolate(x, scale_factor=0.35, mode="bilinear", antialias=True, align_corners=False)
    blurred = F.interpolate(small, x.shape[-2:], mode="bilinear", align_corners=False)
    x = torch.lerp(x, blurred, (uniform(n, -1, 1, device).clamp(min=0))[:, None, None, None])
    noise = torch.randn(x.shape).to(device) * uniform(n, -0.06, 0.06, device).clamp(min=0)[:, None, None, None]
    return (x + noise).clamp(-1, 1)


def identity_batch(
    faces: FaceSet, teacher: Callable[[Tensor], Tensor], count: int, how: Augmentation, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Student crops (count, 3, 112, 112) float [-1, 1] RGB and the teacher's embeddings (count, D), normalised."""
    images, kps = blend_faces(faces, count, 0.6, device)
    views = random_views(faces, count, STUDENT_SIZE, how, device)
    crops = geometry.warp(images, views, STUDENT_SIZE)
    target = torch.from_numpy(ARCFACE_112).to(device).expand(count, 5, 2)
    aligned = geometry.similarity(target, view_kps(views, kps))  # SFace's crop to the view
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
        e = teacher(geometry.warp(images, geometry.compose(views, aligned), STUDENT_SIZE))
    return degrade(crops, how), e


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
