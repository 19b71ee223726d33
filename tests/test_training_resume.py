"""A run that is stopped, killed or resumed ends like one that was never disturbed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.training_set import options, prepared
from utils.errors import INTERRUPTED, InputError, OptionError
from utils.training.checkpoints import Checkpoints, check_same_run, read_state
from utils.training.config import parse
from utils.training.generator import GeneratorTask

ROOT = Path(__file__).resolve().parents[1]
# Everything that holds state: EMA, a scheduler, a discriminator that steps now and then, blends, several terms.
BUSY = {"max_steps": 6, "ema": 0.9, "scheduler": True, "scheduler_step": 2, "discr_force": True, "identity_blend": 0.5,
        "weight_tone": 1, "warmup": 3, "id_warmup": 4}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("resume"))


def start(arguments: list[str], code: str = "import train; sys.exit(train.main(sys.argv[1:]))") -> subprocess.Popen:
    """train.py, or a variation of it, in a process of its own."""
    threads = str(torch.get_num_threads())  # sums depend on it in their last bits
    return subprocess.Popen([sys.executable, "-c", f"import sys; {code}", *arguments], cwd=ROOT, text=True,
                            stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": threads})


def train(arguments: list[str], exit_code: int = 0) -> None:
    """Run train.py here, which is to end like this."""
    import train as script

    assert script.main(arguments) == exit_code


def final(root: Path, run: str) -> dict:
    return read_state(root / f"saved_models_{run}" / "checkpoints" / "state_000000006.pt")


def differing(a: object, b: object, at: str = "") -> list[str]:
    """Names of the values that are not bit by bit the same."""
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return [name for key in a for name in differing(a[key], b[key], f"{at}/{key}")]
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b):
        return [name for i, pair in enumerate(zip(a, b, strict=True)) for name in differing(*pair, f"{at}/{i}")]
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return [] if torch.equal(a, b) else [at]
    return [] if a == b else [at]


@pytest.fixture(scope="module")
def undisturbed(root: Path) -> dict:
    """The end of a run that was left alone."""
    train(options(root, "whole", **BUSY))
    return final(root, "whole")


@pytest.mark.parametrize("stop", [1, 4])
def test_resumed_run_is_bit_identical(root: Path, undisturbed: dict, stop: int) -> None:
    run = f"stopped{stop}"
    train(options(root, run, **BUSY | {"max_steps": stop}, cache_gb=0))  # of which nothing depends
    torch.manual_seed(99)  # whatever the process did in between
    train(options(root, run, **BUSY, resume="auto"))
    for part in ("task", "metrics", "random"):
        assert differing(final(root, run)[part], undisturbed[part]) == []
    lines = [json.loads(line) for line in (root / f"saved_models_{run}" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]


def test_an_encoder_that_learns_resumes_bit_identically(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import train as script

    learns = BUSY | {"identity_blend": 0, "lr_identity": 1e-4}
    train(options(root, "learning", **learns))
    train(options(root, "relearning", **learns | {"max_steps": 3}))
    train(options(root, "relearning", **learns, resume="auto"))
    whole = final(root, "learning")["task"]
    assert differing(final(root, "relearning")["task"], whole) == [] and "E" in whole
    train(options(root, "later", **learns | {"lr_identity": 0, "weight_tone": 0, "max_steps": 3}))
    begun = root / "saved_models_later/checkpoints/state_000000003.pt"
    train(options(root, "later", **learns, resume=begun))
    assert "E" in final(root, "later")["task"] and "E" not in read_state(begun)["task"], "it may begin at any time"
    learned = root / "saved_models_later/checkpoints/state_000000006.pt"
    assert script.main(options(root, "later", **learns | {"lr_identity": 0, "max_steps": 7}, resume=learned)) == 3
    assert "--lr_identity" in capsys.readouterr().err
    copied = root / "nets/another.safetensors"
    tensors = load_file(root / "nets/tiny_identity.safetensors")
    save_file(tensors | {"fc.bias": tensors["fc.bias"] + 1}, copied)
    copied.with_suffix(".json").write_text((root / "nets/tiny_identity.json").read_text())
    assert script.main(options(root, "later", **learns | {"identity": copied, "max_steps": 7}, resume=learned)) == 3
    assert "not the encoder that this run began with" in capsys.readouterr().err


# A run whose second step waits for the signal, so that it surely comes in the middle.
PATIENT = """
import time, train
from utils.training.generator import GeneratorTask
from utils.stop import StopSignals
remember, step, came = StopSignals._remember, GeneratorTask.step, []
def note(self, number, frame):
    came.append(number)
    remember(self, number, frame)
def wait(self, parts, number):
    if number == 1:
        print("WAITS", file=sys.stderr, flush=True)
        while not came:
            time.sleep(0.01)
    return step(self, parts, number)
StopSignals._remember, GeneratorTask.step = note, wait
sys.exit(train.main(sys.argv[1:]))
""".strip()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT], ids=["sigterm", "ctrl-c"])
def test_a_stop_saves_and_the_rest_is_bit_identical(root: Path, undisturbed: dict, stop: signal.Signals) -> None:
    run = f"stopped_by_{stop.name}"
    process = start(options(root, run, **BUSY), PATIENT)
    assert "WAITS\n" in process.stderr
    process.send_signal(stop)
    assert process.wait(60) == INTERRUPTED, process.stderr.read()
    saved = Checkpoints(root / f"saved_models_{run}" / "checkpoints", 3).states()
    assert [path.name for path in saved] == ["state_000000002.pt"]
    train(options(root, run, **BUSY, resume="auto"))
    assert differing(final(root, run)["task"], undisturbed["task"]) == []


@pytest.mark.parametrize("at", [2, 3], ids=["before the end", "at the last step"])
def test_a_stop_does_not_wait_for_validation(root: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    run, step = BUSY | {"max_steps": 3, "validation": "0.3", "validate_step": 1}, GeneratorTask.step
    validate, validated = GeneratorTask.validate, []

    def ended(task: GeneratorTask, parts: list[Any], number: int) -> dict[str, torch.Tensor]:
        if number + 1 == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(task, parts, number)

    def measured(task: GeneratorTask) -> dict[str, float]:
        validated.append(at)
        return validate(task)

    train(options(root, f"measured{at}", **run))
    name, folder = f"unmeasured{at}", root / f"saved_models_unmeasured{at}/checkpoints"
    monkeypatch.setattr(GeneratorTask, "validate", measured)
    with monkeypatch.context() as patch:
        patch.setattr(GeneratorTask, "step", ended)
        train(options(root, name, **run), INTERRUPTED)
    assert len(validated) == at - 1 and not (folder / "best.pt").exists()
    assert [path.name for path in Checkpoints(folder, 3).states()] == [f"state_{at:09d}.pt"]
    train(options(root, name, **run, resume="auto"))
    whole, resumed = (read_state(root / f"saved_models_{of}/checkpoints/best.pt") for of in (f"measured{at}", name))
    for part in ("task", "metrics", "random", "step"):
        assert differing(resumed[part], whole[part]) == []
    assert resumed["progress"]["best"] == whole["progress"]["best"]


# A writer that stops half way, so that the kill surely comes in the middle of a checkpoint.
HALF_WRITER = """
import io, time, torch, train
whole = torch.save
def save(thing, file):
    if not (isinstance(thing, dict) and thing.get("step") == 4):
        return whole(thing, file)
    data = io.BytesIO(); whole(thing, data)
    file.write(data.getvalue()[: len(data.getvalue()) // 2]); file.flush()
    print("HALF", file=sys.stderr, flush=True); time.sleep(60)
torch.save = save
sys.exit(train.main(sys.argv[1:]))
""".strip()


def test_kill_in_the_middle_of_a_checkpoint(root: Path, undisturbed: dict) -> None:
    folder = root / "saved_models_killed" / "checkpoints"
    train(options(root, "killed", **BUSY | {"max_steps": 2}))
    process = start(options(root, "killed", **BUSY | {"max_steps": 4}, resume="auto"), HALF_WRITER)
    assert "HALF\n" in process.stderr
    process.kill()
    process.wait()
    assert [path.name for path in Checkpoints(folder, 3).states()] == ["state_000000002.pt"]
    assert list(folder.glob(".*.partial.pt"))
    train(options(root, "killed", **BUSY, resume="auto"))
    assert differing(final(root, "killed")["task"], undisturbed["task"]) == []
    assert not list(folder.glob(".*.partial.pt"))


def test_a_checkpoint_named_by_its_file_takes_other_options(root: Path) -> None:
    busy = BUSY | {"id_warmup": 0}
    train(options(root, "changed", **busy | {"max_steps": 2}))
    begun = root / "saved_models_changed/checkpoints/state_000000002.pt"
    best = read_state(begun.with_name("best.pt"))["progress"]["best"]
    more = {"max_steps": 3, "beta1": 0.5, "weight_decay": 0.05, "optimizer": "adamw", "weight_id": 2e4}
    train(options(root, "changed", **busy | more, resume=begun))
    state = read_state(begun.with_name("state_000000003.pt"))
    assert read_state(begun.with_name("best.pt"))["step"] == 3 and state["progress"]["best"] > 2 * best
    task = state["task"]
    for name in ("G", "D"):
        (group,) = task[name]["optimizer"]["param_groups"]
        assert (group["betas"], group["weight_decay"]) == ((0.5, 0.999), 0.05)
        assert group["decoupled_weight_decay"] is True


def test_moments_follow_the_layout_of_the_weights(root: Path) -> None:
    train(options(root, "layout", max_steps=1, channels_last=True))
    begun = root / "saved_models_layout/checkpoints/state_000000001.pt"
    before = read_state(begun)["task"]["G"]["optimizer"]["state"]
    train(options(root, "layout", max_steps=2, channels_last=False, lr_G=1e-30, resume=begun))
    task = read_state(begun.with_name("state_000000002.pt"))["task"]["G"]
    after = task["optimizer"]["state"]
    assert all(one["exp_avg"].is_contiguous() for one in after.values())
    assert any(one["exp_avg"].dim() == 4 and not one["exp_avg"].is_contiguous() for one in before.values())


def test_a_finished_run_writes_its_files_anew(root: Path) -> None:
    train(options(root, "done", max_steps=1))
    train(options(root, "done", max_steps=1, resume="auto", grain=0.5, export_name="named"))
    folder = root / "saved_models_done"
    assert json.loads((folder / "named.json").read_text())["grain"] == 0.5


def test_the_best_state_outlives_other_learning_rates(root: Path) -> None:
    (root / "held.txt").write_text("0001\n0004\n")
    busy = BUSY | {"validation": root / "held.txt"}
    train(options(root, "slower", **busy | {"max_steps": 2}))
    begun = root / "saved_models_slower/checkpoints/state_000000002.pt"
    state = read_state(begun)
    best = state["progress"]["best"] = 0.0  # nothing is better
    torch.save(state, begun)
    for lr_G, id_weight, kept in ((1.0, 20, True), (1e-9, 30, False)):
        train(options(root, "slower", **busy | {"max_steps": 3, "lr_G": lr_G, "weight_id": id_weight}, resume=begun))
        now = read_state(begun.with_name("state_000000003.pt"))["progress"]["best"]
        assert (now == best) == kept


def test_an_option_that_a_checkpoint_does_not_know_had_its_default() -> None:
    config = parse(["--run_name", "x", "--resume", "auto", "--rim_contrast", "0.6"])
    known = {name: value for name, value in vars(config).items() if name != "rim_contrast"}
    with pytest.raises(OptionError, match=r"--rim_contrast 0\.6 differs from the 0\.0"):
        check_same_run({"world": 1, "config": known}, config, 1, {})


@pytest.mark.parametrize("resume", ["auto", "state.pt"])
def test_another_task_is_refused(resume: str) -> None:
    generator = parse(["--run_name", "x"])
    config = parse(["--run_name", "x", "--resume", resume, "--task", "identity"])
    state = {"world": 1, "config": vars(generator), "inputs": {"dataset_path": "a", "identity": "b"}}
    with pytest.raises(OptionError, match="--task identity differs from the generator that this run began with"):
        check_same_run(state, config, 1, {"dataset_path": "a"})


@pytest.mark.parametrize("resume", ["auto", "state_000000001.pt"])
def test_other_networks_are_refused(root: Path, capsys: pytest.CaptureFixture[str], resume: str) -> None:
    import train as script

    run = root / "saved_models_built/checkpoints"
    if not run.exists():
        train(options(root, "built", max_steps=1))
    resume = resume if resume == "auto" else str(run / resume)
    other = {"width": 0.5, "discr_layers": 3}
    assert script.main(options(root, "built", max_steps=2, resume=resume, **other)) == OptionError.exit_code
    said = capsys.readouterr().err
    assert "--width 0.5 --discr_layers 3" in said and "began with --width 0.25 --discr_layers 2:" in said
    assert said.count("\n") == 1


def test_a_state_that_does_not_fit_is_said_on_one_line(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import train as script

    train(options(root, "fits", max_steps=1))
    path = root / "saved_models_fits/checkpoints/state_000000001.pt"
    state = read_state(path)
    network = state["task"]["G"]["network"]
    for name in list(network)[:5]:
        network[f"other.{name}"] = network.pop(name)
    torch.save(state, path)
    assert script.main(options(root, "fits", max_steps=2, resume=path)) == InputError.exit_code
    said = capsys.readouterr().err
    assert "the checkpoint is of another training: " in said and said.rstrip().endswith("and 7 more")
    assert said.count(" is missing") == 3 and said.count("\n") == 1


def test_weights_are_no_checkpoint(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1)}, tmp_path / "G_latest.pth")
    with pytest.raises(InputError, match=r"G_latest\.pth is not a checkpoint .*state_\*\.pt; weights .* for --G_path"):
        read_state(tmp_path / "G_latest.pth")


def test_states_without_second_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*paths: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    Checkpoints(tmp_path, 2).save({"step": 1}, best=True)
    assert read_state(tmp_path / "best.pt")["step"] == 1


def test_damaged_checkpoint_falls_back_to_the_one_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING", "ghost")
    checkpoints = Checkpoints(tmp_path, 2)
    for step in (1, 2, 3):
        checkpoints.save({"step": step, "value": torch.full((1000,), float(step))}, best=step == 1)
    assert [path.name for path in checkpoints.states()] == ["state_000000002.pt", "state_000000003.pt"]
    assert read_state(tmp_path / "best.pt")["step"] == 1
    newest = checkpoints.states()[-1]
    newest.write_bytes(newest.read_bytes()[:2000])
    assert checkpoints.newest_usable()["step"] == 2
    checkpoints.abandon_after(2)
    assert [path.name for path in checkpoints.states()] == ["state_000000002.pt"]
    assert str(newest) in caplog.text
    damaged = bytearray(checkpoints.states()[0].read_bytes())
    damaged[damaged.index(torch.full((8,), 2.0).numpy().tobytes())] ^= 1
    checkpoints.states()[0].write_bytes(damaged)
    with pytest.raises(InputError, match=r"state_000000002\.pt is damaged: .* another checksum"):
        read_state(checkpoints.states()[0])
    checkpoints.states()[0].write_bytes(b"")
    assert checkpoints.newest_usable()["step"] == 1 and checkpoints.holding(1) == checkpoints.best
    checkpoints.best.write_bytes(b"")
    with pytest.raises(InputError, match="none of its 2 checkpoints"):
        checkpoints.newest_usable()
