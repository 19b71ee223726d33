"""The source photo's own detail on swaps: brows, freckles and wrinkles, which small generators paint softly or not at
all.

What is finer than some pixels of a crop is taken from the source, bent onto the landmarks of the swap. It is shown
where it can be trusted: within the face, where it is not bent much, and where coarse shades of the two agree, since
hair, hands and shadows of the photo do not belong to the swap. Gaze, lashes and teeth are the target's, so is the
detail there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
import torch

from coordinate_reg.points import EYE_CENTRES, MOUTH_CORNERS
from utils.inference.align import BASE, cut, estimate
from utils.inference.blend import enlargement
from utils.inference.keypoints import eye_distance, yaw
from utils.inference.regions import face_region, openings
from utils.inference.sharpen import detail_of
from utils.inference.spline import splines
from utils.inference.types import Face, Swap, TrackedFace
from utils.io.frame import Pixels

LEAST_SIDE = 256  # of swaps with detail, where the frame has pixels for it
_CELLS, _SIGMA = 64, 1.5  # along a side, and cells of the blur: what is coarser is not detail
_DRAWN = 128  # side at which weights are drawn: nothing in them is finer
_BENDS = 16  # cells of the spline along a side
_DARK = 16.0  # levels that count as brightness in the dark, where noise would be detail otherwise
_WITHIN, _AROUND = -5 / 128, 1 / 128  # margins, as shares of the side, of the detail and of what shades are shades of
_LIDS = 1 / 128  # as a share of the side: lashes and the lids' edges belong to the target's eyes
_LIGHT = 0.12  # share of the side: slower changes of colour are light and skin tone, no shades
# Trusted whole up to the first, not at all from the second on:
_STRETCHED = (1.25, 2.0)  # by how much the one way more than the other
_APART = (0.4, 0.8)  # logarithm of the ratio of shades
_SOFT = 1.0  # cells of blur of either
_NEAR = 5  # cells, whose largest counts: the edge of a hair is detail beside it
_BELOW_GLASSES, _FADE = 0.62, 0.05  # of the way from eyes to mouth; share of the side
_SOURCE_EYES = (16.0, 32.0)  # pixels between the source's eyes: no detail up to the first, all of it from the second
_LIKE_TARGET = 1.5  # times as much detail as the target's: more of it would not fit into a blurred picture


@dataclass(frozen=True)
class SourceDetail:
    """What there is of a source photo."""

    fine: np.ndarray  # (S, S, 3) float32 BGR: levels of detail over the roots of the coarse colours
    shades: np.ndarray  # (_CELLS, _CELLS, 3) float32, see `_shades`
    landmarks: np.ndarray  # (106, 2) float32, pixels of a 224 crop
    share: float  # 0..1, of a photo that is large enough
    turned: float  # degrees


def cut_source(image: Pixels, face: Face, side: int) -> np.ndarray:
    """The crop that `detail_of_source` takes."""
    return cut(image, face.kps, side).image


def detail_of_source(crop: np.ndarray, landmarks: np.ndarray, kps: np.ndarray) -> SourceDetail:
    """crop: (S, S, 3) uint8 BGR, aligned. landmarks: (106, 2) float32, its pixels. kps: (5, 2) float, pixels of the
    photo."""
    side, coarse = len(crop), _coarse(crop)
    low = _enlarged(coarse, side)
    none, whole = _SOURCE_EYES
    points = (landmarks + 0.5) * (BASE / side) - 0.5
    return SourceDetail(
        fine=(crop - low) / np.sqrt(low + _DARK),
        shades=_shades(coarse, points),
        landmarks=points,
        share=float(np.clip((eye_distance(kps) - none) / (whole - none), 0, 1)),
        turned=yaw(kps),
    )


def add_detail(
    swap: Swap, frame: Pixels, face: TrackedFace, landmarks: np.ndarray, source: SourceDetail, share: float, worn: float
) -> Swap:
    """A swap with a `share` of the source's detail, of the source's side where the frame shows it larger than it is.

    frame: (H, W, 3) uint8 or uint16 BGR, with the target's face. landmarks: (106, 2) float, of the swap, pixels of a
    224 crop. worn: how likely source or target wear glasses, 0..1; around these the detail is the swap's own.
    Swaps that an enhancer made keep their own detail.
    """
    image, target, size = swap.image, swap.target, len(swap.image)
    share *= source.share
    if not share or image.shape != target.shape:
        return swap
    side = max(len(source.fine), size) if enlargement(swap.M_frame2crop) > 1 else size
    coarse = _coarse(image)
    if side != size:
        target = cut(frame, face.kps, side, face.template).image
        image = cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)
    bent = _bent(landmarks, source.landmarks)
    eyes = openings(_scaled(landmarks), _DRAWN, _LIDS)
    trust = share * (1 - worn * _glasses(landmarks)) * _trust(coarse, landmarks, bent, source.shades) * (1 - eyes)
    place = _Place.around(trust + eyes, side)
    fine = _remapped(source.fine, place.of(bent), side)
    result = image.copy()
    result[place.pixels] = _laid(image, target, place, coarse, fine, trust, eyes)
    return replace(swap, image=result, M_frame2crop=estimate(face.kps, side, face.template)[0])


class _Place(NamedTuple):
    """The part of a crop where something changes."""

    rows: slice  # cells
    columns: slice
    side: int  # of the crop, pixels: a multiple of _CELLS

    @classmethod
    def around(cls, weights: np.ndarray, side: int) -> _Place:
        """Where weights (_DRAWN, _DRAWN) are not 0, with a cell around it."""
        ratio = _DRAWN // _CELLS
        ends = [np.flatnonzero(weights.any(axis=axis)) // ratio for axis in (1, 0)]
        rows, columns = (slice(max(int(at[0]) - 1, 0), int(at[-1]) + 2) if at.size else slice(0, 1) for at in ends)
        return cls(rows, columns, side)

    def of(self, values: np.ndarray) -> np.ndarray:
        """That part of a whole crop's cells or pixels, (S, S, ...), enlarged to pixels."""
        ratio = len(values) // _CELLS
        part = values[tuple(slice(at.start * ratio, at.stop * ratio) for at in (self.rows, self.columns))]
        grown = self.side // len(values)
        return part if grown == 1 else cv2.resize(part, None, fx=grown, fy=grown, interpolation=cv2.INTER_LINEAR)

    @property
    def pixels(self) -> tuple[slice, slice]:
        """Rows and columns of the whole crop."""
        ratio = self.side // _CELLS
        rows, columns = (slice(at.start * ratio, at.stop * ratio) for at in (self.rows, self.columns))
        return rows, columns


def _laid(
    image: np.ndarray, target: np.ndarray, place: _Place, coarse: np.ndarray, fine: np.ndarray, trust: np.ndarray,
    eyes: np.ndarray,
) -> np.ndarray:
    """The part at `place` with other detail, uint8.

    image and target: (S, S, 3) uint8 BGR. coarse: of the image. fine: of the source, at the place, float32. trust and
    eyes: (_DRAWN, _DRAWN) float32 [0, 1], where the source's detail belongs and where the target's does.
    """
    plain, low = place.of(image), place.of(coarse)
    own, targets = plain - low, place.of(target) - place.of(_coarse(target))
    gaze = cv2.merge([place.of(eyes)] * 3) * (targets - own)
    change = cv2.merge([place.of(trust)] * 3) * (fine * cv2.sqrt(low + _DARK) - own)
    detailed = image.astype(np.float32)
    detailed[place.pixels] += gaze + change
    has, fits = _sharpness(detailed), _LIKE_TARGET * _sharpness(target)
    return cv2.add(plain, gaze + change * np.float32(min(fits / max(has, 1e-6), 1)), dtype=cv2.CV_8U)


def _sharpness(image: np.ndarray) -> float:
    """Comparable whatever the side of the picture."""
    middle = slice(len(image) // 4, -len(image) // 4)
    return detail_of(cv2.resize(image[middle, middle], (_CELLS, _CELLS), interpolation=cv2.INTER_AREA))


def _coarse(image: np.ndarray) -> np.ndarray:
    """What of a picture is no detail, (_CELLS, _CELLS, 3) float32."""
    cells = cv2.resize(image, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA).astype(np.float32)
    return cv2.GaussianBlur(cells, (0, 0), _SIGMA)


def _enlarged(cells: np.ndarray, side: int) -> np.ndarray:
    return cv2.resize(cells, (side, side), interpolation=cv2.INTER_LINEAR)


def _scaled(landmarks: np.ndarray, side: int = _DRAWN) -> np.ndarray:
    """Pixels of a 224 crop as those of another one."""
    return (landmarks + 0.5) * (side / BASE) - 0.5


def _bent(landmarks: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Where in the source each cell of the swap comes from, (_CELLS, _CELLS, 2) float32 in [0, 1]; both: (106, 2)."""
    here, there = (torch.from_numpy(points.astype(np.float32))[None] for points in (landmarks, source))
    (grid,) = splines(here, [there], BASE, _BENDS)
    return cv2.resize((grid[0].numpy() + 1) / 2, (_CELLS, _CELLS), interpolation=cv2.INTER_CUBIC)


def _remapped(image: np.ndarray, bent: np.ndarray, side: int) -> np.ndarray:
    """A part of a picture of the source as a swap of this side has it; bent: (h, w, 2), where its pixels come from."""
    if len(image) >= 2 * side:
        image = _reduced(image, side)
    x, y = cv2.split(bent * np.float32(len(image)) - np.float32(0.5))
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _reduced(image: np.ndarray, side: int) -> np.ndarray:
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)


def _trust(coarse: np.ndarray, landmarks: np.ndarray, bent: np.ndarray, shades: np.ndarray) -> np.ndarray:
    """Where the source's detail belongs, (_DRAWN, _DRAWN) float32 [0, 1]."""
    unbent = cv2.GaussianBlur(_falling(np.log(_stretch(bent)), *np.log(_STRETCHED)), (0, 0), _SOFT)
    apart = np.abs(_shades(coarse, landmarks) - _remapped(shades, bent, _CELLS)).max(axis=2)
    apart = cv2.dilate(apart, np.ones((_NEAR, _NEAR), np.uint8))
    agree = cv2.GaussianBlur(_falling(apart, *_APART), (0, 0), _SOFT)
    return face_region(_scaled(landmarks), _DRAWN, _WITHIN) * _enlarged(unbent * agree, _DRAWN)


def _falling(values: np.ndarray, whole: float, none: float) -> np.ndarray:
    return ((none - values) / (none - whole)).clip(0, 1).astype(np.float32)


def _stretch(bent: np.ndarray) -> np.ndarray:
    """By how much more a picture is stretched the one way than the other, from 1 on: the ratio of the singular values
    of the map's derivative."""
    (a, c), (b, d) = (np.moveaxis(np.gradient(bent, axis=axis), 2, 0) for axis in (1, 0))
    turned, sheared = np.hypot(a + d, c - b), np.hypot(a - d, c + b)
    return (turned + sheared) / np.maximum(turned - sheared, 1e-3 * turned + 1e-9)


def _shades(coarse: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """How much brighter cells of a face are than the face around them, (_CELLS, _CELLS, 3) float32 logarithms."""
    face = cv2.merge([face_region(_scaled(landmarks, _CELLS), _CELLS, _AROUND)] * 3)
    around, weights = (cv2.GaussianBlur(values, (0, 0), _LIGHT * _CELLS) for values in (coarse * face, face))
    mean = around / np.maximum(weights, 1e-4)
    return np.log((coarse + _DARK) / (mean + _DARK))


def _glasses(landmarks: np.ndarray) -> np.ndarray:
    """1 in the rows where glasses may be, above the middle of the nose, 0 below, (_DRAWN, 1) float32."""
    points = _scaled(landmarks) / _DRAWN
    eyes, mouth = (points[list(pair), 1].mean() for pair in (EYE_CENTRES, MOUTH_CORNERS))
    end = eyes + _BELOW_GLASSES * (mouth - eyes)
    rows = (np.arange(_DRAWN, dtype=np.float32) + 0.5) / _DRAWN
    return ((end - rows[:, None]) / _FADE + 0.5).clip(0, 1)
