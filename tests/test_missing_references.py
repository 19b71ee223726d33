"""References whose people are not in the target, or could not be swapped there, are said; --json counts everybody."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import cv2
import pytest

import inference
from examples.demo_video import write_clip
from tests.conftest import Call
from utils import errors
from utils.inference.config import InferenceConfig
from utils.inference.people import Person, facts_of, unused
from utils.inference.report import NO_FACE, FaceCounts, RunReport
from utils.inference.types import Visibility


def run(call: Call, photos: dict[str, str], target: Path | str, out: Path, threshold: float, *more: object) -> Any:
    """Both sources, b for the person of reference a and a for that of b; a video where the output is one."""
    kind = ["--target_video", target, "--out_video_name", out] if out.suffix == ".mp4" else \
        ["--image_to_image", "--target_image", target, "--out_image_name", out]
    return call("--source_paths", photos["b"], photos["a"], "--target_faces_paths", photos["a"], photos["b"], *kind,
                "--similarity_th", threshold, *more)


def between(call: Call, photos: dict[str, str], target: Path | str, out: Path) -> float:
    """A threshold that a passes in a target and b does not."""
    code, result, _ = run(call, photos, target, out, -1)
    own, other = (person["similarity"] for person in result["people"])
    assert code == 0 and own > other + 1e-3
    return (own + other) / 2


def said_of_b(result: dict[str, Any], photos: dict[str, str]) -> list[str]:
    return [note for note in result["notes"] if photos["b"] in note]


@pytest.fixture
def clip(photos: dict[str, str], tmp_path: Path) -> Path:
    """A video of a."""
    image = cv2.imread(photos["a"])
    assert image is not None
    write_clip(tmp_path / "clip.mp4", image, 5, (360, 360))
    return tmp_path / "clip.mp4"


@pytest.mark.parametrize("kind", ["photo", "video"])
def test_a_reference_who_is_not_there_is_said(
    call: Call, photos: dict[str, str], clip: Path, tmp_path: Path, kind: str
) -> None:
    target, out = (clip, tmp_path / "o.mp4") if kind == "video" else (photos["a"], tmp_path / "o.png")
    threshold = between(call, photos, target, out)
    code, result, said = run(call, photos, target, out, threshold)
    (note,), best = said_of_b(result, photos), result["people"][1]["similarity"]
    assert code == 0 and note in said and 0.5 < best < threshold
    before, cosine, after = note.partition(re.findall(r"0\.9\d\d(?=;)", note)[0])
    assert float(cosine) == pytest.approx(best, abs=1e-3)
    assert before == f"nobody in {target} matched reference {photos['b']} (best similarity "
    assert after == f"; --similarity_th is {threshold:g}), so source {photos['a']} was not used"
    assert result["people"][1] == {"source": photos["a"], "reference": photos["b"], "swapped": 0, "similarity": best}
    assert result["people"][0]["swapped"] == result["frames"] and result["people"][0]["reference"] == photos["a"]


def test_nobody_is_missed_where_all_are_there(call: Call, photos: dict[str, str], tmp_path: Path) -> None:
    code, result, _ = run(call, photos, photos["pair"], tmp_path / "o.png", -1)
    assert code == 0 and not said_of_b(result, photos)
    assert [person["swapped"] for person in result["people"]] == [1, 1]


def test_one_source_alone_has_no_reference(call: Call, photos: dict[str, str], tmp_path: Path) -> None:
    code, result, _ = call("--source_paths", photos["a"], "--image_to_image", "--target_image", photos["pair"],
                           "--out_image_name", tmp_path / "o.png", "--select", "all")
    assert code == 0 and result["notes"] == []
    assert result["people"] == [{"source": photos["a"], "reference": None, "swapped": 2, "similarity": None}]


def test_a_folder_misses_only_who_is_in_none_of_its_photos(
    call: Call, photos: dict[str, str], tmp_path: Path
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    shutil.copy(photos["a"], folder / "1.png")
    threshold = between(call, photos, folder, out)
    code, result, _ = run(call, photos, folder, out, threshold)
    assert code == 0 and [note.partition(" (")[0] for note in said_of_b(result, photos)] == [
        f"nobody in {folder} matched reference {photos['b']}"]
    shutil.copy(photos["nobody"], folder / "2.png")
    code, result, _ = run(call, photos, folder, out, threshold, "--no-overwrite")
    assert code == 0 and len(result["notes"]) == 2 and not said_of_b(result, photos), "1.png was not searched again"
    shutil.copy(photos["b"], folder / "3.png")
    code, result, _ = run(call, photos, folder, out, threshold)
    assert code == 0 and result["photos"] == ["1.png", "3.png"] and not said_of_b(result, photos)
    assert [person["swapped"] for person in result["people"]] == [1, 1]


def test_the_best_similarity_is_said_where_nobody_matches(
    call: Call, photos: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(photos["a"], folder / "1.png")
    shutil.copy(photos["b"], folder / "2.png")
    reference = ["--target_faces_paths", photos["a"], "--similarity_th", 1]
    target = ["--source_paths", photos["b"], "--image_to_image", "--target_image"]
    code, _, said = call(*target, photos["b"], "--out_image_name", tmp_path / "o.png", *reference)
    assert code == errors.NobodyMatchedError.exit_code and "no reference matches); the best similarity is 0." in said
    code, result, _ = call(*target, folder, "--out_image_name", tmp_path / "out", *reference, "--similarity_th", 0.9999)
    alone = said.partition("the best similarity is ")[2].partition(",")[0]
    assert code == 0 and f"the best similarity is {alone}, " in result["left_out"]["2.png"], "not of 1.png"


def report_of(*frames: FaceCounts) -> RunReport:
    report = RunReport()
    for frame in frames:
        report.count(frame)
    return report


def test_why_a_source_was_not_used() -> None:
    people = [Person("1.jpg", "A.jpg"), Person("2.jpg", "B.jpg")]
    turned, seen = FaceCounts(found=2, similarity={0: 0.7, 1: 0.2}), FaceCounts(found=1, similarity={0: 0.5, 1: 0.9})
    seen.add(Visibility(), 0)
    turned.add(Visibility(0.0, "turned too far away"), 1)
    report = report_of(seen, turned)
    assert unused(people, report, "clip.mp4", 0.4) == [
        "the person of reference B.jpg was found in clip.mp4, but never well enough to swap (1 x turned too far away), "
        "so source 2.jpg was not used"]
    assert [person["similarity"] for person in facts_of(people, report)] == [0.7, 0.9]
    assert unused(people, report_of(seen), "clip.mp4", 0.4) == [
        "whoever is like reference B.jpg in clip.mp4 (similarity 0.900) got another source, so source 2.jpg was not "
        "used"]
    assert unused([Person("1.jpg", None)], RunReport(), "clip.mp4", 0.4) == []


def test_the_last_line_says_why_faces_were_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    faces = {"found": 6, "swapped": 3, "skipped": {"too small": 1, "no reference matches": 2}}
    for skipped, rest in (
        (faces["skipped"], " (2 x no reference matches, 1 x too small)"), ({}, ""),
        ({NO_FACE: 1}, "; no face in 1 frame"),
        ({"too small": 3, NO_FACE: 15}, " (3 x too small); no face in 15 frames"),
    ):
        inference.report(InferenceConfig(), {"output": "o.png", "faces": {**faces, "skipped": skipped}})
        assert capsys.readouterr().out == f"o.png: 3 of 6 faces swapped{rest}\n"
