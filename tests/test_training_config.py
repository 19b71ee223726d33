"""Options of train.py: published names and defaults, booleans, presets, refusals."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from utils.errors import InputError, OptionError, WeightsError
from utils.inference.config import InferenceConfig
from utils.training.config import TrainConfig, parse, parser
from utils.training.networks import (
    build_discriminator,
    build_generator,
    load_eyes,
    load_faceres,
    load_landmarks,
    load_sface,
)
from utils.training.setup import build_task

ROOT = Path(__file__).resolve().parents[1]
PRESETS = sorted((ROOT / "utils/training/presets").glob("*.yaml"))
# Options of both command lines that ask something of the pipeline.
SHARED = ("tone", "sharpen", "detail", "match_blur", "occlusion", "max_yaw", "mask_wider", "mask_higher",
          "rim_contrast")
PUBLISHED = {
    "dataset_path": "/VggFace2-crop/", "G_path": "./saved_models/G.pth", "D_path": "./saved_models/D.pth", "vgg": True,
    "weight_adv": 1, "weight_attr": 10, "weight_id": 20, "weight_rec": 10, "weight_eyes": 0, "backbone": "unet",
    "num_blocks": 2, "same_person": 0.2, "same_identity": True, "diff_eq_same": False, "pretrained": True,
    "discr_force": False, "scheduler": False, "scheduler_step": 5000, "scheduler_gamma": 0.2,
    "eye_detector_loss": False, "use_wandb": False, "batch_size": 16, "lr_G": 4e-4, "lr_D": 4e-4, "max_epoch": 2000,
    "show_step": 500, "save_epoch": 1, "optim_level": "O2",
}


def test_published_options_keep_their_defaults() -> None:
    config = parse(["--run_name", "x"])
    assert {name: getattr(config, name) for name in PUBLISHED} == PUBLISHED


@pytest.mark.parametrize(("words", "value"), [([], True), (["True"], True), (["False"], False), (["no"], False)])
def test_booleans_are_read_as_written(words: list[str], value: bool) -> None:
    for name in ("vgg", "diff_eq_same", "pretrained", "use_wandb", "dry_run"):
        assert parser().given([f"--{name}", *words])[name] is value


@pytest.mark.parametrize("name", SHARED)
def test_training_and_inference_take_the_same_numbers(name: str) -> None:
    least, most = InferenceConfig.__dataclass_fields__[name].metadata["within"]
    for value in (least, most):
        assert getattr(parse(["--run_name", "x", f"--{name}", str(value)]), name) == value
        InferenceConfig(**{name: value}).check_values()
    for value in (least - 1, most + 1):
        with pytest.raises(OptionError, match=f"--{name} must be from {least} to {most}, not {value}"):
            parse(["--run_name", "x", f"--{name}", str(value)])
        with pytest.raises(OptionError, match=f"--{name} must be from {least} to {most}, not {value}"):
            InferenceConfig(**{name: value}).check_values()


@pytest.mark.parametrize(("words", "part"), [
    ("", "--run_name"),
    ("--run_name a/b", "--run_name"),
    ("--run_name x --vgg False", "--same_identity False"),
    ("--run_name x --weight_eyes 800", "--eye_detector_loss True"),
    ("--run_name x --eye_detector_loss", "--weight_eyes 800"),
    ("--run_name x --same_person 1.5", "--same_person"),
    ("--run_name x --lr_G nan", "--lr_G"),
    ("--run_name x --batch_size 0", "--batch_size"),
    ("--run_name x --G_path nowhere.pth", "nowhere.pth"),
    ("--run_name x --pretrained True", "./saved_models/G.pth"),
    ("--run_name x --vgg maybe", "maybe"),
    ("--run_name x --scheduler --cosine", "--cosine"),
    ("--run_name x --beta1 1", "--beta1"),
    *((f"--run_name x --validation {share}", f"between 0 and 1, not {share}") for share in ("1.5", "1", "0", "nan")),
    ("--run_name x --validate_step 5", "--validate_step 5 does nothing without --validation"),
    ("--run_name x --student_width 0.5", "--student_width 0.5 does nothing without --task identity"),
    ("--run_name x --weight_encoder 3", "--weight_encoder and --weight_id"),
    ("--run_name x --width 0", "--width"),
    ("--run_name x --discr_scales 0", "--discr_scales must be 1 or more, not 0"),
    ("--run_name x --discr_scales 9", "--discr_scales 9 halves --size 256 to nothing: expected 8 or fewer"),
    ("--run_name x --seed 4294967296", "--seed must be from 0 to 4294967295, not 4294967296"),
    *((f"--run_name x --identity nets/mine.safetensors --export_name {name}", f"--export_name {name}: the run has")
      for name in ("config", "Config", "G_latest", "mine")),
    *((f"--run_name x --{name} {value}", f"--{name} must be from 0 to {most}, not {float(value)}")
      for name, value, most in (("jitter", 1.1, 1), ("rotation", 181, 180), ("zoom", 1, 0.9), ("shift", 1.1, 1))),
    ("--run_name x --weight_id -1", "--weight_id must be 0 or more, not -1"),
    ("--run_name x --max_minutes inf", "--max_minutes must be 0 or more, not inf"),
    ("--run_name x --tone 2", "--tone"),
    ("--run_name x --task identity --student_size 100", "--student_size"),
    ("--run_name x --weight_adv 0 --weight_id 0 --weight_attr 0 --weight_rec 0", "--weight_id"),
    ("--run_name x --weigth_id 3", "--weigth_id"),
])
def test_refusals_name_the_option(words: str, part: str) -> None:
    missing_file = part.endswith(".pth")
    with pytest.raises(WeightsError if missing_file else OptionError, match=part.replace(".", r"\.")):
        parse(words.split())


@pytest.mark.parametrize(("words", "said"), [
    ("--config {preset} --G_path a.pth --D_path ''", r"--G_path a\.pth does nothing with .*p\.yaml.*--pretrained True"),
    ("--config {preset} --D_path a.pth", r"--D_path a\.pth does nothing with .*p\.yaml.*--pretrained True"),
    ("--config {preset} --pretrained False --D_path a.pth", r"--D_path a\.pth contradicts --pretrained False"),
    ("--task identity --pretrained False --G_path a.pth", r"--G_path a\.pth contradicts --pretrained False"),
    ("--config {preset} --pretrained True --G_path {start} --D_path ''", ""),
    ("--config {preset} --G_path '' --D_path ''", ""),
    ("--config {tuning} --pretrained False", ""),
    ("--task identity --G_path {start}", ""),
    ("--task identity --pretrained False --D_path a.pth", ""),
])
def test_a_start_that_would_be_ignored_is_refused(tmp_path: Path, words: str, said: str) -> None:
    files = {name: tmp_path / f"{file}" for name, file in (("preset", "p.yaml"), ("tuning", "t.yaml"), ("start", "s"))}
    files["preset"].write_text("pretrained: false\n")
    files["tuning"].write_text(f"pretrained: true\nG_path: {files['start']}\nD_path: ''\n")
    files["start"].touch()
    chosen = ["--run_name", "x", *shlex.split(words.format(**files))]
    if not said:
        assert parse(chosen)
        return
    with pytest.raises(OptionError, match=said):
        parse(chosen)


@pytest.mark.parametrize("size", [64, 72])
def test_the_most_scales_of_a_discriminator(size: int) -> None:
    most = TrainConfig(run_name="x", pretrained=False, size=size, discr_scales=(size - 1).bit_length())
    most.check()
    build_discriminator(most)(torch.zeros(1, 3, size, size))
    more = replace(most, discr_scales=most.discr_scales + 1)
    with pytest.raises(ValueError, match="more than 1 spatial element"):
        build_discriminator(more)(torch.zeros(1, 3, size, size))
    with pytest.raises(OptionError, match="--discr_scales"):
        more.check()


def test_a_start_in_another_folder_of_weights_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GHOST_WEIGHTS", str(tmp_path))
    file = tmp_path / "ghost_compact_generator.safetensors"
    with pytest.raises(WeightsError, match=f"no such file, where GHOST_WEIGHTS looks for it: {file}\\."):
        parse(["--run_name", "x", "--G_path", "weights/ghost_compact_generator.safetensors", "--D_path", ""])


@pytest.mark.parametrize(("option", "load", "needed"), [
    ("landmarks", load_landmarks, {"weight_pose": 1.0}), ("eye_path", load_eyes, {"eye_detector_loss": True}),
    ("sface", load_sface, {}), ("faceres", load_faceres, {"weight_faceres": 1.0}),
])
def test_a_missing_file_names_its_option(
    option: str, load: Callable[[TrainConfig, torch.device], object], needed: dict[str, object]
) -> None:
    config = TrainConfig(**{option: "nowhere/file.pth"} | needed)
    with pytest.raises(WeightsError, match=rf"--{option} nowhere/file\.pth: no such file; MODELS\.md says"):
        load(config, torch.device("cpu"))


def test_default_places_of_weights_may_be_empty() -> None:
    assert parse(["--run_name", "x"]).pretrained  # nothing was asked for by name, so this starts from scratch


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_presets_are_complete(path: Path, tmp_path: Path) -> None:
    words, values = ["--run_name", "x", "--config", str(path)], yaml.safe_load(path.read_text())
    for name in ("G_path", "D_path") if values.get("pretrained", True) else ():
        (tmp_path / name).touch()
        words += [f"--{name}", str(tmp_path / name)]
    config = parse(words)
    for name, value in values.items():
        if name in ("G_path", "D_path"):
            continue
        assert getattr(config, name) == value, name


def test_all_presets_are_there() -> None:
    assert {path.stem for path in PRESETS} == {"scratch", "identity_eyes", "finetune", "compact_generator",
                                               "compact_finetune", "compact_identity", "compact_landmarks",
                                               "compact_occlusion", "compact_glasses"}


def test_command_line_wins_over_preset(tmp_path: Path) -> None:
    preset = tmp_path / "p.yaml"
    preset.write_text("batch_size: 7\nvgg: false\nsame_identity: false\nlr_G: 0.001\n")
    config = parse(["--config", str(preset), "--run_name", "x", "--batch_size", "3"])
    assert (config.batch_size, config.vgg, config.lr_G) == (3, False, 0.001)


@pytest.mark.parametrize(("text", "error"), [("batchsize: 3", OptionError), ("batch_size: many", OptionError),
                                             ("- 3", InputError), ("a: [", InputError), ("a: \x01", InputError),
                                             ("# A title\n\na: b: c", InputError)])
def test_broken_presets_are_named(tmp_path: Path, text: str, error: type[Exception]) -> None:
    preset = tmp_path / "p.yaml"
    preset.write_text(text)
    with pytest.raises(error, match=str(preset)) as caught:
        parse(["--config", str(preset), "--run_name", "x"])
    assert "\n" not in str(caught.value)
    assert "a: b" not in text or "(line 3: mapping values are not allowed here)" in str(caught.value)


def test_steps_of_a_training_are_those_of_its_epochs_or_fewer() -> None:
    assert TrainConfig(max_epoch=3).total_steps(5) == 15
    assert [TrainConfig(max_epoch=3, max_steps=most).total_steps(5) for most in (7, 20)] == [7, 15]


@pytest.mark.parametrize("name", ["landmarks", "pose", "outside", "transplant"])
def test_losses_that_need_landmarks(name: str) -> None:
    config = TrainConfig(**{f"weight_{name}": 1.0})
    assert config.uses_landmarks and not replace(config, task="identity").uses_landmarks
    assert f"--weight_{name}" in TrainConfig.__dataclass_fields__["landmarks"].metadata["help"]
    assert not TrainConfig().uses_landmarks


def test_landmarks_and_invented_people_need_a_device_with_float64() -> None:
    preset = ROOT / "utils/training/presets/compact_identity.yaml"
    for config in (TrainConfig(weight_pose=1.0), parse(["--config", str(preset), "--run_name", "x"])):
        assert config.needs_float64
        with pytest.raises(OptionError, match="--device cpu"):
            build_task(config, torch.device("mps"))
    assert not TrainConfig(task="landmarks", weight_pose=1.0).needs_float64


@pytest.mark.parametrize("backbone", ["unet", "linknet"])
def test_a_generator_without_channels_is_refused(backbone: str) -> None:
    config = TrainConfig(run_name="x", width=0.01, backbone=backbone, pretrained=False)
    with pytest.raises(OptionError, match=r"no such generator: width 0\.01: expected 0\.03125 or more"):
        build_generator(config, 512)


def test_resolved_options_are_plain_json() -> None:
    assert '"batch_size": 16' in TrainConfig(run_name="x").to_json()
