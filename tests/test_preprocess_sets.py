"""preprocess_vgg.py: one folder per person, sets that are moved, networks and options that change between two runs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from preprocess_vgg import main
from tests.test_preprocess import IMAGES, rows, write_keypoints, write_photos
from utils import registry
from utils.errors import INTERRUPTED, GhostError, InputError, NoFaceInTargetError, OptionError, WeightsError
from utils.io.image import read_photo
from utils.preprocess import models, report, work
from utils.preprocess.config import PreprocessConfig
from utils.preprocess.photos import list_units
from utils.preprocess.records import Journal, Record

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Preprocess `photos` into out/ by one process; returns the exit code and what was said to stderr."""

    def once(photos: Path, *options: str) -> tuple[int, str]:
        argv = ["--path_to_dataset", str(photos), "--save_path", str(tmp_path / "out"), "--workers", "1", *options]
        return main(argv), capsys.readouterr().err

    return once


@pytest.fixture
def person(tmp_path: Path, random_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A set of one photo with a face, and a weights folder of its own."""
    monkeypatch.setenv("GHOST_WEIGHTS", str(shutil.copytree(random_weights, tmp_path / "weights")))
    (tmp_path / "in/anna").mkdir(parents=True)
    shutil.copy(IMAGES / "portrait.jpg", tmp_path / "in/anna/1.jpg")
    return tmp_path / "in"


def written(tmp_path: Path) -> dict[str, Any]:
    return json.loads((tmp_path / "out" / report.REPORT).read_text())


@pytest.mark.parametrize(("given", "named"), [
    ("data", "data/train"), ("", "data/train"), ("above", "above/VGG-Face2/data/train"),
])
def test_people_below_a_persons_folder_are_refused_with_the_folder_to_give(
    tmp_path: Path, run: Run, given: str, named: str
) -> None:
    root = tmp_path / "in" / ("above/VGG-Face2" if given == "above" else "")
    write_photos(root, [f"data/{place}/1.jpg" for place in
                        ("train/n000002", "train/n000003", "train/n000005", "train/n000006", "test/n000001",
                         "test/n000009")])
    code, said = run(tmp_path / "in" / given)
    assert code == OptionError.exit_code and not (tmp_path / "out").exists()
    right = tmp_path / "in" / named
    assert f"{right} holds 4 folders with photos (n000002, n000003, n000005, ...)" in said
    assert f"--path_to_dataset {right}," in said
    assert [unit.photos[0].identity for unit in list_units(right)] == ["n000002", "n000003", "n000005", "n000006"]


@pytest.mark.parametrize("names", [
    ["P001/assets/1.jpg", "P001/assets/2.jpg", "P002/assets/1.jpg"],
    ["P001/1.jpg", "P001/more/2.jpg", "P002/1.jpg"],
    ["P001/1.jpg", "P001/more/2.jpg", "P001/more/still/3.jpg", "P002/1.jpg", "loose.jpg"],
    ["P001/video 1/1.jpg", "P001/video 2/1.jpg", "P002/video 1/1.jpg", "P002/video 2/1.jpg"],
])
def test_one_sub_folder_of_a_person_is_fine(tmp_path: Path, names: list[str]) -> None:
    write_photos(tmp_path, names)
    (tmp_path / "P001/without_photos").mkdir()
    for person in ("P003", "P004"):  # more than a set has parts
        write_photos(tmp_path, [f"{person}/1.jpg"])
    people = [unit for unit in list_units(tmp_path) if unit.one_person]
    assert [unit.photos[0].identity for unit in people] == ["P001", "P002", "P003", "P004"]


def test_a_set_may_be_moved(tmp_path: Path, run: Run) -> None:
    write_photos(tmp_path / "here", ["a/1.jpg", "b/1.jpg"])
    keys = write_keypoints(tmp_path / "k.csv", ["1"])
    assert run(tmp_path / "here", "--keypoints", str(keys))[0] == 0
    there = (tmp_path / "here").rename(tmp_path / "there")
    assert run(there, "--keypoints", str(keys.rename(tmp_path / "moved.csv"))) == (0, "")
    assert (written(tmp_path)["kept"], written(tmp_path)["this_run"]["photos"]) == (2, 0)


def test_another_set_goes_elsewhere(tmp_path: Path, run: Run) -> None:
    keys = write_keypoints(tmp_path / "k.csv", ["1", "2"])
    write_photos(tmp_path / "one", ["a/1.jpg"])
    write_photos(tmp_path / "other", ["b/2.jpg"])
    assert run(tmp_path / "one", "--keypoints", str(keys))[0] == 0
    code, said = run(tmp_path / "other", "--keypoints", str(keys))
    assert code == OptionError.exit_code
    assert f"holds crops of other photos: a/1.jpg, for one, is not in {tmp_path / 'other'}" in said
    assert [row["file"] for row in rows(tmp_path / "out/index.csv")] == ["a/1.jpg"]


def test_photos_of_equal_names_never_share_a_crop(tmp_path: Path, run: Run) -> None:
    """A crop is called otherwise once its photo's name comes twice, also where the two are worked on apart."""
    names = [f"p{i:02}.jpg" for i in range(20)]
    write_photos(tmp_path / "in", names)
    keys = write_keypoints(tmp_path / "k.csv", [Path(name).stem for name in names])
    assert run(tmp_path / "in", "--keypoints", str(keys))[0] == 0
    shutil.copy(tmp_path / "out/p00.jpg", tmp_path / "out/p15.jpg.jpg")  # left by a run before the last one
    cv2.imwrite(str(tmp_path / "in/p15.bmp"), np.full((224, 224, 3), 200, np.uint8))
    assert run(tmp_path / "in", "--keypoints", str(keys))[0] == 0
    crops = [row["file"] for row in rows(tmp_path / "out/index.csv")]
    assert len(set(crops)) == 21 and {"p15.bmp.jpg", "p15.jpg.jpg"} < set(crops)
    before, after, bitmap = (read_photo(tmp_path / "out" / name).image
                             for name in ("p15.jpg", "p15.jpg.jpg", "p15.bmp.jpg"))
    assert np.array_equal(after, before) and bitmap.min() > 190


def test_a_photo_that_comes_back_is_cut_again_where_another_took_its_crop(tmp_path: Path, run: Run) -> None:
    write_photos(tmp_path / "in", ["a.jpg", "b.jpg"])
    keys = write_keypoints(tmp_path / "k.csv", ["a", "b"])
    assert run(tmp_path / "in", "--keypoints", str(keys))[0] == 0
    crop = read_photo(tmp_path / "out/a.jpg").image
    away = (tmp_path / "in/a.jpg").rename(tmp_path / "away.jpg")
    cv2.imwrite(str(tmp_path / "in/a.png"), np.full((224, 224, 3), 200, np.uint8))
    assert run(tmp_path / "in", "--keypoints", str(keys))[0] == 0
    (tmp_path / "in/a.png").unlink()
    away.rename(tmp_path / "in/a.jpg")
    assert run(tmp_path / "in", "--keypoints", str(keys))[0] == 0
    assert np.array_equal(read_photo(tmp_path / "out/a.jpg").image, crop)


@pytest.mark.parametrize("name", ["a/1.jpg", *report.FILES])
def test_files_of_no_earlier_run_are_never_replaced(tmp_path: Path, run: Run, name: str) -> None:
    write_photos(tmp_path / "in", ["a/1.jpg", "a/2.jpg"])
    (tmp_path / "out/a").mkdir(parents=True)
    for others in (name, "a/mine.jpg"):
        (tmp_path / "out" / others).write_text("precious")
    keys = ["--keypoints", str(write_keypoints(tmp_path / "k.csv", ["1", "2"]))]
    before = sorted((tmp_path / "out").rglob("*"))
    code, said = run(tmp_path / "in", *keys)
    assert code == OptionError.exit_code and f"out holds {name}, which this run would replace" in said
    assert (tmp_path / "out" / name).read_text() == "precious" and sorted((tmp_path / "out").rglob("*")) == before
    (tmp_path / "out" / name).unlink()
    assert run(tmp_path / "in", *keys)[0] == 0 and (tmp_path / "out/a/mine.jpg").read_text() == "precious"


@pytest.mark.parametrize("processes", ["1", "2"])
def test_crops_of_a_run_that_was_killed_at_once_are_its_own(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, processes: str
) -> None:
    """Its options are noted before its first crop, so that the same command goes on."""
    write_photos(tmp_path / "in", ["a/1.jpg"])
    keys = ["--keypoints", str(write_keypoints(tmp_path / "k.csv", ["1"]))]

    add = Journal.add

    def killed(journal: Journal, records: list[Record]) -> None:
        if records:
            raise KeyboardInterrupt
        add(journal, records)

    monkeypatch.setattr(Journal, "add", killed)
    assert run(tmp_path / "in", *keys, "--workers", processes)[0] == INTERRUPTED
    assert (tmp_path / "out/a/1.jpg").exists()
    monkeypatch.undo()
    assert run(tmp_path / "in", *keys)[0] == 0


def test_options_that_differ_are_named_with_both_values(tmp_path: Path) -> None:
    made_with = {"size": 256, "margin": 0.0, "min_face": 96, "keypoints_sha256": None}
    with Journal(tmp_path, made_with) as journal:
        journal.add([Record("a.jpg", "a", "1-1", reason="no face found")])
    with pytest.raises(OptionError) as caught:
        Journal(tmp_path, {**made_with, "size": 128, "min_face": 40})
    assert "other options: --size 256, now 128; --min_face 96, now 40. Give" in str(caught.value)
    with pytest.raises(OptionError, match=r"options: detector not noted, now scrfd \(SHA-256 0{12}\.\.\.\)\. Give"):
        Journal(tmp_path, {**made_with, "detector": {"name": "scrfd", "sha256": "0" * 64}})


@pytest.mark.parametrize("text", ["", "[1]\n", "{}\n", '{"options": 7}\n', '{"opti'])
def test_a_strangers_records_are_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "records.jsonl").write_text(text)
    with pytest.raises(InputError, match=r"records\.jsonl: the first line holds no options; expected what preprocess"):
        Journal(tmp_path, {"size": 256})


def test_networks_are_reported_and_not_mixed(
    tmp_path: Path, person: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GHOST_WEIGHTS", str(tmp_path / "empty"))
    assert run(person)[0] == 0
    made = written(tmp_path)["models"]
    assert made["identity_encoder"] is None
    assert (made["detector"]["name"], len(made["detector"]["sha256"])) == ("centerface", 64)
    monkeypatch.setenv("GHOST_WEIGHTS", str(tmp_path / "weights"))
    code, said = run(person)
    assert code == OptionError.exit_code
    assert "other options: identity encoder none, now ghost_compact_identity (threshold 0.3, SHA-256 " in said
    assert "detector" not in said and "--size" not in said
    assert run(person, "--check_person", "False")[1].count("now") == 1, "of that option alone: no encoder either way"


def test_another_file_or_threshold_of_the_same_encoder(tmp_path: Path, person: Path, run: Run) -> None:
    assert run(person)[0] == 0
    assert run(person)[0] == 0, "the same ones go on"
    card = tmp_path / "weights/ghost_compact_identity.json"
    facts = json.loads(card.read_text())
    assert written(tmp_path)["models"]["identity_encoder"] == {
        "name": "ghost_compact_identity", "sha256": facts["sha256"], "threshold": 0.3,
    }
    card.write_text(json.dumps({**facts, "similarity_th": 0.25}))
    digits = facts["sha256"][:12]
    assert (f"identity encoder ghost_compact_identity (threshold 0.3, SHA-256 {digits}...), now ghost_compact_identity "
            f"(threshold 0.25, SHA-256 {digits}...)") in run(person)[1]
    card.write_text(json.dumps({**facts, "sha256": None}))
    weights = card.with_suffix(".safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    assert run(person)[0] == OptionError.exit_code
    del facts["similarity_th"]
    card.write_text(json.dumps({**facts, "sha256": None}))
    code, said = run(person)
    assert code == WeightsError.exit_code and "similarity_th" in said


def test_published_networks_that_came_between_two_runs(
    tmp_path: Path, person: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(person)[0] == 0
    for name in ("scrfd_10g_bnkps.onnx", "backbone.pth"):
        (tmp_path / "weights" / name).write_bytes(b"published")
    code, said = run(person)
    assert code == OptionError.exit_code
    assert "now scrfd (SHA-256 " in said and "now arcface (threshold 0.15, SHA-256 " in said
    monkeypatch.setattr(registry, "read_state", lambda path: {})
    monkeypatch.setattr(registry, "build", lambda *arguments: None)
    assert registry.load_identity("arcface").card["similarity_th"] == 0.15, "the number that is noted"


def test_no_network_is_noted_where_keypoints_are_known(tmp_path: Path) -> None:
    config = PreprocessConfig(keypoints=str(write_keypoints(tmp_path / "k.csv", ["1"])))
    assert models.models_used(config) == {"detector": None, "identity_encoder": None}


class Nobody:
    """A detector that finds no face."""

    def detect(self, image: np.ndarray, careful: bool = False) -> list[object]:
        return []


def test_a_set_without_crops_is_an_error_with_a_report(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_photos(tmp_path / "in", ["a.jpg", "b.jpg"])
    (tmp_path / "in/broken.jpg").write_bytes(b"no picture")
    monkeypatch.setattr(work, "load_detector", lambda device, threads: Nobody())
    for _ in range(2):  # a second run has nothing left to do, and the same result
        code, said = run(tmp_path / "in", "--check_person", "False", "--quiet")
        assert code == NoFaceInTargetError.exit_code == 6
        assert "none of the 3 photos in" in said and "the most frequent reason, of 2: no face found. Give" in said
    assert written(tmp_path)["refused"] == {"no face found": 2, "cannot be read": 1}
    assert cv2.imread(str(tmp_path / "out/contact_sheet.jpg")) is not None
    shutil.copy(IMAGES / "portrait.jpg", tmp_path / "in/c.jpg")
    monkeypatch.undo()
    assert run(tmp_path / "in", "--check_person", "False") == (0, ""), "the same command with a better photo"


def test_the_contact_sheet_shows_names_as_they_are(tmp_path: Path) -> None:
    def caption(name: str) -> np.ndarray:
        return report._tile(tmp_path / "nowhere.jpg", Record(name, "a", "1-1"))[report._TILE :]

    cyrillic, unknown = caption("жанна.jpg"), caption("?????.jpg")
    assert not np.array_equal(cyrillic, unknown) and not np.array_equal(cyrillic, caption("женни.jpg"))
    for strange in ("a\nb.jpg", os.fsdecode(b"a\xe9b.jpg")):
        assert np.array_equal(caption(strange), caption("a?b.jpg")), "on its own line, above the score"
    assert np.array_equal(caption(60 * "w" + "/end.jpg"), caption(70 * "w" + "/end.jpg"))
    assert np.all(caption("中" * 40)[:, -report._LEFT :] == 255)


@pytest.mark.parametrize(("reason", "failure", "advice"), [
    ("no face found", NoFaceInTargetError, "a face as a whole"),
    ("face too small: 9 pixels", NoFaceInTargetError, "--min_face"),
    ("detector unsure: score 0.1", NoFaceInTargetError, "--min_score"),
    ("another person: cosine 0", NoFaceInTargetError, "--check_person"),
    ("cannot be read: a.jpg", InputError, "JPEG"),
    ("no keypoints in the list", InputError, "--keypoints"),
])
def test_every_reason_has_its_advice(reason: str, failure: type[GhostError], advice: str) -> None:
    summary = report.Summary(4, 0, {report.kind(reason): 4}, 4, 1.0)
    with pytest.raises(failure, match=advice):
        report.check_kept(PreprocessConfig(), summary)
    report.check_kept(PreprocessConfig(), report.Summary(5, 1, {report.kind(reason): 4}, 5, 1.0))
