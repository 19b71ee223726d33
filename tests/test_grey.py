"""Photos that hold brightness alone: they stay grey, as bright as they were."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.test_image_io import picture
from utils.io.frame import to_uint8
from utils.io.image import Photo, read_photo, write_photo


def test_16_bit_grey(tmp_path: Path) -> None:
    grey = picture(channels=1, dtype=np.uint16)[..., 0]
    cv2.imwrite(str(tmp_path / "grey.png"), grey)
    photo = read_photo(tmp_path / "grey.png")
    assert photo.image.dtype == np.uint16 and np.array_equal(photo.image[..., 1], grey)


def test_16_bit_grey_tiff_with_white_as_zero(tmp_path: Path) -> None:
    grey = picture(channels=1, dtype=np.uint16)[..., 0]
    tifffile.imwrite(tmp_path / "w.tif", 65535 - grey, photometric="miniswhite")
    assert np.array_equal(read_photo(tmp_path / "w.tif").image[..., 0], grey)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_photos_stay_grey_while_they_have_no_colours(tmp_path: Path, suffix: str, dtype: type) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), picture(channels=1, dtype=dtype)[..., 0])
    photo = read_photo(tmp_path / "grey.png")
    write_photo(tmp_path / f"grey{suffix}", photo)
    coloured = replace(photo, image=picture(dtype=dtype))
    write_photo(tmp_path / f"coloured{suffix}", coloured)
    with Image.open(tmp_path / f"grey{suffix}") as grey, Image.open(tmp_path / f"coloured{suffix}") as colours:
        assert grey.mode[0] in "LI" and colours.mode == "RGB"
    again = read_photo(tmp_path / f"grey{suffix}").image
    assert np.abs(to_uint8(again).astype(int) - to_uint8(photo.image)).max() <= (3 if suffix == ".jpg" else 0)
    write_photo(tmp_path / f"plain{suffix}", Photo(photo.image))
    with Image.open(tmp_path / f"plain{suffix}") as plain:
        assert plain.mode == "RGB", "a photo in colours stays one"


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("mode", ["LA", "L"])  # with alpha, and with one grey that is transparent
def test_grey_photos_with_transparency_stay_grey(tmp_path: Path, suffix: str, mode: str) -> None:
    grey, alpha = picture(channels=2)[..., 0], picture(channels=2)[..., 1]
    if mode == "LA":
        Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)]).save(tmp_path / "grey.png")
    else:
        Image.fromarray(grey).save(tmp_path / "grey.png", transparency=100)
        alpha = np.where(grey == 100, 0, 255).astype(np.uint8)
    photo = replace(read_photo(tmp_path / "grey.png"), dpi=(300.0, 300.0))
    assert write_photo(tmp_path / f"o{suffix}", photo) == []
    with Image.open(tmp_path / f"o{suffix}") as stored:
        assert stored.mode == "LA"
    again = read_photo(tmp_path / f"o{suffix}")
    assert np.array_equal(again.image[..., 1], grey) and np.array_equal(again.alpha, alpha) and again.dpi  # type: ignore[arg-type]
    write_photo(tmp_path / f"o{suffix}", replace(photo, image=picture()))
    with Image.open(tmp_path / f"o{suffix}") as stored:
        assert stored.mode == "RGBA", "its swap has colours"


def test_deep_grey_photos_with_transparency_keep_their_depth(tmp_path: Path) -> None:
    pixels = picture(channels=2, dtype=np.uint16)
    deep = Photo(np.repeat(pixels[..., :1], 3, axis=2), pixels[..., 1], grey=True)
    for suffix in (".png", ".tif"):
        write_photo(tmp_path / f"o{suffix}", deep)
        again = read_photo(tmp_path / f"o{suffix}")
        assert np.array_equal(again.image, deep.image) and np.array_equal(again.alpha, deep.alpha)  # type: ignore[arg-type]


def test_32_bit_grey_keeps_its_brightness(tmp_path: Path) -> None:
    grey = np.linspace(0, 2**31 - 1, 40 * 60).reshape(40, 60).astype(np.int32)
    Image.fromarray(grey).save(tmp_path / "a.tif")
    photo = read_photo(tmp_path / "a.tif")
    assert photo.image.dtype == np.uint16 and photo.image[0, 0, 0] == 0
    assert photo.image[-1, -1, 0] == pytest.approx(65535 / 2, abs=2) and photo.image[20, 30, 0] < photo.image[30, 30, 0]


@pytest.mark.parametrize(("ends", "white"), [(255, 255), (200, 255), (4000, 65535), (2**24 - 1, 2**24 - 1)])
@pytest.mark.parametrize("dtype", [np.int32, np.uint32])
def test_32_bit_grey_of_smaller_numbers_is_not_black(tmp_path: Path, ends: int, white: int, dtype: type) -> None:
    grey = np.linspace(0, ends, 40 * 60).reshape(40, 60).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", grey)
    photo = read_photo(tmp_path / "a.tif")
    assert np.abs(photo.image[..., 0] - grey * (65535 / white)).max() <= 0.5
    assert photo.notes == (f"{tmp_path / 'a.tif'}: its 32-bit numbers end at {ends}; {white} was taken for white",)


def test_32_bit_grey_without_sign_keeps_its_highlights(tmp_path: Path) -> None:
    grey = np.linspace(0, 2**32 - 1, 40 * 60).reshape(40, 60).astype(np.uint32)
    tifffile.imwrite(tmp_path / "a.tif", grey)
    photo = read_photo(tmp_path / "a.tif")
    assert np.abs(photo.image[..., 0] - grey / 65537).max() <= 0.5 and photo.notes == ()
