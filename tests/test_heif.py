"""HEIC and HEIF, the photos of telephones: read upright and in their depth, written under the same name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms

from tests.conftest import ROOT, Call, swap
from utils.errors import InputError, ResourceError
from utils.io.image import Photo, identified, read_photo, upright, write_photo

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def picture(dtype: type = np.uint8, channels: int = 3) -> np.ndarray:
    """A gradient with one bright corner, (64, 96, C) RGB(A)."""
    y, x = np.mgrid[:64, :96]
    parts = [x / 95, y / 63, (x + y) / 158, 0.2 + 0.8 * x / 95][:channels]
    pixels = np.stack(parts, axis=-1)
    pixels[:20, :20, :3] = 1
    return (pixels * np.iinfo(dtype).max).astype(dtype)


def write(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    """A file without loss, by pillow-heif alone; pixels: (H, W, C) RGB(A)."""
    mode = ("RGB", "RGBA")[pixels.shape[2] - 3] + (";16" if pixels.dtype == np.uint16 else "")
    file = pillow_heif.from_bytes(mode, (pixels.shape[1], pixels.shape[0]), pixels.tobytes())
    file.save(path, quality=-1, chroma=444, matrix_coefficients=0, **options)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_once(tmp_path: Path, orientation: int) -> None:
    """Telephones say the turn twice: for the picture, and in EXIF."""
    exif = Image.Exif()
    exif[274], exif[271] = orientation, "Camera & Co"
    path = write(tmp_path / "a.heic", picture(), exif=exif.tobytes())
    photo = read_photo(path)
    assert np.array_equal(photo.image[..., ::-1], upright(picture(), orientation)) and photo.notes == ()
    for name in ("o.heic", "o.jpg"):
        write_photo(tmp_path / name, photo)
        again = read_photo(tmp_path / name)
        assert again.image.shape == photo.image.shape and again.exif == photo.exif is not None
        assert np.abs(again.image.astype(int) - photo.image).mean() < 3


@pytest.mark.parametrize("channels", [3, 4])
def test_10_bits_stay(tmp_path: Path, channels: int) -> None:
    pixels = picture(np.uint16, channels)
    photo = read_photo(write(tmp_path / "a.heic", pixels, icc_profile=PROFILE))
    assert photo.image.dtype == np.uint16 and photo.image.max() == 65535 and photo.icc_profile == PROFILE
    assert np.abs(photo.image[..., ::-1].astype(int) - pixels[..., :3]).max() < 65
    assert (photo.alpha is None) == (channels == 3)
    assert photo.alpha is None or np.abs(photo.alpha.astype(int) - pixels[..., 3]).max() < 65
    (note,) = write_photo(tmp_path / "o.heif", photo)
    again = read_photo(tmp_path / "o.heif")
    assert "10 bits" in note and again.image.dtype == np.uint16 and again.icc_profile == PROFILE
    assert (again.alpha is None) == (channels == 3) and np.abs(again.image.astype(int) - photo.image).mean() < 700
    assert write_photo(tmp_path / "o.png", photo) == []
    assert np.array_equal(read_photo(tmp_path / "o.png").image, photo.image)


def test_a_grey_photo_of_10_bits(tmp_path: Path) -> None:
    grey = picture(np.uint16)[..., 1]
    pillow_heif.from_bytes("L;16", (96, 64), grey.tobytes()).save(tmp_path / "g.heic", quality=-1)
    photo = read_photo(tmp_path / "g.heic")
    assert photo.image.dtype == np.uint16 and photo.image.shape == (64, 96, 3)
    assert np.abs(photo.image.astype(int) - grey[..., None]).max() < 65


def test_what_10_bits_are_comes_back_exactly() -> None:
    from utils.io.heif import _scaled

    values = np.arange(1024, dtype=np.uint16)
    assert np.array_equal(_scaled(_scaled(values, 1023, 65535), 65535, 1023), values)


def test_the_contents_decide_not_the_name(tmp_path: Path) -> None:
    photo = read_photo(write(tmp_path / "sent.jpg", picture()))
    assert np.array_equal(photo.image[..., ::-1], picture())
    Image.fromarray(picture()).save(tmp_path / "a.avif", quality=100)
    with identified(tmp_path / "a.avif") as avif, identified(tmp_path / "sent.jpg") as heif:
        assert (avif.format, heif.format) == ("AVIF", "HEIF")


def test_xmp_and_the_main_picture(tmp_path: Path) -> None:
    write_photo(tmp_path / "o.heic", Photo(picture(), xmp=b"<x:xmpmeta/>"))
    with identified(tmp_path / "o.heic") as written:
        assert written.info["xmp"] == b"<x:xmpmeta/>"
    several = pillow_heif.from_bytes("RGB", (96, 64), (255 - picture()).tobytes())
    several.add_frombytes("RGB", (96, 64), picture().tobytes())
    several.save(tmp_path / "s.heic", quality=-1, chroma=444, matrix_coefficients=0, primary_index=1)
    photo = read_photo(tmp_path / "s.heic")
    assert np.array_equal(photo.image[..., ::-1], picture())
    assert photo.notes == (f"{tmp_path / 's.heic'} holds several pictures; the main one is used",)


@pytest.mark.parametrize(("said", "noted"), [
    ({}, False), ({"color_primaries": 12}, True), ({"transfer_characteristics": 16}, True),
])
def test_colours_that_are_not_read_are_reported(tmp_path: Path, said: dict[str, int], noted: bool) -> None:
    photo = read_photo(write(tmp_path / "h.heic", picture(np.uint16), **said))
    assert any("taken for sRGB" in note for note in photo.notes) == noted


@pytest.mark.parametrize("end", [60, 400, -200])
def test_damaged_files(tmp_path: Path, end: int) -> None:
    path = write(tmp_path / "a.heic", picture())
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(InputError, match=r"a\.heic is damaged or cut short"):
        read_photo(path)


def test_an_enormous_picture_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.heic", picture())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 96 * 64 // 2 - 1)
    with pytest.raises(InputError, match="enormous"):
        read_photo(path)


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.heic", picture())
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ResourceError, match=r"pillow-heif: pip install -r requirements\.txt"):
        read_photo(path)
    Image.fromarray(picture()).save(tmp_path / "a.png")
    assert np.array_equal(read_photo(tmp_path / "a.png").image[..., ::-1], picture())


def test_nothing_is_registered(tmp_path: Path) -> None:
    path = write(tmp_path / "a.heic", picture())
    script = "import sys; from PIL import Image; from utils.io.image import read_photo\n" \
        "assert 'pillow_heif' not in sys.modules; read_photo(sys.argv[1])\n" \
        "Image.init(); assert 'HEIF' not in Image.OPEN and 'pillow_heif' in sys.modules"
    subprocess.run([sys.executable, "-c", script, str(path)], cwd=ROOT, check=True)


def test_a_folder_from_a_telephone(call: Call, photos: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("b.jpg", "c.mpo"):
        Image.open(photos["b"]).convert("RGB").save(tmp_path / "in" / name, "MPO" if name == "c.mpo" else "JPEG")
    write(tmp_path / "in/IMG_2.HEIC", np.asarray(Image.open(photos["b"]).convert("RGB")))
    (tmp_path / "in/IMG_3.CR2").write_bytes(b"of a camera")
    code, result, said = call(*swap(photos["a"], str(tmp_path / "in"), tmp_path / "out"))
    assert code == 0 and result["photos"] == ["IMG_2.HEIC", "b.jpg", "c.mpo"] and result["faces"]["swapped"] == 3
    assert "left out, as their formats are not read: IMG_3.CR2; save them as JPEG or PNG" in said
    assert (tmp_path / "out/IMG_2.HEIC").read_bytes()[8:12] == b"heic"
    before, after = (read_photo(tmp_path / folder / "IMG_2.HEIC").image for folder in ("in", "out"))
    assert before.shape == after.shape and np.abs(before.astype(int) - after).max() > 20


def test_sources_and_frames_in_formats_that_are_not_taken(call: Call, photos: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "me").mkdir()
    (tmp_path / "me/work.psd").write_bytes(b"8BPS")
    out = tmp_path / "o.png"
    code, _, said = call(*swap(str(tmp_path / "me"), photos["b"], out))
    assert code == InputError.exit_code and "read but not written: work.psd" in said
    write(tmp_path / "me/1.heic", np.asarray(Image.open(photos["a"]).convert("RGB")))
    code, result, _ = call(*swap(str(tmp_path / "me"), photos["b"], out))
    assert code == 0 and any("not written: work.psd" in note for note in result["notes"])
    code, result, _ = call("--source_paths", photos["a"], "--target_video", tmp_path / "me", "--out_video_name",
                           tmp_path / "o.mp4")
    assert code == 0 and result["frames"] == 1 and any("not written: work.psd" in note for note in result["notes"])
