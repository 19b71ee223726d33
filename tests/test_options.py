"""Command lines that do not exist, and what was written of those that do."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import convert_weights
import evaluate
import inference
import preprocess_vgg
import train
from utils.errors import OptionError
from utils.inference.config import InferenceConfig, parser
from utils.inference.pipeline import load_pipeline
from utils.training.config import read_preset


@pytest.mark.parametrize(("script", "words", "meant"), [
    (inference, "--source_path a.jpg", "--source_path a.jpg; did you mean --source_paths?"),
    (inference, "--source-paths=a --image_to_imag", "did you mean --source_paths and --image_to_image?"),
    (inference, "--source_path a --source_path b", "did you mean --source_paths?"),
    (inference, "--wings", "unrecognized arguments: --wings (see"),
    (inference, "stray.jpg --quiet", "unrecognized arguments: stray.jpg (see"),
    (train, "--run_name x --weigth_id 3", "did you mean --weight_id?"),
    (evaluate, "--G_paht x", "did you mean --G_path?"),
    (preprocess_vgg, "--path_to_datasets x", "did you mean --path_to_dataset?"),
    (convert_weights, "a.pth b.onnx --onnxfor visomaster", "did you mean --onnx_for?"),
    (evaluate, "--openpeople studio --tone 2", "--tone must be from 0 to 1, not 2"),
    (evaluate, "--openpeople studio --pairs -1", "--pairs must be 0 or more, not -1"),
    (preprocess_vgg, "--margin nan", "--margin must be from 0 to 1, not nan"),
    (preprocess_vgg, "--workers -1", "--workers must be 0 or more, not -1"),
])
def test_what_was_meant_or_is_expected_is_said(
    script: object, words: str, meant: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [f"{Path(script.__file__).name}", *words.split()])  # type: ignore[attr-defined]
    assert script.main() == 2  # type: ignore[attr-defined]
    said = capsys.readouterr().err
    assert meant in said and said.count("error: ") == 1 and "usage" not in said


@pytest.mark.parametrize(("script", "words", "named"), [
    (preprocess_vgg, ["--path_to_dataset", ""], "path_to_dataset"),
    (preprocess_vgg, ["--save_path="], "save_path"),
    (preprocess_vgg, ["--keypoints", ""], "keypoints"),
    (evaluate, ["--openpeople", "studio", "--out", ""], "out"),
    (evaluate, ["--faces", ""], "faces"),
    (evaluate, ["--faces", "a", "--gallery", "b", ""], "gallery"),
    (train, ["--run_name", "x", "--dataset_path", ""], "dataset_path"),
    (train, ["--run_name", "x", "--config", ""], "config"),
    (train, ["--run_name", "x", "--identity", ""], "identity"),
    (train, ["--run_name", "x", "--output", ""], "output"),
])
def test_an_empty_name_is_no_folder(
    script: object, words: list[str], named: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """As an unset variable of the shell gives it: Python would take it for the current folder."""
    monkeypatch.chdir(tmp_path)
    assert script.main(words) == 2  # type: ignore[attr-defined]
    said = capsys.readouterr().err
    assert f"--{named} has an empty name, expected a file or a folder; is a variable unset?" in said
    assert not list(tmp_path.iterdir())


def test_only_what_was_written_is_given() -> None:
    words = ["--num_blocks=2", "--quiet", "--target_path", "b.jpg", "--source_paths", "a", "--tone", "0"]
    assert parser().given(words) == {"num_blocks": 2, "quiet": True, "target_image": "b.jpg", "source_paths": ["a"],
                                     "tone": 0.0}
    assert parser().given([]) == {}


@pytest.mark.parametrize("number", ["-1e-3", "-1E-3", "-1.5e+0", "-.5e1", "-1.", "-2", "-0.00001"])
def test_negative_numbers_in_all_forms(number: str, tmp_path: Path) -> None:
    assert parser().given(["--mask_higher", number]) == {"mask_higher": float(number)}
    preset = tmp_path / "p.yaml"
    preset.write_text(f"mask_higher: {number}\n")
    assert read_preset(preset) == {"mask_higher": float(number)}


@pytest.mark.parametrize(("words", "printed"), [
    ("--json", True), ("--json True", True), ("--json=True", True), ("--json --quiet", True), ("--json maybe", True),
    ("--json False", False), ("--json=no", False), ("--json --json off", False), ("", False), ("--jso", False),
])
def test_bad_options_give_json_where_it_is_asked_for(
    words: str, printed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inference.main([*words.split(), "--wings", "-1"]) == 2
    out = capsys.readouterr().out
    assert json.loads(out)["exit_code"] == 2 if printed else not out


@pytest.mark.parametrize(("option", "value", "expected"), [
    ("tone", "x", "a number, not 'x'"), ("tone", True, "a number, not True"),
    ("use_sr", "False", "True or False, not 'False'"), ("batch_size", 8.5, "a whole number, not 8.5"),
    ("device", 3, "text, not 3"), ("model", None, "text, not None"), ("source_face_index", [0, "a"], "a whole number"),
    ("start", "1:30", "a number of seconds, not '1:30'"),
])
def test_python_code_is_told_which_type_an_option_has(option: str, value: object, expected: str) -> None:
    with pytest.raises(OptionError, match=f"--{option} must be {expected}"):
        load_pipeline(**{option: value})


@pytest.mark.parametrize(("option", "value", "expected"), [
    ("start", float("nan"), "0 or more, not nan"), ("end", float("nan"), "0 or more, not nan"),
    ("crf", float("nan"), "0 or more, not nan"), ("start", float("inf"), "0 or more, not inf"),
    ("start", -1, "0 or more, not -1"), ("preview", -1, "0 or more, not -1"), ("batch_size", 0, "1 or more, not 0"),
    ("crop_size", 32, "from 64 to 1024, not 32"), ("similarity_th", 2, "from -1 to 1, not 2"),
    ("similarity_th", float("nan"), "from -1 to 1, not nan"), ("max_skipped", 1.5, "from 0 to 1, not 1.5"),
])
def test_python_code_is_told_from_what_to_what_a_number_goes(option: str, value: float, expected: str) -> None:
    with pytest.raises(OptionError, match=f"--{option} must be {expected}"):
        InferenceConfig(**{option: value}).check_values()


def test_python_code_may_give_other_numbers_and_paths() -> None:
    InferenceConfig(tone=np.float32(0.5), crf=20, batch_size=np.int64(2), source_face_index=1,  # type: ignore[arg-type]
                    G_path=Path("a.pth"), source_paths=(Path("a.jpg"),), end=None).check_values()  # type: ignore[arg-type]
