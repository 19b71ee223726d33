"""Reading and writing photos: every mode and format, orientation, transparency, 16 bits, profiles, bad files."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from utils.errors import InputError, OutputError
from utils.io.image import FORMATS, Photo, check_output, read_photo, upright, write_photo

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def picture(height: int = 40, width: int = 60, channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    """A colourful gradient, (H, W, C)."""
    y, x = np.mgrid[:height, :width]
    parts = [x / width, y / height, (x + y) / (width + height), 0.2 + 0.6 * x / width][:channels]
    return (np.stack(parts, axis=-1) * np.iinfo(dtype).max).astype(dtype)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK", "1"])
def test_modes(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("photo.tif" if mode == "CMYK" else "photo.png")
    original = Image.fromarray(picture(channels=4), "RGBA").convert(mode) if mode != "P" else \
        Image.fromarray(picture()).quantize(200)
    original.save(path)
    photo = read_photo(path)
    assert photo.image.shape == (40, 60, 3) and photo.image.dtype == np.uint8
    wanted = np.asarray(original.convert("RGB"))[..., ::-1]
    assert np.abs(photo.image.astype(int) - wanted).max() <= 1
    assert (photo.alpha is not None) == (mode in ("RGBA", "LA"))
    assert any("CMYK" in note for note in photo.notes) == (mode == "CMYK")


def test_palette_with_transparency(tmp_path: Path) -> None:
    original = Image.fromarray(picture()).quantize(10)
    original.save(tmp_path / "p.png", transparency=3)
    photo = read_photo(tmp_path / "p.png")
    assert photo.alpha is not None
    assert np.array_equal(photo.alpha == 0, np.asarray(original) == 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(tmp_path: Path, orientation: int) -> None:
    pixels = picture(8, 12)
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    photo = read_photo(tmp_path / "turned.png")
    forward = {1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
               4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270,
               7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90}[orientation]
    wanted = Image.fromarray(pixels) if forward is None else Image.fromarray(pixels).transpose(forward)
    assert np.array_equal(photo.image[..., ::-1], np.asarray(wanted))


def test_unknown_orientation_counts_as_upright() -> None:
    assert np.array_equal(upright(picture(), 77), picture())


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [3, 4])
def test_16_bits_with_profile_and_alpha(tmp_path: Path, suffix: str, channels: int) -> None:
    pixels = picture(channels=channels, dtype=np.uint16) | 1
    alpha = np.ascontiguousarray(pixels[..., 3]) if channels == 4 else None
    before = Photo(np.ascontiguousarray(pixels[..., :3]), alpha, PROFILE)
    path = tmp_path / f"deep{suffix}"
    assert write_photo(path, before) == []
    after = read_photo(path)
    assert after.image.dtype == np.uint16
    assert np.array_equal(after.image, before.image)
    assert after.icc_profile == PROFILE
    assert (after.alpha is None) == (alpha is None)
    assert alpha is None or after.alpha is None or np.array_equal(after.alpha, alpha)
    with Image.open(path) as other:  # by a reader that is not ours
        assert np.abs(np.asarray(other.convert("RGB"))[..., ::-1].astype(int) - (before.image >> 8)).max() <= 1


@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_jpeg_2000(tmp_path: Path, channels: int) -> None:
    pixels = picture(channels=channels, dtype=np.uint16) | 1
    cv2.imwrite(str(tmp_path / "deep.jp2"), pixels, [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000])
    photo = read_photo(tmp_path / "deep.jp2")
    assert photo.notes == () and np.array_equal(photo.image, pixels[..., :3])
    assert (photo.alpha is None) == (channels == 3)
    assert photo.alpha is None or np.array_equal(photo.alpha, pixels[..., 3])


@pytest.mark.parametrize("most", [300, 1023, 65535])
def test_deep_ppm(tmp_path: Path, most: int) -> None:
    pixels = picture() * np.uint16(most / 255)
    (tmp_path / "deep.ppm").write_bytes(b"P6\n# of a scanner\n60 40\n%d\n" % most + pixels.astype(">u2").tobytes())
    photo = read_photo(tmp_path / "deep.ppm")
    assert photo.image.dtype == np.uint16 and photo.notes == ()
    assert np.abs(photo.image[..., ::-1] - pixels * (65535 / most)).max() <= 0.5


def test_colours_that_are_read_with_8_bits_are_said(tmp_path: Path) -> None:
    pixels = picture(dtype=np.uint16)
    numbers = " ".join(map(str, pixels.ravel()))
    (tmp_path / "16.ppm").write_text(f"P3 60 40 65535 {numbers}")
    cv2.imwrite(str(tmp_path / "10.avif"), pixels[..., ::-1] >> 6, [cv2.IMWRITE_AVIF_DEPTH, 10])
    cv2.imwrite(str(tmp_path / "12.avif"), pixels[..., ::-1] >> 4, [cv2.IMWRITE_AVIF_DEPTH, 12])
    for name in ("16.ppm", "10.avif", "12.avif"):
        photo = read_photo(tmp_path / name)
        assert photo.notes == (f"{tmp_path / name}: its {name[:2]}-bit colours were read with 8 bits",)
        assert np.abs(photo.image[..., ::-1].astype(int) - (pixels >> 8)).mean() < 3
    for name in ("8.ppm", "8.avif", "8.jp2"):
        Image.fromarray(picture()).save(tmp_path / name)
        assert read_photo(tmp_path / name).image.dtype == np.uint8 and not read_photo(tmp_path / name).notes


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_16_bit_tiff_is_turned_once(tmp_path: Path, planar: str, orientation: int) -> None:
    pixels = picture(dtype=np.uint16)
    write_deep_tiff(tmp_path / "t.tif", pixels, planar, photometric="rgb", extratags=[(274, "H", 1, orientation)])
    assert np.array_equal(read_photo(tmp_path / "t.tif").image[..., ::-1], upright(pixels, orientation))


def write_deep_tiff(path: Path, pixels: np.ndarray, planar: str = "contig", **options: Any) -> None:
    """pixels (H, W, C) uint16, stored by pixel or by plane."""
    stored = np.moveaxis(pixels, -1, 0) if planar == "separate" else pixels
    tifffile.imwrite(path, stored, planarconfig=planar, **options)


@pytest.mark.parametrize("options", [{"compression": "zlib"}, {"byteorder": ">"}, {"rowsperstrip": 7}])
def test_16_bit_tiff_by_planes(tmp_path: Path, options: dict[str, Any]) -> None:
    pixels = picture(channels=4, dtype=np.uint16)
    write_deep_tiff(tmp_path / "p.tif", pixels, "separate", photometric="rgb", extrasamples=["unassalpha"], **options)
    photo = read_photo(tmp_path / "p.tif")
    assert photo.alpha is not None
    assert np.array_equal(np.dstack([photo.image[..., ::-1], photo.alpha]), pixels)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_16_bit_tiff_with_colours_multiplied_by_alpha(tmp_path: Path, planar: str) -> None:
    pixels = picture(channels=4, dtype=np.uint16)
    pixels[0, :, 3], pixels[1, :, 3] = 0, 65535
    multiplied = pixels.copy()
    multiplied[..., :3] = np.round(pixels[..., :3] * (pixels[..., 3:] / 65535))
    write_deep_tiff(tmp_path / "a.tif", multiplied, planar, photometric="rgb", extrasamples=["assocalpha"])
    photo = read_photo(tmp_path / "a.tif")
    assert photo.alpha is not None and np.array_equal(photo.alpha, pixels[..., 3])
    seen = photo.alpha > 0
    assert np.abs(photo.image[seen][:, ::-1].astype(int) - pixels[seen][:, :3]).max() <= 3  # alpha is at least 0.2


def test_16_bit_tiff_with_a_channel_that_is_not_alpha(tmp_path: Path) -> None:
    pixels = picture(channels=4, dtype=np.uint16)
    for planar in ("contig", "separate"):
        write_deep_tiff(tmp_path / "m.tif", pixels, planar, photometric="rgb", extrasamples=["unspecified"])
        photo = read_photo(tmp_path / "m.tif")
        assert photo.alpha is None and np.array_equal(photo.image[..., ::-1], pixels[..., :3])


def test_16_bit_tiffs_that_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "c.tif"
    write_deep_tiff(path, picture(channels=4, dtype=np.uint16), photometric="separated")
    with pytest.raises(InputError, match=r"CMYK picture with 16 bits.*save it as RGB"):
        read_photo(path)
    write_deep_tiff(path, picture(dtype=np.uint16), "separate", photometric="rgb")
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages.first.tags[259].overwrite(5)  # called LZW, which tifffile alone does not write
    with pytest.raises(InputError, match=r"channels are stored one after the other.*save it with interleaved"):
        read_photo(path)


def test_png_takes_little_time_for_the_space_of_photos(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 2, (600, 900, 3))
    photo = Photo(np.clip(picture(600, 900) + noise, 0, 255).astype(np.uint8))
    best = {}
    for name in ("ours", "usual"):
        spent = []
        for _ in range(3):
            before = time.process_time()
            if name == "ours":
                write_photo(tmp_path / f"{name}.png", photo)
            else:
                Image.fromarray(np.ascontiguousarray(photo.image[..., ::-1])).save(tmp_path / f"{name}.png")
            spent.append(time.process_time() - before)
        best[name] = min(spent)
    assert best["ours"] < 0.6 * best["usual"]
    assert (tmp_path / "ours.png").stat().st_size < 1.1 * (tmp_path / "usual.png").stat().st_size
    assert np.array_equal(read_photo(tmp_path / "ours.png").image, photo.image)


@pytest.mark.parametrize("suffix", sorted(FORMATS))
def test_every_format(tmp_path: Path, suffix: str) -> None:
    photo = Photo(picture(), picture(channels=1)[..., 0] | 15, PROFILE)
    path = tmp_path / f"out{suffix}"
    notes = " ".join(write_photo(path, photo))
    back = read_photo(path)
    kind = FORMATS[suffix]
    assert np.abs(back.image.astype(int) - photo.image).mean() < 8
    assert (back.alpha is not None) == kind.alpha == ("transparency" not in notes)
    assert (back.icc_profile == PROFILE) == kind.profile == ("profile" not in notes)


def test_16_bits_into_8_are_rounded_and_said(tmp_path: Path) -> None:
    notes = write_photo(tmp_path / "a.jpg", Photo(np.full((16, 16, 3), 257 * 100 + 200, np.uint16)))
    assert len(notes) == 1 and "16 bits" in notes[0]
    assert read_photo(tmp_path / "a.jpg").image[8, 8].tolist() == [101, 101, 101]


@pytest.mark.parametrize("more", [{}, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}])  # simple, and by chunks
@pytest.mark.parametrize("channels", [3, 4])
def test_webp_without_loss_stays_so(tmp_path: Path, channels: int, more: dict[str, bytes]) -> None:
    pixels = picture(channels=channels)
    for name, lossless in (("exact.webp", True), ("usual.webp", False)):
        Image.fromarray(pixels).save(tmp_path / name, lossless=lossless, exact=True, **more)  # type: ignore[arg-type]
        before = read_photo(tmp_path / name)
        write_photo(tmp_path / name, before)
        assert np.array_equal(read_photo(tmp_path / name).image, before.image) == lossless
        assert (b"VP8L" in (tmp_path / name).read_bytes()) == lossless


def test_profile_of_another_colour_space(tmp_path: Path) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    Image.fromarray(picture()).convert("CMYK").save(tmp_path / "c.jpg", icc_profile=lab)
    photo = read_photo(tmp_path / "c.jpg")
    assert photo.icc_profile is None
    assert any("profile" in note for note in photo.notes)


def truncated_jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture(200, 300)).save(buffer, "JPEG")
    return buffer.getvalue()[:1500]


def damaged_avif() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture(200, 300)).save(buffer, "AVIF")
    head, data = buffer.getvalue().split(b"mdat")
    return head + b"mdat" + bytes(len(data))


def damaged_dds() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, "DDS")
    data = bytearray(buffer.getvalue())
    data[80:84] = bytes(4)  # flags of the pixel format
    return bytes(data)


def truncated_planes() -> bytes:
    buffer = io.BytesIO()
    planes = np.moveaxis(picture(dtype=np.uint16), -1, 0)
    tifffile.imwrite(buffer, planes, photometric="rgb", planarconfig="separate", compression="zlib")
    return buffer.getvalue()[:-300]


def bomb() -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (30000, 30000)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(("content", "words"), [
    (b"", "is empty"), (b"hello, this is text", "not a picture"), (truncated_jpeg(), "damaged or cut short"),
    (bomb(), "enormous"), (damaged_avif(), "damaged or cut short"), (damaged_dds(), "damaged or cut short"),
    (truncated_planes(), "damaged or cut short"),
])
def test_bad_files(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        read_photo(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["float.tif", "float.pfm"])
def test_floating_point_numbers_are_refused_by_name(tmp_path: Path, name: str) -> None:
    Image.fromarray(picture(channels=1)[..., 0].astype(np.float32)).save(tmp_path / name)
    with pytest.raises(InputError) as caught:
        read_photo(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name} holds floating-point numbers, which are not read")
    assert "save it with 8 or 16 bits per channel" in str(caught.value)


def test_missing_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_photo(tmp_path / "nobody.png")
    with pytest.raises(InputError, match="folder"):
        read_photo(tmp_path)


def test_no_photo_is_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*arguments: object, **more: object) -> None:
        raise AssertionError("something was started")

    monkeypatch.setattr("subprocess.check_call", run)
    monkeypatch.setattr("PIL.EpsImagePlugin.has_ghostscript", lambda: True)
    path = tmp_path / "face.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n%%EOF\n")
    with pytest.raises(InputError, match=r"face\.jpg is not a picture in a known format"):
        read_photo(path)


def test_damaged_exif_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(picture()).save(path, exif=b"Exif\0\0" + b"\0" * 20)
    photo = read_photo(path)
    assert photo.image.shape == (40, 60, 3) and any("EXIF data is damaged" in note for note in photo.notes)


def test_what_came_meanwhile_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    for links in (True, False):
        path.unlink(missing_ok=True)
        write_photo(path, Photo(picture()), overwrite=False)
        before = path.read_bytes()
        with pytest.raises(OutputError, match="exists by now"):
            write_photo(path, Photo(255 - picture()), overwrite=False)
        assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["a.png"]
        if links:
            monkeypatch.setattr("os.link", lambda *names: (_ for _ in ()).throw(PermissionError()))


def test_first_picture_of_several(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    photo = read_photo(tmp_path / "a.gif")
    assert photo.image[4, 4, 2] > 200 and "several pictures" in photo.notes[0]


@pytest.mark.parametrize("name", ["result", "result.xyz", "result.mp4"])
def test_unknown_output_format(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="unknown picture format"):
        check_output(tmp_path / name)


@pytest.mark.parametrize("name", ["results", "results/", "holiday.2024", "folder.png"])
def test_a_folder_as_output_is_called_one(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(OutputError) as caught:
        check_output(f"{tmp_path}/{name}")
    folder, told = tmp_path / name, "is a folder; give the name of a picture in it, such as"
    assert str(caught.value) == f"{folder} {told} {folder / 'result.png'}"


def test_output_that_may_not_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    check_output(tmp_path / "a.png")
    with pytest.raises(OutputError, match="exists"):
        check_output(tmp_path / "a.png", overwrite=False)


def test_output_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        check_output(tmp_path / "file" / "a.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OutputError, match="folder"):
        check_output(tmp_path / "folder.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.png"]  # probes leave nothing


def test_too_large_for_the_format(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="WEBP"):
        write_photo(tmp_path / "wide.webp", Photo(np.zeros((2, 20000, 3), np.uint8)))
    assert not list(tmp_path.iterdir())
