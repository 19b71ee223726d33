"""What cameras say of a photo is kept, and no smaller copy of it."""

from __future__ import annotations

import io
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, TiffImagePlugin

from utils.io.image import Photo, read_photo, write_photo
from utils.io.mark import Mark
from utils.io.xmp import add_statement

ARTIST = "Müller".encode() + b"\0"
MAKERS = b"a preview that the maker's notes hold"
COMMENT = b"ASCII\0\0\0what was seen"


def of_camera(orientation: int = 6, order: bytes = b"MM") -> bytes:
    """EXIF as cameras write it, with a thumbnail behind it."""
    ifd = TiffImagePlugin.ImageFileDirectory_v2(order + (b"\0*\0\0\0\x08" if order == b"MM" else b"*\0\x08\0\0\0"))
    ifd[271], ifd[274], ifd[306], ifd[315] = "Camera & Co", orientation, "2020:02:03 04:05:06", ARTIST[:-1]
    ifd[282] = ifd[283] = TiffImagePlugin.IFDRational(300)
    ifd[296], ifd[700] = 2, b"<xmp>an old statement</xmp>"
    ifd[34665] = {36867: "2020:02:03 04:05:06", 37500: MAKERS, 37510: COMMENT, 40962: 60, 40963: 40, 33434: 0.004,
                  40965: {1: "R98"}}
    ifd[34853] = {1: "N", 2: (52.0, 30.0, 15.5)}
    main = ifd.tobytes(8)
    small = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(small, "JPEG")
    end = 8 + len(main)
    thumbnail = TiffImagePlugin.ImageFileDirectory_v2(ifd._get_ifh())
    thumbnail[513], thumbnail[514] = end + 2 + 2 * 12 + 4, len(small.getvalue())
    following = 2 + 12 * len(ifd)
    main = main[:following] + ifd._pack("L", end) + main[following + 4 :]
    return b"Exif\0\0" + ifd._get_ifh() + main + thumbnail.tobytes(end) + small.getvalue()


def photo_file(path: Path, exif: bytes, size: tuple[int, int] = (60, 40), **options: Any) -> Path:
    """A picture of noise with EXIF."""
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path, exif=exif, **options)
    return path


def everything(exif: Image.Exif) -> dict[int, Any]:
    """All tags, those of further directories among them."""
    further = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
    return dict(exif) | {tag: dict(exif.get_ifd(tag)) for tag in further}


@pytest.mark.parametrize("order", [b"MM", b"II"])
@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("name", ["o.jpg", "o.png", "o.webp", "o.avif", "o.tif"])
def test_it_comes_along_without_the_thumbnail(tmp_path: Path, name: str, deep: bool, order: bytes) -> None:
    before = photo_file(tmp_path / "in.jpg", of_camera(order=order))
    assert len(Image.open(before).getexif().get_ifd(ExifTags.IFD.IFD1)) == 2
    photo = read_photo(before)
    assert photo.image.shape == (60, 40, 3)
    if deep:
        photo = replace(photo, image=photo.image.astype(np.uint16) * 257)
    write_photo(tmp_path / name, photo, mark=Mark("metadata"))
    written = (tmp_path / name).read_bytes()
    assert MAKERS not in written and b"an old statement" not in written and add_statement(None) in written
    with Image.open(tmp_path / name) as after:
        assert after.size == (40, 60) and ARTIST[:-1] in written
        found = everything(after.getexif())
        assert not after.getexif().get_ifd(ExifTags.IFD.IFD1)
        assert name in ("o.webp", "o.avif") or after.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    assert found[271] == "Camera & Co" and found[306] == "2020:02:03 04:05:06" and found.get(274, 1) == 1
    assert found[282] == found[283] == 300 and found[296] == 2
    taken, place = found[ExifTags.IFD.Exif], found[ExifTags.IFD.GPSInfo]
    assert taken[36867] == "2020:02:03 04:05:06" and taken[37510] == COMMENT and taken[33434] == pytest.approx(0.004)
    assert (taken[40962], taken[40963]) == (40, 60) and 37500 not in taken and 40965 in taken
    assert place == {1: "N", 2: (52.0, 30.0, 15.5)}
    again = read_photo(tmp_path / name)
    assert again.exif == photo.exif and again.dpi == pytest.approx((300, 300), abs=0.01) and again.notes == ()
    assert np.array_equal(again.image, photo.image) or name in ("o.jpg", "o.webp", "o.avif")


@pytest.mark.parametrize("name", ["in.png", "in.webp", "in.tif", "in.jpg"])
def test_it_comes_from_every_format(tmp_path: Path, name: str) -> None:
    photo = read_photo(photo_file(tmp_path / name, of_camera()))
    write_photo(tmp_path / "o.jpg", photo)
    with Image.open(tmp_path / "o.jpg") as after:
        assert everything(after.getexif())[ExifTags.IFD.Exif][36867] == "2020:02:03 04:05:06"
        assert after.getexif()[271] == "Camera & Co" and after.getexif()[274] == 1
        assert b"an old statement" not in after.info["exif"]


def test_a_tiff_file_keeps_its_form(tmp_path: Path) -> None:
    """The tags that say how pixels are stored are those of the new file."""
    pixels = np.random.default_rng(1).integers(0, 65536, (40, 60, 4), np.uint16)
    tifffile.imwrite(tmp_path / "in.tif", pixels, photometric="rgb", extrasamples=["unassalpha"], tile=(16, 16),
                     byteorder=">", resolution=(100, 50), resolutionunit="CENTIMETER", software="Scan",
                     extratags=[(274, "H", 1, 6, True)])
    photo = read_photo(tmp_path / "in.tif")
    assert photo.alpha is not None and photo.dpi == pytest.approx((127, 254))
    write_photo(tmp_path / "o.tif", photo)
    with tifffile.TiffFile(tmp_path / "o.tif") as file:
        page = file.pages.first
        assert page.tags[305].value == "Scan" and not {274, 322} & set(page.tags.keys())
        assert np.array_equal(page.asarray(), np.dstack([photo.image[..., ::-1], photo.alpha]))
        assert tuple(page.resolution) == pytest.approx((127, 254))
    by_opencv = cv2.imread(str(tmp_path / "o.tif"), cv2.IMREAD_UNCHANGED)
    assert by_opencv is not None and np.array_equal(by_opencv[..., :3], photo.image)


@pytest.mark.parametrize("name", ["o.jpg", "o.png", "o.webp", "o.tif", "o.bmp"])
def test_resolution_comes_along_without_exif(tmp_path: Path, name: str) -> None:
    Image.new("RGB", (20, 10), "red").save(tmp_path / "in.png", dpi=(300, 150))
    photo = read_photo(tmp_path / "in.png")
    assert photo.exif is None
    write_photo(tmp_path / name, photo)
    dpi = read_photo(tmp_path / name).dpi
    assert dpi == pytest.approx((300, 150), abs=0.02) or name == "o.bmp"


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_nothing_is_told_of_a_photo_that_tells_nothing(tmp_path: Path, suffix: str) -> None:
    write_photo(tmp_path / f"o{suffix}", Photo(np.zeros((8, 8, 3), np.uint8)))
    photo = read_photo(tmp_path / f"o{suffix}")
    assert photo.dpi is None and photo.exif is None


def test_damage_is_no_obstacle(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """Whatever EXIF is, the picture is read, and written with what could be read."""
    chance = random.Random(3)
    clean = bytearray(of_camera())
    for number in range(150):
        broken = bytearray(clean)
        for _ in range(chance.choice([1, 4, 40])):
            broken[chance.randrange(6, len(broken))] = chance.choice([0, 1, 255, chance.randrange(256)])
        if number % 3 == 0:
            del broken[chance.randrange(6, len(broken)) :]
        photo = read_photo(photo_file(tmp_path / "in.jpg", bytes(broken), (8, 8)))
        for name in ("o.jpg", "o.png", "o.webp", "o.tif"):
            write_photo(tmp_path / name, photo)
            again = read_photo(tmp_path / name)
            assert again.image.shape == photo.image.shape and not again.notes


def test_what_a_format_cannot_hold_is_dropped(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[270] = "x" * 70_000
    photo = read_photo(photo_file(tmp_path / "in.png", exif.tobytes(), dpi=(1e6, 1e6)))
    assert photo.exif is None and photo.dpi is None
    assert write_photo(tmp_path / "o.jpg", photo) == []


def test_as_much_as_a_jpeg_holds_comes_along(tmp_path: Path) -> None:
    kept = []
    for length in (65_000, *range(65_200, 65_500, 4)):
        exif = Image.Exif()
        exif[315] = "x" * length
        photo = read_photo(photo_file(tmp_path / "in.png", exif.tobytes(), (8, 8), dpi=(300, 300)))
        write_photo(tmp_path / "o.jpg", photo)
        written = read_photo(tmp_path / "o.jpg")
        assert written.exif == photo.exif and written.dpi == pytest.approx((300, 300), abs=0.01)
        kept.append(written.exif is not None)
    assert kept[0] and not kept[-1]
