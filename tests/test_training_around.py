"""What happens around a run: photos that go, files of other runs, a second process of the same name, networks that do
not fit."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from filelock import FileLock
from safetensors.torch import save_file

from tests.training_set import draw_face, options, prepared, train, write_set
from utils.errors import INTERRUPTED, DivergedError, InputError, OptionError, ResourceError
from utils.training import generator, loop, pairs
from utils.training.checkpoints import read_state as read_checkpoint
from utils.training.config import TrainConfig, parse
from utils.training.export import UsersEncoder
from utils.training.generator import GeneratorTask
from utils.training.logging import Console
from utils.training.setup import load_set
from utils.weights_file import read_state

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("around"))


def test_one_person_is_no_set(root: Path, capsys: Capture) -> None:
    write_set(root / "alone", people=1, photos=3)
    assert train(options(root, "alone", dataset_path=root / "alone")) == OptionError.exit_code
    assert "shows one person (3 photos" in capsys.readouterr().err
    assert train(options(root, "alone", dataset_path=root / "alone", same_person=1, max_steps=1)) == 0


def test_same_identity_without_second_photos_is_said(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    photos = write_set(root / "single", people=4, photos=1)
    for more, said in (({}, True), ({"same_identity": False}, False), ({"same_person": 0}, False)):
        caplog.clear()
        load_set(parse(options(root, "single", dataset_path=photos, **more)))
        assert ("nobody in" in caplog.text) == said
    load_set(parse(options(root, "single")))
    assert "nobody in" not in caplog.text


def test_a_checkpoint_that_is_not_there_is_said_before_the_work(root: Path, capsys: Capture) -> None:
    assert train(options(root, "lost", dataset_path=root / "nowhere", resume="nope.pt")) == InputError.exit_code
    assert "--resume nope.pt: no such checkpoint" in capsys.readouterr().err
    assert not (root / "saved_models_lost").exists()


def test_broken_pictures_are_why_another_cache_is_refused(root: Path, capsys: Capture) -> None:
    photos = write_set(root / "part")
    (photos / "n001/0003.png").write_bytes(b"broken")
    assert train(options(root, "cached", dataset_path=photos, max_steps=1)) == 0
    other = options(root, "cached", dataset_path=photos, max_steps=2, resume="auto", cache_gb=0)
    assert train(other) == OptionError.exit_code
    assert "broken pictures count otherwise with --cache_gb 4.0" in capsys.readouterr().err


@pytest.mark.parametrize("workers", [0, 1])
def test_photos_that_go_end_a_run_that_saves(root: Path, capsys: Capture, workers: int) -> None:
    run, photos = f"gone{workers}", write_set(root / f"going{workers}")
    step = GeneratorTask.step

    def once(task: GeneratorTask, parts: list[Any], number: int) -> dict[str, torch.Tensor]:
        if number == 1:
            for person in photos.glob("n*"):
                shutil.rmtree(person)
        return step(task, parts, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GeneratorTask, "step", once)
        code = train(options(root, run, dataset_path=photos, cache_gb=0, workers=workers, max_steps=90))
    assert code == InputError.exit_code
    said = capsys.readouterr().err
    assert "--dataset_path still there?" in said and "Traceback" not in said and "worker process" not in said
    (saved,) = (root / f"saved_models_{run}/checkpoints").glob("state_*.pt")
    assert read_checkpoint(saved)["step"] >= 2


def test_a_worker_that_is_killed_ends_a_run_that_saves(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    step = GeneratorTask.step

    def once(task: GeneratorTask, parts: list[Any], number: int) -> dict[str, torch.Tensor]:
        if number == 1:
            (worker,) = multiprocessing.active_children()
            worker.kill()
            worker.join()
        return step(task, parts, number)

    monkeypatch.setattr(GeneratorTask, "step", once)
    before = signal.getsignal(signal.SIGCHLD)
    assert train(options(root, "killed", cache_gb=0, workers=1, max_steps=90)) == ResourceError.exit_code
    assert "fewer --workers" in capsys.readouterr().err and signal.getsignal(signal.SIGCHLD) == before
    (saved,) = (root / "saved_models_killed/checkpoints").glob("state_*.pt")
    assert read_checkpoint(saved)["step"] >= 2


def test_workers_that_a_stop_ends_as_well_are_no_failure(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*given: Any) -> Iterator[pairs.Pairs]:
        yield from itertools.islice(pairs.batches(*given), 2)
        os.kill(os.getpid(), signal.SIGTERM)
        raise ResourceError("a process that reads photos died")

    monkeypatch.setattr(generator, "batches", stopped)
    assert train(options(root, "ended", max_steps=90)) == INTERRUPTED
    assert (root / "saved_models_ended/checkpoints/state_000000002.pt").is_file()


def test_a_run_that_is_killed_before_its_first_checkpoint_goes_on(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        """Nothing catches this."""

    def kill(*_: object) -> None:
        raise Killed

    run = {"save_epoch": 1, "max_steps": 4}
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(loop, "write_card", kill)  # after the first numbered file
        train(options(root, "early", **run))
    assert list((root / "current_models_early").glob("*.pth"))
    assert train(options(root, "early", **run, resume="auto")) == 0


@pytest.mark.parametrize("message", ["DataLoader worker (pid 7) is killed by signal: Killed.",
                                     "Pin memory thread exited unexpectedly"])
def test_a_worker_that_dies_is_said(message: str) -> None:
    def dead() -> Iterator[Any]:
        raise RuntimeError(message)
        yield

    with pytest.raises(ResourceError, match="fewer --workers"):
        list(pairs._read(dead()))  # type: ignore[arg-type]


@pytest.mark.parametrize("resume", ["none", "auto"])
@pytest.mark.parametrize("file", ["saved_models_old/G_latest.pth", "current_models_old/G_0_005000.pth"])
def test_files_of_another_program_stay(tmp_path: Path, root: Path, capsys: Capture, file: str, resume: str) -> None:
    (tmp_path / file).parent.mkdir()
    (tmp_path / file).write_bytes(b"old")
    assert train(options(root, "old", output=tmp_path, resume=resume)) == OptionError.exit_code
    assert str(tmp_path / file) in capsys.readouterr().err
    assert [path.read_bytes() for path in tmp_path.rglob("*.*")] == [b"old"]


def test_what_a_killed_process_was_writing_goes(root: Path) -> None:
    partial = [root / f"{name}_part/.G_latest.0a1b2c3d.partial.pth" for name in ("saved_models", "current_models")]
    partial.append(partial[0].parent / "best/.mine.0a1b2c3d.partial.json")
    for path in partial:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    assert train(options(root, "part", max_steps=1)) == 0
    assert not any(path.exists() for path in partial)


def test_two_of_one_name_do_not_run_at_once(root: Path, capsys: Capture) -> None:
    (root / "saved_models_twin").mkdir()
    with FileLock(root / "saved_models_twin/.lock"):
        assert train(options(root, "twin", max_steps=1)) == OptionError.exit_code
    assert "in use by another training" in capsys.readouterr().err
    assert train(options(root, "twin", max_steps=1)) == 0


def test_a_moved_set_goes_on_and_another_does_not(root: Path, capsys: Capture) -> None:
    photos = write_set(root / "here")
    assert train(options(root, "moved", dataset_path=photos, max_steps=1)) == 0
    moved = photos.rename(root / "there")
    assert train(options(root, "moved", dataset_path=moved, max_steps=2, resume="auto")) == 0
    index = (moved / "index.csv").read_text().splitlines(keepends=True)
    (moved / "index.csv").write_text("".join(index[:-2]))
    again = {"dataset_path": moved, "max_steps": 3}
    assert train(options(root, "moved", **again, resume="auto")) == OptionError.exit_code
    assert "--dataset_path" in (said := capsys.readouterr().err) and "does not hold what this run began with" in said
    state = root / "saved_models_moved/checkpoints/state_000000002.pt"
    assert train(options(root, "moved", **again, resume=state)) == 0


def test_other_photos_of_the_same_names_are_noticed(root: Path, capsys: Capture) -> None:
    photos = write_set(root / "named")
    assert train(options(root, "named", dataset_path=photos, max_steps=1)) == 0
    state = root / "saved_models_named/checkpoints/state_000000001.pt"
    cv2.imwrite(str(photos / "n002/0004.png"), draw_face(99))
    again = options(root, "named", dataset_path=photos, max_steps=2, resume="auto")
    assert train(again) == OptionError.exit_code
    assert "does not hold what this run began with (the names are the same, but not" in capsys.readouterr().err
    content = read_checkpoint(state)
    content["inputs"]["dataset_path"] = content["inputs"]["dataset_path"].split("-")[0]
    torch.save(content, state)
    assert train(again) == 0, "an older version of the program knew the names alone"


def test_another_encoder_of_the_same_name_is_noticed(root: Path, capsys: Capture) -> None:
    shutil.copytree(root / "nets", root / "own")
    encoder = root / "own/tiny_identity.safetensors"
    assert train(options(root, "swapped", identity=encoder, max_steps=1)) == 0
    save_file({name: t * 1.01 if t.is_floating_point() else t for name, t in read_state(encoder).items()}, encoder)
    card = json.loads(encoder.with_suffix(".json").read_text())
    encoder.with_suffix(".json").write_text(json.dumps({k: v for k, v in card.items() if k != "sha256"}))
    assert train(options(root, "swapped", identity=encoder, max_steps=2, resume="auto")) == OptionError.exit_code
    assert f"--identity {encoder} does not hold" in capsys.readouterr().err
    state = root / "saved_models_swapped/checkpoints/state_000000001.pt"
    assert train(options(root, "swapped", identity=encoder, max_steps=2, resume=state)) == 0
    for file in (encoder, encoder.with_suffix(".json")):
        copy = root / "saved_models_swapped" / file.name
        assert sha256(copy.read_bytes()).digest() == sha256(file.read_bytes()).digest(), "the generator's own encoder"


def test_an_encoder_that_changes_meanwhile_is_not_laid_beside_the_generator(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(root / "nets", tmp_path / "own")
    file = tmp_path / "own/tiny_identity.safetensors"
    encoder, began_with = UsersEncoder(TrainConfig(identity=str(file))), file.read_bytes()
    for name in ("G", "best"):
        (tmp_path / name).mkdir()
    encoder.lay_beside(tmp_path / "G")
    file.write_bytes(began_with[:-1] + b"x")
    for folder in ("G", "best"):
        encoder.lay_beside(tmp_path / folder)
    assert (tmp_path / "G" / file.name).read_bytes() == began_with and not (tmp_path / "best" / file.name).exists()
    assert caplog.text.count(f"{file} is no longer what this run was started with") == 1
    file.unlink()
    encoder.lay_beside(tmp_path / "G")


def test_a_state_of_more_processes_goes_on_by_its_name(root: Path, capsys: Capture) -> None:
    assert train(options(root, "many", max_steps=1)) == 0
    path = root / "saved_models_many/checkpoints/state_000000001.pt"
    torch.save({**read_checkpoint(path), "world": 4}, path)
    assert train(options(root, "many", max_steps=2, resume="auto")) == OptionError.exit_code
    assert "began with 4 processes, not 1" in capsys.readouterr().err
    assert train(options(root, "many", max_steps=2, resume=path)) == 0


def test_a_damaged_checkpoint_is_not_the_last_good_one(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert train(options(root, "bad", max_steps=2, checkpoint_minutes=0)) == 0
    newest = root / "saved_models_bad/checkpoints/state_000000002.pt"
    newest.write_bytes(b"damaged")
    monkeypatch.setattr(GeneratorTask, "step", lambda *_: {"G": torch.tensor(float("nan"))})
    assert train(options(root, "bad", max_steps=3, resume="auto")) == DivergedError.exit_code
    assert f"the last good checkpoint is {newest.with_name('state_000000001.pt')}" in capsys.readouterr().err


def test_weights_that_became_infinite_are_not_saved(root: Path, capsys: Capture) -> None:
    assert train(options(root, "inf", max_steps=1, lr_G=1e38, optimizer="adamw", weight_decay=10)) == (
        DivergedError.exit_code)
    assert "weights of G" in capsys.readouterr().err
    assert not list((root / "saved_models_inf").rglob("*.p*t*"))


@pytest.mark.parametrize("option", [("--lr_G", "inf"), ("--weight_id", "nan"), ("--run_name", "..")])
def test_values_that_cannot_work(root: Path, option: tuple[str, str]) -> None:
    assert train([*options(root, "x"), *option]) == OptionError.exit_code


def test_a_generator_that_does_not_fit_the_options(
    root: Path, capsys: Capture, caplog: pytest.LogCaptureFixture
) -> None:
    assert train(options(root, "first", max_steps=1, tone=0.5)) == 0
    G = root / "saved_models_first/G_latest.pth"
    begin = {"pretrained": True, "G_path": G, "D_path": "", "max_steps": 1}
    assert train(options(root, "second", **begin, num_blocks=2)) == OptionError.exit_code
    assert "give --num_blocks 1" in capsys.readouterr().err
    other = root / "other"
    other.mkdir()
    for kind in ("safetensors", "json"):
        shutil.copy(root / f"nets/tiny_identity.{kind}", other / f"another.{kind}")
    encoder = other / "another.safetensors"
    assert train(options(root, "third", **begin, identity=encoder, quiet=False)) == 0
    said = " ".join(caplog.messages)
    assert "trained with the identity encoder tiny_identity, not" in said and "give --tone" in said


def test_a_place_for_numbers_that_fails_leaves_the_others_closed(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    wandb = pytest.importorskip("wandb")

    def refused(**_: object) -> None:
        raise wandb.errors.UsageError("No API key configured")

    monkeypatch.setattr(wandb, "init", refused)
    opened: list[str] = []
    monkeypatch.setattr(Console, "__init__", lambda *_: opened.append("console"))
    code = train(options(root, "keyless", max_steps=1, use_wandb=True, wandb_mode="online"))
    assert code == ResourceError.exit_code and not opened
    assert "`wandb login`, or give --wandb_mode offline" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["module", "counts", "model"])
def test_forms_of_published_files_load(root: Path, form: str, tmp_path: Path) -> None:
    if not (root / "saved_models_forms").exists():
        assert train(options(root, "forms", max_steps=1)) == 0
    G = read_state(root / "saved_models_forms/G_latest.pth")
    changed: dict[str, Any] = {
        "module": {f"module.{name}": tensor for name, tensor in G.items()},
        "counts": {name: tensor for name, tensor in G.items() if not name.endswith("num_batches_tracked")},
        "model": {"model": G, "epoch": 3},
    }[form]
    torch.save(changed, tmp_path / "G.pth")
    begin = {"pretrained": True, "G_path": tmp_path / "G.pth", "D_path": "", "max_steps": 1}
    assert train(options(tmp_path, form, output=tmp_path, **begin, dataset_path=root / "set",
                         identity=root / "nets/tiny_identity.safetensors")) == 0


def test_a_checkpoint_is_no_network_and_says_where_that_is(root: Path, capsys: Capture) -> None:
    assert train(options(root, "whole", max_steps=1)) == 0
    state = root / "saved_models_whole/checkpoints/state_000000001.pt"
    shutil.copy(state, root / "state.pth")
    code = train(options(root, "from_state", pretrained=True, G_path=root / "state.pth", D_path=""))
    assert code == 9 and "G_latest.pth" in capsys.readouterr().err
