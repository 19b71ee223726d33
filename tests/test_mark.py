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
from utils.io.image import FORMATS, Photo, read_photo, write_photo
from utils.io.mark import COMMENT, Mark
from utils.io.span import Span
from utils.io.video import open_video
from utils.io.xmp import SOURCE_TYPE, add_statement
from utils.version import VERSION


@pytest.mark.parametrize("profile", [False, True])
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.avif", "a.tif", "deep.png", "deep.tif", "a.bmp"])
def test_photos_carry_it_where_the_format_can(tmp_path: Path, name: str, profile: bool) -> None:
    dtype = np.uint16 if name.startswith("deep") else np.uint8
    pixels = np.arange(32 * 32 * 3, dtype=dtype).reshape(32, 32, 3)
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() if profile else None
    mark = Mark("metadata")
    notes = write_photo(tmp_path / name, Photo(pixels, icc_profile=icc), mark=mark)
    if name == "deep.tif":
        with tifffile.TiffFile(tmp_path / name) as file:
            found = bytes(file.pages[0].tags[700].value)
    else:
        found = Image.open(tmp_path / name).info.get("xmp", b"")
    assert found.rstrip(b"\0") == (b"" if name == "a.bmp" else add_statement(None))
    assert mark.carried == ([] if name == "a.bmp" else ["xmp"])
    photo = read_photo(tmp_path / name)
    assert photo.icc_profile == (icc if name != "a.bmp" else None)
    if name not in ("a.jpg", "a.webp", "a.avif"):
        assert np.array_equal(photo.image, pixels)
    assert not notes or profile


def test_the_packet_is_xml_with_the_term() -> None:
    packet = ElementTree.fromstring(add_statement(None).decode())
    (description,) = packet.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    assert description.get("{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType") == SOURCE_TYPE
    assert description.get("{http://ns.adobe.com/xap/1.0/}CreatorTool") == f"GHOST {VERSION}"


@pytest.mark.parametrize("suffix", sorted(FORMATS))
def test_a_photo_that_can_carry_none_is_said(tmp_path: Path, suffix: str) -> None:
    notes: list[str] = []
    mark = Mark("metadata", note=notes.append)
    write_photo(tmp_path / f"a{suffix}", Photo(np.zeros((16, 16, 3), np.uint8)), mark=mark)
    none = f"{suffix} holds no statement that faces were replaced by AI; the result carries none"
    assert (notes, mark.carried) == (([], ["xmp"]) if FORMATS[suffix].facts else ([none], []))


def test_off_writes_none_and_keeps_what_was_said(tmp_path: Path) -> None:
    notes: list[str] = []
    photo = Photo(np.zeros((16, 16, 3), np.uint8))
    write_photo(tmp_path / "a.png", photo, mark=Mark("off", note=notes.append))
    write_photo(tmp_path / "a.bmp", photo, mark=Mark("off", note=notes.append))
    assert not notes and SOURCE_TYPE.encode() not in (tmp_path / "a.png").read_bytes()


def test_the_demos_pictures_carry_it(random_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GHOST_WEIGHTS", str(random_weights))
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    monkeypatch.setattr(demo, "RESULTS", tmp_path)
    assert demo.main() == 0
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == sorted(f"{case.name}{end}" for case in demo.CASES for end in (".png", "_side_by_side.jpg"))
    assert all(SOURCE_TYPE.encode() in (tmp_path / name).read_bytes() for name in written)


def test_a_video_that_can_carry_none_is_said(tmp_path: Path) -> None:
    notes: list[str] = []
    with (
        open_video(make_clip(tmp_path / "clip.mp4", 3), Span(), print) as video,
        video_writer(tmp_path / "a.gif", video.info, EncodeOptions(), notes.append,
                     Mark("metadata", note=notes.append)) as writer,
    ):
        for frame in video.frames:
            writer.write(frame)
    assert ".gif holds no statement that faces were replaced by AI; the result carries none" in notes


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.webm", "a.m4v"])
def test_videos_carry_it(tmp_path: Path, name: str) -> None:
    clip, output = make_clip(tmp_path / "clip.mp4", 3), tmp_path / name
    with (
        open_video(clip, Span(), print) as video,
        video_writer(output, video.info, EncodeOptions(), print, Mark("metadata")) as writer,
    ):
        for frame in video.frames:
            writer.write(frame)
    with av.open(str(output)) as container:
        found = {key.lower(): value for key, value in container.metadata.items()}
    assert found["comment"] == COMMENT and SOURCE_TYPE in COMMENT and f"GHOST {VERSION}" in COMMENT
