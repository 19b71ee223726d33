"""What a run leaves behind: users' files, numbers, pictures; and how it ends when it has gone wrong."""

from __future__ import annotations

import json
import math
import re
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.conftest import Call, People
from tests.training_set import options, prepared, train
from utils import registry
from utils.errors import INTERRUPTED, DivergedError, OutputError, ResourceError, WeightsError
from utils.paths import sha256_of
from utils.training.checkpoints import Checkpoints
from utils.training.checkpoints import read_state as read_checkpoint
from utils.training.config import parse
from utils.training.export import digest, write_half, write_weights
from utils.training.generator import GeneratorTask
from utils.training.logging import Console, Files, TensorBoard, Wandb, time_left
from utils.training.watch import Watch
from utils.weights_file import read_state


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("output"))


def test_users_files_load_where_swaps_are_made(root: Path) -> None:
    held = root / "held.txt"
    held.write_text("0001\n0004\n0007\n")
    assert train(options(root, "files", max_steps=3, save_epoch=1, show_step=2, export_name="mine", validation=held,
                         keep=2, batch_size=3)) == 0
    folder = root / "saved_models_files"
    for name in ("G_latest.pth", "mine.safetensors"):
        loaded = registry.load_generator(folder / name)
        assert loaded.card["crop_size"] == 64 and loaded.card["identity"] == "tiny_identity"
        encoder = registry.load_identity(loaded.card["identity"], beside=loaded.path)
        assert loaded.card["identity_sha256"] == sha256_of(encoder.path)
        with torch.no_grad():
            z_id = encoder.network(torch.zeros(1, 3, 112, 112))
            assert loaded.network(torch.zeros(1, 3, 64, 64), z_id)[0].shape == (1, 3, 64, 64)
    assert read_state(folder / "D_latest.pth").keys()
    numbered = root / "current_models_files"
    assert sorted(path.name for path in numbered.iterdir()) == ["D_1_000000.pth", "G_1_000000.json", "G_1_000000.pth"]
    assert (folder / "samples" / "000000002.png").is_file()
    assert json.loads((folder / "config.json").read_text())["batch_size"] == 3
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    measured = [line for line in lines if "val_source" in line]
    assert measured and all(math.isfinite(value) for value in measured[-1].values())
    assert {"adv", "attr", "id", "rec", "D", "lr_G", "lr_D", "images_per_second", "waiting"} <= lines[0].keys()


def test_512_pixels_from_training_to_the_swap(root: Path, call: Call, people: People, tmp_path: Path) -> None:
    assert train(options(root, "large", size=512, width=0.0625, discr_layers=6, batch_size=2, max_steps=1)) == 0
    generator, photos = root / "saved_models_large/G_latest.pth", [people(i, "studio_portrait") for i in (1, 2)]
    assert registry.load_generator(generator).card["crop_size"] == 512
    code, result, _ = call("--G_path", generator, "--similarity_th", 0.3, "--source_paths", photos[0], "--target_image",
                           photos[1], "--image_to_image", "--out_image_name", tmp_path / "out.png")
    assert code == 0 and result["faces"]["swapped"] == 1


def test_the_best_state_is_one_that_was_kept(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.1, 0.5, 0.6, 0.4, 0.45, 0.6])  # a state is kept at each second step
    monkeypatch.setattr(GeneratorTask, "validate", lambda self: {"val_score": next(scores)})
    folder, run = root / "saved_models_best", {"validate_step": 1, "validation": "0.3"}

    def digests() -> tuple[int, str, str]:
        """The step of the best state; numbers of the best and of the latest generator."""
        files = folder / "best" / "G_latest.pth", folder / "G_latest.pth"
        return read_checkpoint(folder / "checkpoints/best.pt")["step"], *(digest(read_state(file)) for file in files)

    found = []
    for steps in (2, 4, 6):
        more = {"resume": "auto"} if steps > 2 else {}
        assert train(options(root, "best", max_steps=steps, **run, **more)) == 0
        found.append(digests())
    assert [step for step, _, _ in found] == [2, 4, 4]
    assert [best == latest for _, best, latest in found] == [True, True, False]
    assert found[2][1] == found[1][1] != found[0][1]
    assert registry.load_generator(folder / "best" / "G_latest.pth").card["crop_size"] == 64


def test_a_validation_that_fails_does_not_hide_better_states(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scores = iter([math.nan, 1.0])
    monkeypatch.setattr(GeneratorTask, "validate", lambda self: {"val_score": next(scores)})
    run = {"max_steps": 2, "checkpoint_minutes": 0, "validation": "0.3", "quiet": False}
    assert train(options(root, "failing", **run)) == 0
    folder = root / "saved_models_failing"
    assert read_checkpoint(folder / "checkpoints/best.pt")["progress"]["best"] == 1.0
    assert (folder / "best/G_latest.pth").is_file()
    assert "step 1: the score is nan, so this state cannot be the best one" in caplog.messages


def test_where_a_run_begins_is_said(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert train(options(root, "before", max_steps=1)) == 0
    G = root / "saved_models_before/G_latest.pth"
    assert train(options(root, "begun", max_steps=1, pretrained=True, G_path=G, D_path="", quiet=False)) == 0
    assert {f"generator from {G}", "discriminator from scratch"} <= set(caplog.messages)
    caplog.clear()
    assert train(options(root, "begun", max_steps=2, resume="auto", quiet=False)) == 0
    assert "going on at step 1" in caplog.messages and not any("scratch" in line for line in caplog.messages)


def test_a_missing_encoder_is_named(root: Path, capsys: pytest.CaptureFixture) -> None:
    lost = root / "lost" / "ghost_compact_identity.safetensors"
    assert train(options(root, "lost", identity=lost)) == WeightsError.exit_code
    assert str(lost) in capsys.readouterr().err
    assert train(options(root, "lost", identity="nope")) == WeightsError.exit_code
    assert "--identity nope: no such encoder; give arcface or ghost_compact_identity" in capsys.readouterr().err


@pytest.mark.parametrize(
    "problem",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate"), MemoryError()],
)
def test_full_memory_is_said(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, problem: Exception
) -> None:
    def full(*_: object) -> None:
        raise problem

    monkeypatch.setattr(GeneratorTask, "step", full)
    assert train(options(root, "full", batch_size=5)) == ResourceError.exit_code
    assert "--batch_size 5: give a smaller one" in capsys.readouterr().err


def test_numbers_beyond_half_precision_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="too large"):
        write_half(tmp_path / "a.safetensors", {"fc.weight": torch.tensor([1e5])})
    assert not list(tmp_path.iterdir())


def test_an_earlier_run_is_not_overwritten(root: Path, capsys: pytest.CaptureFixture) -> None:
    assert train(options(root, "twice", max_steps=1)) == 0
    assert train(options(root, "twice", max_steps=2)) == 2
    assert "--resume auto" in capsys.readouterr().err


def test_dry_run_writes_nothing(root: Path, capsys: pytest.CaptureFixture) -> None:
    assert train([*options(root, "dry"), "--dry-run"]) == 0
    assert not list(root.glob("*_dry")) and "one step in" in capsys.readouterr().out


@pytest.mark.parametrize("dry", [True, False])
def test_a_dry_run_that_is_interrupted_has_nothing_to_go_on_from(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, dry: bool
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(GeneratorTask, "step", interrupt)
    assert train(options(root, f"interrupted_{dry}", dry_run=dry)) == INTERRUPTED
    advice = "" if dry else "; --resume auto goes on from the last checkpoint, if one was saved"
    assert capsys.readouterr().err == f"interrupted{advice}\n"


def test_resume_with_other_options_is_refused(root: Path, capsys: pytest.CaptureFixture) -> None:
    assert train(options(root, "other", max_steps=1)) == 0
    assert train(options(root, "other", max_steps=2, weight_id=7, resume="auto")) == 2
    assert "--weight_id 7.0 differs from the 20.0" in capsys.readouterr().err


def test_nan_ends_the_run_and_names_the_checkpoint(root: Path, capsys: pytest.CaptureFixture) -> None:
    assert train(options(root, "nan", max_steps=1)) == 0
    good = root / "saved_models_nan" / "checkpoints" / "state_000000001.pt"
    assert train(options(root, "nan", max_steps=30, lr_G=1e30, resume=good)) == DivergedError.exit_code
    assert str(good) in capsys.readouterr().err
    assert list(good.parent.glob("state_*.pt")) == [good]


def test_collapse_is_noticed_after_some_patience() -> None:
    watch = Watch(patience=3)
    for step in range(3):
        watch.look(step, {"spread": 0.001, "D": 1.0}, None)
    watch.look(3, {"spread": 0.5, "D": 0.0}, None)  # recovered, but D wins from here
    for step in (4, 5):
        watch.look(step, {"spread": 0.5, "D": 0.0}, None)
    with pytest.raises(DivergedError, match="since step 3 the discriminator always wins"):
        watch.look(6, {"spread": 0.5, "D": 0.0}, None)
    with pytest.raises(DivergedError, match=r"id became NaN.*state_7"):
        Watch(3).look(8, {"id": math.nan}, Path("state_7"))


def test_gradients_of_float16_may_overflow() -> None:
    for name in ("grad", "grad_G"):
        Watch(3, ignore_gradients=True).look(8, {name: math.inf}, None)
        with pytest.raises(DivergedError, match=name):
            Watch(3).look(8, {name: math.inf}, None)


def test_a_folder_that_cannot_be_written_is_said_before_photos_are_read(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("utils.training.setup.decoded", lambda faces: pytest.fail("photos were read"))
    output = root / "set/index.csv/runs"
    assert train(options(root, "nowhere", output=output)) == OutputError.exit_code
    said = capsys.readouterr().err
    assert f"cannot write {output}/saved_models_nowhere/config.json: part of the path is a file" in said


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    def write_all() -> Iterator[Callable[[], object]]:
        yield lambda: Checkpoints(tmp_path, 1).save({"step": 1, "numbers": torch.zeros(10**6)}, best=False)
        yield lambda: write_weights(tmp_path / "G.pth", {"numbers": torch.zeros(10**6)})
        files = Files(tmp_path, 0)
        yield lambda: files.numbers(1, {str(number): 1.0 for number in range(10**5)})
        files.close()

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10**5, limits[1]))
        for write in write_all():
            with pytest.raises(OutputError, match=f"cannot write {tmp_path}"):
                write()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_lines_after_the_checkpoint_are_written_anew(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    sink = Files(tmp_path, first_step=2)
    sink.numbers(3, {"a": math.nan, "b": 1.0})
    sink.picture(3, np.zeros((4, 4, 3), np.uint8))
    sink.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"step": 1}, {"step": 2}, {"step": 3, "a": None, "b": 1.0}]
    assert (tmp_path / "samples" / "000000003.png").is_file()


def test_console_is_quiet_between_pictures_in_a_pipe(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "ghost")
    console = Console(parse(["--run_name", "x", "--show_step", "5"]), 20, 0)
    for step in range(1, 12):
        console.numbers(step, {"G": 1.0})
    assert [record.getMessage().split()[1] for record in caplog.records] == ["5", "10"]


def test_a_narrow_terminal_shows_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"COLUMNS": "80", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    console = Console(parse(["--run_name", "x", "--max_minutes", "61"]), 10**9, 0)
    values = {f"loss_{number}": 0.12345 for number in range(12)}
    for step in (1, 2):
        console.numbers(step, values)
    console.close()
    last = capsys.readouterr().err.rpartition("1:00:5")[2]
    assert last and all(name in last for name in values)


@pytest.mark.parametrize(("given", "text"), [
    ((None, None, 0.0), "-:--:--"), ((90.9, 5.0, 0.0), "0:01:30"), ((1e5, 6.0, 0.6), "0:00:30"),
    ((20.0, 6.0, 0.6), "0:00:20"), ((1e5, 40.0, 0.6), "0:00:00"),
])
def test_the_session_ends_with_the_training_or_before(
    given: tuple[float | None, float | None, float], text: str
) -> None:
    assert time_left(*given) == text


def test_tensorboard_and_wandb_write_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for sink in (TensorBoard(tmp_path, 0), Wandb(tmp_path, parse(["--run_name", "x"]), 0)):
        sink.numbers(1, {"G": 1.0})
        sink.picture(1, np.zeros((4, 4, 3), np.uint8))
        sink.close()
    assert list((tmp_path / "tensorboard").glob("events*")) and list((tmp_path / "wandb").glob("offline-run*"))


def test_wandb_goes_on_with_its_run_at_resume_auto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    ids = iter(("first", "second", "third"))
    given: list[tuple[object, object]] = []

    def init(**options: object) -> SimpleNamespace:
        given.append((options["id"], options["resume"]))
        return SimpleNamespace(id=options["id"] or next(ids))

    monkeypatch.setattr(wandb, "init", init)
    for resume, step in (("auto", 0), ("auto", 7), ("none", 0), ("auto", 9), ("state.pt", 5)):
        Wandb(tmp_path, parse(["--run_name", "x", "--resume", resume]), step)
    assert given == [(None, None), ("first", "allow"), (None, None), ("second", "allow"), (None, None)]


@pytest.mark.parametrize(("error", "remedy"), [
    ("api_key not configured (no-tty)", "run `wandb login`"),
    ("Run initialization has timed out after 90.0 sec", "give --wandb_mode offline, and"),
])
def test_why_wandb_cannot_be_used_decides_the_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: str, remedy: str
) -> None:
    wandb = pytest.importorskip("wandb")

    def refused(**_: object) -> None:
        assert "connecting to Weights & Biases" in caplog.text
        raise wandb.errors.CommError(error)

    monkeypatch.setattr(wandb, "init", refused)
    caplog.set_level("INFO", "ghost")
    with pytest.raises(ResourceError, match=f"{re.escape(error)}.*: {remedy}"):
        Wandb(tmp_path, parse(["--run_name", "x", "--wandb_mode", "online"]), 0)
