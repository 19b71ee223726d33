"""Thumbnails of faces: what changes in them, and what does not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from utils.inference.align import BASE, TEMPLATES
from utils.inference.thumbnail import face_thumbnail, same_appearance

KPS = TEMPLATES[2].astype(np.float32)  # the crop is the whole frame


def frame(seed: int) -> np.ndarray:
    """Spots of all colours, as large as parts of a face, (BASE, BASE, 3) uint8 BGR."""
    spots = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=(BASE, BASE, 3)), (0, 0), 20)
    return (120 + 40 * spots / spots.std()).clip(0, 255).astype(np.uint8)


def test_a_thumbnail_is_small_and_has_a_length_of_one() -> None:
    thumbnail = face_thumbnail(frame(0), KPS)
    assert thumbnail.shape == (24, 24, 3) and thumbnail.dtype == np.float32
    assert np.linalg.norm(thumbnail) == pytest.approx(1) and thumbnail.mean() == pytest.approx(0, abs=1e-4)


def test_light_and_noise_are_nobody_else() -> None:
    image, random = frame(0), np.random.default_rng(9)
    thumbnail = face_thumbnail(image, KPS)
    noisy = np.clip(image + random.normal(0, 20, image.shape), 0, 255).astype(np.uint8)
    for other in (image // 2 + 90, image.astype(np.uint16) * 257, noisy):
        seen = face_thumbnail(other, KPS)
        assert same_appearance(thumbnail, seen) and (thumbnail * seen).sum() > 0.99
    assert same_appearance(thumbnail, face_thumbnail(image, KPS + random.normal(0, 1, KPS.shape).astype(np.float32)))


def test_others_are_told_apart() -> None:
    thumbnails = [face_thumbnail(frame(seed), KPS) for seed in range(6)]
    assert not any(same_appearance(thumbnails[i], thumbnails[j]) for i in range(6) for j in range(i))


def test_the_edge_of_a_face_has_no_say() -> None:
    image, hidden = frame(0), frame(1)
    edge = BASE // 8
    hidden[edge:-edge, edge:-edge] = image[edge:-edge, edge:-edge]
    assert (face_thumbnail(hidden, KPS) * face_thumbnail(image, KPS)).sum() > 0.995
    hidden[: 2 * edge] = frame(1)[: 2 * edge]
    assert (face_thumbnail(hidden, KPS) * face_thumbnail(image, KPS)).sum() < 0.95


def test_where_nothing_is_to_be_seen_nobody_is_like_anybody() -> None:
    thumbnail = face_thumbnail(np.full((BASE, BASE, 3), 90, np.uint8), KPS)
    assert not thumbnail.any() and not same_appearance(thumbnail, thumbnail)


@pytest.mark.parametrize(("cosine", "same"), [(1.0, True), (0.91, True), (0.89, False), (-1.0, False)])
def test_how_much_alike_is_alike_enough(cosine: float, same: bool) -> None:
    one, other = np.eye(2, dtype=np.float32)
    assert same_appearance(one, np.float32(cosine) * one + np.float32(np.sqrt(1 - cosine**2)) * other) == same
