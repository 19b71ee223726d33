"""inference.py on photos, as people call it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import inference
from tests.conftest import ROOT, Call, People
from utils import errors
from utils.inference.config import parse
from utils.inference.identify import Identifier
from utils.inference.people import identities, photos_of
from utils.inference.pipeline import load_pipeline
from utils.io.image import read_photo
from utils.io.mark import SOURCE_TYPE


@pytest.fixture(scope="module")
def photos(people: People, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Small photos: a, b (portraits), pair (both in one picture, a on the left and larger), nobody."""
    folder = tmp_path_factory.mktemp("photos")
    images: dict[str, np.ndarray] = {}
    for name, number in (("a", 2), ("b", 5)):
        image = read_photo(people(number, "studio_portrait")).image
        images[name] = cv2.resize(image, (360, 360), interpolation=cv2.INTER_AREA)
    images["pair"] = np.hstack([images["a"], np.pad(cv2.resize(images["b"], (280, 280)), ((40, 40), (0, 0), (0, 0)))])
    images["nobody"] = np.full((200, 300, 3), 120, np.uint8)
    for name, image in images.items():
        cv2.imwrite(str(folder / f"{name}.png"), image)
    return {name: str(folder / f"{name}.png") for name in images}


def swap(source: str, target: str, out: Path, *more: str) -> list[str]:
    """The arguments of a photo swap."""
    result = ["--out_image_name", str(out)]
    return ["--source_paths", source, "--target_image", target, "--image_to_image", "True", *result, *more]


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
                             (["-2"], "0 or more")):  # fmt: skip
        code, _, said = call(*swap(photos["pair"], photos["b"], tmp_path / "p.png", "--source_face_index", *numbers))
        assert code == errors.OptionError.exit_code and message in said
    code, _, said = call(*swap(str(tmp_path), photos["b"], tmp_path / "p.png", "--source_face_index", "0"))
    assert code == errors.OptionError.exit_code and "is a folder; give " in said
    assert not (tmp_path / "p.png").exists()
    with pytest.raises(errors.OptionError, match="for each of the 1"):
        load_pipeline(device="cpu", source_face_index=-2).set_sources([photos["a"]])


def test_a_folder_is_one_person(call: Call, photos: dict[str, str], random_weights: Path, tmp_path: Path,
                                monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
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
    one, two, both = identities([photos["a"], photos["b"], folder], *args)
    direction = one / np.linalg.norm(one) + two / np.linalg.norm(two)
    length = (np.linalg.norm(one) + np.linalg.norm(two)) / 2
    assert np.allclose(both, direction / np.linalg.norm(direction) * length, rtol=1e-4, atol=1e-5)
    for name in ("1.png", "2.png"):
        (folder / name).unlink()
    with pytest.raises(errors.NoFaceInSourceError, match="anna"):
        identities([folder], *args)


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
    from utils.inference.pipeline import load_pipeline
    monkeypatch.setenv("GHOST_WEIGHTS", str(random_weights))
    pipeline = load_pipeline(device="cpu")
    with pytest.raises(errors.NobodyMatchedError, match="2 x too small") as caught:
        pipeline.fail("photo.png", 2, {"too small": 2})
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
    (["--select", "all", "--target_faces_paths", "A"], errors.OptionError, "--select all"),
    (["--G_path", "nowhere.pth"], errors.WeightsError, "nowhere.pth"),
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
)  # fmt: skip
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


def test_help_is_quick_and_complete() -> None:
    published = ["G_path", "backbone", "num_blocks", "batch_size", "crop_size", "use_sr", "similarity_th",
                 "source_paths", "target_faces_paths", "target_video", "out_video_name", "image_to_image",
                 "target_image", "target_path", "out_image_name"]
    code = "import sys, inference\ntry: inference.main(['--help'])\nexcept SystemExit: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("False")
    assert all(f"--{name}" in done.stdout for name in published)


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
