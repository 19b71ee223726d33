"""inference.py on photos, as people call it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT, Call, swap
from utils import errors
from utils.inference.people import identities, photos_of
from utils.inference.pipeline import load_pipeline
from utils.inference.types import Visibility
from utils.inference.visibility import visibility_of
from utils.io.frame import Frame
from utils.io.image import read_photo
from utils.io.xmp import SOURCE_TYPE


def test_real_command(photos: dict[str, str], random_weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "new folder" / "swap.jpg"
    done = subprocess.run(
        [sys.executable, str(ROOT / "inference.py"), *swap(photos["a"], photos["b"], out), "--json"],
        cwd=tmp_path, env=os.environ | {"GHOST_WEIGHTS": str(random_weights)}, capture_output=True, text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["faces"] == {"found": 1, "swapped": 1, "skipped": {}, "faded": {}}
    assert result["output"] == str(out)
    assert {"load", "read", "detect", "identify", "align", "swap", "landmarks", "mask", "blend", "write"} \
        <= set(result["seconds"])
    assert {model["role"] for model in result["models"]} == {"generator", "identity", "detector", "landmarks"}
    assert all(Path(model["file"]).is_file() and model["licence"] for model in result["models"])
    assert done.stderr.count("models: ") == 1
    before, after = read_photo(photos["b"]).image, read_photo(out).image
    assert before.shape == after.shape
    changed = np.abs(after.astype(int) - before).max(axis=2) > 30
    assert 0.02 < changed.mean() < 0.6
    assert not changed[:20].any() and not changed[-20:].any()


def test_only_the_reference_person_is_swapped(call: Call, photos: dict[str, str], tmp_path: Path) -> None:
    before = read_photo(photos["pair"]).image
    for reference, side in (("a", slice(0, 360)), ("b", slice(360, None))):
        out = tmp_path / f"{reference}.png"
        code, result, _ = call(*swap(photos["a"], photos["pair"], out, "--target_faces_paths", photos[reference],
                                     "--similarity_th", "-1"))
        assert code == 0
        assert result["faces"] == {"found": 2, "swapped": 1, "skipped": {"no reference matches": 1},
                                   "faded": {}}
        changed = (read_photo(out).image != before).any(axis=2)
        assert changed[:, side].any()
        changed[:, side] = False
        assert not changed.any()  # everything else bit for bit


@pytest.mark.parametrize(("select", "count"), [("all", 2), ("largest", 1), ("reference", 1)])
def test_select(call: Call, photos: dict[str, str], tmp_path: Path, select: str, count: int) -> None:
    code, result, _ = call(*swap(photos["a"], photos["pair"], tmp_path / "o.png", "--select", select))
    assert code == 0 and result["faces"]["found"] == 2 and result["faces"]["swapped"] == count


def test_a_photo_may_show_more_people_than_are_remembered(
    call: Call, photos: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("utils.inference.recent._MOST", 2)
    crowd = tmp_path / "crowd.png"
    cv2.imwrite(str(crowd), np.hstack([read_photo(photos[name]).image for name in ("a", "pair")]))
    code, result, said = call(*swap(photos["b"], str(crowd), tmp_path / "o.png", "--select", "all",
                                    "--identity_strength", "0.5"))
    assert code == 0 and result["faces"]["swapped"] == 3, said


def test_tiny_and_unclear_faces_fade_with_generators_that_say_nothing_of_yaw(
    call: Call, photos: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = cv2.resize(read_photo(photos["a"]).image, (56, 56), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(tmp_path / "tiny.png"), np.pad(small, ((80, 80), (80, 80), (0, 0)), "edge"))
    code, result, _ = call(*swap(photos["a"], str(tmp_path / "tiny.png"), tmp_path / "o.png"))
    assert code == 0 and result["faces"]["faded"] == {"too small": 1}
    judged = {}
    for name, guard in (("as ever", lambda *arguments: Visibility()), ("guarded", visibility_of)):
        monkeypatch.setattr("utils.inference.frames.visibility_of", guard)
        code, result, _ = call(*swap(photos["a"], photos["pair"], tmp_path / "o.png", "--select", "all"))
        assert code == 0 and result["faces"]["swapped"] == 2 and not result["faces"]["faded"]
        judged[name] = read_photo(tmp_path / "o.png").image
    assert np.array_equal(judged["as ever"], judged["guarded"]), "other faces are as they were"


def test_masks_are_the_same_in_crops_of_all_sizes(call: Call, photos: dict[str, str], tmp_path: Path) -> None:
    results = {}
    for size in ("112", "224", "448"):
        code, _, _ = call(*swap(photos["a"], photos["b"], tmp_path / "o.png", "--crop_size", size))
        results[size] = read_photo(tmp_path / "o.png").image.astype(int)
        assert code == 0
    change = np.abs(results["224"] - read_photo(photos["b"]).image).mean()
    for size, share in (("112", 0.1), ("448", 0.04)):  # landmarks are whole pixels
        assert np.abs(results[size] - results["224"]).mean() < share * change


def test_no_strength_means_no_source(call: Call, photos: dict[str, str], tmp_path: Path) -> None:
    results = {}
    for source in "ab":
        for strength in ("0", "1", "1.5"):
            out = tmp_path / f"{source}{strength}.png"
            assert call(*swap(photos[source], photos["pair"], out, "--identity_strength", strength))[0] == 0
            results[source, strength] = read_photo(out).image
    assert np.array_equal(results["a", "0"], results["b", "0"])
    assert not np.array_equal(results["a", "1"], results["b", "1"])
    assert not np.array_equal(results["b", "1"], results["b", "1.5"])


def test_two_sources_two_people(call: Call, photos: dict[str, str], tmp_path: Path) -> None:
    code, result, _ = call(
        "--source_paths", photos["b"], photos["a"], "--target_faces_paths", photos["a"], photos["b"],
        "--target_path", photos["pair"], "--image_to_image", "--out_image_name", str(tmp_path / "o.png"),
        "--similarity_th", "-1")
    assert code == 0 and result["faces"]["swapped"] == 2


def test_several_faces_in_the_source_are_said(call: Call, photos: dict[str, str], tmp_path: Path) -> None:
    code, result, said = call(*swap(photos["pair"], photos["b"], tmp_path / "o.png"))
    assert code == 0
    assert any("shows 2 faces; the most prominent one" in note for note in result["notes"])
    assert "shows 2 faces" in said
    assert re.search(r"it is --source_face_index \d of inference\.py, others", said), "evaluate.py says it, too"


def test_another_face_of_the_source_can_be_chosen(call: Call, photos: dict[str, str], tmp_path: Path) -> None:
    results = {}
    for chosen in ([], ["-1"], ["0"], ["1"]):
        given = ["--source_face_index", *chosen] if chosen else []
        code, result, _ = call(*swap(photos["pair"], photos["b"], tmp_path / "o.png", *given))
        assert code == 0 and any("shows 2 faces" in note for note in result["notes"]) != (chosen in (["0"], ["1"]))
        if not chosen:
            (usual,) = (word[1] for word in re.finditer(r"it is --source_face_index (\d)", " ".join(result["notes"])))
        results[chosen[0] if chosen else "usual"] = read_photo(tmp_path / "o.png").image
    assert np.array_equal(results["usual"], results[usual]) and np.array_equal(results["usual"], results["-1"])
    assert not np.array_equal(results["0"], results["1"])
    for numbers, message in ((["2"], "shows 2 faces; count from 0"), (["0", "1"], "for each of the 1"),
                             (["-2"], "0 or more")):
        code, _, said = call(*swap(photos["pair"], photos["b"], tmp_path / "p.png", "--source_face_index", *numbers))
        assert code == errors.OptionError.exit_code and message in said
    code, _, said = call(*swap(str(tmp_path), photos["b"], tmp_path / "p.png", "--source_face_index", "0"))
    assert code == errors.OptionError.exit_code and "is a folder; give " in said
    assert not (tmp_path / "p.png").exists()
    with pytest.raises(errors.OptionError, match="for each of the 1"):
        load_pipeline(device="cpu", source_face_index=-2).set_sources([photos["a"]])


def test_a_folder_is_one_person(call: Call, photos: dict[str, str], random_weights: Path, tmp_path: Path,
                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GHOST_WEIGHTS", str(random_weights))
    folder = tmp_path / "anna"
    folder.mkdir()
    with pytest.raises(errors.InputError, match="anna has no pictures"):
        photos_of([folder])
    for name, kind in (("1.png", "a"), ("2.png", "b"), ("10.png", "nobody")):
        shutil.copy(photos[kind], folder / name)
    assert [path.name for path in photos_of([folder, photos["a"]])] == ["1.png", "2.png", "10.png", "a.png"]
    code, result, _ = call(*swap(str(folder), photos["b"], tmp_path / "o.png", "--similarity_th", "0.98"))
    assert code == 0
    notes = " ".join(result["notes"])
    assert "no face found in" in notes and "10.png; the other photos of" in notes and "somebody else" in notes
    code, _, said = call(*swap(str(folder), photos["b"], folder / "2.png"))
    assert code == errors.OutputError.exit_code and "is a file that is read" in said
    pipeline = load_pipeline(device="cpu")
    args = ("source", errors.NoFaceInSourceError, pipeline.stages, pipeline.report)
    one, two, both = (person.z_id for person in identities([photos["a"], photos["b"], folder], *args))
    direction = one / np.linalg.norm(one) + two / np.linalg.norm(two)
    length = (np.linalg.norm(one) + np.linalg.norm(two)) / 2
    assert np.allclose(both, direction / np.linalg.norm(direction) * length, rtol=1e-4, atol=1e-5)
    for name in ("1.png", "2.png"):
        (folder / name).unlink()
    with pytest.raises(errors.NoFaceInSourceError, match="anna"):
        identities([folder], *args)


def test_damaged_photos_of_a_folder_are_left_out(call: Call, photos: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "anna"
    folder.mkdir()
    (folder / "1.jpg").write_bytes(b"\xff\xd8\xff no more")
    (folder / "2.png").touch()
    code, _, said = call(*swap(str(folder), photos["b"], tmp_path / "o.png"))
    assert code == errors.InputError.exit_code and f"none of the 2 pictures of {folder} can be read: " in said
    shutil.copy(photos["nobody"], folder / "3.png")
    code, _, said = call(*swap(str(folder), photos["b"], tmp_path / "o.png"))
    assert code == errors.NoFaceInSourceError.exit_code and "anna, of whose pictures 2 cannot be read; give" in said
    shutil.copy(photos["a"], folder / "4.png")
    for given in ([], ["--target_faces_paths", str(folder), "--similarity_th", "-1"]):
        code, result, _ = call(*swap(str(folder), photos["b"], tmp_path / "o.png", *given))
        notes = [note for note in result["notes"] if note.endswith(f"; the other photos of {folder} are used")]
        assert code == 0
        for name, why in (("1.jpg", "is not a picture"), ("2.png", "is empty"), ("3.png", "no face found in")):
            assert any(str(folder / name) in note and why in note for note in notes), name
    target = ["--target_image", photos["b"], "--image_to_image", "--out_image_name", str(tmp_path / "p.png")]
    for name in ("1.jpg", "2.png"):
        code, _, said = call("--source_paths", photos["a"], folder / name, "--target_faces_paths", photos["a"],
                             photos["b"], *target)
        assert code == errors.InputError.exit_code and f"{folder / name} is " in said


def test_a_small_source_is_said(call: Call, photos: dict[str, str], tmp_path: Path) -> None:
    image = cv2.imread(photos["a"])
    cv2.imwrite(str(tmp_path / "small.png"), cv2.resize(image, (96, 96), interpolation=cv2.INTER_AREA))
    code, result, said = call(*swap(str(tmp_path / "small.png"), photos["b"], tmp_path / "o.png"))
    assert code == 0 and any("pixels between the eyes" in note for note in result["notes"])
    assert "small.png has" in said
    assert not call(*swap(photos["a"], photos["b"], tmp_path / "o.png"))[1]["notes"]
    reference = ("--target_faces_paths", str(tmp_path / "small.png"), "--similarity_th", "-1")
    (note,) = call(*swap(photos["a"], photos["b"], tmp_path / "o.png", *reference))[1]["notes"]
    assert "small.png" not in note


@pytest.mark.parametrize(("threshold", "said"), [("0.15", True), ("0.25", False), (None, False)])
def test_a_threshold_that_lets_strangers_in_is_said(
    call: Call, photos: dict[str, str], tmp_path: Path, threshold: str | None, said: bool
) -> None:
    given = ["--similarity_th", threshold] if threshold else []
    reference = ["--target_faces_paths", photos["b"]]
    code, result, _ = call(*swap(photos["a"], photos["b"], tmp_path / "o.png", *given, *reference))
    note = "--similarity_th 0.15 is far below 0.3, the threshold that ghost_compact_identity was measured at; " \
           "strangers may be taken for the person"
    assert code == 0 and result["notes"] == [note] * said
    assert call(*swap(photos["a"], photos["b"], tmp_path / "o.png", *given))[1]["notes"] == []  # asks nobody


def test_alpha_and_16_bits_survive(call: Call, photos: dict[str, str], tmp_path: Path) -> None:
    image = read_photo(photos["b"]).image.astype(np.uint16) * 257
    alpha = np.tile(np.linspace(0, 65535, 360).astype(np.uint16), (360, 1))
    cv2.imwrite(str(tmp_path / "deep.png"), np.dstack([image, alpha]))
    code, _, _ = call(*swap(photos["a"], str(tmp_path / "deep.png"), tmp_path / "o.tif"))
    result = read_photo(tmp_path / "o.tif")
    assert code == 0 and result.image.dtype == np.uint16
    assert result.alpha is not None and np.array_equal(result.alpha, alpha)
    assert np.array_equal(result.image[:20], image[:20]) and (result.image != image).any()
    assert SOURCE_TYPE.encode() in (tmp_path / "o.tif").read_bytes()


def test_what_the_camera_says_survives(call: Call, photos: dict[str, str], tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[271], exif[34665] = "Camera & Co", {36867: "2020:02:03 04:05:06"}
    Image.open(photos["b"]).save(tmp_path / "in.jpg", exif=exif, dpi=(300, 300))
    assert call(*swap(photos["a"], str(tmp_path / "in.jpg"), tmp_path / "o.jpg"))[0] == 0
    with Image.open(tmp_path / "o.jpg") as result:
        said = result.getexif()
        assert result.info["dpi"] == (300, 300) and said[271] == "Camera & Co"
        assert said.get_ifd(34665)[36867] == "2020:02:03 04:05:06"


def test_five_lines_of_python(photos: dict[str, str], random_weights: Path, tmp_path: Path,
                              monkeypatch: pytest.MonkeyPatch) -> None:
    from utils.inference.pipeline import load_pipeline

    monkeypatch.setenv("GHOST_WEIGHTS", str(random_weights))
    pipeline = load_pipeline(device="cpu")
    for name in ("first.png", "second.png"):
        result = pipeline.swap_photo(photos["a"], photos["b"], tmp_path / name)
        assert result["faces"]["swapped"] == 1 and result["frames"] == 1
        assert ("load" in result["seconds"]) == (name == "first.png")
    assert np.array_equal(read_photo(tmp_path / "first.png").image, read_photo(tmp_path / "second.png").image)


@pytest.mark.parametrize(("options", "words"), [
    ({"select": "everybody"}, "--select"), ({"batch_size": 0}, "--batch_size"), ({"num_blocks": 4}, "--num_blocks"),
    ({"device": "tpu"}, "--device"), ({"select": "all", "target_faces_paths": ["a.png"]}, "--select all"),
])
def test_python_refuses_the_same_values(options: dict, words: str) -> None:
    from utils.inference.pipeline import load_pipeline

    with pytest.raises(errors.OptionError, match=words):
        load_pipeline(**options)


def test_python_refuses_references_without_effect(photos: dict[str, str], random_weights: Path, tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    from utils.inference.pipeline import load_pipeline

    monkeypatch.setenv("GHOST_WEIGHTS", str(random_weights))
    pipeline = load_pipeline(device="cpu", select="all")
    with pytest.raises(errors.OptionError, match="--select all"):
        pipeline.swap_photo(photos["a"], photos["b"], tmp_path / "o.png", [photos["b"]])


def test_a_swap_of_which_nothing_shows_is_none(call: Call, photos: dict[str, str], tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utils.inference.track_masks.mask.draw", lambda *_: np.zeros((224, 224), np.float32))
    code, found, said = call(*swap(photos["a"], photos["b"], tmp_path / "o.png"))
    assert code == found["exit_code"] == errors.NobodyMatchedError.exit_code and not (tmp_path / "o.png").exists()
    assert "1 x its mask is empty or outside the picture" in said


@pytest.mark.parametrize("kind", [str, Path])
def test_one_path_alone_is_one_person(kind: type, photos: dict[str, str], random_weights: Path, tmp_path: Path,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GHOST_WEIGHTS", str(random_weights))
    pipeline = load_pipeline(device="cpu")
    a, b, pair = (kind(photos[name]) for name in ("a", "b", "pair"))
    result = pipeline.swap_photo(a, pair, tmp_path / "o.png", b)
    assert result["faces"]["found"] == 2 and result["faces"]["swapped"] == 1
    (tmp_path / "in").mkdir()
    shutil.copy(pair, tmp_path / "in")
    assert pipeline.swap_photos(a, tmp_path / "in", tmp_path / "out", b)["faces"]["swapped"] == 1
    pipeline.set_sources(a, b)
    (alone,) = pipeline.run([Frame(read_photo(pair).image)])
    assert alone.report.swapped == 1
    given: list[object] = []
    monkeypatch.setattr("utils.inference.video.swap_video", lambda *arguments: given.extend(arguments))
    pipeline.swap_video(a, "clip.mp4", "o.mp4", b)
    assert given[1:] == [[a], "clip.mp4", "o.mp4", [b]]
