"""Cut the faces that the shipped weights were trained on out of the overview pictures of SFHQ and SFHQ-T2I.

python -m utils.preprocess.recut --pictures FOLDER [FOLDER ...] --save_path data/tiles

FOLDER: checkouts of github.com/SelfishGene/SFHQ-dataset and github.com/SelfishGene/SFHQ-T2I-dataset (MIT licence,
synthetic people). synthetic_faces/index.csv lists the faces, synthetic_faces/looks.png shows each one at 16 pixels, by
which it is found again wherever it lies in its picture.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np

from utils.command import carried_out
from utils.errors import InputError, OptionError
from utils.io.frame import to_uint8
from utils.io.image import Photo, read_photo, write_photo
from utils.options import Parser
from utils.progress import counted

FOLDER = Path(__file__).parent / "synthetic_faces"
SIDE = 16  # of a look
_COLUMNS = 32  # looks in a row of their sheet
_ALIKE = 0.95  # correlation from which a place shows the face
_LONGEST = 512  # pixels; longer tiles were shrunk to it, nobody noted from what
_LARGEST = 3.0  # times that size
_FINER = 1.03  # from one size that is tried to the next

Place = tuple[int, int, int, int]  # left, top, width, height


@dataclass(frozen=True)
class Tile:
    """A face in an overview picture."""

    name: str
    picture: str  # file name
    width: int
    height: int
    look: np.ndarray  # (SIDE, SIDE) uint8 grey


def look_of(tile: np.ndarray) -> np.ndarray:
    """A tile, (H, W, 3) uint8 BGR, as (SIDE, SIDE) uint8 grey."""
    return cv2.resize(cv2.cvtColor(tile, cv2.COLOR_BGR2GRAY), (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def read_index(folder: Path = FOLDER) -> list[Tile]:
    """The faces of index.csv with their looks, sorted by picture."""
    sheet = to_uint8(read_photo(folder / "looks.png").image)[..., 0]
    with (folder / "index.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    tiles = []
    for i, row in enumerate(rows):
        top, left = (SIDE * place for place in divmod(i, _COLUMNS))
        look = sheet[top : top + SIDE, left : left + SIDE]
        tiles.append(Tile(row["id"], row["mosaic"], int(row["tile_w"]), int(row["tile_h"]), look))
    return sorted(tiles, key=lambda tile: tile.picture)


def locate(picture: np.ndarray, tile: Tile) -> tuple[Place, float]:
    """The place most like a tile, and the correlation there. picture: (H, W, 3) uint8 BGR."""
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    coarse = max((_coarse(grey, tile, scale) for scale in _scales(tile)), key=lambda found: found[1])
    place, reach = coarse[0], max(coarse[0][2:]) // SIDE + 1
    likeness = -1.0
    for step in (4, 1):
        place, likeness = _nearby(picture, tile.look, place, range(-reach, reach + 1, step))
        reach = 4
    return place, likeness


def _scales(tile: Tile) -> list[float]:
    if max(tile.width, tile.height) < _LONGEST:
        return [1.0]
    return [_FINER**i for i in range(int(np.log(_LARGEST) / np.log(_FINER)) + 1)]


def _coarse(grey: np.ndarray, tile: Tile, scale: float) -> tuple[Place, float]:
    """The best place for a tile of `scale` times its size, to a sixteenth of it."""
    height, width = grey.shape
    w, h = min(round(tile.width * scale), width), min(round(tile.height * scale), height)
    small = cv2.resize(grey, (round(width * SIDE / w), round(height * SIDE / h)), interpolation=cv2.INTER_AREA)
    _, likeness, _, (x, y) = cv2.minMaxLoc(cv2.matchTemplate(small, tile.look, cv2.TM_CCOEFF_NORMED))
    return (round(x * width / small.shape[1]), round(y * height / small.shape[0]), w, h), likeness


def _nearby(picture: np.ndarray, look: np.ndarray, middle: Place, moves: Iterable[int]) -> tuple[Place, float]:
    """The best of some places around `middle`."""
    height, width = picture.shape[:2]
    left, top, w, h = middle
    steps = list(moves)
    lefts = {min(max(left + x, 0), width - w) for x in steps}
    tops = {min(max(top + y, 0), height - h) for y in steps}
    scores = {(x, y): _likeness(picture[y : y + h, x : x + w], look) for x in lefts for y in tops}
    x, y = max(scores, key=lambda place: scores[place])
    return (x, y, w, h), scores[x, y]


def _likeness(region: np.ndarray, look: np.ndarray) -> float:
    seen = look_of(region)
    return float(np.corrcoef(seen.ravel(), look.ravel())[0, 1]) if seen.std() > 0 else 0.0


def recut(tiles: Sequence[Tile], folders: Sequence[Path], output: Path) -> Iterator[Tile]:
    """Write each face to `output` as a JPEG named by its number; yields those that were not found.

    Raises InputError when an overview picture is missing, before anything is written.
    """
    places = {name: _find(name, folders) for name in {tile.picture for tile in tiles}}
    for name, group in groupby(counted(tiles, "faces", quiet=False), key=lambda tile: tile.picture):
        picture = to_uint8(read_photo(places[name]).image)
        for tile in group:
            (left, top, w, h), likeness = locate(picture, tile)
            if likeness < _ALIKE:
                yield tile
                continue
            face = picture[top : top + h, left : left + w]
            if (w, h) != (tile.width, tile.height):
                face = cv2.resize(face, (tile.width, tile.height), interpolation=cv2.INTER_AREA)
            write_photo(output / f"{tile.name}.jpg", Photo(np.ascontiguousarray(face)))


def _find(name: str, folders: Sequence[Path]) -> Path:
    for folder in folders:
        for path in sorted(folder.rglob(name)):
            return path
    raise InputError(
        f"{name} is not in {', '.join(map(str, folders))}; give checkouts of github.com/SelfishGene/SFHQ-dataset "
        "and github.com/SelfishGene/SFHQ-T2I-dataset"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, cut, report; returns the exit code."""
    parser = Parser(prog="-m utils.preprocess.recut", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pictures", type=Path, nargs="+", required=True, metavar="FOLDER", help="checkouts of both")
    parser.add_argument("--save_path", type=Path, required=True, metavar="P", help="folder for the faces")

    def work() -> None:
        options = parser.parse_args(argv)
        for folder in options.pictures:
            if not folder.is_dir():
                raise OptionError(f"--pictures {folder}: no such folder")
        tiles = read_index()
        missing = [tile.name for tile in recut(tiles, options.pictures, options.save_path)]
        print(f"{len(tiles) - len(missing)} faces written to {options.save_path}")
        if missing:
            raise InputError(f"{len(missing)} faces are not in their pictures, the first is {missing[0]}: the pictures "
                             "are not those that the faces were first cut from")

    return carried_out(work)


if __name__ == "__main__":
    sys.exit(main())
