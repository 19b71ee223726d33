"""Results say, for programs, that they were changed by a generative network."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import av
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from examples import demo
from tests.clips import make_clip
from utils.io.encode import video_writer
from utils.io.encoders import EncodeOptions
from utils.io.image import Photo, read_photo, write_photo
from utils.io.mark import COMMENT, SOURCE_TYPE, XMP
from utils.io.span import Span
from utils.io.video import open_video
from utils.version import VERSION


@pytest.mark.parametrize("profile", [False, True])
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.avif", "a.tif", "deep.png", "deep.tif", "a.bmp"])
def test_photos_carry_it_where_the_format_can(tmp_path: Path, name: str, profile: bool) -> None:
    dtype = np.uint16 if name.startswith("deep") else np.uint8
    pixels = np.arange(32 * 32 * 3, dtype=dtype).reshape(32, 32, 3)
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() if profile else None
    notes = write_photo(tmp_path / name, Photo(pixels, icc_profile=icc, xmp=XMP))
    if name == "deep.tif":
        with tifffile.TiffFile(tmp_path / name) as file:
            found = bytes(file.pages[0].tags[700].value)
    else:
        found = Image.open(tmp_path / name).info.get("xmp", b"")
    assert found.rstrip(b"\0") == (b"" if name == "a.bmp" else XMP)
    photo = read_photo(tmp_path / name)
    assert photo.icc_profile == (icc if name != "a.bmp" else None)
    if name not in ("a.jpg", "a.webp", "a.avif"):
        assert np.array_equal(photo.image, pixels)
    assert not notes or profile


def test_the_packet_is_xml_with_the_term() -> None:
    (description,) = ElementTree.fromstring(XMP.decode()).iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    assert description.get("{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType") == SOURCE_TYPE


def test_the_demos_pictures_carry_it(random_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GHOST_WEIGHTS", str(random_weights))
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    monkeypatch.setattr(demo, "RESULTS", tmp_path)
    assert demo.main() == 0
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == sorted(f"{case.name}{end}" for case in demo.CASES for end in (".png", "_side_by_side.jpg"))
    assert all(SOURCE_TYPE.encode() in (tmp_path / name).read_bytes() for name in written)


def test_a_format_that_cannot_carry_it_is_named(tmp_path: Path) -> None:
    notes: list[str] = []
    with (
        open_video(make_clip(tmp_path / "clip.mp4", 3), Span(), print) as video,
        video_writer(tmp_path / "a.gif", video.info, EncodeOptions(), notes.append, COMMENT) as writer,
    ):
        for frame in video.frames:
            writer.write(frame)
    assert "this format holds no statement that faces were replaced by AI" in notes


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.webm", "a.m4v"])
def test_videos_carry_it(tmp_path: Path, name: str) -> None:
    clip, output = make_clip(tmp_path / "clip.mp4", 3), tmp_path / name
    with (
        open_video(clip, Span(), print) as video,
        video_writer(output, video.info, EncodeOptions(), print, COMMENT) as writer,
    ):
        for frame in video.frames:
            writer.write(frame)
    with av.open(str(output)) as container:
        found = {key.lower(): value for key, value in container.metadata.items()}
    assert found["comment"] == COMMENT and SOURCE_TYPE in COMMENT and f"GHOST {VERSION}" in COMMENT
