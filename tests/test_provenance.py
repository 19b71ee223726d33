"""What inference.py says of its results in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import Call, swap
from tests.test_xmp import OWN
from utils.io import manifest
from utils.io.xmp import SOURCE_TYPE
from utils.version import VERSION


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
