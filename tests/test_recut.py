"""Faces are found again in overview pictures, wherever they lie there."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from utils.io.image import Photo, read_photo, write_photo
from utils.preprocess import recut
from utils.preprocess.recut import Tile, locate, look_of, read_index

GAP = 9


def drawn(seed: int, width: int, height: int) -> np.ndarray:
    """A picture of soft blobs, (height, width, 3) uint8."""
    noise = np.random.default_rng(seed).uniform(0, 255, (9, 8, 3)).astype(np.float32)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)


def mosaic() -> tuple[np.ndarray, list[tuple[Tile, np.ndarray, int, int]]]:
    """Six tiles with white gaps and a title above, and where each one lies."""
    canvas = np.full((60 + 2 * (210 + GAP), 3 * (200 + GAP), 3), 255, np.uint8)
    placed = []
    for i in range(6):
        row, column = divmod(i, 3)
        pixels = drawn(i, 200 - i % 2, 210)
        left, top = column * (200 + GAP) + i, 60 + row * (210 + GAP)
        canvas[top : top + 210, left : left + pixels.shape[1]] = pixels
        placed.append((Tile(f"{i:05d}", "all.jpg", pixels.shape[1], 210, look_of(pixels)), pixels, left, top))
    return canvas, placed


def test_every_tile_is_found_to_the_pixel_in_a_jpeg(tmp_path: Path) -> None:
    canvas, placed = mosaic()
    write_photo(tmp_path / "all.jpg", Photo(canvas))
    picture = read_photo(tmp_path / "all.jpg").image
    for tile, _, left, top in placed:
        (x, y, *size), likeness = locate(picture, tile)
        assert abs(x - left) <= 1 and abs(y - top) <= 1 and likeness > 0.99
        assert size == [tile.width, tile.height]


@pytest.mark.parametrize("scale", (1.0, 1.16, 2.0))
def test_tile_that_was_shrunk_is_found_at_its_own_size(scale: float, tmp_path: Path) -> None:
    own = (round(512 * scale), round(510 * scale))
    canvas = np.hstack([drawn(1, *own), np.full((own[1], 20, 3), 255, np.uint8), drawn(2, *own)])
    look = look_of(cv2.resize(drawn(2, *own), (512, 510), interpolation=cv2.INTER_AREA))
    tile = Tile("00005", "all.jpg", 512, 510, look)
    (x, y, width, height), likeness = locate(canvas, tile)
    assert likeness > 0.97
    assert abs(x - own[0] - 20) < 0.03 * own[0] and y < 0.03 * own[1]
    assert abs(width / own[0] - 1) < 0.03 and abs(height / own[1] - 1) < 0.03
    write_photo(tmp_path / "all.jpg", Photo(canvas))
    assert list(recut.recut([tile], [tmp_path], tmp_path / "out")) == []
    assert read_photo(tmp_path / "out" / "00005.jpg").image.shape == (510, 512, 3)


def test_faces_are_written_and_strangers_reported(tmp_path: Path) -> None:
    canvas, placed = mosaic()
    write_photo(tmp_path / "deep" / "all.jpg", Photo(canvas))
    stranger = Tile("00099", "all.jpg", 200, 210, look_of(drawn(99, 200, 210)))
    tiles = [*(tile for tile, *_ in placed), stranger]
    assert list(recut.recut(tiles, [tmp_path], tmp_path / "out")) == [stranger]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{i:05d}.jpg" for i in range(6)]
    tile, pixels, *_ = placed[4]
    cut = read_photo(tmp_path / "out" / f"{tile.name}.jpg").image
    assert np.abs(cut.astype(int) - pixels).mean() < 5


def test_missing_picture_is_named_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = recut.main(["--pictures", str(tmp_path), "--save_path", str(tmp_path / "out")])
    assert code == 3 and ".jpg is not in" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_index_names_the_validation_faces() -> None:
    names = {tile.name for tile in read_index()}
    listed = (Path(__file__).resolve().parents[1] / "weights" / "validation_faces.txt").read_text().split()
    assert len(names) == 1047 and len(listed) == 100 and set(listed) <= names


@pytest.mark.shared
def test_looks_are_those_of_the_tiles(shared_dir: Path) -> None:
    for tile in read_index()[::50]:
        pixels = read_photo(shared_dir / "faces" / "tiles" / f"{tile.name}.jpg").image
        assert pixels.shape[:2] == (tile.height, tile.width)
        assert np.abs(look_of(pixels).astype(int) - tile.look).max() <= 1
