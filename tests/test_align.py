"""Alignment against reference matrices, and the framing at other sizes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from utils.inference import align
from utils.inference.warp import apply, invert, rescaled, warp

GOLDEN = Path(__file__).parent / "data" / "align.npz"


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


def test_templates_and_matrices(golden: dict[str, np.ndarray]) -> None:
    assert len(set(golden["template"])) > 1
    for kps, matrix, template in zip(golden["kps"], golden["matrix"], golden["template"], strict=True):
        M, chosen = align.estimate(kps, 224)
        assert chosen == template
        assert np.abs(M - matrix).max() < 1e-3  # the reference was computed in float32


def test_errors_agree_with_choice(golden: dict[str, np.ndarray]) -> None:
    errors = align.template_errors(golden["kps"][0])
    assert errors.shape == (5,)
    assert errors.argmin() == golden["template"][0]


def test_template_fits_itself() -> None:
    for number, template in enumerate(align.TEMPLATES):
        M, chosen = align.estimate(template, 224)
        assert chosen == number
        assert np.allclose(M, [[1, 0, 0], [0, 1, 0]], atol=1e-9)


def test_other_sizes_show_the_same_region(golden: dict[str, np.ndarray]) -> None:
    kps = golden["kps"][3]
    at_224, at_256 = align.estimate(kps, 224)[0], align.estimate(kps, 256)[0]
    points = kps.astype(np.float64)
    assert np.allclose(apply(at_256, points), 8 / 7 * apply(at_224, points) + 1 / 14)


def test_between_templates_the_crop_lies_between_theirs(golden: dict[str, np.ndarray]) -> None:
    kps = golden["kps"][0]
    for low in range(4):
        before, quarter, after = (align.estimate(kps, 224, low + share)[0] for share in (0, 0.25, 1))
        assert np.array_equal(after, align.estimate(kps, 224, float(low + 1))[0])
        np.testing.assert_allclose(quarter, 0.75 * before + 0.25 * after)
        assert quarter[0, 0] == pytest.approx(quarter[1, 1]) and quarter[0, 1] == pytest.approx(-quarter[1, 0])


def test_template_can_be_kept(golden: dict[str, np.ndarray]) -> None:
    M, template = align.estimate(golden["kps"][0], 224, template=4)
    assert template == 4
    assert not np.allclose(M, align.estimate(golden["kps"][0], 224, template=0)[0])


@pytest.mark.parametrize("kps", [np.zeros((4, 2)), np.full((5, 2), np.nan)])
def test_bad_points_are_refused(kps: np.ndarray) -> None:
    with pytest.raises(ValueError, match="five finite points"):
        align.estimate(kps, 224)


def smooth_picture(height: int, width: int) -> np.ndarray:
    """Waves of about 60 pixels, (H, W, 3) uint8."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 11 + y / 23), np.cos(x / 17 - y / 13), np.sin((x + y) / 19)]
    return np.rint(127.5 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)


@pytest.mark.parametrize("scale", [1.3, 0.8, 0.4, 0.21])
def test_warp_lands_where_the_matrix_says(scale: float) -> None:
    image = smooth_picture(700, 900)
    M = np.array([[scale * 0.98, -scale * 0.17, 12.3], [scale * 0.17, scale * 0.98, -40.6]])
    result = warp(image, M, (90, 80))
    y, x = np.mgrid[:80, :90]
    back = apply(invert(M), np.stack([x, y], axis=-1).reshape(-1, 2).astype(np.float64)).astype(np.float32)
    wanted = cv2.remap(image, back[:, 0].reshape(80, 90), back[:, 1].reshape(80, 90), cv2.INTER_LINEAR,
                       borderMode=cv2.BORDER_REPLICATE)
    inside = ((back > 4) & (back < [895, 695])).all(axis=1).reshape(80, 90)
    assert inside.sum() > 2000
    # Averaging before a strong reduction flattens the waves a little; half a pixel of shift would make 5 levels.
    assert np.abs(result[inside].astype(int) - wanted[inside]).mean() < 2.5


def test_shrinking_does_not_alias() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (800, 800, 3), np.uint8)
    assert warp(noise, np.array([[0.1, 0, 0], [0, 0.1, 0]]), (80, 80)).std() < 15


def test_crop_outside_of_the_picture() -> None:
    image = smooth_picture(50, 60)
    M = np.array([[1.0, 0, 500], [0, 1.0, 500]])
    assert warp(image, M, (32, 32)).shape == (32, 32, 3)
    assert not warp(np.ones((50, 60), np.float32), M, (32, 32), cv2.BORDER_CONSTANT).any()


def test_cut_takes_16_bits(golden: dict[str, np.ndarray]) -> None:
    image = smooth_picture(600, 600)
    kps = align.TEMPLATES[2] + 100
    deep, plain = align.cut(image.astype(np.uint16) * 257, kps, 128), align.cut(image, kps, 128)
    assert deep.image.dtype == np.uint8
    assert np.abs(deep.image.astype(int) - plain.image).max() <= 1
    assert np.allclose(plain.M_frame2crop, rescaled(np.array([[1, 0, -100], [0, 1, -100]]), 128 / 224))
