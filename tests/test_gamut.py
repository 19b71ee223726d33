"""Colours of wide gamut are seen as those of BT.709, and swaps come back as what was seen."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import ColorPrimaries, ColorTrc
from PIL import Image, ImageCms

from tests.clips import make_clip, planes
from tests.conftest import Call, swap
from tests.test_preprocess import write_keypoints
from utils.evaluation.models import read_picture
from utils.evaluation.people import LabelledPhoto
from utils.io.encode import video_writer
from utils.io.encoders import EncodeOptions
from utils.io.gamut import BT2020, bt709_to_bt2020, bt2020_to_bt709
from utils.io.image import Photo, read_photo, write_photo
from utils.io.profile import from_srgb, to_srgb
from utils.io.video import open_video
from utils.preprocess.config import PreprocessConfig
from utils.preprocess.photos import SourcePhoto, Unit
from utils.preprocess.work import Worker
from utils.training import glasses

SKIN = (110, 150, 205)  # BGR
FACE = (16, 12, 48, 36)
WIDE = {"colorspace": 5, "color_primaries": 9, "color_trc": 14}


def of(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((48, 64, 3), colour, np.uint8)


def test_skin_is_paler_in_numbers_of_bt2020() -> None:
    """Against the conversion of ITU-R BT.2087 with the light of BT.1886."""
    light = (np.array(SKIN[::-1]) / 255) ** 2.4
    exact = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]) @ light
    wide = bt709_to_bt2020(of(SKIN))[0, 0]
    assert wide == pytest.approx(255 * exact[::-1] ** (1 / 2.4), abs=2)
    assert np.ptp(wide) < 0.85 * np.ptp(SKIN)


def test_colours_come_back_and_grey_stays() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    assert np.abs(bt2020_to_bt709(bt709_to_bt2020(colours)) - colours).max() < 0.1
    greys = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    assert np.abs(bt709_to_bt2020(greys) - greys).max() < 0.1 and np.abs(bt2020_to_bt709(greys) - greys).max() < 0.1


def in_bt709(path: Path) -> np.ndarray:
    """The first picture of a video by FFmpeg, BGR."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        mapped = frame.reformat(format="bgr24", dst_color_primaries=ColorPrimaries.BT709, dst_color_trc=ColorTrc.BT709)
        return mapped.to_ndarray()


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le", "yuv444p"])
def test_a_swap_has_the_colours_that_were_seen(tmp_path: Path, pixel_format: str) -> None:
    behind = cv2.convertScaleAbs(bt709_to_bt2020(of((60, 120, 90))))
    clip = make_clip(tmp_path / "in.mkv", frames=1, codec="ffv1", pixel_format=pixel_format, still=behind, tags=WIDE)
    left, top, right, bottom = FACE
    with open_video(clip) as video, video_writer(tmp_path / "out.mkv", video.info, EncodeOptions("ffv1"), print) as out:
        assert video.info.colour.primaries == BT2020
        for frame in video.frames:
            pixels = frame.pixels.copy()
            assert pixels[0:4, 0:4].reshape(-1, 3).mean(axis=0) == pytest.approx([60, 120, 90], abs=5)
            pixels[top:bottom, left:right][:] = SKIN
            out.write(replace(frame, pixels=pixels, changed=(FACE,)))
    before, after = (planes(path)[0][0] for path in (clip, tmp_path / "out.mkv"))
    inside = np.zeros(before.shape, bool)
    inside[top:bottom, left:right] = True
    assert np.array_equal(before[~inside], after[~inside]) and (before[inside] != after[inside]).all()
    assert in_bt709(tmp_path / "out.mkv")[24, 32].astype(int) == pytest.approx(SKIN, abs=6)
    with open_video(tmp_path / "out.mkv") as video:
        assert next(video.frames).image[24, 32].astype(int) == pytest.approx(SKIN, abs=3)


def test_rgb_video_of_wide_gamut_becomes_bt709(tmp_path: Path) -> None:
    wide = cv2.convertScaleAbs(bt709_to_bt2020(of(SKIN)))
    clip = make_clip(tmp_path / "in.mkv", frames=1, codec="ffv1", pixel_format="gbrp10le", still=wide, sound=(),
                     tags={"color_primaries": 9, "color_trc": 14})
    with open_video(clip) as video:
        assert video.info.colour.primaries == 1
        assert next(video.frames).image[24, 32].astype(int) == pytest.approx(SKIN, abs=2)


XYZ = {  # colorants of red, green and blue as ICC profiles have them
    "ProPhoto": ((0.7977, 0.2880, 0.0), (0.1352, 0.7119, 0.0), (0.0313, 0.0001, 0.8249)),
    "BT.2020": ((0.6734, 0.2790, -0.0019), (0.1657, 0.6753, 0.0300), (0.1251, 0.0456, 0.7969)),
    "Display P3": ((0.5151, 0.2412, -0.0011), (0.2919, 0.6922, 0.0419), (0.1572, 0.0666, 0.7841)),
}


def profile(name: str) -> bytes:
    """An ICC profile with other primaries than sRGB and the same curves."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for entry in range(132, 132 + 12 * int.from_bytes(data[128:132], "big"), 12):
        tag, offset, _ = struct.unpack(">4sLL", data[entry : entry + 12])
        if tag in (b"rXYZ", b"gXYZ", b"bXYZ"):
            numbers = [round(part * 65536) for part in XYZ[name][b"rgb".index(tag[:1])]]
            data[offset + 8 : offset + 20] = struct.pack(">3l", *numbers)
    return bytes(data)


def managed(image: np.ndarray, name: str, back: bool = False) -> np.ndarray:
    """A picture (H, W, 3) uint8 BGR of a profile in sRGB, or the reverse, by LittleCMS."""
    wide, usual = ImageCms.ImageCmsProfile(io.BytesIO(profile(name))), ImageCms.createProfile("sRGB")
    picture = Image.fromarray(np.ascontiguousarray(image[..., ::-1]))
    result = ImageCms.profileToProfile(picture, usual if back else wide, wide if back else usual)
    return np.asarray(result)[..., ::-1]


@pytest.mark.parametrize("deep", [False, True], ids=["8 bits", "16 bits"])
@pytest.mark.parametrize("name", ["ProPhoto", "BT.2020"])
def test_a_photo_of_wide_gamut_is_seen_and_changed_in_srgb(name: str, deep: bool) -> None:
    image = managed(of((60, 120, 90)), name, back=True).copy()
    image[:, FACE[2] - 4 :] = (0, 255, 0)  # which sRGB does not hold
    photo = Photo(image.astype(np.uint16) * 257 if deep else image, icc_profile=profile(name))
    view = to_srgb(photo)
    assert view.dtype == photo.image.dtype
    assert view[0, 0] / (257 if deep else 1) == pytest.approx((60, 120, 90), abs=4)
    left, top, right, bottom = FACE
    after = view.copy()
    after[top:bottom, left : right - 4] = np.array(SKIN) * (257 if deep else 1)
    result = from_srgb(photo, view, after, [FACE])
    assert result.dtype == photo.image.dtype
    changed = (result != photo.image).any(axis=-1)
    assert changed[top:bottom, left : right - 4].all() and changed.sum() == (bottom - top) * (right - 4 - left)
    eight = (result // 257).astype(np.uint8) if deep else result
    assert managed(eight, name)[24, 32].astype(int) == pytest.approx(SKIN, abs=5)


@pytest.mark.parametrize("kind", [None, profile("Display P3"), b"no profile at all"], ids=["sRGB", "P3", "broken"])
def test_other_photos_are_seen_as_they_are(kind: bytes | None) -> None:
    photo = Photo(of(SKIN), icc_profile=kind)
    assert to_srgb(photo) is photo.image
    after = of((1, 2, 3))
    assert from_srgb(photo, photo.image, after, [FACE]) is after


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """A folder with a picture whose face and background are SKIN, in ProPhoto."""
    image = managed(np.full((224, 224, 3), SKIN, np.uint8), "ProPhoto", back=True)
    write_photo(tmp_path / "wide/a.png", Photo(image, icc_profile=profile("ProPhoto")))
    assert np.abs(image[0, 0].astype(int) - SKIN).max() > 20
    return tmp_path / "wide"


def seen_as_video(folder: Path) -> np.ndarray:
    said: list[str] = []
    with open_video(folder, note=said.append) as video:
        (frame,) = video.frames
    assert said == ["a picture of the folder: converted to sRGB by its colour profile"]
    return frame.image


def seen_by_training(folder: Path) -> np.ndarray:
    keys = write_keypoints(folder.parent / "k.csv", ["a"])
    config = PreprocessConfig(str(folder), str(folder.parent / "out"), str(keys), format="png")
    Worker(config)(Unit((SourcePhoto("a.png", "a", "a", ""),), False))
    return read_photo(folder.parent / "out/a.png").image


def seen_by_evaluation(folder: Path) -> np.ndarray:
    return read_picture(LabelledPhoto(folder / "a.png", "a"))


def seen_when_glasses_are_learnt(folder: Path) -> np.ndarray:
    seen: list[np.ndarray] = []
    detector = SimpleNamespace(detect=lambda image, careful: seen.append(image) or [])
    stages: Any = SimpleNamespace(detector=detector)
    assert glasses.embeddings([folder / "a.png"], stages) == {}
    return seen[0]


@pytest.mark.parametrize("see", [seen_as_video, seen_by_training, seen_by_evaluation, seen_when_glasses_are_learnt])
def test_all_programs_see_the_same_colours_of_a_wide_photo(wide: Path, see: Callable[[Path], np.ndarray]) -> None:
    assert see(wide)[112, 112].astype(int) == pytest.approx(SKIN, abs=6)


def test_a_swap_looks_the_same_in_a_wide_photo(call: Call, photos: dict[str, str], tmp_path: Path) -> None:
    plain = read_photo(photos["b"]).image
    wide = Photo(managed(plain, "ProPhoto", back=True), icc_profile=profile("ProPhoto"))
    write_photo(tmp_path / "wide.png", wide)
    for target, out in ((photos["b"], "plain swap.png"), (str(tmp_path / "wide.png"), "wide swap.png")):
        assert call(*swap(photos["a"], target, tmp_path / out))[0] == 0
    one, other = (read_photo(tmp_path / f"{name} swap.png") for name in ("plain", "wide"))
    assert other.icc_profile == wide.icc_profile
    changed = (other.image != wide.image).any(axis=-1)
    assert 0.02 < changed.mean() < 0.6
    off = managed(other.image, "ProPhoto").astype(int) - one.image
    assert np.abs(off[changed]).mean() < 6 and (one.image[changed] != plain[changed]).any(axis=-1).mean() > 0.9
