"""What evaluate.py does with photos and pairs that cannot be measured, and with places that cannot be written."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any, NoReturn

import cv2
import numpy as np
import pytest
import torch

from evaluate import main
from tests.heads import face
from tests.test_evaluation import COLOURS, Colours, Fixed, Means
from utils.errors import (
    GhostError,
    InputError,
    NobodyMatchedError,
    NoFaceInSourceError,
    NoFaceInTargetError,
    OutputError,
    ResourceError,
)
from utils.evaluation import session, sheet
from utils.evaluation.config import parse
from utils.evaluation.measures import Case
from utils.evaluation.people import LabelledPhoto
from utils.evaluation.run import Album, Evaluation, Gallery, Portrait, Swap

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "images"
RED, BLUE = LabelledPhoto(Path("red.png"), "anna"), LabelledPhoto(Path("blue.png"), "ben")
BLACK, BROKEN = LabelledPhoto(Path("black.png"), "anna"), LabelledPhoto(Path("broken.png"), "anna")


def read(photo: LabelledPhoto) -> np.ndarray:
    """A picture of one colour; faces are seen in all but the black one."""
    if photo == BROKEN:
        raise InputError(f"{photo.path} is damaged")
    return np.full((200, 200, 3), COLOURS[photo.path.stem], np.uint8)


def evaluation(swap: Swap, landmarker: Any = None) -> Evaluation:
    album = Album(read, Fixed())
    gallery = Gallery(session._first_of_each(album, [[BLACK, BROKEN, RED], [BLUE]]), [Colours()])
    return Evaluation(swap, album, gallery, landmarker or Fixed())


def source_of(source: Portrait, target: Portrait) -> np.ndarray:
    return source.image


def raising(error: Exception) -> Swap:
    def swap(source: Portrait, target: Portrait) -> NoReturn:
        raise error

    return swap


def test_the_gallery_takes_the_first_photo_with_a_face_and_no_photo_stops_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    measured = evaluation(source_of)
    pairs = [(RED, BLUE), (BROKEN, BLUE), (BLUE, BROKEN), (BLUE, BLACK)]
    cases = list(measured.cases(pairs))
    assert [type(case.error) for case in cases] == [type(None), InputError, InputError, NoFaceInTargetError]
    assert cases[0].identity["colours"].to_source == 0, "of the red photo, the first one of anna's with a face"
    assert "damaged" in cases[1].as_dict()["failure"]
    assert len(list(measured.self_swaps([BROKEN, BLACK, RED]))) == 1
    assert len(caplog.messages) == 2, "one warning for each photo, not one for each use"


@pytest.mark.parametrize("error", [NoFaceInSourceError("x"), NobodyMatchedError("x"), InputError("x")])
def test_a_refused_swap_is_a_failed_case(error: GhostError, caplog: pytest.LogCaptureFixture) -> None:
    (case,) = evaluation(raising(error)).cases([(RED, BLUE)])
    assert type(case.error) is type(error)
    assert "red.png into blue.png: x" in caplog.messages


@pytest.mark.parametrize("error", [ValueError("x"), ResourceError("x")])
def test_a_fault_of_program_or_machine_is_no_failed_case(error: Exception) -> None:
    measured = evaluation(raising(error))
    with pytest.raises(type(error)):
        list(measured.cases([(RED, BLUE)]))
    with pytest.raises(type(error)):
        list(measured.self_swaps([RED]))


class Lost(Fixed):
    """Landmarks that coincide in one place, or lie outside of the picture."""

    def __init__(self, landmarks: np.ndarray) -> None:
        self._landmarks = landmarks

    def find(self, image: np.ndarray, kps: np.ndarray) -> np.ndarray:
        return self._landmarks


def test_landmarks_that_fit_no_face_leave_nothing_half_measured(caplog: pytest.LogCaptureFixture) -> None:
    (case,) = evaluation(source_of, Lost(np.zeros((106, 2)))).cases([(RED, BLUE)])
    assert "no head" in case.failure and not case.identity and not case.attributes
    assert list(evaluation(source_of, Lost(face() + 1000)).self_swaps([RED])) == []
    assert "outside of the picture" in caplog.text


def test_what_all_pairs_have_in_common_is_the_error() -> None:
    failed = [Case(Path("a"), Path("b"), error=kind("the reason")) for kind in (InputError, NobodyMatchedError)]
    assert type(session._nothing_measured(failed[:1])) is InputError
    different = session._nothing_measured(failed)
    assert type(different) is NoFaceInTargetError
    assert "none of 2 pairs" in str(different) and "the reason" in str(different)


def test_the_notes_name_what_is_left_out_up_to_a_number() -> None:
    def last(count: int) -> str:
        reasons = [f"{i}.jpg: no face found" for i in range(count)]
        return session._notes([], {"models": [], "gallery": 0, "left_out": reasons})[-1]

    assert last(0) == "0 of 0 pairs swapped; 0 people in the gallery."
    assert last(2) == "Photos left out: 0.jpg: no face found; 1.jpg: no face found."
    assert last(12).endswith("9.jpg: no face found; and 2 more.")


def test_openpeople_take_as_many_pairs_as_are_asked_for() -> None:
    pytest.importorskip("openpeople")
    counts = {"--openpeople studio": 20, "--openpeople studio --pairs 0": 20, "--openpeople studio --pairs 3": 3,
              "--faces openpeople:studio --pairs 0": 90}
    assert {line: len(session.choose_cast(parse(line.split())).pairs) for line in counts} == counts


@pytest.fixture
def argv(tmp_path: Path, random_weights: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Options for a quick evaluation of `tmp_path`/faces, which holds nobody yet."""
    monkeypatch.setenv("GHOST_WEIGHTS", str(random_weights))
    (tmp_path / "faces").mkdir()
    return ["--faces", str(tmp_path / "faces"), "--recogniser", "embedded", "--self_swaps", "1", "--pairs", "0",
            "--device", "cpu", "--sheet_rows", "1", "--out", str(tmp_path / "out")]


def put(folder: Path, name: str, kind: str) -> None:
    """A picture: grey, cut short, or an example by its name."""
    grey = cv2.imencode(".png", np.full((90, 90, 3), 128, np.uint8))[1].tobytes()
    example = (EXAMPLES / (kind if kind.endswith(".jpg") else "portrait.jpg")).read_bytes()
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes({"grey": grey, "broken": example[: len(example) // 3]}.get(kind, example))


def test_one_bad_photo_does_not_end_an_evaluation(
    tmp_path: Path, argv: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    faces, out, drawn = tmp_path / "faces", tmp_path / "out", []
    photos = (("anna/1.png", "grey"), ("anna/2.jpg", "portrait.jpg"), ("ben/1.jpg", "portrait_2.jpg"))
    for name, kind in (*photos, ("loose.jpg", "broken")):
        put(faces, name, kind)
    write = sheet.write

    def write_last(path: Path, rows: list[np.ndarray]) -> None:
        assert (out / "metrics.json").is_file() and (out / "table.md").is_file()
        drawn.append(path)
        write(path, rows)

    monkeypatch.setattr(sheet, "write", write_last)
    with caplog.at_level(logging.WARNING):
        assert main(argv) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["gallery"] == 2
    assert sum("failure" not in case for case in metrics["cases"]) == 2
    assert f"2 of {len(metrics['cases'])} pairs swapped; 2 people in the gallery." in (out / "table.md").read_text()
    assert len(metrics["left_out"]) == 2 and "loose.jpg is damaged" in (out / "table.md").read_text()
    assert caplog.text.count("loose.jpg is damaged") == 1
    assert drawn == [out / "sheet.png"] and (out / "sheet.png").is_file()


@pytest.mark.parametrize(("kind", "error"), [("grey", NoFaceInTargetError), ("broken", InputError)])
def test_nothing_measured_is_an_error_and_no_report(
    tmp_path: Path, argv: list[str], capsys: pytest.CaptureFixture[str], kind: str, error: type[GhostError]
) -> None:
    put(tmp_path / "faces", "1.png", kind)
    put(tmp_path / "faces", "2.png", kind)
    assert main(argv) == error.exit_code
    assert "none of 2 pairs could be swapped and measured" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("pairs", [1, 2])
def test_one_swap_alone_has_no_fid(
    tmp_path: Path, argv: list[str], pairs: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    made: list[Path] = []
    swap = session.PipelineSwap.__call__

    def counting(swapping: session.PipelineSwap, source: Portrait, target: Portrait) -> np.ndarray:
        made.append(target.photo.path)
        return swap(swapping, source, target)

    monkeypatch.setattr(session.PipelineSwap, "__call__", counting)
    torch.jit.script(Means()).save(str(tmp_path / "means.pt"))
    for name in ("portrait.jpg", "portrait_2.jpg"):
        put(tmp_path / "faces", name, name)
    assert main([*argv, "--pairs", str(pairs), "--sheet_rows", "0", "--fid_network", str(tmp_path / "means.pt")]) == 0
    assert len(made) == pairs + 1, "FID takes the swaps that were measured, and one is a self-swap"
    shown = capsys.readouterr().err
    assert all(f"{things}/s" in shown for things in ("people", "pairs", "self-swaps"))
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert len(metrics["cases"]) == pairs and ("fid" in metrics["perceptual"]) == (pairs == 2)
    said = "No FID: it compares two swaps or more." in (tmp_path / "out/table.md").read_text()
    assert said == (pairs == 1)


@pytest.mark.parametrize("way", ["file/out", "folder", "table"])
def test_a_report_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, argv: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], way: str
) -> None:
    def swap(*_: object) -> NoReturn:
        raise AssertionError("nothing may be swapped")

    monkeypatch.setattr(session.Session, "_photos", swap)
    (tmp_path / "file").touch()
    (tmp_path / "folder" / "metrics.json").mkdir(parents=True)
    place = ["--table", str(tmp_path / "folder")] if way == "table" else ["--out", str(tmp_path / way)]
    assert main([*argv, *place]) == OutputError.exit_code
    assert f"cannot write {tmp_path / 'f'}" in capsys.readouterr().err


def test_trying_the_places_leaves_an_earlier_report_as_it_is(
    tmp_path: Path, argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "metrics.json").write_text("earlier")
    assert main(argv) == InputError.exit_code, "there are no photos"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["metrics.json"]
    assert (tmp_path / "out" / "metrics.json").read_text() == "earlier"
