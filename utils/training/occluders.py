"""Occluders, drawn onto photos of bare faces: hands, things held or hung before the face, lettering.

Networks that learn from drawn occluders see real ones, if only the drawn ones are varied enough (Voo et al., "Delving
into High-Quality Synthetic Face Occlusion Segmentation Datasets", CVPR Workshops 2022). Shadows and light lie on many
faces, too, and cover nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from utils.training.textures import SIDE, Photos, any_angle, plain, skin, texture, turned

COVERED = 0.65  # share of the faces that something is drawn on
_SECOND = 0.15  # share of these that get two occluders
LIT = 0.35  # share of all faces that have harmless shadows or light
_FRACTION = 4  # bits of OpenCV's coordinates below one pixel


class Occluder(NamedTuple):
    """A shape and what it looks like."""

    mask: np.ndarray  # (SIDE, SIDE) uint8
    look: np.ndarray  # (SIDE, SIDE, 3) float32 RGB, about [0, 255]


class _Hand(NamedTuple):
    palm: np.ndarray  # its middle
    angle: float  # of the fingers, radians
    size: float  # of the palm
    reach: float  # length of the fingers
    finger: float  # half their width


def _empty() -> np.ndarray:
    return np.zeros((SIDE, SIDE), np.uint8)


def _somewhere(rng: np.random.Generator) -> np.ndarray:
    """A place in the face, (2,)."""
    return np.array([rng.uniform(0.15, 0.85), rng.uniform(0.12, 0.98)]) * SIDE


def _rod(mask: np.ndarray, start: np.ndarray, end: np.ndarray, radius: float) -> None:
    """Draw a thick line with round ends."""
    a, b = ([int(x * 2**_FRACTION) for x in point] for point in (start, end))
    cv2.line(mask, a, b, 255, max(round(2 * radius), 1), cv2.LINE_AA, _FRACTION)


def _polygon(corners: np.ndarray) -> np.ndarray:
    mask = _empty()
    cv2.fillPoly(mask, [np.round(corners * 2**_FRACTION).astype(np.int32)], 255, cv2.LINE_AA, _FRACTION)
    return mask


def _roundness(mask: np.ndarray) -> np.ndarray:
    """0 at a shape's edge to 1 in its middle."""
    depth = cv2.distanceTransform((mask > 127).astype(np.uint8), cv2.DIST_L2, 3)
    return np.sqrt(depth / max(float(depth.max()), 1.0))


def _palm(hand: _Hand) -> np.ndarray:
    """The palm and the arm that it comes from."""
    mask = _empty()
    axes = (int(hand.size * 0.7), int(hand.size * 0.55))
    cv2.ellipse(mask, hand.palm.astype(int).tolist(), axes, math.degrees(hand.angle), 0, 360, 255, -1, cv2.LINE_AA)
    _rod(mask, hand.palm, hand.palm - turned(hand.angle) * hand.size * 3, hand.size * 0.42)
    return mask


def _finger(rng: np.random.Generator, hand: _Hand, offset: float, spread: float) -> np.ndarray:
    """Two limbs. offset: places from the middle one."""
    x, y = turned(hand.angle)
    root = hand.palm + np.array([x, y]) * hand.size * 0.3 + np.array([-y, x]) * offset * hand.finger * 2.05
    angle = hand.angle + spread * offset * 0.35 + rng.normal(0, 0.05)
    length = hand.reach * rng.uniform(0.75, 1.05)
    knuckle = root + turned(angle) * length * 0.55
    mask = _empty()
    _rod(mask, root, knuckle, hand.finger)
    _rod(mask, knuckle, knuckle + turned(angle + rng.normal(0, 0.25)) * length * 0.5, hand.finger * 0.92)
    return mask


def _thumb(rng: np.random.Generator, hand: _Hand) -> np.ndarray:
    mask = _empty()
    angle = hand.angle + rng.choice((-1, 1)) * rng.uniform(0.6, 1.2)
    _rod(mask, hand.palm, hand.palm + turned(angle) * hand.reach * 0.8, hand.finger * 1.1)
    return mask


def _posed(rng: np.random.Generator) -> _Hand:
    """A hand whose fingers point to some place in the face."""
    size, angle = rng.uniform(0.16, 0.38) * SIDE, any_angle(rng)
    reach = size * rng.uniform(0.9, 1.6)
    palm = _somewhere(rng) - turned(angle) * reach * rng.uniform(0.6, 1.1)
    return _Hand(palm, angle, size, reach, size * rng.uniform(0.17, 0.26))


def hand(rng: np.random.Generator, photos: Photos) -> Occluder:
    """One to five fingers, maybe a thumb; each part is darker at its edges."""
    pose, spread, count = _posed(rng), rng.uniform(0, 0.5), int(rng.integers(1, 6))
    parts = [_palm(pose), *(_finger(rng, pose, i - (count - 1) / 2, spread) for i in range(count))]
    if rng.random() < 0.5:
        parts.append(_thumb(rng, pose))
    mask, shade = _empty(), np.ones((SIDE, SIDE), np.float32)
    for part in parts:
        alpha = part.astype(np.float32) / 255
        edge, middle = rng.uniform(0.55, 0.85), rng.uniform(0.15, 0.45)
        shade += (np.float32(edge) + np.float32(middle) * _roundness(part) - shade) * alpha
        mask = np.maximum(mask, part)
    return Occluder(mask, skin(rng, photos) * cv2.GaussianBlur(shade, (0, 0), 0.8)[..., None])


def blob(rng: np.random.Generator, photos: Photos) -> Occluder:
    """A shape with three to nine corners, half of them rounded."""
    corners, radius = int(rng.integers(3, 10)), rng.uniform(0.06, 0.4) * SIDE
    angles = np.sort(rng.uniform(0, 2 * math.pi, corners))
    around = np.stack((np.cos(angles), np.sin(angles)), 1) * radius * rng.uniform(0.4, 1.2, (corners, 1))
    mask = _polygon(_somewhere(rng) + around * (1, rng.uniform(0.4, 1.6)))
    if rng.random() < 0.5:
        soft = cv2.GaussianBlur(mask, (0, 0), rng.uniform(1, 6)).astype(np.float32)
        whole = max(float(soft.max()), 1.0)  # less for small ones, which remain all the same
        mask = (np.clip((soft / whole - 0.43) * 8, 0, 1) * 255).astype(np.uint8)
    return Occluder(mask, texture(rng, photos))


def stick(rng: np.random.Generator, photos: Photos) -> Occluder:
    """A pen, a microphone, a strap: something straight, maybe with a round head."""
    mask, end, way = _empty(), _somewhere(rng), turned(any_angle(rng)) * SIDE * 1.6
    radius = math.exp(rng.uniform(math.log(1.2), math.log(18)))
    _rod(mask, end - way * (rng.random() < 0.3), end + way, radius)
    look = texture(rng, photos) * (np.float32(rng.uniform(0.4, 1)) + np.float32(0.6) * _roundness(mask))[..., None]
    if rng.random() < 0.35:
        head = _empty()
        cv2.circle(head, end.astype(int).tolist(), int(radius * rng.uniform(1.2, 2.6)), 255, -1, cv2.LINE_AA)
        look = np.where((head > 0)[..., None], texture(rng, photos), look)
        mask = np.maximum(mask, head)
    return Occluder(mask, look)


def sheet(rng: np.random.Generator, photos: Photos) -> Occluder:
    """Paper, a phone, a cup, a scarf: four corners, mostly coming in from an edge."""
    side = rng.integers(5)
    if side == 4:
        middle, angle, sides = _somewhere(rng), any_angle(rng), rng.uniform(0.08, 0.6, 2) * SIDE
    else:
        edge = np.array([(0.5, 1.0), (0.5, 0.0), (0.0, 0.5), (1.0, 0.5)][side]) * SIDE
        middle = np.clip(edge + rng.normal(0, 0.25 * SIDE, 2), 0, SIDE)
        angle, sides = rng.normal(0, 0.4), rng.uniform(0.3, 0.8, 2) * SIDE
    (x, y), upright = turned(angle), np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * sides / 1.6
    corners = upright * rng.uniform(0.8, 1.2, (4, 2)) @ np.array([[x, y], [-y, x]])
    return Occluder(_polygon(middle + corners), texture(rng, photos))


def lettering(rng: np.random.Generator, photos: Photos) -> Occluder:
    """One or two lines in one colour."""
    mask, base = _empty(), int(rng.uniform(0.2, 1) * SIDE)
    for line in range(int(rng.integers(1, 3))):
        letters = "".join(map(chr, rng.integers(65, 122, 10)))
        font, scale = int(rng.choice((0, 1, 2, 3, 4, 6))), rng.uniform(0.35, 1.1)
        at = (int(rng.uniform(-20, 40)), base + line * 14)
        cv2.putText(mask, letters, at, font, scale, 255, int(rng.integers(1, 4)), cv2.LINE_AA)
    return Occluder(mask, plain(rng, photos))


Kind = Callable[[np.random.Generator, Photos], Occluder]
KINDS: tuple[tuple[Kind, float], ...] = ((hand, 0.5), (blob, 0.2), (stick, 0.12), (sheet, 0.13), (lettering, 0.05))


def _over(picture: np.ndarray, look: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return picture + (np.clip(look, 0, 255) - picture) * alpha[..., None]


def lit(rng: np.random.Generator, picture: np.ndarray, photos: Photos) -> np.ndarray:
    """The picture, (SIDE, SIDE, 3) float32 [0, 255], with a shadow or a spot of light, slightly coloured."""
    shape = (blob, sheet, stick)[rng.integers(3)](rng, photos).mask.astype(np.float32) / 255
    factor = rng.uniform(0.3, 0.9) if rng.random() < 0.7 else rng.uniform(1.1, 1.6)
    tint = (factor * (1 + rng.normal(0, 0.06, 3))).astype(np.float32)
    return _over(picture, picture * tint, cv2.GaussianBlur(shape, (0, 0), rng.uniform(0.7, 8)))


def _as_bright(rng: np.random.Generator, look: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """Nearer to the picture's brightness: things are mostly in the light that the face is in."""
    factor = rng.uniform(0.5, 1.3) * float(picture.mean()) / (float(look.mean()) + 1)
    return look * np.float32(1 + (factor - 1) * rng.random())


def _cast_shadow(rng: np.random.Generator, picture: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Darker around what lies over it, which is no part of it."""
    soft = cv2.GaussianBlur(alpha, (0, 0), rng.uniform(1, 6))
    M = np.column_stack((np.eye(2), rng.normal(0, 4, 2)))
    return picture * (1 - cv2.warpAffine(soft, M, (SIDE, SIDE)) * np.float32(rng.uniform(0.1, 0.6)))[..., None]


def laid(rng: np.random.Generator, picture: np.ndarray, occluder: Occluder) -> tuple[np.ndarray, np.ndarray]:
    """Lay an occluder over a picture (SIDE, SIDE, 3) float32 [0, 255]; returns it, and (SIDE, SIDE) float32 [0, 1] how
    much it covers."""
    alpha, look = occluder.mask.astype(np.float32) / 255, occluder.look
    if rng.random() < 0.5:
        look = _as_bright(rng, look, picture)
    if rng.random() < 0.5:
        picture = _cast_shadow(rng, picture, alpha)
    soft = cv2.GaussianBlur(alpha, (0, 0), math.exp(rng.uniform(math.log(0.3), math.log(2))))
    return _over(picture, look, soft), soft


def occluded(rng: np.random.Generator, picture: np.ndarray, photos: Photos) -> tuple[np.ndarray, np.ndarray]:
    """Draw on a bare face, or leave it bare.

    picture: (SIDE, SIDE, 3) float32 [0, 255] RGB. Returns such a picture and (SIDE, SIDE) float32 [0, 1], what is
    covered.
    """
    count = (1 + (rng.random() < _SECOND)) * (rng.random() < COVERED)
    if rng.random() < LIT:
        picture = lit(rng, picture, photos)
    kinds, shares = zip(*KINDS, strict=True)
    mask = np.zeros((SIDE, SIDE), np.float32)
    for _ in range(count):
        occluder = kinds[rng.choice(len(kinds), p=shares)](rng, photos)
        picture, alpha = laid(rng, picture, occluder)
        mask = np.maximum(mask, alpha)
    return picture, mask


def photographed(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """What cameras and files do to colours: casts, hardly any colour, JPEG. (H, H, 3) float32 [0, 255] RGB to uint8."""
    if rng.random() < 0.3:
        grey = picture.mean(2, keepdims=True)
        picture = grey + (picture - grey) * np.float32(1 + rng.uniform(-1, 0.5))
    cast = (1 + rng.normal(0, 0.08, 3)).astype(np.float32)
    seen = np.clip(picture * cast, 0, 255).astype(np.uint8)
    if rng.random() >= 0.3:
        return seen
    _, file = cv2.imencode(".jpg", seen[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))))
    decoded = cv2.imdecode(file, cv2.IMREAD_COLOR)
    assert decoded is not None  # these bytes are whole
    return decoded[..., ::-1]
