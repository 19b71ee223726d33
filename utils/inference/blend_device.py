"""The blending of `utils.inference.blend` on a CUDA device, for large faces."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from utils.device import is_out_of_memory, to_device
from utils.inference.blend import BORDER, LARGER, Mixer, enlargement, layers_of, mix
from utils.inference.grain import EDGE, SECOND_DIFFERENCE, SPAN, WHOLE, Noise, grain_of, noise_of
from utils.inference.pixels import LUMA
from utils.inference.types import Crop, Mask
from utils.io.frame import Box

_WORTH = 256  # pixels of a region's sides from which the way to the device pays off


def mixer_for(device: torch.device) -> Mixer:
    """What blends fastest where networks run on a device."""
    return DeviceMixer(device) if device.type == "cuda" else mix


class _Filters(NamedTuple):
    """Constants on the device."""

    luma: Tensor  # (3,) shares of blue, green and red in brightness
    high_pass: Tensor  # (1, 1, 3, 3), see SECOND_DIFFERENCE


class DeviceMixer:
    """Takes a region to the device and back, through pinned memory; a Mixer."""

    def __init__(self, device: torch.device) -> None:
        """device: a CPU works as well, but gains nothing."""
        self._device = device
        # A stream of its own, before others: this short work must not wait for the generator.
        self._stream = torch.cuda.Stream(device, priority=-1) if device.type == "cuda" else None
        self._memory = self._pinned(1)
        line = torch.tensor(SECOND_DIFFERENCE, dtype=torch.float32)
        # Waited for, since another stream uses them.
        self._filters = _Filters(torch.tensor(LUMA[::-1]).to(device), torch.outer(line, line)[None, None].to(device))

    def __call__(self, region: np.ndarray, swap: Crop, mask: Mask, box: Box, grain: float) -> np.ndarray:
        """See Mixer. The result is valid until the next call."""
        scale = enlargement(swap.M_frame2crop)
        # The CPU does the rest: its time is short there, and photos of 16 bits come alone.
        if region.dtype != np.uint8 or scale <= LARGER or min(region.shape[:2]) < _WORTH:
            return mix(region, swap, mask, box, grain)
        side, M_frame2layers = layers_of(len(swap.image), mask)

        def work() -> Tensor:
            host = self._staging(region)
            before = host.to(self._device, non_blocking=True).float()
            layers = _layers(self._sent(swap.image), self._sent(mask.alpha), side)
            face, alpha = _laid(layers, self._sent(_theta(M_frame2layers, box, len(layers[0]))), box)
            if grain:
                face = (face + _fine_detail(before, alpha, scale, grain, self._filters)[..., None]).clamp(0, 255)
            result = _composite(face, before, alpha[..., None])
            return host.copy_(result, non_blocking=True)

        try:
            return self._run(work).numpy()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return mix(region, swap, mask, box, grain)  # a huge face; the region is as it was

    def _run(self, work: Callable[[], Tensor]) -> Tensor:
        with torch.inference_mode(), nullcontext() if self._stream is None else torch.cuda.stream(self._stream):
            result = work()
            if self._stream is not None:
                self._stream.synchronize()
        return result

    def _sent(self, image: np.ndarray) -> Tensor:
        return to_device(torch.from_numpy(np.ascontiguousarray(image)), self._device).float()

    def _pinned(self, count: int) -> Tensor:
        return torch.empty(count, dtype=torch.uint8, pin_memory=self._stream is not None)

    def _staging(self, region: np.ndarray) -> Tensor:
        """A copy of the region in pinned memory, which is kept."""
        if self._memory.numel() < region.size:
            self._memory = self._pinned(2 * region.size)
        host = self._memory[: region.size].view(region.shape)
        host.numpy()[:] = region
        return host


def _layers(swap: Tensor, mask: Tensor, side: int) -> Tensor:
    """Swap (S, S, 3) [0, 255] and mask (T, T) [0, 1], enlarged: (4, L, L) [0, 255], L = side + 2 BORDER."""
    face = F.interpolate(swap.permute(2, 0, 1)[None], (side, side), mode="bicubic", align_corners=False)
    alpha = F.interpolate(mask[None, None], (side, side), mode="bilinear", align_corners=False) * 255
    border = (BORDER,) * 4
    layers = torch.cat((F.pad(face, border, mode="replicate"), F.pad(alpha, border)), dim=1)
    return layers[0].round_().clamp_(0, 255)


def _theta(M_frame2layers: np.ndarray, box: Box, side: int) -> np.ndarray:
    """The matrix (1, 2, 3) float32 that F.affine_grid wants: from a region to its place in the layers, both in [-1, 1].

    side: of the layers.
    """
    half = np.array([box[2] - box[0] - 1, box[3] - box[1] - 1]) / 2
    linear = M_frame2layers[:, :2]
    shift = M_frame2layers[:, 2] + linear @ (np.array(box[:2]) + half)
    theta = np.column_stack([linear * half, shift]) * (2 / (side - 1))
    theta[:, 2] -= 1
    return theta[None].astype(np.float32)


def _laid(layers: Tensor, theta: Tensor, box: Box) -> tuple[Tensor, Tensor]:
    """A swap (h, w, 3) and its mask (h, w), whole numbers [0, 255], as a part of the frame shows them."""
    size = [1, 4, box[3] - box[1], box[2] - box[0]]
    grid = F.affine_grid(theta, size, align_corners=True)
    laid = F.grid_sample(layers[None], grid, padding_mode="zeros", align_corners=True)[0].round_()
    return laid[:3].permute(1, 2, 0), laid[3]


def _fine_detail(before: Tensor, alpha: Tensor, scale: float, share: float, filters: _Filters) -> Tensor:
    """Grain and pores, (h, w), whole levels about 0: how brightness differs from that around it, without edges.

    before: (h, w, 3) float32 [0, 255] BGR. alpha: (h, w) [0, 255]. scale, share: see `grain_of`.
    """
    grey = (before @ filters.luma).round_()[None, None]
    side, share, whole = grain_of(scale, share, _noise(grey, alpha, filters.high_pass))
    mean = F.avg_pool2d(F.pad(grey, (side // 2,) * 4, mode="reflect"), side, stride=1).round_()
    apart = (grey - mean)[0, 0]
    return (apart * share * ((whole + EDGE - apart.abs()) / EDGE).clamp_(0, 1)).round_()


def _noise(grey: Tensor, alpha: Tensor, high_pass: Tensor) -> Noise:
    """The noise in a face, (1, 1, h, w) whole levels, whose mask is alpha (h, w) [0, 255]."""
    response = _filtered(grey, high_pass)[0, 0].abs()
    counts = torch.histc(response[alpha > 127].clamp_(max=255), 256, 0, 256)
    height, width = (length // SPAN * SPAN for length in alpha.shape)
    half = F.avg_pool2d(grey[..., :height, :width], 2).add_(0.5).floor_()
    power = F.avg_pool2d(_filtered(half, high_pass).square_(), SPAN // 2)[0, 0]
    inside = F.avg_pool2d(alpha[None, :height, :width], SPAN)[0].round_() > WHOLE
    return noise_of(counts.cpu().numpy(), power[inside].cpu().numpy())


def _filtered(grey: Tensor, kernel: Tensor) -> Tensor:
    return F.conv2d(F.pad(grey, (1,) * 4, mode="reflect"), kernel)


def _composite(face: Tensor, before: Tensor, alpha: Tensor) -> Tensor:
    """before + alpha (face - before), rounded as the CPU does, uint8; all (h, w, ...) whole numbers [0, 255]."""
    return ((face * alpha / 255).round_() + (before * (255 - alpha) / 255).round_()).clamp_(0, 255).byte()
