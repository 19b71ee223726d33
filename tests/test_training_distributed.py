"""Two processes with half the batch each compute what one process with the whole batch does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from inspect import Parameter, Signature
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from tests.training_set import options, prepared
from utils.errors import OptionError
from utils.training import distributed

ROOT = Path(__file__).resolve().parents[1]
LAUNCHER = ["-m", "torch.distributed.run", "--standalone", "--local-addr=127.0.0.1"]
# Every loss whose denominator depends on the batch, and blends across the batch. Low learning rates, since Adam turns
# differences of rounding into steps of full length: another memory layout alone moves losses by 1e-2 in four steps
# at 4e-4.
BUSY = {"max_steps": 4, "optim_level": "O0", "lr_G": 1e-5, "lr_D": 1e-5, "identity_blend": 0.5, "same_person": 0.5,
        "weight_outside": 1, "weight_landmarks": 1, "grad_clip": 20, "max_epoch": 100}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("distributed"))


def losses(root: Path, run: str, processes: int, **more: object) -> list[dict[str, float]]:
    """What a run of that many processes logs, step by step."""
    launcher = [*LAUNCHER, f"--nproc_per_node={processes}"] if processes > 1 else []
    command = [sys.executable, *launcher, "train.py", *options(root, run, **BUSY | more)]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
                          timeout=300)
    assert done.returncode == 0 and "FutureWarning" not in done.stderr, done.stderr
    lines = (root / f"saved_models_{run}" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_two_processes_equal_one_with_the_doubled_batch(root: Path) -> None:
    one, two = losses(root, "one", 1, batch_size=6), losses(root, "two", 2, batch_size=3)
    assert [line["step"] for line in one] == [line["step"] for line in two] == [1, 2, 3, 4]
    for a, b in zip(one, two, strict=True):
        for name in ("adv", "attr", "id", "rec", "outside", "landmarks", "G", "D"):
            assert b[name] == pytest.approx(a[name], rel=1e-3, abs=1e-6), (a["step"], name)
    # Later gradients have such differences in them; this one has the masks', whose corners snap to whole pixels.
    assert two[0]["grad_G"] == pytest.approx(one[0]["grad_G"], rel=3e-3)


# One of two processes is asked to end, or has no photos any more, in a step at which nothing else is due.
TROUBLED = """
import os, pathlib, signal, sys, time, train
from utils.errors import InputError
from utils.training import generator
def troubled(*given, plain=generator.batches):
    for step, batch in enumerate(plain(*given)):
        if step == 3 and os.environ["RANK"] == "1":
            if TROUBLE == "photos":
                raise InputError("photos are gone")
            os.kill(os.getpid(), signal.SIGTERM)
        yield batch
generator.batches = troubled
code = train.main(sys.argv[1:])
places = [pathlib.Path(__file__).with_name(f"code{rank}") for rank in range(2)]
place = places[int(os.environ["RANK"])]
place.with_suffix(".part").write_text(str(code))
place.with_suffix(".part").rename(place)
while not all(place.exists() for place in places):  # torchrun kills all once one has ended
    time.sleep(0.01)
sys.exit(code)
"""


@pytest.mark.parametrize(("trouble", "step", "codes"), [("photos", 3, (3, 11)), ("signal", 4, (0, 130))])
def test_trouble_of_one_process_saves_the_state_of_all(
    root: Path, tmp_path: Path, trouble: str, step: int, codes: tuple[int, int]
) -> None:
    script = tmp_path / "troubled.py"
    script.write_text(TROUBLED.replace("TROUBLE", repr(trouble)))
    command = [sys.executable, *LAUNCHER, "--nproc_per_node=2", str(script),
               *options(root, trouble, max_steps=99, validation="0.3")]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
                          capture_output=True, text=True, timeout=120)
    ends = [place.read_text() for place in sorted(tmp_path.glob("code?"))]
    assert sorted(ends) == sorted(map(str, codes)), done.stderr
    states = (root / f"saved_models_{trouble}/checkpoints").glob("state_*.pt")
    assert [path.name for path in states] == [f"state_{step:09d}.pt"]
    validated = "val_score" in (root / f"saved_models_{trouble}/metrics.jsonl").read_text()
    assert validated == (trouble == "photos"), "whoever sends a signal may not wait long"


def test_a_checkpoint_at_the_last_step(root: Path) -> None:
    losses(root, "often", 2, batch_size=3, max_steps=10, checkpoint_minutes=0)
    assert (root / "saved_models_often" / "checkpoints" / "state_000000010.pt").is_file()


@pytest.mark.parametrize(("device", "nccl", "backend"), [
    ("cuda", True, "cpu:gloo,cuda:nccl"), ("cuda", False, "gloo"), ("cpu", True, "gloo"),
])
def test_cards_talk_over_gloo_where_there_is_no_nccl(
    device: str, nccl: bool, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[str] = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(distributed, "choose_device", torch.device)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(dist, "is_nccl_available", lambda: nccl)
    monkeypatch.setattr(dist, "init_process_group", chosen.append)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)
    with distributed.process_group(device) as own:
        assert own == torch.device(device, 1 if device == "cuda" else None)
    assert chosen == [backend]


def test_more_processes_than_cards_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setattr(distributed, "choose_device", torch.device)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    said = r"process 3 .* no CUDA device of its own \(PyTorch sees 2\); give torchrun --nproc_per_node=2"
    with pytest.raises(OptionError, match=said), distributed.process_group("cuda"):
        pass


@pytest.mark.parametrize("name", ["forward_sync_buffers", "broadcast_buffers"])
def test_buffers_are_left_alone_by_every_pytorch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrapped:
        def __init__(self, module: Any, device_ids: Any = None, **given: Any) -> None:
            self.given = given

    kinds = [Parameter(part, Parameter.POSITIONAL_OR_KEYWORD) for part in ("module", "device_ids", name)]
    Wrapped.__signature__ = Signature(kinds)  # type: ignore[attr-defined]
    monkeypatch.setattr(torch.nn.parallel, "DistributedDataParallel", Wrapped)
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    made: Any = distributed.parallel(torch.nn.Linear(1, 1), torch.device("cpu"))
    assert made.given == {name: False}
