"""What drawn occluders look like: plain, shaded, rough or striped, a piece of a photo, or skin."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from utils.training.augment import Framing

SIDE = 128  # of the pictures that occluders are drawn on
_Y, _X = np.mgrid[:SIDE, :SIDE].astype(np.float32)
_BARE_SKIN = ((0.325, 0.65), (0.675, 0.65), (0.5, 0.1875))  # cheeks and forehead, in shares of the face's side
_GREY = 0.3  # share of the colours that are none


@dataclass(frozen=True)
class Photos:
    """Stored crops, which some textures are cut from."""

    images: np.ndarray  # (N, H, H, 3) uint8 RGB
    framing: Framing

    def one(self, rng: np.random.Generator) -> np.ndarray:
        """Any of them, (H, H, 3)."""
        return np.ascontiguousarray(self.images[rng.integers(len(self.images))])


Texture = Callable[[np.random.Generator, Photos], np.ndarray]


def turned(angle: float) -> np.ndarray:
    """The direction at an angle in radians, (2,) float64."""
    return np.array([math.cos(angle), math.sin(angle)])


def any_angle(rng: np.random.Generator) -> float:
    """Radians of a full turn."""
    return rng.uniform(0, 2 * math.pi)


def colour(rng: np.random.Generator) -> np.ndarray:
    """(3,) float32 in [0, 255], many of them grey."""
    values = np.repeat(rng.random(), 3) if rng.random() < _GREY else rng.random(3)
    return (values * 255).astype(np.float32)


def plain(rng: np.random.Generator, photos: Photos) -> np.ndarray:
    """One colour."""
    return np.tile(colour(rng), (SIDE, SIDE, 1))


def _gradient(rng: np.random.Generator, photos: Photos) -> np.ndarray:
    a, b, (x, y) = colour(rng), colour(rng), turned(any_angle(rng)).tolist()
    share = np.clip(0.5 + (_X / SIDE - 0.5) * x + (_Y / SIDE - 0.5) * y, 0, 1)
    return a + (b - a) * share[..., None]


def _noise(rng: np.random.Generator, photos: Photos) -> np.ndarray:
    """Coloured clouds, coarse or fine."""
    cells = int(rng.choice((3, 6, 12, 24, 64)))
    clouds = cv2.resize(rng.random((cells, cells, 3), np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return colour(rng) + clouds * np.float32(rng.uniform(20, 160)) - 40


def _stripes(rng: np.random.Generator, photos: Photos) -> np.ndarray:
    a, b, (x, y) = colour(rng), colour(rng), turned(any_angle(rng)).tolist()
    wave = np.sin((_X * x + _Y * y) * (2 * math.pi / rng.uniform(4, 30)))
    return np.where((wave > 0)[..., None], a, b)


def _piece(rng: np.random.Generator, photos: Photos) -> np.ndarray:
    """A square of a photo, often from its corners, where there is background, hair or cloth."""
    photo = photos.one(rng)
    side = max(int(len(photo) * rng.uniform(0.2, 0.6)), 1)
    rest = len(photo) - side
    x, y = rng.integers(0, 2, 2) * rest if rng.random() < 0.6 else rng.integers(0, rest + 1, 2)
    piece = cv2.resize(photo[y : y + side, x : x + side], (SIDE, SIDE)).astype(np.float32)
    return np.rot90(piece, int(rng.integers(4)))


def skin(rng: np.random.Generator, photos: Photos) -> np.ndarray:
    """A cheek or a forehead of any photo, enlarged, turned and in other light."""
    framing = photos.framing
    at = np.array(_BARE_SKIN[rng.integers(3)]) + rng.normal(0, 0.025, 2)
    middle = at * framing.face + (framing.side - framing.face) / 2
    x, y = (turned(any_angle(rng)) * (0.175 * framing.face / SIDE * rng.uniform(0.6, 1.3))).tolist()
    R = np.array([[x, -y], [y, x]])
    M = np.column_stack((R, middle - R @ (SIDE / 2, SIDE / 2)))
    patch = cv2.warpAffine(photos.one(rng), M, (SIDE, SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                           borderMode=cv2.BORDER_REFLECT)
    return patch * np.float32(rng.uniform(0.6, 1.25))


_TEXTURES: tuple[tuple[Texture, float], ...] = (
    (plain, 0.25), (_gradient, 0.2), (_noise, 0.15), (_piece, 0.2), (skin, 0.1), (_stripes, 0.1),
)


def texture(rng: np.random.Generator, photos: Photos) -> np.ndarray:
    """Any texture, (SIDE, SIDE, 3) float32 RGB, about [0, 255]."""
    made, shares = zip(*_TEXTURES, strict=True)
    return made[rng.choice(len(made), p=shares)](rng, photos)
