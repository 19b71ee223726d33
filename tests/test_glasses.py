"""Swaps wear the target's glasses, as far as the identity encoder tells them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from tests.conftest import ROOT
from utils.errors import InputError, NoFaceInSourceError, WeightsError
from utils.inference.conditioning import Conditioning
from utils.inference.config import InferenceConfig
from utils.inference.glasses import Glasses, from_card
from utils.inference.people import identities
from utils.inference.report import RunReport
from utils.inference.stages import Stages, load_stages
from utils.inference.types import TrackedFace
from utils.io.frame import Frame
from utils.training import glasses as fitting
from utils.weights_file import write_card


def numbers(*values: Any) -> np.ndarray:
    """(..., D) float32."""
    return np.array(values, np.float32)


SEEN = Glasses(numbers([9, 0, 0], [0, 9, 0]), numbers(-5, -5), numbers([1, 0, 0], [0, 1, 0]), 1.5)
BARE, CLEAR, DARK = numbers([0, 0, 3]), numbers([1, 0, 3]), numbers([0, 1, 3])


def test_kinds_are_told_apart() -> None:
    worn = SEEN.worn(np.concatenate([BARE, CLEAR, DARK]))
    assert np.allclose(worn, [[0, 0], [1, 0], [0, 1]], atol=0.05)
    many = SEEN.worn(numbers([900, 0, 0], [-900, -900, 0], [900, 900, 0]))  # no overflow
    assert np.allclose(many, numbers([1, 0], [0, 0], [0.5, 0.5]))


@pytest.mark.parametrize(
    "own, source, wanted",
    [(BARE, BARE, numbers(0, 0, 3)), (CLEAR, BARE, numbers(1.5, 0, 3)), (BARE, DARK, numbers(0, 0, 3)),
     (DARK, DARK, numbers(0, 1, 3)), (CLEAR, DARK, numbers(1.5, 0, 3))],
)
def test_the_targets_come_and_the_sources_go(own: np.ndarray, source: np.ndarray, wanted: np.ndarray) -> None:
    assert np.allclose(SEEN.of_target(own, source), wanted, atol=0.1)


def test_what_goes_further_does_not_go_further_with_glasses() -> None:
    doubled = SEEN.of_target(CLEAR, BARE, lambda z_id: CLEAR + 2 * (z_id - CLEAR))
    assert np.allclose(doubled, [1.5, 0, 3], atol=0.1)


class Face:
    """An identifier that sees one embedding everywhere."""

    def __init__(self, z_id: np.ndarray) -> None:
        self.z_id = z_id

    def embed(self, image: np.ndarray, faces: list[Any]) -> np.ndarray:
        """(N, 3) float32."""
        return np.repeat(self.z_id, len(faces), 0)


@pytest.mark.parametrize("strength, reach", [(1.0, 0.0), (None, 0.0), (1.3, 0.0), (None, 1.0)])
def test_the_pipeline_asks_before_it_goes_further(strength: float | None, reach: float) -> None:
    def wanted(glasses: Glasses | None, target_glasses: bool = True) -> np.ndarray:
        settings: Any = SimpleNamespace(identity_strength=strength, identity_reach=reach, glasses=glasses,
                                        target_glasses=target_glasses)
        conditioning = Conditioning(Face(BARE), settings)  # type: ignore[arg-type]
        return conditioning.embeddings(DARK, [face], RunReport().stage)

    face = (Frame(np.zeros((2, 2, 3), np.uint8)), TrackedFace(np.zeros((5, 2), np.float32), 0, 0, 0))
    assert np.allclose(wanted(SEEN), BARE, atol=0.15)
    assert wanted(None)[0, 1] >= 1 and np.array_equal(wanted(SEEN, False), wanted(None))


def test_the_set_that_ships_knows_glasses() -> None:
    options: dict[str, Any] = {"device": "cpu", "model": "embedded"}
    settings = load_stages(InferenceConfig(**options)).settings
    known = settings.glasses
    assert settings.target_glasses and known is not None and known.weights.shape == (2, 128) and known.gain == 0
    assert not load_stages(InferenceConfig(glasses="source", **options)).settings.target_glasses


def with_sunglasses(image: np.ndarray, kps: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) with dark lenses over the eyes and a bridge between them; kps: (5, 2)."""
    image, size = image.copy(), float(np.linalg.norm(kps[0] - kps[1]))
    left, right = ((int(x), int(y + 0.08 * size)) for x, y in kps[:2])
    for eye in (left, right):
        cv2.ellipse(image, eye, (int(0.42 * size), int(0.33 * size)), 0, 0, 360, (15, 15, 15), -1, cv2.LINE_AA)
    return cv2.line(image, left, right, (15, 15, 15), int(0.08 * size), cv2.LINE_AA)


def test_a_source_with_sunglasses_is_told_once(tmp_path: Path) -> None:
    options: dict[str, Any] = {"device": "cpu", "model": "embedded"}
    target, source = (load_stages(InferenceConfig(glasses=whose, **options)) for whose in ("target", "source"))
    bare = ROOT / "examples/images/portrait.jpg"
    image = cv2.imread(str(bare))
    assert image is not None
    dark = with_sunglasses(image, target.detector.detect(image, careful=True)[0].kps)
    for folder, photos in (("some", {"1.png": dark, "2.png": image}), ("all", {"1.png": dark, "2.png": dark})):
        (tmp_path / folder).mkdir()
        for name, photo in photos.items():
            cv2.imwrite(str(tmp_path / folder / name), photo)
    one, all_dark, some = tmp_path / "all/1.png", tmp_path / "all", tmp_path / "some"

    def told(person: Path, stages: Stages = target, kind: str = "source") -> list[str]:
        report = RunReport()
        identities([person], kind, NoFaceInSourceError, stages, report)
        return [note for note in report.notes if "sunglasses" in note]

    assert told(one) == [f"source {one} wears sunglasses, which swaps leave out; the eyes are guessed, and a photo "
                         "that shows them gives more likeness"]
    assert len(told(all_dark)) == 1 and str(all_dark) in told(all_dark)[0]
    assert not (told(bare) or told(some) or told(one, source) or told(one, kind="reference"))


@pytest.mark.parametrize(
    "entry", [7, {}, {"weights": "x", "bias": [1], "shift": [[1]]},
              {"weights": [[1, 2]], "bias": [1], "shift": [[1, 2]]},
              {"weights": [[1, 2, 3]], "bias": [1, 2], "shift": [[1, 2, 3]]},
              {"weights": [[1, 2, 3]], "bias": [1], "shift": [[1, 2, 3]]}]
)
def test_what_is_not_of_this_encoder_is_refused(entry: Any) -> None:
    with pytest.raises(WeightsError, match=r"mine\.json: glasses"):
        from_card({"glasses": entry}, "mine.json", 3)


def test_fit_finds_what_parts_the_kinds(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    kinds = random.integers(0, 3, 600)
    z_id = random.normal(0, [0.2, 0.2, 3, 3], (600, 4)).astype(np.float32)
    z_id[:, :2] += 2 * np.eye(3)[kinds][:, 1:]
    found = fitting.fit(z_id, kinds, 1.5)
    assert (found.worn(z_id).argmax(1)[kinds > 0] == kinds[kinds > 0] - 1).all()
    assert np.allclose(found.shift[:, :2], 2 * np.eye(2), atol=0.1)
    assert fitting.seen(found, z_id, kinds) == f"bare {(kinds == 0).sum()} of {(kinds == 0).sum()}, " \
        f"glasses {(kinds > 0).sum()} of {(kinds > 0).sum()}"
    write_card(tmp_path / "a.json", {"glasses": fitting.as_json(found)})
    assert len((tmp_path / "a.json").read_text().splitlines()) < 30
    read = from_card(json.loads((tmp_path / "a.json").read_text()), "a.json", 4)
    assert read is not None and read.gain == 1.5 and np.allclose(read.worn(z_id), found.worn(z_id), atol=1e-3)


@pytest.fixture
def club(
    tmp_path: Path, random_weights: Path, people: Callable[[int, str], Path], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder of portraits 1 to 8, of whom 1 and 2 are said to wear clear glasses, 3 and 4 sunglasses."""
    shutil.copytree(random_weights, tmp_path / "weights")
    monkeypatch.setenv("GHOST_WEIGHTS", str(tmp_path / "weights"))
    (tmp_path / "faces").mkdir()
    for number in range(1, 9):
        image = cv2.imread(str(people(number, "studio_portrait")))
        assert image is not None
        cv2.imwrite(str(tmp_path / "faces" / f"{number}.png"), cv2.resize(image, (300, 300)))
    (tmp_path / "worn.txt").write_text("# who wears what\n1 clear\n2 clear\n\n3 sunglasses\n4 sunglasses\n")
    (tmp_path / "held.txt").write_text("# looked at alone\n4\n7\n")
    return tmp_path


def test_the_command_writes_into_the_encoders_json(club: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--faces", str(club / "faces"), "--wearers", str(club / "worn.txt")]
    assert fitting.main([*arguments, "--validation", str(club / "held.txt"), "--gain", "2"]) == 0
    assert "held out: bare" in capsys.readouterr().out
    card = json.loads((club / "weights" / "ghost_compact_identity.json").read_text())
    assert card["glasses"]["gain"] == 2 and card["glasses"]["kinds"] == ["clear", "sunglasses"]
    assert load_stages(InferenceConfig(device="cpu", model="embedded")).settings.glasses is not None


@pytest.mark.parametrize(
    "worn, message", [("1 round\n", "worn.txt: expected a name and clear or sunglasses, not '1 round'"),
                      ("1 clear\n99 sunglasses\n", "1 of its 2 names have no photo, the first is '99'"),
                      ("1 clear\n8 sunglasses\n", "worn.txt: 2 photos are called '8'"),
                      ("1 clear\n2 sunglasses\n9 clear\n", "--wearers: no face found in 1 of its photos, the first is"),
                      ("1 clear\n", "expected bare faces and")]
)
def test_lists_that_fit_nothing(club: Path, capsys: pytest.CaptureFixture[str], worn: str, message: str) -> None:
    (club / "worn.txt").write_text(worn)
    cv2.imwrite(str(club / "faces" / "8.bmp"), np.zeros((64, 64, 3), np.uint8))
    cv2.imwrite(str(club / "faces" / "9.png"), np.zeros((64, 64, 3), np.uint8))
    arguments = ["--faces", str(club / "faces"), "--wearers", str(club / "worn.txt")]
    assert fitting.main(arguments) == InputError.exit_code and message in capsys.readouterr().err
    (club / "worn.txt").unlink()
    assert fitting.main(arguments) == InputError.exit_code and "cannot be read" in capsys.readouterr().err
