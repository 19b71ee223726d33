"""Photos in folders: all programs find the same ones, those that can be read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from utils.errors import InputError
from utils.evaluation.people import folder_photos
from utils.inference.config import InferenceConfig
from utils.inference.video import check_video
from utils.io.folder import _UNWRITTEN, INDEX, SHEET, left_out_of, no_pictures, pictures_below, pictures_in
from utils.io.image import FORMATS, Photo, read_photo, write_photo
from utils.preprocess.photos import list_units
from utils.training.faces import find_faces


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A photo of each format, of two people, and files that are none."""
    for number, suffix in enumerate(sorted(FORMATS)):
        picture = np.full((16, 16, 3), 10 * number, np.uint8)
        name = f"{number}{suffix.upper() if number % 3 == 0 else suffix}"
        write_photo(tmp_path / "people" / "ab"[number % 2] / name, Photo(picture))
    for name in ("a/._0.png", "a/notes.txt", ".trash/1.png"):
        (tmp_path / "people" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "people" / name).write_bytes(b"no picture")
    return tmp_path / "people"


def test_all_programs_find_the_same_photos(folder: Path) -> None:
    names = [f"{number}{suffix}" for number, suffix in enumerate(sorted(FORMATS))]
    paths = pictures_below(folder)
    assert paths == sorted(paths) and sorted(path.name.lower() for path in paths) == sorted(names)
    assert [photo.path for photo in folder_photos(folder)] == paths
    assert list(find_faces(folder, by_folder=True).paths) == paths
    assert [folder / photo.file for unit in list_units(folder) for photo in unit.photos] == paths


def test_people_may_be_links(folder: Path) -> None:
    (folder / "c").symlink_to(folder / "a")
    assert {photo.identity for photo in folder_photos(folder)} == {"a", "b", "c"}
    assert set(find_faces(folder, by_folder=True).identities) == {"a", "b", "c"}


def test_links_that_lead_back_are_not_followed(folder: Path) -> None:
    paths = pictures_below(folder)
    (folder / "a" / "again").symlink_to(folder / "a")
    (folder / "b" / "up").symlink_to(folder)
    assert pictures_below(folder) == paths
    assert [folder / photo.file for unit in list_units(folder) for photo in unit.photos] == paths


def test_what_cannot_be_read_is_said(folder: Path) -> None:
    (folder / "a" / "loop").symlink_to(folder / "a" / "loop")
    with pytest.raises(InputError, match=f"cannot read {folder / 'a'}: "):
        pictures_below(folder)


def test_the_contact_sheet_of_a_training_set_is_no_photo(folder: Path) -> None:
    """Only where index.csv is beside it; else somebody named a photo so."""
    paths = pictures_below(folder)
    write_photo(folder / SHEET, Photo(np.zeros((16, 16, 3), np.uint8)))
    assert pictures_in(folder) == [folder / SHEET] and len(pictures_below(folder)) == len(paths) + 1
    (folder / INDEX).write_text("file,identity\n")
    assert pictures_in(folder) == [] and pictures_below(folder) == paths
    assert [photo.path for photo in folder_photos(folder)] == paths
    assert [folder / photo.file for unit in list_units(folder) for photo in unit.photos] == paths


def test_pictures_of_a_video_that_cannot_be_are_refused_before_the_work(tmp_path: Path) -> None:
    config = InferenceConfig(end=0.16)
    for number in range(4):
        write_photo(tmp_path / "in" / f"{number}.png", Photo(np.zeros((16, 24, 3), np.uint8)))
    Image.new("RGB", (16, 24)).save(tmp_path / "in/3.png")
    check_video(config, tmp_path / "in", tmp_path / "o.mp4")  # it may be turned when it is read
    write_photo(tmp_path / "in/4.png", Photo(np.zeros((16, 20, 3), np.uint8)))
    check_video(config, tmp_path / "in", tmp_path / "o.mp4")
    with pytest.raises(InputError, match=r"differ in size: 0\.png has 24x16 pixels, 4\.png has 20x16; make them alike"):
        check_video(replace(config, end=None), tmp_path / "in", tmp_path / "o.mp4")
    (tmp_path / "in/2.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"2\.png is not a picture .*; remove it from the folder"):
        check_video(config, tmp_path / "in", tmp_path / "o.mp4")


def test_pictures_that_are_not_read_are_named(tmp_path: Path) -> None:
    assert not left_out_of(tmp_path)
    assert str(no_pictures(tmp_path)).endswith("has no pictures; give a folder of pictures")
    for number in range(7):
        (tmp_path / f"IMG_{number + 5}.CR2").touch()
    for name in (".8.cr2", "notes.txt", "clip.mov"):
        (tmp_path / name).touch()
    (said,) = left_out_of(tmp_path)
    assert said == (f"{tmp_path}: left out, as their formats are not read: IMG_5.CR2, IMG_6.CR2, IMG_7.CR2, IMG_8.CR2, "
                    "IMG_9.CR2 and 2 more; save them as JPEG or PNG")
    assert str(no_pictures(tmp_path)) == said


def test_pictures_that_are_read_but_not_written_are_named_as_such(tmp_path: Path) -> None:
    Image.init()
    assert all(Image.registered_extensions()[ending] in Image.OPEN for ending in _UNWRITTEN)
    picture = Image.new("L", (32, 32), 99)
    for name in ("scan.pgm", "old.pcx", "icon.ICO"):
        picture.save(tmp_path / name)
        assert read_photo(tmp_path / name).image.shape == (32, 32, 3)
    assert left_out_of(tmp_path) == [
        f"{tmp_path}: left out, as their formats are read but not written: icon.ICO, old.pcx, scan.pgm; save them as "
        "JPEG or PNG, or give them one by one"]


def test_pictures_without_an_ending_are_named(tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "IMG_7", "JPEG")
    Image.new("L", (8, 8)).save(tmp_path / ".IMG_8", "JPEG")
    (tmp_path / "README").write_text("no picture")
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    (said,) = left_out_of(tmp_path)
    assert said == (f"{tmp_path}: left out, as their names do not end with a format: IMG_7; name them as what they are "
                    "(.jpg, .png)")
    assert "IMG_7" in str(no_pictures(tmp_path))
