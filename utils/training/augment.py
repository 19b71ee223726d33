"""Random views of stored crops, cut and recoloured in batches on the device.

A view is a map (2, 3) from pixels of the network's crop to pixels of the stored crop. Every random number belongs to
its sample (`Draws`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from utils.device import to_device
from utils.inference.pixels import LUMA
from utils.training import geometry
from utils.training.draws import Draws

_LOW_RESOLUTION = 0.35  # the worst that `degrade` does, as a share of the resolution
_NOISE = 0.06  # its strongest noise, standard deviation


@dataclass(frozen=True)
class Changes:
    """Ranges of the random changes; each is drawn uniformly, per image."""

    rotation: float = 0.0  # degrees, either way
    zoom: float = 0.0  # share, either way
    shift: float = 0.0  # share of the crop's side, either way
    mirror: float = 0.0  # probability
    jitter: float = 0.0  # of brightness, contrast and saturation, share, either way
    hue: float = 0.0  # turns, either way

    @property
    def still(self) -> bool:
        """Whether the geometry stays as it is stored."""
        return not (self.rotation or self.zoom or self.shift or self.mirror)


@dataclass(frozen=True)
class Framing:
    """How crops are stored: a square of `side` pixels whose middle `face` pixels are the five-template crop."""

    side: int
    face: int


def views(framing: Framing, size: int, how: Changes, draws: Draws) -> Tensor:
    """Random views, (B, 2, 3), for crops of side `size`."""
    angle = draws.uniform(-how.rotation, how.rotation).deg2rad()
    scale = draws.uniform(1 - how.zoom, 1 + how.zoom) * (framing.face / size)
    flip = 1.0 - 2.0 * draws.chance(how.mirror).float()
    shift = draws.uniforms(2, -how.shift, how.shift) * framing.face
    c, s = scale * angle.cos(), scale * angle.sin()
    R = torch.stack((torch.stack((c * flip, -s), 1), torch.stack((s * flip, c), 1)), 1)
    middle_in = (shift + (framing.side - 1) / 2)[..., None]
    return torch.cat((R, middle_in - R @ R.new_full((2, 1), (size - 1) / 2)), 2)


def plain_views(framing: Framing, size: int, count: int, device: torch.device) -> Tensor:
    """The views without any change, (count, 2, 3)."""
    scale = framing.face / size
    offset = (framing.side - 1) / 2 - scale * (size - 1) / 2
    return to_device(torch.tensor([[scale, 0.0, offset], [0.0, scale, offset]]), device).expand(count, 2, 3)


def mirrored(M_view: Tensor) -> Tensor:
    """Which views (B, 2, 3) show the face mirrored, (B,) bool."""
    R = M_view[:, :, :2]
    return R[:, 0, 0] * R[:, 1, 1] - R[:, 0, 1] * R[:, 1, 0] < 0


def seen_points(M_view: Tensor, points: Tensor, swapped: list[int]) -> Tensor:
    """Points (B, P, 2) of the stored crops as seen in the views; in a mirror, left and right change places.

    swapped: the point that takes each one's place in a mirror.
    """
    seen = geometry.transform(geometry.invert(M_view), points)
    places = to_device(torch.tensor(swapped), seen.device)
    return torch.where(mirrored(M_view)[:, None, None], seen[:, places], seen)


KPS_MIRRORED = [1, 0, 2, 4, 3]


def cut(images: Tensor, M_view: Tensor, size: int, framing: Framing, still: bool = False) -> Tensor:
    """Stored crops (B, 3, H, H) float32 [-1, 1] RGB to views (B, 3, size, size), likewise.

    still: the views are plain, so an antialiased resize gives the same framing with cleaner pixels.
    """
    if not still:
        return geometry.warp(images, M_view, size)
    border = (framing.side - framing.face) // 2
    x = images[:, :, border : border + framing.face, border : border + framing.face]
    if framing.face == size:
        return x
    return F.interpolate(x, (size, size), mode="bilinear", antialias=True, align_corners=False)


def to_float(images: Tensor) -> Tensor:
    """(B, 3, H, W) uint8 RGB to float32 [-1, 1]."""
    return images.float() / 127.5 - 1


def jitter(images: Tensor, how: Changes, draws: Draws) -> Tensor:
    """Change brightness, contrast, saturation and hue of each image.

    images: (B, 3, H, W) float [-1, 1] RGB; returns the same.
    """

    def factor() -> Tensor:
        return draws.uniform(1 - how.jitter, 1 + how.jitter)[:, None, None, None]

    x = (images + 1) / 2 * factor()
    mean = _grey(x).mean((1, 2, 3), keepdim=True)
    x = mean + (x - mean) * factor()
    grey = _grey(x)
    x = grey + (x - grey) * factor()
    if how.hue:
        x = _turn_hue(x, draws.uniform(-how.hue, how.hue) * 2 * math.pi)
    return x.clamp(0, 1) * 2 - 1


def _grey(x: Tensor) -> Tensor:
    return (x * to_device(torch.tensor(LUMA), x.device).view(1, 3, 1, 1)).sum(1, keepdim=True)


def _turn_hue(x: Tensor, angle: Tensor) -> Tensor:
    """Turn colours about the grey axis. x: (B, 3, H, W) float; angle: (B,) radians."""
    c, s = angle.cos(), angle.sin() / math.sqrt(3)
    third = (1 - c) / 3
    same, up, down = c + third, third - s, third + s
    rows = torch.stack((same, up, down, down, same, up, up, down, same), 1).view(-1, 3, 3)
    return torch.einsum("bij,bjhw->bihw", rows, x)


def degrade(images: Tensor, how: Changes, draws: Draws) -> Tensor:
    """What cameras do: colour, blur by a lower resolution, noise. images: (B, 3, H, W) float [-1, 1] RGB; returns
    the same."""
    x = jitter(images, how, draws)
    small = F.interpolate(x, scale_factor=_LOW_RESOLUTION, mode="bilinear", antialias=True, align_corners=False)
    blurred = F.interpolate(small, x.shape[-2:], mode="bilinear", align_corners=False)
    x = torch.lerp(x, blurred, draws.uniform(-1, 1).clamp(min=0)[:, None, None, None])
    strength = draws.uniform(-_NOISE, _NOISE).clamp(min=0)[:, None, None, None]
    return (x + draws.normal(*x.shape[1:]) * strength).clamp(-1, 1)
