"""Glasses, drawn onto photos of bare faces: what of them covers the face is known."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

from utils.training.occluders import LIT, lit
from utils.training.textures import SIDE, Photos, any_angle, colour, texture

WORN = 0.85  # share of the faces that glasses are drawn on
_FINE = 4  # pixels that are drawn for one of the picture's
_EYES = np.array([(45.4, 58.4), (82.6, 58.4)]) * SIDE / 128  # of a face from the front, as generators see it
_CORNERS = 48  # of a lens
_SUNGLASSES = 0.25  # share of the glasses whose lenses hide the eyes
_HALF, _NONE = 0.12, 0.06  # share of those without a rim below, and without any
_SEE_THROUGH = 0.1  # share of rims of clear plastic


class _Shape(NamedTuple):
    """Outlines of a pair of glasses, pixels of the fine picture."""

    lenses: tuple[np.ndarray, np.ndarray]  # (_CORNERS, 2) each, from the side towards the nose on, downwards
    ends: np.ndarray  # (2, 2), where the temples go
    thick: float  # of the rim


def _lens(rng: np.random.Generator, width: float, height: float) -> np.ndarray:
    """A lens around (0, 0) that is more or less square, (_CORNERS, 2); the nose is to the right."""
    angles = np.arange(_CORNERS) * (2 * math.pi / _CORNERS)
    power = 2 / rng.uniform(2, 4.5)
    x, y = np.cos(angles), np.sin(angles)
    outline = np.stack((np.sign(x) * np.abs(x) ** power * width, np.sign(y) * np.abs(y) ** power * height), 1)
    wave = sum(rng.normal(0, 0.06 / k) * np.cos(k * angles + any_angle(rng)) for k in (1, 2, 3))
    below = np.clip(outline[:, 1] / height, 0, 1)  # narrower below, by the nose and all around
    outline[:, 0] -= below * rng.uniform(0, 0.15) * width * np.sign(outline[:, 0])
    return outline * (1 + np.asarray(wave))[:, None]


def _shape(rng: np.random.Generator) -> _Shape:
    """Glasses about the eyes, of a head that may be turned a little."""
    apart = float(np.ptp(_EYES[:, 0]))
    width, height = apart * rng.uniform(0.34, 0.47), apart * rng.uniform(0.22, 0.45)
    lens = _lens(rng, width, min(height, width * 1.1))
    gap = max(rng.uniform(0.36, 0.56) * apart, width + 0.04 * apart)  # of each middle from that of both
    squeeze = np.exp(rng.normal(0, 0.12)) ** np.array((1, -1))
    middles = np.array([(-gap, 0), (gap, 0)]) * squeeze[:, None]
    sides = [lens * (1, 1) * (squeeze[0], 1) + middles[0], lens * (-1, 1) * (squeeze[1], 1) + middles[1]]
    outer = np.array([sides[0][:, 0].min(), sides[1][:, 0].max()])
    ends = np.stack((outer, np.full(2, -height * rng.uniform(0, 0.6))), 1)
    angle = rng.normal(0, 0.06)
    place = _EYES.mean(0) + np.array([rng.normal(0, 2.5), rng.normal(0.06, 0.06) * apart])
    R = np.array([(math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))])
    fitted = [(points @ R + place) * _FINE for points in (*sides, ends)]
    thick = math.exp(rng.uniform(math.log(0.7), math.log(5.5))) * _FINE * SIDE / 128
    return _Shape((fitted[0], fitted[1]), fitted[2], thick)


def _empty() -> np.ndarray:
    return np.zeros((SIDE * _FINE, SIDE * _FINE), np.uint8)


def _line(mask: np.ndarray, points: np.ndarray, thick: float, closed: bool = False) -> None:
    cv2.polylines(mask, [np.round(points).astype(np.int32)], closed, 255, max(round(thick), 1), cv2.LINE_AA)


def _rims(rng: np.random.Generator, shape: _Shape) -> np.ndarray:
    """Rims, thicker above in some, without a lower half or without any in others."""
    mask, kind, browline = _empty(), rng.random(), rng.uniform(1, 2.2) if rng.random() < 0.4 else 1.0
    for lens in shape.lenses:
        upper = lens[np.r_[_CORNERS // 2 : _CORNERS, 0]]
        if kind >= _HALF + _NONE:
            _line(mask, lens, shape.thick, closed=True)
        if kind >= _NONE:
            _line(mask, upper, shape.thick * browline)
    return mask


def _bridge(rng: np.random.Generator, mask: np.ndarray, shape: _Shape) -> None:
    """One bar or two from lens to lens, and what holds them on the nose."""
    left, right = (lens[0] for lens in shape.lenses)
    apart = float(np.linalg.norm(right - left))
    for bar in range(1 + (rng.random() < 0.15)):
        height = rng.uniform(-0.1, 0.5) - 0.5 * bar
        ends = [lens[int(np.argmin(np.hypot(*(lens - (nose - (0, height * apart))).T)))]
                for lens, nose in zip(shape.lenses, (left, right), strict=True)]
        middle = (ends[0] + ends[1]) / 2 - (0, rng.uniform(0, 0.3) * apart)
        t = np.linspace(0, 1, 9)[:, None]
        _line(mask, ends[0] * (1 - t) ** 2 + middle * 2 * t * (1 - t) + ends[1] * t**2,
              shape.thick * rng.uniform(0.6, 1.1))


def _temples(rng: np.random.Generator, mask: np.ndarray, shape: _Shape) -> None:
    """From the lenses to the ears, as far as they show."""
    for end, way in zip(shape.ends, (-1, 1), strict=True):
        far = end + np.array([way * rng.uniform(0.02, 0.35), rng.normal(0.01, 0.05)]) * SIDE * _FINE
        _line(mask, np.stack((end, far)), shape.thick * rng.uniform(0.7, 1.6))


def _small(mask: np.ndarray) -> np.ndarray:
    """(SIDE, SIDE) float32 [0, 1] of a fine mask."""
    return cv2.resize(mask, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _look(rng: np.random.Generator, photos: Photos) -> np.ndarray:
    """What rims are made of, (SIDE, SIDE, 3) float32 RGB: dark plastic, metal, or anything."""
    kind = rng.random()
    if kind < 0.45:
        look = np.tile((rng.uniform(5, 60) * (1 + rng.normal(0, 0.15, 3))).astype(np.float32), (SIDE, SIDE, 1))
    elif kind < 0.75:
        metal = rng.uniform(60, 230) * (1 + np.array(((0.15, 0, -0.25), (0, 0, 0))[rng.integers(2)]))
        look = np.tile(metal.astype(np.float32), (SIDE, SIDE, 1))
    elif kind < 0.87:
        look = np.tile(colour(rng), (SIDE, SIDE, 1))
    else:
        look = texture(rng, photos)
    clouds = cv2.resize(rng.random((12, 12), np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return look * (1 + (clouds[..., None] - 0.5) * np.float32(rng.uniform(0, 1.2)))


def _through(rng: np.random.Generator, picture: np.ndarray, lenses: np.ndarray, dark: bool) -> np.ndarray:
    """The picture through its lenses: tinted, dark in sunglasses, with a reflection in some."""
    tint = rng.uniform(0.05, 0.4, 3) if dark else 1 - rng.uniform(0, 0.15) * rng.random(3)
    seen = picture * np.float32(tint)
    if dark:
        deep = np.float32(rng.uniform(0.5, 1))
        shade = np.linspace(rng.uniform(0, 60), rng.uniform(0, 90), SIDE, dtype=np.float32)[:, None, None]
        seen = seen * (1 - deep) + shade * colour(rng) / 255 * deep
    if rng.random() < 0.4:
        glare = np.zeros((SIDE, SIDE), np.float32)
        middle = _EYES[rng.integers(2)] + rng.normal(0, 10, 2)
        cv2.ellipse(glare, (tuple(map(float, middle)), tuple(map(float, rng.uniform(3, 25, 2))),
                            float(rng.uniform(0, 180))), 1.0, -1)
        glare = cv2.GaussianBlur(glare, (0, 0), rng.uniform(0.7, 4))[..., None] * np.float32(rng.uniform(0.1, 0.8))
        seen = seen + (np.float32(rng.uniform(150, 255)) - seen) * glare
    return picture + (seen - picture) * lenses[..., None]


def with_glasses(
    rng: np.random.Generator, picture: np.ndarray, photos: Photos
) -> tuple[np.ndarray, np.ndarray]:
    """Draw glasses on a bare face, or leave it bare; shadows and light lie on some.

    picture: (SIDE, SIDE, 3) float32 [0, 255] RGB. Returns such a picture and (SIDE, SIDE) float32 [0, 1], what is
    covered: rims, and lenses that hide the eyes.
    """
    if rng.random() < LIT:
        picture = lit(rng, picture, photos)
    if rng.random() >= WORN:
        return picture, np.zeros((SIDE, SIDE), np.float32)
    shape, dark = _shape(rng), rng.random() < _SUNGLASSES
    fine = _rims(rng, shape)
    _bridge(rng, fine, shape)
    _temples(rng, fine, shape)
    rims, lenses = _small(fine), _empty()
    cv2.fillPoly(lenses, [np.round(lens).astype(np.int32) for lens in shape.lenses], 255, cv2.LINE_AA)
    inside = _small(lenses)
    shadow = cv2.GaussianBlur(rims, (0, 0), rng.uniform(0.8, 3))
    M = np.column_stack((np.eye(2), rng.normal((0, 2), 1.5)))
    picture = picture * (1 - cv2.warpAffine(shadow, M, (SIDE, SIDE)) * np.float32(rng.uniform(0, 0.5)))[..., None]
    picture = _through(rng, picture, inside, dark)
    opaque = np.float32(rng.uniform(0.25, 0.6) if rng.random() < _SEE_THROUGH else rng.uniform(0.8, 1))
    picture = picture + (np.clip(_look(rng, photos), 0, 255) - picture) * (rims * opaque)[..., None]
    return picture, np.maximum(rims, inside) if dark else rims
