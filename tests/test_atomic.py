"""Files appear under their name when they are whole, also behind links and under long names."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from utils.errors import OutputError
from utils.io.atomic import atomic_path, beside, check_writable


def write(path: Path, text: str, overwrite: bool = True) -> None:
    """Write a file as programs of this repository do."""
    check_writable(path)
    with atomic_path(path, overwrite) as temporary:
        assert temporary.suffix == path.suffix and temporary.name.startswith(".")
        temporary.write_text(text)


@pytest.mark.parametrize("stem", ["x" * 251, "ü" * 125, "x" + "脸" * 83])  # 251 bytes, or one less
def test_a_name_may_be_as_long_as_the_file_system_has_them(tmp_path: Path, stem: str) -> None:
    path = tmp_path / f"{stem}.png"
    write(path, "a result")
    assert path.read_text() == "a result" and list(tmp_path.iterdir()) == [path]
    assert len(os.fsencode(beside(path, ".preview.jpg").name)) in range(250, 256)
    assert beside(tmp_path / "a.b.png", ".preview.jpg") == tmp_path / "a.b.preview.jpg"
    with pytest.raises(OutputError, match=f"cannot write .*{stem}xxxx.png: the name is too long"):
        write(tmp_path / f"{stem}xxxx.png", "a result")


def test_a_name_that_is_no_text_stays(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff")
    assert beside(tmp_path / f"{name}.mp4", ".partial1.mp4").name == f"{name}.partial1.mp4"


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
@pytest.mark.parametrize("there", [False, True])
def test_a_link_is_written_through(tmp_path: Path, there: bool) -> None:
    (tmp_path / "disk").mkdir()
    file, link = tmp_path / "disk/result.png", tmp_path / "latest.png"
    if there:
        file.write_text("an older result")
    link.symlink_to("disk/result.png")
    write(link, "a result")
    assert link.is_symlink() and file.read_text() == "a result"
    with pytest.raises(OutputError, match="exists by now"):
        write(link, "another", overwrite=False)
    assert file.read_text() == "a result" and [path.name for path in file.parent.iterdir()] == ["result.png"]


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_that_lead_nowhere_are_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link.png").symlink_to("file/result.png")
    with pytest.raises(OutputError, match=r"cannot write .*link\.png: part of the path is a file"):
        check_writable(tmp_path / "link.png")
    with pytest.raises(OutputError, match=r"cannot write .*link\.png: part of the path is a file"):
        write(tmp_path / "link.png", "a result")
    (tmp_path / "round.png").symlink_to("round.png")
    write(tmp_path / "round.png", "a result")
    assert (tmp_path / "round.png").read_text() == "a result"


def test_errors_of_other_files_are_not_blamed_on_the_output(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="other"), atomic_path(tmp_path / "a.txt"):
        (tmp_path / "other.txt").read_text()
    with pytest.raises(OutputError, match=r"a\.txt"), atomic_path(tmp_path / "a.txt") as temporary:
        temporary.unlink()
        temporary.read_text()
    assert not list(tmp_path.iterdir())


def refusing(times: int) -> Callable[[Path, Path], None]:
    """os.replace as on Windows while another program has the file open."""
    left = [times]

    def replace(temporary: Path, path: Path, plain: Callable[[Path, Path], None] = os.replace) -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise PermissionError(13, "Access is denied", str(temporary))
        plain(temporary, path)

    return replace


def test_a_file_that_is_open_for_a_moment_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("an older result")
    monkeypatch.setattr("utils.io.atomic.os.replace", refusing(3))
    write(path, "a result")
    assert path.read_text() == "a result" and list(tmp_path.iterdir()) == [path]


def test_a_result_stays_whole_beside_a_file_that_cannot_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("utils.io.atomic.os.replace", refusing(999))
    monkeypatch.setattr("utils.io.atomic._PATIENCE", 0.1)
    path = tmp_path / "a.txt"
    with pytest.raises(OutputError, match=r"cannot write .*a\.txt: permission denied"):
        write(path, "a result")
    assert not list(tmp_path.iterdir()), "nothing was there that would be in the way"
    path.write_text("an older result")
    for number in (1, 2):
        with pytest.raises(OutputError, match=rf"cannot replace .*a\.txt, .*open.*named .*a\.new{number}\.txt"):
            write(path, f"result {number}")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "a.txt": "an older result", "a.new1.txt": "result 1", "a.new2.txt": "result 2"}
