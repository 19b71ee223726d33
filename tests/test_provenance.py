"""What inference.py says of its results in them, and what the reader of such marks says of files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.clips import make_clip
from tests.conftest import ROOT, Call, swap
from tests.test_container import of_unknown_codec
from tests.test_xmp import OWN, photo_file
from utils import provenance
from utils.io import manifest
from utils.io.encode import video_writer
from utils.io.encoders import EncodeOptions
from utils.io.image import Photo, write_photo
from utils.io.mark import COMMENT, Mark
from utils.io.video import open_video
from utils.io.xmp import SOURCE_TYPE
from utils.version import TOOL, VERSION

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(("name", "level", "carried"), [
    ("o.jpg", [], ["xmp", "c2pa"]), ("o.png", ["--provenance", "metadata"], ["xmp"]),
    ("o.png", ["--provenance", "off"], []), ("o.gif", [], ["c2pa"]), ("o.bmp", [], []),
])
def test_the_result_tells_what_it_carries(
    call: Call, photos: dict[str, str], tmp_path: Path, name: str, level: list[str], carried: list[str]
) -> None:
    code, result, said = call(*swap(photos["a"], photos["b"], tmp_path / name, *level))
    assert code == 0 and result["provenance"] == carried and result["version"] == VERSION
    assert ("--provenance off: nothing" in said) == ("off" in level)
    assert ("the result carries none" in said) == (name == "o.bmp")
    assert (manifest.stored_in(tmp_path / name) is not None) == ("c2pa" in carried)
    assert (SOURCE_TYPE.encode() in (tmp_path / name).read_bytes()) == bool(carried)
    assert Path(photos["a"]).name.encode() not in (tmp_path / name).read_bytes()


def test_a_folders_result_tells_what_all_photos_carry(call: Call, photos: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with Image.open(photos["b"]) as image:
        for name in ("1.jpg", "2.png"):
            image.convert("RGB").save(tmp_path / "in" / name)
        assert call(*swap(photos["a"], str(tmp_path / "in"), tmp_path / "out"))[1]["provenance"] == ["xmp", "c2pa"]
        image.convert("RGB").save(tmp_path / "in" / "0.bmp")
    code, result, _ = call(*swap(photos["a"], str(tmp_path / "in"), tmp_path / "out"))
    assert code == 0 and result["provenance"] == []
    assert result["photo_notes"] == {"0.bmp": [
        ".bmp holds no statement that faces were replaced by AI; the result carries none"]}


def test_the_targets_xmp_stays_and_the_sources_does_not(call: Call, photos: dict[str, str], tmp_path: Path) -> None:
    source, target = tmp_path / "secret.jpg", tmp_path / "hidden.jpg"
    with Image.open(photos["a"]) as a, Image.open(photos["b"]) as b:
        a.convert("RGB").save(source, xmp=OWN.replace(b"Anna", b"Berta"))
        b.convert("RGB").save(target, xmp=OWN)
    assert call(*swap(str(source), str(target), tmp_path / "o.jpg"))[0] == 0
    data = (tmp_path / "o.jpg").read_bytes()
    assert b"Anna &amp;" in data and b"Berta" not in data and b"secret" not in data and b"hidden" not in data


def looked(path: Path, capsys: Capture) -> tuple[str, dict[str, Any]]:
    """What is printed of a file, in words and as JSON."""
    assert provenance.main([str(path)]) == provenance.main([str(path), "--json"]) == 0
    words, _, rest = capsys.readouterr().out.partition("{")
    return words, json.loads("{" + rest)


def test_a_photo_of_ours(tmp_path: Path, capsys: Capture) -> None:
    write_photo(tmp_path / "o.jpg", Photo(np.zeros((32, 32, 3), np.uint8)), mark=Mark("full"))
    words, found = looked(tmp_path / "o.jpg", capsys)
    assert f"XMP: edited with generative AI (compositeWithTrainedAlgorithmicMedia); written by {TOOL}" in words
    assert "C2PA manifest: the file is as it was when it was signed; nobody vouches for the signer" in words
    assert "it was edited: edited with generative AI" in words and "prove" not in words
    assert found["statement"] == {"place": "XMP", "tool": TOOL, "source_type": SOURCE_TYPE}
    signed = found["manifest"]
    assert (signed["state"], signed["problems"], signed["tool"], signed["earlier"]) == ("Valid", [], TOOL, 0)
    assert [entry["action"] for entry in signed["actions"]] == ["c2pa.opened", "c2pa.edited"]


@pytest.mark.parametrize("name", ["o.mp4", "o.mkv", "o.gif"])
def test_a_video_of_ours(tmp_path: Path, capsys: Capture, name: str) -> None:
    with (
        open_video(make_clip(tmp_path / "in.mp4", 3)) as video,
        video_writer(tmp_path / name, video.info, EncodeOptions(), print, Mark("full")) as writer,
    ):
        for frame in video.frames:
            writer.write(frame)
    capsys.readouterr()
    words, found = looked(tmp_path / name, capsys)
    assert (found["statement"] is not None) == (name != "o.gif") == (f"written by {TOOL}" in words.splitlines()[0])
    assert (found["manifest"] is None) == ("C2PA manifest: none" in words) == (name == "o.mkv")


def test_a_video_that_cannot_be_decoded_says_what_it_says(tmp_path: Path, capsys: Capture) -> None:
    clip = of_unknown_codec(make_clip(tmp_path / "in.mov", frames=3, comment=COMMENT))
    words, found = looked(clip, capsys)
    assert found["statement"] == {"place": "comment", "tool": TOOL, "source_type": SOURCE_TYPE}, words


def test_files_of_others(tmp_path: Path, capsys: Capture) -> None:
    words, found = looked(photo_file(tmp_path / "camera.jpg", OWN), capsys)
    assert "XMP: taken with a camera (digitalCapture); written by Old Camera" in words
    Image.new("RGB", (9, 9)).save(tmp_path / "plain.png")
    words, found = looked(tmp_path / "plain.png", capsys)
    assert words == "XMP or comment: nothing\nC2PA manifest: none\n"
    assert (found["statement"], found["manifest"], found["notes"]) == (None, None, [])
    words, _ = looked(photo_file(tmp_path / "odd.jpg", b"no XML"), capsys)
    assert "its XMP is damaged" in words


def test_a_file_that_was_changed(tmp_path: Path, capsys: Capture) -> None:
    write_photo(tmp_path / "o.jpg", Photo(np.zeros((32, 32, 3), np.uint8)), mark=Mark("full"))
    data = bytearray((tmp_path / "o.jpg").read_bytes())
    data[-10] ^= 1
    (tmp_path / "o.jpg").write_bytes(data)
    words, found = looked(tmp_path / "o.jpg", capsys)
    assert "does not fit" in words and found["manifest"]["state"] == "Invalid"
    assert found["manifest"]["problems"] == ["assertion.dataHash.mismatch"]


def test_without_the_library_it_is_said(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    words, found = looked(tmp_path / "a.png", capsys)
    assert "no C2PA manifest was looked for, since c2pa is not installed" in words and found["manifest"] is None


@pytest.mark.parametrize(("name", "code"), [
    ("text.txt", 3), ("nothing.jpg", 3), ("cut.jpg", 3), ("cut.heic", 3), ("damaged.avif", 3), ("", 2),
])
def test_what_is_no_picture_and_no_video(tmp_path: Path, capsys: Capture, name: str, code: int) -> None:
    (tmp_path / "text.txt").write_text("words")
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe1")
    for kind in ("heic", "avif"):
        write_photo(tmp_path / f"o.{kind}", Photo(np.zeros((32, 32, 3), np.uint8)))
    (tmp_path / "cut.heic").write_bytes((tmp_path / "o.heic").read_bytes()[:200])
    (tmp_path / "damaged.avif").write_bytes((tmp_path / "o.avif").read_bytes().replace(b"pitm", b"none"))
    assert provenance.main([str(tmp_path / name)] if name else []) == code
    assert capsys.readouterr().err.startswith("error: ")


def test_it_runs_as_a_module(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    command = [sys.executable, "-m", "utils.provenance", str(tmp_path / "a.png")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("XMP or comment: nothing")
