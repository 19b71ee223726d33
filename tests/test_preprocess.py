"""preprocess_vgg.py: choice of faces, restart, report, broken files."""

from __future__ import annotations

import csv
import json
import os
import unicodedata
from contextlib import suppress
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
import pytest

from preprocess_vgg import main
from utils.errors import InputError, OptionError
from utils.inference.align import TEMPLATES
from utils.inference.types import Face
from utils.io.image import read_photo
from utils.preprocess import choose, work
from utils.preprocess.config import PreprocessConfig, parse
from utils.preprocess.photos import _stems, list_units, read_keypoints
from utils.preprocess.records import Journal, Record
from utils.preprocess.report import kind

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "examples" / "images"
COLUMNS = [f"kp{i}_{axis}" for i in range(1, 6) for axis in "xy"]
FRONTAL = TEMPLATES[2]  # pixels of a 224 crop


def face(scale: float = 1.0, shift: tuple[float, float] = (0, 0), score: float = 0.9) -> Face:
    kps = (FRONTAL * scale + shift).astype(np.float32)
    return Face(np.concatenate([kps.min(axis=0), kps.max(axis=0)]), score, kps)


def unit(*numbers: float) -> np.ndarray:
    vector = np.array(numbers, np.float64)
    return vector / np.linalg.norm(vector)


def write_photos(folder: Path, names: list[str]) -> None:
    """Pictures of noise, each another."""
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(i).integers(0, 255, (224, 224, 3), np.uint8)
        cv2.imwrite(str(folder / name), cv2.GaussianBlur(noise, (0, 0), 6))


def write_keypoints(path: Path, names: list[str]) -> Path:
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(["id", *COLUMNS])
        writer.writerows([name, *FRONTAL.flatten()] for name in names)
    return path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def test_face_side_and_refusals() -> None:
    assert choose.face_side(face(0.5).kps) == pytest.approx(112)
    assert choose.refusal(face(1.0), 96, 0.6) == ""
    assert choose.refusal(face(0.25), 96, 0.6) == "face too small: 56 pixels, asked for 96"
    assert choose.refusal(face(score=0.5), 96, 0.6) == "detector unsure: score 0.50, asked for 0.6"
    assert kind("face too small: 56 pixels, asked for 96") == "face too small"


def test_the_person_of_a_folder_is_who_the_photos_agree_on() -> None:
    """A bystander is larger in two of four photos, and alone in the fifth."""
    person, bystander, other = unit(1, 0.1, 0), unit(0, 1, 0.1), unit(0.1, 0, 1)
    photos = [np.stack(faces) for faces in
              ([bystander, person], [person], [other, person], [person], [bystander])]
    chosen, agreement = choose.agreeing(photos)
    assert chosen == [1, 0, 1, 0, 0]
    assert agreement[:4].min() > 0.8
    assert agreement[4] < 0.4


def test_a_face_does_not_vouch_for_itself() -> None:
    _, agreement = choose.agreeing([np.stack([unit(*numbers)]) for numbers in ((1, 0), (1, 0), (0, 1))])
    np.testing.assert_allclose(agreement, [1 / np.sqrt(2), 1 / np.sqrt(2), 0], atol=1e-9)


def test_photos_without_faces_have_no_say() -> None:
    chosen, agreement = choose.agreeing([np.zeros((0, 1)), np.stack([unit(1, 0)])])
    assert chosen == [0, 0]
    assert np.isnan(agreement[0])
    assert choose.agreeing([np.zeros((0, 1))])[0] == [0]


class TwoFaces:
    """A detector that finds a large face and a small one."""

    def detect(self, image: np.ndarray, careful: bool = False) -> list[Face]:
        return [face(0.5), face(0.45, (110, 110), score=0.8)]


class ByPlace:
    """An identity encoder to which the small face is the same person everywhere, the large one always another."""

    calls = 0

    def embed(self, image: np.ndarray, faces: list[Face]) -> np.ndarray:
        self.calls += 1
        person = 9 if image.mean() < 50 else 0  # somebody else in dark pictures
        return np.eye(10)[[person if f.score < 0.9 else self.calls for f in faces]]


def test_worker_keeps_the_person_and_refuses_strangers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_photos(tmp_path / "in", [f"anna/{i}.jpg" for i in range(4)])
    cv2.imwrite(str(tmp_path / "in/anna/stranger.jpg"), np.zeros((224, 224, 3), np.uint8))
    (tmp_path / "in/anna/zz_broken.jpg").write_bytes((tmp_path / "in/anna/0.jpg").read_bytes()[:900])
    monkeypatch.setattr(work, "load_detector", lambda device, threads: TwoFaces())
    monkeypatch.setattr(work, "load_identifier", lambda device, threads: (ByPlace(), 0.3))
    config = PreprocessConfig(path_to_dataset=str(tmp_path / "in"), save_path=str(tmp_path / "out"), size=64)
    (found,) = list_units(tmp_path / "in")
    records = work.Worker(config)(found)
    assert [bool(record.crop) for record in records] == [True] * 4 + [False] * 2
    assert records[4].reason.startswith("another person: cosine")
    assert records[5].reason.startswith("cannot be read")
    assert [record.score for record in records[:4]] == [0.8] * 4  # the small face, though the large one is prominent
    assert not (tmp_path / "out/anna/stranger.jpg").exists()


def test_layouts(tmp_path: Path) -> None:
    names = ["n01/a.jpg", "n01/b.png", "n02/deep/c.jpg", "loose.jpg", ".hidden.jpg", "same.jpg", "same.jpg.bmp",
             "same.png"]
    write_photos(tmp_path, names)
    units = list_units(tmp_path)
    assert [(u.one_person, [p.identity for p in u.photos]) for u in units] == [
        (True, ["n01", "n01"]), (True, ["n02"]), (False, ["loose", "same", "same.jpg", "same"]),
    ]
    assert [photo.stem for photo in units[2].photos] == ["loose", "same.jpg", "same.jpg.bmp", "same.png"]
    with pytest.raises(InputError, match="no such folder"):
        list_units(tmp_path / "nowhere")


def test_names_that_some_systems_take_for_one_have_crops_of_their_own() -> None:
    groups = (["img_1.jpg", "IMG_1.png"], ["n1/a.jpg", "n1/A.jpg", "N1/a.JPG"], ["caf\u00e9.jpg", "cafe\u0301.png"],
              ["b.jpg", "B.JPG.bmp"])
    stems = _stems([Path(name) for name in [*chain(*groups), "alone.jpg", "n1/Alone.jpg"]])
    assert [stems[Path(name)] for name in groups[0]] == groups[0], "their endings tell them apart"
    assert [stems[Path(name)] for name in ("alone.jpg", "n1/Alone.jpg")] == ["alone", "n1/Alone"]
    folded = {unicodedata.normalize("NFD", stem).casefold() for stem in stems.values()}
    assert len(folded) == len(stems) == 11


def test_keypoints_file_is_checked(tmp_path: Path) -> None:
    path = write_keypoints(tmp_path / "k.csv", ["a"])
    np.testing.assert_allclose(read_keypoints(path)["a"][0], FRONTAL, rtol=1e-6)
    path.write_text(path.read_text().replace("kp3_x", "nose"))
    with pytest.raises(InputError, match="kp3_x"):
        read_keypoints(path)
    path.write_text(",".join(["id", *COLUMNS]) + "\na,1,2,3,4,5,6,7,8,9,x\n")
    with pytest.raises(InputError, match="line 2, id a: not the keypoints"):
        read_keypoints(path)
    for numbers in ("1," * 9 + "1", "nan,2,3,4,5,6,7,8,9,10"):
        path.write_text(",".join(["id", *COLUMNS]) + f"\na,{numbers}\n")
        with pytest.raises(InputError, match="id a: not the keypoints"):
            read_keypoints(path)
    with pytest.raises(InputError, match="line 3, id a: this id came before"):
        read_keypoints(write_keypoints(path, ["a", "a"]))


def test_keypoints_of_equal_names_in_two_folders(tmp_path: Path) -> None:
    write_photos(tmp_path / "in", ["a/1.jpg", "b/1.jpg"])
    keys = write_keypoints(tmp_path / "k.csv", ["a/1", "b/1"])
    keys.write_text(keys.read_text().replace(f"b/1,{FRONTAL[0, 0]}", f"b/1,{FRONTAL[0, 0] + 9}"))
    argv = ["--path_to_dataset", str(tmp_path / "in"), "--save_path", str(tmp_path / "out"), "--keypoints", str(keys),
            "--workers", "1", "--quiet"]
    assert main(argv) == 0
    one, other = ((float(row["kp1_x"]), float(row["kp2_x"])) for row in rows(tmp_path / "out/index.csv"))
    assert abs((one[1] - one[0]) - (other[1] - other[0])) > 2


@pytest.mark.parametrize("inside", ["", "crops"])
def test_photos_are_not_replaced_by_their_crops(
    tmp_path: Path, inside: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_photos(tmp_path, ["a/1.jpg"])
    before = (tmp_path / "a/1.jpg").read_bytes()
    argv = ["--path_to_dataset", str(tmp_path), "--save_path", str(tmp_path / inside), "--workers", "1"]
    assert main(argv) == OptionError.exit_code
    assert "--save_path" in capsys.readouterr().err and (tmp_path / "a/1.jpg").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_crops_index_and_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_photos(tmp_path / "in", ["a.jpg", "b.jpg", "nokeys.jpg"])
    (tmp_path / "in/broken.jpg").write_bytes(b"no picture")
    (tmp_path / "in/cut.jpg").write_bytes((tmp_path / "in/a.jpg").read_bytes()[:900])
    (tmp_path / "in/empty.jpg").touch()
    keys = write_keypoints(tmp_path / "k.csv", ["a", "b", "broken", "cut", "empty"])
    argv = ["--path_to_dataset", str(tmp_path / "in"), "--save_path", str(tmp_path / "out"), "--keypoints", str(keys),
            "--size", "112", "--margin", "0.25", "--format", "png", "--workers", "1"]
    assert main(argv) == 0
    listed = rows(tmp_path / "out/index.csv")
    assert [row["file"] for row in listed] == ["a.png", "b.png"]
    kps = np.array([float(listed[0][name]) for name in COLUMNS]).reshape(5, 2)
    np.testing.assert_allclose(kps, FRONTAL / 2 - 0.25 + 28, atol=2e-3)  # pixel centres, then the border
    assert listed[0]["margin"] == "28"
    crop, photo = read_photo(tmp_path / "out/a.png").image, read_photo(tmp_path / "in/a.jpg").image
    assert crop.shape == (168, 168, 3)
    inside = cv2.resize(photo, (112, 112), interpolation=cv2.INTER_AREA)
    assert np.abs(crop[28:-28, 28:-28].astype(int) - inside).mean() < 3
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert (report["photos"], report["kept"]) == (6, 2)
    assert report["refused"] == {"cannot be read": 3, "no keypoints in the list": 1}
    assert cv2.imread(str(tmp_path / "out/contact_sheet.jpg")) is not None
    assert "2 of 6 photos kept" in capsys.readouterr().out


def test_restart_skips_what_is_done_and_redoes_what_changed(tmp_path: Path) -> None:
    write_photos(tmp_path / "in", ["a/1.jpg", "b/1.jpg", "c/1.jpg"])
    keys = write_keypoints(tmp_path / "k.csv", ["1"])
    argv = ["--path_to_dataset", str(tmp_path / "in"), "--save_path", str(tmp_path / "out"), "--keypoints", str(keys),
            "--workers", "1", "--quiet"]
    assert main(argv) == 0
    for name in "abc":
        os.utime(tmp_path / "out" / name / "1.jpg", ns=(0, 0))
    (tmp_path / "out/b/1.jpg").unlink()
    write_photos(tmp_path / "in", ["skipped.txt.jpg", "c/1.jpg"])
    assert main(argv) == 0
    after = {name: (tmp_path / "out" / name / "1.jpg").stat().st_mtime_ns for name in "abc"}
    assert after["a"] == 0 and after["b"] and after["c"]
    assert json.loads((tmp_path / "out/report.json").read_text())["this_run"]["photos"] == 3


def test_other_options_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Journal(tmp_path, {"size": 256}) as journal:
        journal.add([Record("a.jpg", "a", "1-1", reason="no face found")])
    assert Journal(tmp_path, {"size": 256}).records["a.jpg"].reason == "no face found"
    with pytest.raises(OptionError, match="other options"):
        Journal(tmp_path, {"size": 128})
    assert main(["--size", "7"]) == OptionError.exit_code
    assert main(["--path_to_dataset", str(tmp_path / "nowhere")]) == InputError.exit_code
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.parametrize("workers", [1, 2])
def test_a_mistake_is_said_and_the_corrected_command_works(
    tmp_path: Path, workers: int, capfd: pytest.CaptureFixture[str]
) -> None:
    write_photos(tmp_path / "in", ["a/1.jpg"])
    argv = ["--path_to_dataset", str(tmp_path / "in"), "--save_path", str(tmp_path / "out"), "--quiet"]
    keys = tmp_path / "k.csv"
    keys.write_text("id,nose\n")
    assert main([*argv, "--workers", str(workers), "--keypoints", str(keys)]) == InputError.exit_code
    said = capfd.readouterr().err
    assert str(keys) in said and "Traceback" not in said and said.count("error: ") == 1
    write_keypoints(keys, ["1", "other"])
    assert main([*argv, "--workers", "1", "--keypoints", str(keys)]) == 0
    write_keypoints(keys, ["1"])
    assert main([*argv, "--workers", "1", "--keypoints", str(keys)]) == OptionError.exit_code, "other keypoints now"
    assert "SHA-256 of --keypoints" in capfd.readouterr().err
    keys.unlink()
    assert main([*argv, "--workers", "1", "--keypoints", str(keys)]) == InputError.exit_code
    assert f"cannot read {keys}" in capfd.readouterr().err


def test_odd_entries_of_a_data_set(tmp_path: Path) -> None:
    write_photos(tmp_path / "in", ["a.jpg"])
    (tmp_path / "in" / "lost.jpg").symlink_to(tmp_path / "nowhere.jpg")
    with suppress(OSError):  # macOS takes no names that are no text
        (tmp_path / "in" / os.fsdecode(b"caf\xe9.jpg")).write_bytes((tmp_path / "in" / "a.jpg").read_bytes())
    keys = write_keypoints(tmp_path / "k.csv", ["a", os.fsdecode(b"caf\xe9")])
    keys.write_bytes(b"\xef\xbb\xbf" + keys.read_bytes())
    argv = ["--path_to_dataset", str(tmp_path / "in"), "--save_path", str(tmp_path / "out"), "--keypoints", str(keys),
            "--workers", "1", "--quiet"]
    assert main(argv) == 0
    again = ["--path_to_dataset", str(tmp_path / "out"), "--save_path", str(tmp_path / "again"), *argv[4:]]
    assert main(again) == 0 and not (tmp_path / "again" / "contact_sheet.png").exists()
    report = json.loads((tmp_path / "again" / "report.json").read_text())
    assert report["photos"] == len([path for path in (tmp_path / "out").glob("*.jpg") if path.stem != "contact_sheet"])


def test_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utils.device.cores", lambda: 96)
    assert parse([]).processes == 96 and parse(["--workers", "3"]).processes == 3
    monkeypatch.setattr("sys.platform", "win32")
    assert parse([]).processes == parse(["--workers", "70"]).processes == 61


def test_a_line_cut_short_is_done_again(tmp_path: Path) -> None:
    with Journal(tmp_path, {}) as journal:
        journal.add([Record("a.jpg", "a", "1-1"), Record("b.jpg", "b", "1-1")])
    path = tmp_path / "records.jsonl"
    path.write_text(path.read_text()[:-20])
    with Journal(tmp_path, {}) as journal:
        assert list(journal.records) == ["a.jpg"]
        journal.add([Record("c.jpg", "c", "1-1")])
    assert list(Journal(tmp_path, {}).records) == ["a.jpg", "c.jpg"]


def test_real_faces_by_the_embedded_detector(
    tmp_path: Path, random_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GHOST_WEIGHTS", str(random_weights))
    (tmp_path / "in").mkdir()
    for name in ("portrait.jpg", "group.jpg"):
        (tmp_path / "in" / name).write_bytes((IMAGES / name).read_bytes())
    write_photos(tmp_path / "in", ["noface.jpg"])
    argv = ["--path_to_dataset", str(tmp_path / "in"), "--save_path", str(tmp_path / "out"), "--workers", "1"]
    assert main(argv) == 0
    listed = {row["file"]: row for row in rows(tmp_path / "out/index.csv")}
    assert set(listed) == {"portrait.jpg", "group.jpg"}
    kps = np.array([float(listed["portrait.jpg"][name]) for name in COLUMNS]).reshape(5, 2)
    assert np.abs(kps - FRONTAL * 256 / 224).max() < 12
