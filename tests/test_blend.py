"""The compositor: what it must not touch, rounding, 16 bits, edges."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from utils.inference import align
from utils.inference.blend import _noise, mix, paste_back
from utils.inference.types import Crop, Mask
from utils.inference.warp import rescaled, warp

SIZE = 224


def picture(dtype: type, seed: int = 0) -> np.ndarray:
    """Smooth noise (300, 400, 3)."""
    small = np.random.default_rng(seed).random((10, 13, 3)).astype(np.float32)
    large = warp(small, np.array([[31.0, 0, 0], [0, 31.0, 0]]), (400, 300))
    return np.rint(large * np.iinfo(dtype).max).astype(dtype)


def oval() -> np.ndarray:
    """A soft mask, (224, 224) float32 [0, 1], exactly 0 outside of an oval."""
    y, x = (np.mgrid[:SIZE, :SIZE] - 112) / [[[80]], [[60]]]
    return np.clip(3 * (1 - np.hypot(x, y)), 0, 1).astype(np.float32)


M_MASK = np.array([[0.9, 0.2, -60.0], [-0.2, 0.9, -10.0]])
M_SWAP = rescaled(M_MASK, 256 / SIZE)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pixels_outside_the_mask_stay(dtype: type) -> None:
    before = picture(dtype)
    canvas = before.copy()
    box = paste_back(canvas, Crop(np.full((256, 256, 3), 255, np.uint8), M_SWAP), Mask(oval(), M_MASK))
    covered = warp(oval(), np.linalg.inv(np.vstack([M_MASK, [0, 0, 1]]))[:2], (400, 300), border=0) > 0
    assert canvas.dtype == dtype
    assert 0.05 < covered.mean() < 0.5
    assert np.array_equal(canvas[~covered], before[~covered])
    assert (canvas[covered] >= before[covered]).all()
    assert canvas.max() == np.iinfo(dtype).max
    assert box is not None
    left, top, right, bottom = box
    canvas[top:bottom, left:right] = before[top:bottom, left:right]
    assert np.array_equal(canvas, before) and (right - left) * (bottom - top) < 2 * covered.sum()


def test_own_crop_comes_back_almost_unchanged() -> None:
    before = picture(np.uint8)
    canvas = before.copy()
    paste_back(canvas, Crop(warp(before, M_SWAP, (256, 256)), M_SWAP), Mask(oval(), M_MASK))
    assert np.abs(canvas.astype(int) - before).max() <= 2


@pytest.mark.parametrize(("dtype", "before", "swap", "after"), [
    (np.uint8, 100, 101, 101), (np.uint16, 100 * 257, 103, 26163),  # of 26162.6
])
def test_rounds_instead_of_truncating(dtype: type, before: int, swap: int, after: int) -> None:
    canvas = np.full((300, 400, 3), before, dtype)
    mask = Mask(np.full((SIZE, SIZE), 0.6, np.float32), M_MASK)
    paste_back(canvas, Crop(np.full((256, 256, 3), swap, np.uint8), M_SWAP), mask)
    assert canvas[150, 200].tolist() == [after] * 3


@pytest.mark.parametrize("scale", [0.7, 0.9, 4.0])  # of the frame to the mask, of which blocks are averaged from 2 on
@pytest.mark.parametrize("border", [2, 3, 4, 5])
def test_all_that_a_hard_mask_shows_is_pasted(scale: float, border: int) -> None:
    alpha, before = np.zeros((SIZE, SIZE), np.float32), picture(np.uint8)
    alpha[border:-border, border:-border] = 1
    for place in (50 + np.arange(16) / 16)[:, None]:
        M = np.column_stack([scale * np.eye(2), -scale * place * (1, 0.9)])
        swap, mask = Crop(np.full((SIZE, SIZE, 3), 255, np.uint8), M), Mask(alpha, M)
        box = paste_back(before.copy(), swap, mask)
        assert box is not None
        left, top, right, bottom = box
        shown = mix(before, swap, mask, (0, 0, 400, 300), 0.0)
        shown[top:bottom, left:right] = before[top:bottom, left:right]
        assert np.array_equal(shown, before)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grain_of_the_frame_stays_and_its_edges_go(dtype: type) -> None:
    one = np.iinfo(dtype).max // 255
    grain = np.random.default_rng(1).integers(-6, 7, (300, 400, 1)).repeat(3, 2)
    before = np.full((300, 400, 3), 90)
    before[150:, :, :] = 190  # an edge, as a brow makes it
    canvas, plain = (np.rint((before + grain) * one).astype(dtype) for _ in range(2))
    swap = Crop(np.full((256, 256, 3), 120, np.uint8), M_SWAP)
    mask = Mask(np.full((SIZE, SIZE), 1, np.float32), M_MASK)
    paste_back(plain, swap, mask)
    paste_back(canvas, swap, mask, grain=1.0)
    inner = slice(90, 210), slice(140, 250)
    assert (plain[inner] == 120 * one).all()
    laid, wanted = canvas[inner].astype(float) / one - 120, grain[inner]
    smooth = np.r_[0:50, 70:120]
    assert np.corrcoef(laid[smooth].ravel(), wanted[smooth].ravel())[0, 1] > 0.8
    assert np.abs(laid).max() < 12, "the edge is not laid over the swap"


def laid_over(noise: np.ndarray, M: np.ndarray = M_SWAP) -> np.ndarray:
    """What of a grey frame's noise (300, 400) a plain swap shows, (120, 110), with a share of 0.5."""
    canvas = np.rint(noise[..., None] + [120, 125, 130]).astype(np.uint8)
    paste_back(canvas, Crop(np.full((256, 256, 3), 120, np.uint8), M), Mask(np.ones((SIZE, SIZE), np.float32), M_MASK),
               grain=0.5)
    return canvas[90:210, 140:250, 0].astype(float) - 120


@pytest.mark.parametrize("deviation", [6, 10, 18])
@pytest.mark.parametrize("finer", [1, 2])
def test_strong_noise_stays_as_it_is(deviation: int, finer: int) -> None:
    """Also where the swap has twice the frame's resolution, and nothing else is laid over it."""
    noise = np.random.default_rng(2).normal(0, deviation, (300, 400))
    laid = laid_over(noise, rescaled(M_SWAP, finer))
    assert 0.85 < laid.std() / noise.std() < 1.05
    assert np.corrcoef(laid.ravel(), noise[90:210, 140:250].ravel())[0, 1] > 0.9


def film(seed: int, deviation: float, shape: tuple[int, int]) -> np.ndarray:
    """Coarse noise."""
    grain = cv2.GaussianBlur(np.random.default_rng(seed).normal(0, 1, shape), None, 1.0)  # type: ignore[call-overload]
    return grain * (deviation / grain.std())


def test_coarse_grain_stays_as_far_as_it_is_finer_than_the_swap() -> None:
    noise = film(2, 10, (300, 400))
    M = rescaled(M_SWAP, 0.5)  # 7 pixels of the frame are too coarse to be called detail
    lost = (noise - cv2.blur(noise, (7, 7)))[90:210, 140:250]
    laid = laid_over(noise, M)
    assert 0.85 < laid.std() / lost.std() < 1.1 and np.corrcoef(laid.ravel(), lost.ravel())[0, 1] > 0.9


def test_what_is_as_strong_but_not_everywhere_is_no_noise() -> None:
    """Such as brows and beards."""
    alpha = np.full((300, 300), 255, np.uint8)
    skin = 120 + film(2, 10, (300, 300)) * np.repeat(np.linspace(0, 2, 300)[None], 300, axis=0)
    grainy = 120 + film(2, 10, (300, 300))
    assert _noise(skin.clip(0, 255).round().astype(np.uint8), alpha).strong == 0
    assert _noise(grainy.clip(0, 255).round().astype(np.uint8), alpha).strong > 0.8
    assert _noise(np.full((8, 9), 7, np.uint8), alpha[:8, :9]).strong == 0


def test_faint_noise_may_be_skin_and_stays_as_far_as_the_generator_asks() -> None:
    noise = np.random.default_rng(2).normal(0, 3, (300, 400))
    assert 0.3 < laid_over(noise).std() / noise.std() < 0.5
    assert not laid_over(noise, rescaled(M_SWAP, 2)).any()


@pytest.mark.parametrize(("deviation", "strong"), [(1, 0), (3, 0), (8, 1), (16, 1)])
def test_fine_noise_is_measured_steadily_and_without_edges(deviation: int, strong: int) -> None:
    levels = []
    for seed in range(5):
        grey = 120 + np.random.default_rng(seed).normal(0, deviation, (200, 200))
        grey[::20] -= 60
        alpha = np.full(grey.shape, 255, np.uint8)
        alpha[:, 100:] = 0
        grey[:, 101:] = 120 + 100 * (np.arange(99) % 2)
        noise = _noise(grey.clip(0, 255).round().astype(np.uint8), alpha)
        levels.append(noise.level)
        assert noise.strong == strong
    assert np.ptp(levels) < 0.1 * deviation and abs(np.mean(levels) - deviation * strong) < 0.25 * deviation


@pytest.mark.parametrize("shift", [(-150, -100), (250, 200)])
def test_face_at_the_edge(shift: tuple[int, int]) -> None:
    M = np.array([[1.0, 0, -shift[0]], [0, 1.0, -shift[1]]])
    canvas = picture(np.uint8)
    before = canvas.copy()
    paste_back(canvas, Crop(np.zeros((SIZE, SIZE, 3), np.uint8), M), Mask(oval(), M))
    assert 0 < (canvas != before).any(axis=2).mean() < 0.2


@pytest.mark.parametrize("mask", [np.zeros((SIZE, SIZE), np.float32), oval()])
def test_nothing_to_paste(mask: np.ndarray) -> None:
    far = np.array([[1.0, 0, 5000], [0, 1.0, 0]]) if mask.any() else M_MASK
    canvas = picture(np.uint8)
    before = canvas.copy()
    assert paste_back(canvas, Crop(np.zeros((SIZE, SIZE, 3), np.uint8), far), Mask(mask, far)) is None
    assert np.array_equal(canvas, before)


def test_small_face_in_a_large_frame() -> None:
    canvas = np.full((300, 400, 3), 50, np.uint8)
    M, _ = align.estimate(align.TEMPLATES[2] / 8 + 100, SIZE)
    stripes = np.zeros((SIZE, SIZE, 3), np.uint8)
    stripes[:, ::2] = 200  # finer than the frame's pixels
    paste_back(canvas, Crop(stripes, M), Mask(np.ones((SIZE, SIZE), np.float32), M))
    inside = canvas[108:120, 108:120].astype(int)
    assert abs(inside.mean() - 100) < 3 and inside.std() < 15


def test_mask_that_reaches_the_edge_of_the_crop_ends_there() -> None:
    M = np.array([[1.0, 0, -80], [0, 1.0, -40]])
    canvas = np.full((300, 400, 3), 50, np.uint8)
    paste_back(canvas, Crop(np.full((SIZE, SIZE, 3), 200, np.uint8), M), Mask(np.ones((SIZE, SIZE), np.float32), M))
    assert (canvas[40 : 40 + SIZE, 80 : 80 + SIZE] == 200).all()
    canvas[40 : 40 + SIZE, 80 : 80 + SIZE] = 50
    assert (canvas == 50).all()


def test_an_enlarged_swap_has_no_dark_rim_where_the_mask_reaches_its_edge() -> None:
    M_swap = np.array([[0.6, 0.03, -70.0], [-0.03, 0.6, -20.0]])
    M_mask = rescaled(M_swap, SIZE / 128)
    canvas, mask = np.full((300, 400, 3), 50, np.uint8), np.ones((SIZE, SIZE), np.float32)
    paste_back(canvas, Crop(np.full((128, 128, 3), 200, np.uint8), M_swap), Mask(mask, M_mask))
    alpha = warp(mask, np.linalg.inv(np.vstack([M_mask, [0, 0, 1]]))[:2], (400, 300), border=0)
    assert np.abs(canvas[..., 0] - (50 + 150 * alpha)).max() <= 1 and 0.1 < alpha.mean() < 0.9
