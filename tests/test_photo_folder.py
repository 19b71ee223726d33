"""inference.py on folders of photos, as people call it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.conftest import Call, People
from utils import errors
from utils.inference.config import InferenceConfig
from utils.inference.photos import change_photo, check_photos
from utils.inference.report import in_words
from utils.inference.types import Visibility
from utils.io.image import read_photo

VIDEOS = ("clip2.mp4", "clip10.MOV")


def swap(source: Path, target: Path, output: Path, *more: str) -> list[Path | str]:
    """The arguments for a folder, or a photo."""
    return ["--source_paths", source, "--target_image", target, "--image_to_image", "--out_image_name", output, *more]


@pytest.fixture
def folder(people: People, tmp_path: Path) -> Path:
    """Photos of two people, one without a face, a broken one, one that macOS hides, and a file that is none."""
    (tmp_path / "in").mkdir()
    for name, number in (("2.jpg", 2), ("10.png", 3)):
        image = cv2.imread(str(people(number, "studio_portrait")))
        cv2.imwrite(str(tmp_path / "in" / name), cv2.resize(image, (300, 300), interpolation=cv2.INTER_AREA))  # type: ignore[arg-type]
    cv2.imwrite(str(tmp_path / "in/nobody.png"), np.full((64, 64, 3), 99, np.uint8))
    (tmp_path / "in/broken.jpg").write_text("no picture")
    (tmp_path / "in/._2.jpg").write_bytes(b"\0\5\x16\7 facts about 2.jpg")
    for name in ("notes.txt", *VIDEOS):
        (tmp_path / "in" / name).write_text("none")
    return tmp_path / "in"


def test_all_photos_become_what_each_becomes_alone(
    call: Call, folder: Path, people: People, tmp_path: Path
) -> None:
    source = people(1, "studio_portrait")
    level = ("--provenance", "metadata")  # two manifests are never the same
    code, result, said = call(*swap(source, folder, tmp_path / "out", *level))
    assert code == 0 and result["photos"] == ["2.jpg", "10.png"] and result["faces"]["swapped"] == 2
    assert set(result["left_out"]) == {"nobody.png", "broken.jpg"} and "nobody.png" in said and "broken.jpg" in said
    assert result["photo_counts"] == {"found": 4, "swapped": 2, "earlier": 0, "unreadable": 1, "without_face": 1,
                                      "nobody_to_swap": 0}
    assert in_words(result) == ("2 of 4 photos swapped, 1 could not be read, 1 without a face; "
                                "2 of 2 faces swapped")
    assert f"videos are swapped one at a time (--target_video): {', '.join(VIDEOS)}" in said
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"2.jpg", "10.png"}
    for name in result["photos"]:
        assert call(*swap(source, folder / name, tmp_path / name, *level))[0] == 0
        assert (tmp_path / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
        assert not np.array_equal(read_photo(tmp_path / name).image, read_photo(folder / name).image)


def test_what_is_there_stays_with_no_overwrite(call: Call, folder: Path, people: People, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/2.jpg").write_text("an earlier result")
    for photos in (["10.png"], []):
        code, result, said = call(*swap(people(1, "studio_portrait"), folder, tmp_path / "out", "--no-overwrite"))
        assert code == 0 and result["photos"] == photos and f"{2 - len(photos)} result" in said
        assert f"{len(photos)} of 4 photos swapped, {2 - len(photos)} done by earlier runs, 1 could" in in_words(result)
    assert (tmp_path / "out/2.jpg").read_text() == "an earlier result"


@pytest.mark.parametrize("between", [False, True])
def test_a_stopped_run_says_what_is_there(
    call: Call, folder: Path, people: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, between: bool
) -> None:
    calls = iter(range(9))

    def stop(*arguments: Any) -> None:
        if next(calls) == 1:
            raise KeyboardInterrupt
        change_photo(*arguments)

    @contextmanager
    def stop_between(*arguments: Any) -> Iterator[Callable[[], None]]:
        def advance() -> None:
            raise KeyboardInterrupt

        yield advance

    if between:
        monkeypatch.setattr("utils.inference.photos.progress", stop_between)
    else:
        monkeypatch.setattr("utils.inference.photos.change_photo", stop)
    code, result, _ = call(*swap(people(1, "studio_portrait"), folder, tmp_path / "out"))
    assert code == errors.INTERRUPTED and "what is done is in" in result["error"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["2.jpg"]


def test_a_run_stopped_before_the_first_photo_says_that_nothing_is_there(
    call: Call, folder: Path, people: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("utils.inference.photos.change_photo", stop)
    (tmp_path / "out").mkdir()
    for more, words in ((), "no output was written"), (("--no-overwrite",), "what is done is in"):
        code, result, _ = call(*swap(people(1, "studio_portrait"), folder, tmp_path / "out", *more))
        assert code == errors.INTERRUPTED and words in result["error"]
        (tmp_path / "out/2.jpg").write_text("an earlier result")


@pytest.mark.parametrize(("share", "code"), [("0.5", 0), ("0.4", errors.SkippedError.exit_code)])
def test_too_many_left_out(call: Call, folder: Path, people: People, tmp_path: Path, share: str, code: int) -> None:
    got, result, _ = call(*swap(people(1, "studio_portrait"), folder, tmp_path / "out", "--max-skipped", share))
    assert got == code and result.get("exit_code", 0) == code and ("error" in result) == bool(code)
    assert result["photos"] == ["2.jpg", "10.png"] and set(result["left_out"]) == {"nobody.png", "broken.jpg"}


def test_notes_say_which_photo(
    call: Call, folder: Path, people: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = Visibility(0.5, "turned too far away")
    monkeypatch.setattr("utils.inference.frames.visibility_of", lambda *arguments: part)
    source, about = people(1, "studio_portrait"), "a face is turned too far away: its swap fades towards the original"
    first = Image.open(folder / "2.jpg")
    first.save(folder / "1.gif", save_all=True, append_images=[first.rotate(90)])
    code, result, said = call(*swap(source, folder, tmp_path / "out", "--max_yaw", "65"))
    several, colours = f"{folder / '1.gif'} holds several pictures; the first one is used", ".gif holds 256 colours"
    assert code == 0 and result["photo_notes"].keys() == {"1.gif", "2.jpg", "10.png"}
    assert result["photo_notes"]["2.jpg"] == result["photo_notes"]["10.png"] == [about]
    assert result["photo_notes"]["1.gif"][:2] == [several, about]
    assert result["photo_notes"]["1.gif"][-1].startswith(colours)
    for note in (several, f"2.jpg: {about}", f"10.png: {about}", f"1.gif: {colours}"):
        assert said.count(note) == 1 and any(text.startswith(note) for text in result["notes"])
    code, result, _ = call(*swap(source, folder / "2.jpg", tmp_path / "o.jpg", "--max_yaw", "65"))
    assert code == 0 and result["notes"] == [about] and "photo_notes" not in result


def test_what_cannot_be(call: Call, folder: Path, people: People, tmp_path: Path) -> None:
    source = people(1, "studio_portrait")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    shutil.copy(source, tmp_path / "me.jpg")
    for output, error, message in ((folder, errors.OutputError, "is the folder that is read"),
                                   (tmp_path / "r.png", errors.OutputError, "is a folder of photos"),
                                   (tmp_path / "me.jpg", errors.OutputError, "is a folder of photos")):
        code, _, said = call(*swap(source, folder, output))
        assert code == error.exit_code and message in said
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    (tmp_path / "empty").mkdir()
    assert call(*swap(source, tmp_path / "empty", tmp_path / "out"))[0] == errors.InputError.exit_code
    shutil.copy(folder / "broken.jpg", tmp_path / "empty")
    code, _, said = call(*swap(source, tmp_path / "empty", tmp_path / "out"))
    assert code == errors.InputError.exit_code and "none of the 1 pictures" in said
    shutil.copy(folder / "nobody.png", tmp_path / "empty")
    code, _, said = call(*swap(source, tmp_path / "empty", tmp_path / "out"))
    assert code == errors.NoFaceInTargetError.exit_code and "no face found in the target" in said
    (tmp_path / "sources").mkdir()
    shutil.copy(folder / "2.jpg", tmp_path / "sources/2.jpg")
    code, _, said = call(*swap(tmp_path / "sources/2.jpg", folder, tmp_path / "sources"))
    assert code == errors.OutputError.exit_code and "is a file that is read" in said


@pytest.mark.parametrize("original", ["2.jpg", "10.png"])
def test_no_photo_is_overwritten_through_a_link(folder: Path, tmp_path: Path, original: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/10.png").symlink_to(folder / original)
    with pytest.raises(errors.OutputError, match=r"10\.png is a file that is read"):
        check_photos(InferenceConfig(), folder, tmp_path / "out")
    (tmp_path / "out/10.png").unlink()
    (tmp_path / "out/10.png").symlink_to(tmp_path / "elsewhere.png")
    (tmp_path / "elsewhere.png").write_text("an earlier result")
    assert folder / "10.png" in check_photos(InferenceConfig(), folder, tmp_path / "out")
