"""The source photo's own detail on swaps: brows, freckles and wrinkles, which small generators paint softly or not at
all.

What is finer than some pixels of a crop is taken from the source, bent onto the landmarks of the swap. It is shown
where it can be trusted: within the face, where it is not bent much, and where coarse shades of the two agree, since
hair, hands and shadows of the photo do not belong to the swap. Gaze, lashes and teeth are the target's, so is the
detail there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
import torch

from coordinate_reg.points import BROWS, EYE_CENTRES, MOUTH_CORNERS
from utils.inference.align import BASE
from utils.inference.keypoints import eye_distance
from utils.inference.regions import face_region, openings
from utils.inference.sharpen import detail_of
from utils.inference.spline import splines
from utils.inference.tone import colourfulness
from utils.inference.warp import rescaled_points

_CELLS = 64  # along a side
_SIGMA = 1.5  # cells of a blur: what is coarser is not detail
_DRAWN = 128  # side at which weights are drawn: nothing in them is finer
_BENDS = 16  # cells of the spline along a side
_DARK = 16.0  # levels that count as brightness in the dark, where noise would be detail otherwise
_WITHIN = -5 / 128  # margin, as a share of the side, of the face that shows detail
_LIDS = 1 / 128  # as a share of the side: lashes and the lids' edges belong to the target's eyes
_LIGHT = 0.12  # share of the side: slower changes of colour are light and skin tone, no shades
_LIGHT_CELLS = 32  # along a side, at which these are seen
_SOFT = 1.0  # cells of blur of what is trusted
_NEAR = 5  # cells, of which the one with the largest difference of shades counts: a hair's edge is detail beside it
_NOSTRILS = 0.62  # of the way from eyes to mouth: glasses end above
_FOREHEAD = np.array((5.0, 2.0), np.float32)  # cells above the brows: all of it forehead, none of it
_FADE = 0.05  # share of the side over which detail sets in there
_LIKE_TARGET = 1.5  # times as much detail as the target's: more of it would not fit into a blurred picture
# From the first to the second, trust falls from whole to none, or what is looked for rises from none to whole.
_STRETCHED = (1.25, 2.0)  # by how much the one way more than the other
_APART = (0.4, 0.8)  # logarithm of the ratio of shades
_FRINGE = (0.12, 0.22)  # share of a source's forehead that is dark: a shade up to the first, hair from the second on
_SOURCE_EYES = (16.0, 32.0)  # pixels between the source's eyes


@dataclass(frozen=True)
class SourceDetail:
    """What there is of a source photo."""

    fine: np.ndarray  # (S, S, 3) float32 BGR: levels of detail over the roots of the coarse colours
    shades: np.ndarray  # (_CELLS, _CELLS, 3) float32, see `_shades`
    skin: np.ndarray  # (_CELLS, _CELLS) float32 [0, 1]: 0 where eyes and mouth are open or something covers it
    landmarks: np.ndarray  # (106, 2) float32, pixels of a 224 crop
    share: float  # 0..1, see `share_of`
    worn: float  # 0..1, how likely the photo shows glasses

    def reduced(self, side: int) -> SourceDetail:
        """The same for smaller swaps."""
        return replace(self, fine=cv2.resize(self.fine, (side, side), interpolation=cv2.INTER_AREA))


def share_of(kps: np.ndarray) -> float:
    """How much of its detail a source can give: 0 of a small face, 1 of most. kps: (5, 2) float, pixels of the photo.
    """
    none, whole = _SOURCE_EYES
    return float(np.clip((eye_distance(kps) - none) / (whole - none), 0, 1))


def detail_of_source(
    crop: np.ndarray, landmarks: np.ndarray, share: float, worn: float, covered: np.ndarray | None = None
) -> SourceDetail:
    """crop: (S, S, 3) uint8 BGR, aligned, as large as the largest swaps. landmarks: (106, 2) float32, its pixels.
    share, worn: see SourceDetail. covered: (C, C) float32 [0, 1], where something is in front of the face; None:
    nowhere."""
    side, coarse = len(crop), _coarse(crop)
    low = _enlarged(coarse, side)
    points = rescaled_points(landmarks, BASE / side)
    skin = 1 - cv2.resize(openings(_scaled(points), _DRAWN, _LIDS), (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)
    if covered is not None:  # its edge is detail beside it
        skin = skin * (1 - cv2.dilate(cv2.resize(covered, skin.shape), np.ones((_NEAR, _NEAR), np.uint8)))
    shades = _shades(coarse, points)
    skin = skin * (1 - _fringe(shades, points))
    return SourceDetail((crop - low) / cv2.sqrt(low + _DARK), shades, skin, points, share, worn)


def add_detail(
    image: np.ndarray, target: np.ndarray, landmarks: np.ndarray, source: SourceDetail, share: float, worn: float,
    steadied: Callable[[float], float] = float,
) -> np.ndarray:
    """A swap with a share of the source's detail, and of the target's where eyes and mouth are open.

    image, target: (S, S, 3) uint8 BGR, swap and target, S not above the source's. landmarks: (106, 2) float, of the
    swap, pixels of a 224 crop. share: 0..1. worn: how likely the target wears glasses, 0..1; around those of either the
    detail stays the swap's own. steadied: of the share of the change, 0..1, that fits the target's sharpness, the one
    that is shown, 0..1; by default the same. Returns the same as image.
    """
    share *= source.share
    if not share:
        return image
    coarse, bent = _coarse(image), _bent(landmarks, source.landmarks)
    eyes = openings(_scaled(landmarks), _DRAWN, _LIDS)
    bare = 1 - max(worn, source.worn) * _glasses(landmarks)
    trust = share * bare * _trust(coarse, landmarks, bent, source) * (1 - eyes)
    eyes *= share
    place = _Place.around(trust + eyes, len(image))
    low, wanted = place.of(coarse), _coarse(target)
    own, targets = place.of(image) - low, place.of(target) - place.of(wanted)
    sources = _remapped(source.fine, place.of(bent)) * cv2.sqrt(low + _DARK)
    with_gaze = _changed(image, place, _for_colours(place.of(eyes)) * (targets - own))
    change = _coloured(_for_colours(place.of(trust)) * (sources - own), colourfulness(wanted))
    result = _changed(with_gaze, place, change)
    limit = steadied(_fitting(_sharpness(with_gaze), _sharpness(result), _LIKE_TARGET * _sharpness(target)))
    return result if limit == 1 else _changed(with_gaze, place, change * np.float32(limit))


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
        rows, columns = (slice(max(int(at[0]) - 1, 0), min(int(at[-1]) + 2, _CELLS)) if at.size else slice(0, 1)
                         for at in ends)
        return cls(rows, columns, side)

    def of(self, values: np.ndarray) -> np.ndarray:
        """That part of a whole crop's cells or pixels, (S, S, ...), as pixels."""
        part = values[self._within(len(values))]
        if len(values) == self.side:
            return part
        ratio = self.side / len(values)
        method = cv2.INTER_LINEAR if ratio > 1 else cv2.INTER_AREA
        return cv2.resize(part, None, fx=ratio, fy=ratio, interpolation=method)

    @property
    def pixels(self) -> tuple[slice, slice]:
        """Rows and columns of the whole crop."""
        return self._within(self.side)

    def _within(self, side: int) -> tuple[slice, slice]:
        ratio = side // _CELLS
        rows, columns = (slice(at.start * ratio, at.stop * ratio) for at in (self.rows, self.columns))
        return rows, columns


def _changed(image: np.ndarray, place: _Place, change: np.ndarray) -> np.ndarray:
    """A picture, (S, S, 3) uint8, with a change, float32 levels, at a place."""
    result = image.copy()
    result[place.pixels] = cv2.add(image[place.pixels], change, dtype=cv2.CV_8U)
    return result


def _coloured(change: np.ndarray, colours: float) -> np.ndarray:
    """A change as colourful as its target: 0 of a black and white one, 1 of most."""
    if colours == 1:
        return change
    return colours * change + (1 - colours) * _for_colours(cv2.cvtColor(change, cv2.COLOR_BGR2GRAY))


def _fitting(without: float, with_it: float, most: float) -> float:
    """The share of a change with which a picture has no more than the most detail, or than it has without; it has this
    much with the whole of it."""
    if with_it <= max(most, without):
        return 1.0
    return max(most - without, 0.0) / (with_it - without)


def _for_colours(weights: np.ndarray) -> np.ndarray:
    return cv2.merge([weights] * 3)


def _sharpness(image: np.ndarray) -> float:
    """Comparable whatever the side of the picture."""
    return detail_of(cv2.resize(image, (_DRAWN, _DRAWN), interpolation=cv2.INTER_AREA))


def _coarse(image: np.ndarray) -> np.ndarray:
    """What of a picture is no detail, (_CELLS, _CELLS, 3) float32."""
    cells = cv2.resize(image, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA).astype(np.float32)
    return cv2.GaussianBlur(cells, (0, 0), _SIGMA)


def _enlarged(cells: np.ndarray, side: int) -> np.ndarray:
    return cv2.resize(cells, (side, side), interpolation=cv2.INTER_LINEAR)


def _scaled(landmarks: np.ndarray, side: int = _DRAWN) -> np.ndarray:
    """Pixels of a 224 crop as those of another one."""
    return rescaled_points(landmarks, side / BASE)


def _bent(landmarks: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Where in the source each cell of the swap comes from, (_CELLS, _CELLS, 2) float32 in [0, 1]; both: (106, 2)."""
    # Not in NumPy, whose solver starts threads of its own, which hold up those of the generator.
    here, there = (torch.from_numpy(points.astype(np.float32))[None] for points in (landmarks, source))
    (grid,) = splines(here, [there], BASE, _BENDS)
    return cv2.resize((grid[0].numpy() + 1) / 2, (_CELLS, _CELLS), interpolation=cv2.INTER_CUBIC)


def _remapped(image: np.ndarray, bent: np.ndarray) -> np.ndarray:
    """A picture of the source as the swap has it; bent: (h, w, 2) float32 [0, 1], where its pixels come from."""
    x, y = cv2.split(bent * np.float32(len(image)) - np.float32(0.5))
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _trust(coarse: np.ndarray, landmarks: np.ndarray, bent: np.ndarray, source: SourceDetail) -> np.ndarray:
    """Where the source's detail belongs, (_DRAWN, _DRAWN) float32 [0, 1]."""
    unbent = cv2.GaussianBlur(_falling(np.log(_stretch(bent)), *np.log(_STRETCHED)), (0, 0), _SOFT)
    blue, green, red = cv2.split(cv2.absdiff(_shades(coarse, landmarks), _remapped(source.shades, bent)))
    apart = cv2.dilate(cv2.max(cv2.max(blue, green), red), np.ones((_NEAR, _NEAR), np.uint8))
    apart *= 1 + _above_the_brows(landmarks)  # where a fringe's edge is faint and skin is even
    agree = cv2.GaussianBlur(_falling(apart, *_APART), (0, 0), _SOFT)
    seen = _enlarged(unbent * agree * _remapped(source.skin, bent), _DRAWN)
    return face_region(_scaled(landmarks), _DRAWN, _WITHIN) * seen


def _above_the_brows(landmarks: np.ndarray) -> np.ndarray:
    """1 in the rows of the forehead, 0 from the brows down, (_CELLS, 1) float32."""
    rows = np.arange(_CELLS, dtype=np.float32)[:, None]
    return _falling(rows, *_scaled(landmarks, _CELLS)[list(BROWS), 1].min() - _FOREHEAD)


def _falling(values: np.ndarray, whole: float, none: float) -> np.ndarray:
    return ((none - values) / (none - whole)).clip(0, 1).astype(np.float32)


def _stretch(bent: np.ndarray) -> np.ndarray:
    """By how much more a picture is stretched the one way than the other, from 1 on: the ratio of the singular values
    of the map's derivative."""
    a, b, c, d = (_slope(places, *axis) for places in cv2.split(bent) for axis in ((1, 0), (0, 1)))
    turned, sheared = cv2.magnitude(a + d, c - b), cv2.magnitude(a - d, c + b)
    return (turned + sheared) / np.maximum(turned - sheared, 1e-3 * turned + 1e-9)


def _slope(values: np.ndarray, across: int, down: int) -> np.ndarray:
    """Change from cell to cell, (H, W) float32, along one of the sides."""
    slope = cv2.Sobel(values, cv2.CV_32F, across, down, ksize=1, scale=0.5, borderType=cv2.BORDER_REPLICATE)
    slope[np.s_[:, [0, -1]] if across else np.s_[[0, -1]]] *= 2  # there from the edge itself
    return slope


def _shades(coarse: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """How much brighter cells of a face are than the face around them, (_CELLS, _CELLS, 3) float32 logarithms."""
    size = (_LIGHT_CELLS, _LIGHT_CELLS)
    face = face_region(_scaled(landmarks, _LIGHT_CELLS), _LIGHT_CELLS, 0.0)
    colours = cv2.resize(coarse, size, interpolation=cv2.INTER_AREA) * _for_colours(face)
    # Four channels, of which one counts the weights.
    sums = cv2.GaussianBlur(cv2.merge([*cv2.split(colours), face]), (0, 0), _LIGHT * _LIGHT_CELLS)
    mean = sums[..., :3] / np.maximum(sums[..., 3:], 1e-4)
    return cv2.log((coarse + _DARK) / (_enlarged(mean, _CELLS) + _DARK))


def _fringe(shades: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Where a source's hair may lie over its forehead, (_CELLS, _CELLS) float32 [0, 1]: all above the brows if much of
    that is dark, since the tips of a fringe are too thin for a shade."""
    points = _scaled(landmarks, _CELLS)
    below = cv2.fillConvexPoly(np.zeros((_CELLS, _CELLS), np.uint8), cv2.convexHull(points.round().astype(np.int32)), 1)
    clear = 1 - cv2.dilate(below, np.ones((3, 3), np.uint8)).astype(np.float32)  # of the brows' own edges
    forehead = face_region(points, _CELLS, _WITHIN) * clear
    dark = 1 - _falling(-shades.min(2), *_APART)
    share = np.array((dark * forehead).sum() / max(float(forehead.sum()), 1e-6))
    return cv2.GaussianBlur(1 - below.astype(np.float32), (0, 0), _SOFT) * (1 - _falling(share, *_FRINGE))


def _glasses(landmarks: np.ndarray) -> np.ndarray:
    """1 in the rows where glasses may be, above the nostrils, 0 below, (_DRAWN, 1) float32."""
    points = _scaled(landmarks) / _DRAWN
    eyes, mouth = (points[list(pair), 1].mean() for pair in (EYE_CENTRES, MOUTH_CORNERS))
    end = eyes + _NOSTRILS * (mouth - eyes)
    rows = (np.arange(_DRAWN, dtype=np.float32) + 0.5) / _DRAWN
    return ((end - rows[:, None]) / _FADE + 0.5).clip(0, 1)
