"""inference.py on photos: what cannot be done, is stopped, or is of no effect."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

import inference
from tests.conftest import ROOT, Call, People, swap
from utils import errors
from utils.inference.config import parse
from utils.inference.identify import Identifier
from utils.inference.pipeline import load_pipeline
from utils.inference.report import FaceCounts


@pytest.mark.parametrize(("source", "target", "error"), [
    ("nobody", "b", errors.NoFaceInSourceError), ("a", "nobody", errors.NoFaceInTargetError),
])
def test_no_face(call: Call, photos: dict[str, str], tmp_path: Path, source: str, target: str,
                 error: type[errors.GhostError]) -> None:
    out = tmp_path / "o.png"
    code, result, said = call(*swap(photos[source], photos[target], out))
    assert code == result["exit_code"] == error.exit_code
    assert photos["nobody"] in said and said.count("error: ") == 1
    assert not list(tmp_path.iterdir())


def test_threshold_is_not_blamed_for_small_faces(random_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GHOST_WEIGHTS", str(random_weights))
    pipeline = load_pipeline(device="cpu")
    with pytest.raises(errors.NobodyMatchedError, match="2 x too small") as caught:
        pipeline.fail("photo.png", FaceCounts(found=2, skipped=Counter({"too small": 2})))
    assert "similarity_th" not in str(caught.value)


def test_no_face_in_reference(call: Call, photos: dict[str, str], tmp_path: Path) -> None:
    code, _, said = call(*swap(photos["a"], photos["b"], tmp_path / "o.png", "--target_faces_paths", photos["nobody"]))
    assert code == errors.NoFaceInReferenceError.exit_code and photos["nobody"] in said


def test_nobody_matches(call: Call, photos: dict[str, str], tmp_path: Path) -> None:
    code, _, said = call(*swap(photos["a"], photos["b"], tmp_path / "o.png", "--target_faces_paths", photos["a"],
                               "--similarity_th", "1"))
    assert code == errors.NobodyMatchedError.exit_code and "no reference matches" in said
    assert "--similarity_th is 1" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("change", "error", "words"), [
    (["--source_paths", "nowhere.png"], errors.InputError, "nowhere.png"),
    (["--source_paths", "A", "B"], errors.OptionError, "2 sources but no reference"),
    (["--target_faces_paths", "A", "B"], errors.OptionError, "1 in --source_paths but 2 in --target_faces_paths"),
    (["--out_image_name", "result.xyz"], errors.OutputError, "unknown picture format '.xyz'"),
    (["--out_image_name", "/proc/result.png"], errors.OutputError, "cannot write /proc/result.png: "),
    (["--source_paths", ""], errors.OptionError, "--source_paths has an empty name"),
    (["--target_faces_paths", ""], errors.OptionError, "--target_faces_paths has an empty name"),
    (["--target_image", ""], errors.OptionError, "--target_image has an empty name"),
    (["--out_image_name", ""], errors.OptionError, "--out_image_name has an empty name"),
    (["--G_path="], errors.OptionError, "--G_path has an empty name"),
    (["--use_sr", "maybe"], errors.OptionError, "True or False"),
    (["--num_blocks", "4"], errors.OptionError, "--num_blocks"),
    (["--batch_size", "0"], errors.OptionError, "--batch_size"),
    (["--similarity_th", "7"], errors.OptionError, "--similarity_th"),
    (["--crop_size", "3"], errors.OptionError, "--crop_size"),
    (["--no_such_option"], errors.OptionError, "--no_such_option"),
    (["--image_to_image", "False"], errors.OptionError, "no target"),
    (["--model", "embedded", "--G_path", "x.pth"], errors.OptionError, "--G_path"),
    (["--model", "embedded", "--G_path", "weights/G_unet_2blocks.pth"], errors.OptionError, "--G_path"),
    (["--select", "all", "--target_faces_paths", "A"], errors.OptionError, "--select all"),
    (["--G_path", "nowhere.pth"], errors.WeightsError, "nowhere.pth"),
    (["--G_path", "weights/G_unet_2blocks.pth"], errors.WeightsError, "G_unet_2blocks.pth; check the name"),
    (["--G_path=weights/G_unet_2blocks.pth"], errors.WeightsError, "G_unet_2blocks.pth; check the name"),
    (["--use_sr"], errors.WeightsError, "10_net_G.pth"),
])
def test_mistakes(call: Call, photos: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                  change: list[str], error: type[errors.GhostError], words: str) -> None:
    monkeypatch.chdir(tmp_path)
    named = [{"A": photos["a"], "B": photos["b"]}.get(word, word) for word in change]
    code, result, said = call(*swap(photos["a"], photos["b"], tmp_path / "o.png"), *named)
    assert code == result["exit_code"] == error.exit_code and words in result["error"]
    assert words in said and said.count("error: ") == 1 and "Traceback" not in said
    assert not list(tmp_path.iterdir())


def test_broken_weights(call: Call, photos: dict[str, str], random_weights: Path, tmp_path: Path,
                        monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shutil.copytree(random_weights, tmp_path / "weights")
    broken = folder / "ghost_compact_identity.safetensors"
    broken.write_bytes(broken.read_bytes()[:-1000])
    monkeypatch.setenv("GHOST_WEIGHTS", str(folder))
    code, _, said = call(*swap(photos["a"], photos["b"], tmp_path / "o.png"))
    assert code == errors.WeightsError.exit_code and str(broken) in said
    assert not (tmp_path / "o.png").exists()


LONG = 300 * "x"  # more than a file system allows


@pytest.mark.parametrize(
    ("option", "error"),
    [("--source_paths", errors.InputError), ("--target_image", errors.InputError), ("--G_path", errors.WeightsError),
     ("--out_image_name", errors.OutputError)],
)
def test_names_that_cannot_be_are_said(
    call: Call, photos: dict[str, str], tmp_path: Path, option: str, error: type[errors.GhostError]
) -> None:
    arguments = [*swap(photos["a"], photos["b"], tmp_path / "o.png"), option, str(tmp_path / f"{LONG}.png")]
    code, _, said = call(*arguments)
    assert code == error.exit_code and LONG in said and "Traceback" not in said


@pytest.mark.parametrize("problem", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_full_memory_is_said(
    call: Call, photos: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: Exception
) -> None:
    def full(*arguments: object) -> None:
        raise problem

    monkeypatch.setattr(Identifier, "embed", full)
    code, _, said = call(*swap(photos["a"], photos["b"], tmp_path / "o.png"))
    assert code == errors.ResourceError.exit_code and "close other programs" in said


@pytest.mark.parametrize("name", ["a", "b"])
def test_inputs_are_never_overwritten(call: Call, photos: dict[str, str], name: str) -> None:
    before = Path(photos[name]).read_bytes()
    code, _, said = call(*swap(photos["a"], photos["b"], Path(photos[name])))
    assert code == errors.OutputError.exit_code and "file that is read" in said
    assert Path(photos[name]).read_bytes() == before


def test_existing_result_stays(call: Call, photos: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "o.png"
    out.write_text("precious")
    code, _, said = call(*swap(photos["a"], photos["b"], out, "--no-overwrite"))
    assert code == errors.OutputError.exit_code and "exists" in said and out.read_text() == "precious"


@pytest.mark.parametrize("words", [["--image_to_image"], ["--image_to_image", "True"], ["--image_to_image", "yes"]])
def test_booleans_that_say_yes(words: list[str]) -> None:
    config = parse(["--source_paths", "a", "--target_image", "b", *words, "--use_sr", "False"])
    assert config.image_to_image is True and config.use_sr is False


def test_quiet(photos: dict[str, str], random_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
               capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("GHOST_WEIGHTS", str(random_weights))
    assert inference.main([*swap(photos["pair"], photos["b"], tmp_path / "o.png"), "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_interrupted(people: People, random_weights: Path, tmp_path: Path, name: str) -> None:
    sources = [str(people(n, "studio_portrait")) for n in range(1, 6)]
    out = tmp_path / "o.png"
    command = [sys.executable, str(ROOT / "inference.py"), *swap(sources[0], sources[0], out)]
    command[3:4] = sources
    command += ["--target_faces_paths", *sources, "--json"]
    with subprocess.Popen(command, env=os.environ | {"GHOST_WEIGHTS": str(random_weights)}, stderr=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any(line.startswith("models: ") for line in process.stderr)  # the work begins
        process.send_signal(getattr(signal, name))
        rest = process.stderr.read()
        assert process.stdout is not None
        result = json.loads(process.stdout.read())
    assert process.returncode == errors.INTERRUPTED
    assert result == {"error": "interrupted; no output was written", "exit_code": errors.INTERRUPTED}
    assert "interrupted" in rest and "Traceback" not in rest
    assert not list(tmp_path.iterdir())


def test_an_output_of_the_other_kind_alone_is_refused() -> None:
    photo = ["--source_paths", "a", "--target_image", "b", "--image_to_image", "True"]
    video = ["--source_paths", "a", "--target_video", "b"]
    both = ["--out_video_name", "examples/results/result.mp4", "--out_image_name=examples/results/result.png"]
    for words in ([], both, both[2:] + both[:2]):
        assert parse(photo + words).image_to_image and not parse(video + words).image_to_image
    for words, message in (
        ([*photo, "--out_video_name", "q.mp4"], "--out_video_name q.mp4 .* give --out_image_name"),
        ([*photo, "--out_video_name=q.mp4"], "--out_video_name q.mp4 .* give --out_image_name"),
        ([*video, "--out_image_name", "q.png"], "--out_image_name q.png .* give --out_video_name"),
    ):
        with pytest.raises(errors.OptionError, match=message):
            parse(words)


def test_options_without_effect_are_said_once(call: Call, photos: dict[str, str], tmp_path: Path) -> None:
    idle = ("--start", "5", "--encoder", "libx264", "--crf", "20", "--preset", "slow", "--keep_partial", "--preview",
            "3", "--end", "7", "--decoder", "nvdec", "--target_video", "x.mp4", "--max_skipped", "0.5")
    ignored = ("--preview", "0", "--keep_partial", "False", "--out_video_name", "x.mp4")
    code, result, said = call(*swap(photos["a"], photos["b"], tmp_path / "o.png", *idle))
    (note,) = result["notes"]
    names, written = note.removeprefix("without effect on a photo: ").split(", "), {w for w in idle if w[:2] == "--"}
    assert code == 0 and set(names) == written and said.count(note) == 1
    assert call(*swap(photos["a"], photos["b"], tmp_path / "o.png", *ignored))[1]["notes"] == []
    video = parse(["--source_paths", "a", "--target_video", "b", "--target_image", "c"])
    assert video.idle() == ["without effect on a video: --target_image"]
    folder = parse(["--source_paths", "a", "--target_image", str(tmp_path), "--image_to_image", "--max-skipped", "0.5"])
    assert folder.idle() == []


def test_a_threshold_that_nobody_is_compared_with_is_said(
    call: Call, photos: dict[str, str], tmp_path: Path
) -> None:
    for select, said in (("all", True), ("largest", True), ("reference", False)):
        given = ["--select", select, "--similarity_th", "0.3"]
        note = f"without effect with --select {select}, which compares nobody: --similarity_th"
        assert call(*swap(photos["a"], photos["b"], tmp_path / "o.png", *given))[1]["notes"] == [note] * said
    assert call(*swap(photos["a"], photos["b"], tmp_path / "o.png", "--select", "all"))[1]["notes"] == []


def test_help_is_quick_and_complete() -> None:
    published = ["G_path", "backbone", "num_blocks", "batch_size", "crop_size", "use_sr", "similarity_th",
                 "source_paths", "target_faces_paths", "target_video", "out_video_name", "image_to_image",
                 "target_image", "target_path", "out_image_name"]
    code = "import sys, inference\ntry: inference.main(['--help'])\nexcept SystemExit: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("False")
    assert all(f"--{name}" in done.stdout for name in published)
