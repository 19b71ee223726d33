"""The one compositor, for photos and videos."""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np

from utils.inference.grain import SECOND_DIFFERENCE, SPAN, WHOLE, Noise, grain_of, noise_of
from utils.inference.types import Crop, Mask
from utils.inference.warp import bounds, invert, rescaled, scale_of, warp
from utils.io.frame import Box, Pixels, to_uint8

_NOTHING = 128  # stands for no difference
LARGER = 1.5  # times as many pixels along a side
BORDER = 2  # pixels of an enlarged swap; the mask reaches less far beyond it


class Mixer(Protocol):
    """Computes a part of a frame with a swap in it; `mix` does so on the CPU."""

    def __call__(self, region: np.ndarray, swap: Crop, mask: Mask, box: Box, grain: float) -> np.ndarray:
        """region: (H, W, 3) uint8 or uint16 BGR, which stays as it is, at `box` of the frame; the others as for
        `paste_back`. Returns the same as region."""
        ...


def mix(region: np.ndarray, swap: Crop, mask: Mask, box: Box, grain: float) -> np.ndarray:
    """See Mixer."""
    scale = enlargement(swap.M_frame2crop)
    face, alpha = _laid_at_once(swap.image, mask, box) if scale > LARGER else _laid(swap, mask, box)
    if grain:
        face = cv2.addWeighted(face, 1.0, _fine_detail(region, alpha, scale, grain), 1.0, -_NOTHING)
    if region.dtype == np.uint16:
        share = alpha.astype(np.float32) / 255
        return np.rint(_composite(face.astype(np.float32) * (65535 / 255), region.astype(np.float32), share))
    alpha = cv2.merge([alpha] * 3)
    kept = cv2.multiply(region, cv2.bitwise_not(alpha), scale=1 / 255)
    return cv2.add(cv2.multiply(face, alpha, scale=1 / 255), kept)


def paste_back(canvas: Pixels, swap: Crop, mask: Mask, grain: float = 0.0, mixer: Mixer = mix) -> Box | None:
    """Blend a swapped face into `canvas`, in place: canvas = mask swap + (1 - mask) canvas, within a level, since at
    8 bits the mask and both products are rounded.

    canvas: (H, W, 3) uint8 or uint16 BGR; pixels where the mask is 0 keep their values.
    mask: over the same part of the frame as the swap.
    grain: share of the canvas's fine detail in brightness, too fine for the swap, that is laid over the swap; of
        strong noise more, up to all of it. 0: none of either.
    Returns the part of the canvas outside of which nothing has changed; None where nothing has at all.
    """
    rows, columns = np.flatnonzero(mask.alpha.any(axis=1)), np.flatnonzero(mask.alpha.any(axis=0))
    if not rows.size:
        return None
    extent = (columns[0] - 1.0, rows[0] - 1.0, columns[-1] + 1.0, rows[-1] + 1.0)
    left, top, right, bottom = box = bounds(invert(mask.M_frame2mask), extent, canvas.shape, margin=1)
    if right <= left or bottom <= top:
        return None
    region = canvas[top:bottom, left:right]
    region[:] = mixer(region, swap, mask, box, grain)
    return box


def enlargement(M_frame2swap: np.ndarray) -> float:
    """Pixels of the frame per pixel of the swap, along a side."""
    return 1.0 / scale_of(M_frame2swap)


def layers_of(swap_side: int, mask: Mask) -> tuple[int, np.ndarray]:
    """The side to which swap and mask of a large face are enlarged before they are laid over the frame, and the matrix
    (2, 3) from the frame to them with a border of BORDER pixels."""
    mask_side = len(mask.alpha)
    side = mask_side if mask_side >= LARGER * swap_side else 2 * swap_side
    M_frame2layers = rescaled(mask.M_frame2mask, side / mask_side)
    M_frame2layers[:, 2] += BORDER
    return side, M_frame2layers


def _laid(swap: Crop, mask: Mask, box: Box) -> tuple[np.ndarray, np.ndarray]:
    """A swap (h, w, 3) and its mask (h, w), uint8, as a part of the frame shows them."""
    size = (box[2] - box[0], box[3] - box[1])
    alpha = warp(mask.alpha, _into_region(mask.M_frame2mask, box), size, cv2.BORDER_CONSTANT)
    # Cubic, since a small swap on a large face would show its pixels.
    face = warp(swap.image, _into_region(swap.M_frame2crop, box), size, method=cv2.INTER_CUBIC)
    return face, cv2.convertScaleAbs(alpha, alpha=255)


def _laid_at_once(swap: np.ndarray, mask: Mask, box: Box) -> tuple[np.ndarray, np.ndarray]:
    """The same for a small swap on a large face: doubled by cubics first, or enlarged to the size of a mask near that,
    which is as smooth and faster.

    OpenCV is faster, too, with four channels and nothing beyond the edge, where the mask is 0.
    """
    side, M_frame2layers = layers_of(len(swap), mask)
    face = cv2.resize(swap, (side, side), interpolation=cv2.INTER_CUBIC)
    alpha = cv2.convertScaleAbs(cv2.resize(mask.alpha, (side, side), interpolation=cv2.INTER_LINEAR), alpha=255)
    layers = cv2.merge([*cv2.split(_bordered(face, cv2.BORDER_REPLICATE)), _bordered(alpha, cv2.BORDER_CONSTANT)])
    laid = warp(layers, _into_region(M_frame2layers, box), (box[2] - box[0], box[3] - box[1]), cv2.BORDER_CONSTANT)
    return cv2.cvtColor(laid, cv2.COLOR_BGRA2BGR), cv2.extractChannel(laid, 3)


def _bordered(image: np.ndarray, border: int) -> np.ndarray:
    return cv2.copyMakeBorder(image, BORDER, BORDER, BORDER, BORDER, border)


def _fine_detail(region: np.ndarray, alpha: np.ndarray, scale: float, share: float) -> np.ndarray:
    """Grain and pores, (H, W, 3) uint8 about _NOTHING: how brightness differs from that around it, without edges.

    alpha: (H, W) uint8, where the swap is laid. scale, share: see `grain_of`.
    """
    grey = cv2.cvtColor(to_uint8(region), cv2.COLOR_BGR2GRAY)
    grain = grain_of(scale, share, _noise(grey, alpha))
    lost = cv2.addWeighted(grey, 1.0, cv2.blur(grey, (grain.side, grain.side)), -1.0, _NOTHING)
    kept = grain.kept(np.arange(256) - _NOTHING) + _NOTHING
    return cv2.cvtColor(cv2.LUT(lost, kept.astype(np.uint8)), cv2.COLOR_GRAY2BGR)


def _noise(grey: np.ndarray, alpha: np.ndarray) -> Noise:
    """The noise in a face, whose mask is alpha."""
    _, inside = cv2.threshold(alpha, 127, 255, cv2.THRESH_BINARY)
    response = cv2.convertScaleAbs(_high_pass(grey))
    return noise_of(cv2.calcHist([response], [0], inside, [256], [0, 256]).ravel(), _blocks(grey, alpha))


def _blocks(grey: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Mean squared response to the high-pass, at half the size, in each block of a face, (N,) float32."""
    height, width = (length // SPAN for length in grey.shape)
    if not height or not width:
        return np.zeros(0, np.float32)
    within = slice(height * SPAN), slice(width * SPAN)
    half = cv2.resize(grey[within], (width * SPAN // 2, height * SPAN // 2), interpolation=cv2.INTER_AREA)
    power = cv2.resize(np.square(_high_pass(half), dtype=np.float32), (width, height), interpolation=cv2.INTER_AREA)
    return power[cv2.resize(alpha[within], (width, height), interpolation=cv2.INTER_AREA) > WHOLE]


def _high_pass(grey: np.ndarray) -> np.ndarray:
    kernel = np.array(SECOND_DIFFERENCE, np.float32)
    return cv2.sepFilter2D(grey, cv2.CV_16S, kernel, kernel)


def _composite(face: np.ndarray, before: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """before + alpha (face - before), exact where alpha is 0. face, before: (H, W, 3) float32; alpha: (H, W)."""
    return cv2.add(before, cv2.multiply(cv2.subtract(face, before), cv2.merge([alpha] * 3)))


def _into_region(M_frame2crop: np.ndarray, box: Box) -> np.ndarray:
    """Matrix from a crop to a part of the frame."""
    result = invert(M_frame2crop)
    result[:, 2] -= box[:2]
    return result
