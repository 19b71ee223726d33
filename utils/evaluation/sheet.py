"""A picture sheet of cases: source, target and swap in rows, best, median and worst."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from utils.evaluation.measures import Case
from utils.evaluation.run import Portrait
from utils.inference.align import estimate
from utils.inference.warp import rescaled, warp
from utils.io.image import Photo, write_photo
from utils.io.mark import Mark

_TILE = 256
_TITLE = 26
_CONTEXT = 1.3  # the tiles show this many times the aligned crop


def choose(cases: Sequence[Case], recogniser: str, count: int) -> list[tuple[str, Case]]:
    """Up to `count` best, median and worst cases by how far the identity moved towards the source, best first."""
    ranked = sorted(
        (case for case in cases if recogniser in case.identity),
        key=lambda case: case.identity[recogniser].to_source - case.identity[recogniser].source_to_target,
    )
    middle = max((len(ranked) - count) // 2, 0)
    parts = (
        ("best", ranked[:count]),
        ("median", ranked[middle : middle + count]),
        ("worst", ranked[-count:] if count else []),
    )
    return [(name, case) for name, part in parts for case in part]


def _tile(image: np.ndarray, kps: np.ndarray) -> np.ndarray:
    """The face with what surrounds it, upright."""
    matrix = rescaled(estimate(kps, _TILE)[0], 1 / _CONTEXT)
    matrix[:, 2] += _TILE * (1 - 1 / _CONTEXT) / 2
    return warp(image, matrix, (_TILE, _TILE), cv2.BORDER_CONSTANT)


def row(title: str, source: Portrait, target: Portrait, swap: np.ndarray) -> np.ndarray:
    """One case: a line of text over three tiles, (H, W, 3) uint8 BGR."""
    tiles = [_tile(source.image, source.face.kps), _tile(target.image, target.face.kps), _tile(swap, target.face.kps)]
    head = np.full((_TITLE, 3 * _TILE, 3), 255, np.uint8)
    cv2.putText(head, title, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([head, np.hstack(tiles)])


def caption(name: str, case: Case, recogniser: str) -> str:
    """What the row shows, in ASCII, which is all that OpenCV draws."""
    seen = case.identity[recogniser]
    return (
        f"{name}: source | target | swap   {recogniser} to source {seen.to_source:.2f}, to target "
        f"{seen.to_target:.2f}, place {seen.rank}"
    )


def write(path: Path, rows: Sequence[np.ndarray]) -> None:
    """The rows, best, median and worst side by side where there are several of each, as PNG."""
    if not rows:
        return
    columns = 3 if len(rows) % 3 == 0 and len(rows) > 3 else 1
    height = len(rows) // columns
    sheet = np.hstack([np.vstack(rows[i * height : (i + 1) * height]) for i in range(columns)])
    write_photo(path, Photo(sheet), mark=Mark("metadata"))
