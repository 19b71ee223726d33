"""Training on CUDA: recorded steps and batches that are prepared beside them change nothing."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from tests.training_set import grid_landmarks, options, write_faceres, write_networks, write_set
from utils.training import stock
from utils.training.ahead import prepared
from utils.training.config import parse
from utils.training.generator import GeneratorTask
from utils.training.graphs import Recorded
from utils.training.pairs import batches
from utils.training.setup import build_task

WEIGHTS = {"weight_adv": 1, "weight_r1": 0.1, "weight_id": 1, "weight_encoder": 1, "weight_rec": 1, "weight_tone": 1,
           "weight_outside": 1, "weight_landmarks": 1, "weight_pose": 1, "weight_transplant": 1, "weight_faceres": 1,
           "weight_features": 1, "weight_attr": 0, "id_margin": 0.2, "id_warmup": 30, "rec_all_steps": 20, "tone": 0.5,
           "rim_contrast": 0.6, "beta1": 0.5, "grad_clip": 5, "lr_identity": 0.0001}
STEPS = 70  # past the fourth gradient penalty, which is the first recorded one


@pytest.fixture(autouse=True)
def labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Landmarks without their teacher."""
    monkeypatch.setattr(stock, "label", grid_landmarks)


def build(root: Path, device: str, **more: Any) -> GeneratorTask:
    if not (root / "set").exists():
        write_set(root / "set")
        write_networks(root / "nets")
        write_faceres(root / "nets")
    config = parse(options(root, "cuda", faceres=root / "nets/faceres.json", optim_level="O0", device=device,
                           **WEIGHTS | more))
    task = build_task(config, torch.device(device))
    assert isinstance(task, GeneratorTask)
    return task


def trained(task: GeneratorTask, steps: int) -> list[dict[str, float]]:
    rows = []
    for number, part in enumerate(task.batches(range(steps))):
        rows.append({name: float(value) for name, value in task.step([part], number).items()})
    return rows


def test_batches_are_prepared_when_they_are_asked_for(tmp_path: Path) -> None:
    task = build(tmp_path, "cpu")
    made: list[int] = []

    def prepare(pairs: Any) -> Any:
        made.append(len(pairs))
        return pairs

    pairs = batches(task._faces, task._plan, task._share, range(2), 0)
    first, second = list(prepared(prepare, pairs, None))
    assert made == []
    assert len(second()) == 4 and len(first()) == 4 and made == [4, 4]


def test_batches_that_are_prepared_as_one_are_those_of_one_by_one(tmp_path: Path) -> None:
    task = build(tmp_path, "cpu", source_novel=0.5, alike_targets=0.5)
    pairs = list(batches(task._faces, task._plan, task._share, range(3), 0))
    for alone, together in zip(map(task._prepare, pairs), task._prepare.several(pairs), strict=True):
        for a, b in zip(tree_leaves(alone), tree_leaves(together), strict=True):
            assert (a is None and b is None) or torch.allclose(a, b, atol=1e-4)


def test_a_task_is_gone_when_nobody_holds_it(tmp_path: Path) -> None:
    """Several processes may crash at their end where it outlives their connection."""
    task = build(tmp_path, "cpu")
    trained(task, 1)
    known = weakref.ref(task)
    gc.disable()
    try:
        del task
        assert known() is None
    finally:
        gc.enable()


def test_training_goes_on_where_nothing_can_be_recorded(caplog: pytest.LogCaptureFixture) -> None:
    if torch.cuda.is_available():
        pytest.skip("a CUDA device records")
    weight = torch.nn.Parameter(torch.ones(2))

    def backward(x: Tensor) -> Tensor:
        loss = (weight * x).sum()
        loss.backward()
        return loss.detach()

    run = Recorded(backward, [weight])
    for number in range(6):
        weight.grad = None
        assert float(run(torch.tensor([1.0, number]))) == 1 + number
        assert weight.grad is not None and weight.grad.tolist() == [1, number]
    assert sum("cannot record" in record.message for record in caplog.records) == 1


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_batches_that_are_used_again_are_the_same_also_after_a_pause(tmp_path: Path, device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    task = build(tmp_path, device, teacher_reuse=3)
    whole = [take() for take in task.batches(range(13))]
    assert len(whole) == 13 and len({id(batch) for batch in whole}) == 5
    assert all(any(batch is earlier for earlier in whole[:i]) == bool(i % 3) for i, batch in enumerate(whole))
    later = [take() for take in task.batches(range(8, 13))]
    assert all(torch.equal(a.Xt, b.Xt) for a, b in zip(whole[8:], later, strict=True))


def gradients(run: Any, parameters: list[Any]) -> Tensor:
    for parameter in parameters:
        parameter.grad = None
    run()
    return torch.cat([parameter.grad.flatten() for parameter in parameters if parameter.grad is not None]).clone()


@pytest.mark.gpu
def test_recorded_passes_give_the_gradients_of_plain_ones(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    task = build(tmp_path, "cuda")
    values = trained(task, STEPS)
    assert all(np.isfinite(list(row.values())).all() for row in values)
    batch, learning = next(task.batches(range(STEPS, STEPS + 1)))(), task._G_updater.parameters
    recorded_G = task._recorded_G
    assert recorded_G is not None and recorded_G._graph is not None
    task._D.requires_grad_(False)
    recorded = gradients(lambda: recorded_G(batch), learning)
    plain = gradients(lambda: task._generator_pass(batch), learning)
    assert float((recorded - plain).norm() / plain.norm()) < 0.01
    task._D.requires_grad_(True)
    for due, penalty in ((False, 0.0), (True, 0.1 * 16)):
        run = task._recorded_D[due]
        assert run._graph is not None
        recorded = gradients(lambda run=run: run(batch.Xs, batch.Xt), task._D_updater.parameters)
        plain = gradients(lambda weight=penalty: task._discriminator_pass(batch.Xs, batch.Xt, weight),
                          task._D_updater.parameters)
        assert float((recorded - plain).norm() / plain.norm()) < 0.01


def near(name: str, a: Tensor, b: Tensor) -> bool:
    """Whether two of a batch's tensors are alike; drawn masks, and with them swaps by warping, snap to whole pixels."""
    if name in ("face", "shown", "sure", "openings", "donor"):
        return float((a - b).abs().mean()) < 5e-3
    return torch.allclose(a, b, atol=2e-2)


@pytest.mark.gpu
def test_batches_made_beside_the_steps_are_those_of_the_cpu(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    on_cpu, on_cuda = ([vars(take()) for take in build(tmp_path, name).batches(range(4))] for name in ("cpu", "cuda"))
    for wanted, found in zip(on_cpu, on_cuda, strict=True):
        for name in wanted:
            for a, b in zip(*map(tree_leaves, (wanted[name], found[name])), strict=True):
                assert (a is None and b is None) or near(name, a, b.cpu())
