"""One step of the generator's training: terms reach what learns by them, nothing frozen changes, D and G take turns."""

from __future__ import annotations

import copy
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.fan import FAN
from tests.training_set import grid_landmarks, options, write_faceres, write_networks, write_set
from utils import registry
from utils.training import generator, stock
from utils.training.config import TrainConfig, parse, read_preset
from utils.training.faces import Faces
from utils.training.generator import GeneratorTask
from utils.training.pairs import Pairs, batches
from utils.training.pasting import Pasting
from utils.training.setup import build_task, missing_for_compile
from utils.training.terms import SwapBatch, shown_to_critics
from utils.training.watch import Watch
from utils.weights_file import read_card

CPU = torch.device("cpu")
PRESETS = Path(__file__).resolve().parents[1] / "utils/training/presets"
TERMS = {"adv": {"weight_adv": 1}, "attr": {"weight_attr": 1}, "id": {"weight_id": 1},
         "rec": {"weight_rec": 1, "same_person": 1}, "tone": {"weight_tone": 1}, "encoder": {"weight_encoder": 1},
         "outside": {"weight_outside": 1}, "landmarks": {"weight_landmarks": 1}, "pose": {"weight_pose": 1},
         "transplant": {"weight_transplant": 1, "same_person": 0, "batch_size": 4},
         "features": {"weight_features": 1, "weight_transplant": 1, "same_person": 0, "batch_size": 4},
         "distill": {"weight_distill": 1, "lr_identity": 1e-4, "critic": "sface"}, "faceres": {"weight_faceres": 1},
         "eyes": {"weight_eyes": 800, "eye_detector_loss": True}}
# All that there are, so that a new one has to be listed above.
NAMES = TrainConfig(**{field.name: 1 for field in fields(TrainConfig) if field.name.startswith("weight_")}).weights()
OFF = {"weight_adv": 0, "weight_attr": 0, "weight_id": 0, "weight_rec": 0}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("step")
    write_set(folder / "set")
    write_networks(folder / "nets")
    write_faceres(folder / "nets")
    torch.manual_seed(0)
    fan = FAN()
    # Untrained heatmaps are all zero after their ReLU; these are not.
    nn.init.constant_(fan.get_submodule("l3").bias, 0.5)
    torch.save(fan.state_dict(), folder / "nets" / "eyes.pth")
    return folder


@pytest.fixture(autouse=True)
def labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Landmarks without their teacher."""
    monkeypatch.setattr(stock, "label", grid_landmarks)


def build(root: Path, **more: Any) -> tuple[TrainConfig, GeneratorTask]:
    config = parse(options(root, "step", eye_path=root / "nets/eyes.pth", faceres=root / "nets/faceres.json",
                           optim_level="O0", **more))
    task = build_task(config, CPU)
    assert isinstance(task, GeneratorTask)
    return config, task


def first_pairs(task: GeneratorTask) -> Pairs:
    return next(batches(task._faces, task._plan, task._share, range(1), 0))


def weights(network: nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(dict(network.state_dict()))


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("name", NAMES)
def test_every_term_sends_a_gradient_into_what_learns_by_it(
    root: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(generator, "load_sface", lambda config, device: Teacher())
    config, task = build(root, **OFF | {"same_person": 0.2, "batch_size": 2} | TERMS[name])
    judges = [judge for judge in vars(task._judges).values() if judge is not None]
    before = [weights(judge) for judge in judges]
    pairs = first_pairs(task)
    _, terms = task._G_terms(task._prepare(pairs))
    assert terms.keys() == config.weights().keys()
    terms[name].backward()
    learner = (task._E_updater or task._G_updater).network
    reached = [p.grad is not None and bool(p.grad.abs().sum() > 0) for p in learner.parameters()]
    assert sum(reached) > len(reached) * 0.5
    for judge, old in zip(judges, before, strict=True):
        assert same(weights(judge), old)
        assert not any(p.requires_grad or p.grad is not None for p in judge.parameters())


def test_all_pairs_may_count_as_reconstructions_but_only_there(root: Path) -> None:
    _, task = build(root, same_person=0.0, same_identity=False, id_margin=0.5)
    batch = task._prepare(first_pairs(task))
    with torch.no_grad():
        plain, all_of_them = (task._G_terms(b)[1] for b in (batch, batch.counting_all()))
    assert float(plain["rec"]) == 0 < float(all_of_them["rec"])
    assert float(plain["id"]) == float(all_of_them["id"])


def test_a_discriminator_that_waits_has_not_won(root: Path) -> None:
    _, task = build(root, discr_force=True)
    metrics = task.step([next(task.batches(range(1)))], 0)
    assert task._D_updater.steps == 0 and not {"D", "grad_D"} & metrics.keys(), "what nobody evaluated has no number"
    watch = Watch(1)
    for step in range(3):
        watch.look(step, {name: float(value) for name, value in metrics.items()}, None)


def test_compiling_is_left_out_where_its_tools_are_missing(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "ghost")
    monkeypatch.setenv("PATH", str(root))
    monkeypatch.delenv("CXX", raising=False)
    _, task = build(root, compile=True)
    assert not task._config.compile and f"this machine has no {missing_for_compile(CPU)}" in caplog.text
    assert "compiling" not in caplog.text
    compiler = root / "compiler"
    compiler.touch(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    assert missing_for_compile(CPU) is None
    build(root)
    assert "compiling" not in caplog.text
    build(root, compile=True)
    assert "compiling: the first step takes minutes" in caplog.messages


def test_a_step_changes_generator_and_discriminator_and_nothing_else(root: Path) -> None:
    _, task = build(root, weight_outside=1, weight_landmarks=1)
    old = {name: copy.deepcopy(state) for name, state in task.networks().items()}
    frozen = [task._encoder, task._judges.critic, task._judges.landmarks]
    before = [weights(network) for network in frozen]
    parts = [next(task.batches(range(1)))]
    metrics = task.step(parts, 0)
    assert all(bool(torch.isfinite(value)) for value in metrics.values())
    assert not same(old["G"], task.networks()["G"]) and not same(old["D"], task.networks()["D"])
    for network, state in zip(frozen, before, strict=True):
        assert network is not None and same(weights(network), state)


def test_an_encoder_learns_while_its_first_state_goes_on_judging(root: Path) -> None:
    _, task = build(root, lr_identity=1e-3, weight_encoder=1, weight_id=0, ema=0)
    judge, learner = weights(task._encoder), weights(task._conditioning)
    assert same(judge, learner)
    metrics = task.step([next(task.batches(range(1)))], 0)
    assert float(metrics["grad_E"]) > 0 and same(weights(task._encoder), judge)
    after = weights(task._conditioning)
    assert not torch.equal(after["conv1.weight"], learner["conv1.weight"])
    task._identity_card["glasses"] = {"kinds": []}
    assert torch.equal(after["bn1.running_mean"], learner["bn1.running_mean"])
    task.export(root / "learned", "a test")
    loaded = registry.load_identity("tiny_identity", beside=root / "learned/G_latest.pth")
    assert loaded.path.parent == root / "learned" and loaded.card["origin"] == "a test"
    assert read_card(root / "learned/G_latest.pth")["identity_sha256"] == loaded.card["sha256"]
    assert "glasses" not in loaded.card
    for name, tensor in loaded.network.state_dict().items():
        assert torch.allclose(tensor.float(), after[name].float(), rtol=2e-3, atol=1e-4), name


class Teacher(nn.Module):
    """Sees coarse colours, as long as the tiny encoder's embedding."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, 3, 112, 112) float [-1, 1] RGB. Returns (B, 16) float32."""
        return nn.functional.adaptive_avg_pool2d(x, (2, 3)).flatten(1)[:, :16]


def test_an_encoder_that_learns_is_kept_near_its_teacher(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "load_sface", lambda config, device: Teacher())
    _, task = build(root, **OFF, critic="sface", lr_identity=2e-4, weight_distill=1, same_person=0, beta1=0.9)
    batches = task.batches(range(40))
    seen = [float(task.step([next(batches)], step)["distill"]) for step in range(40)]
    assert np.mean(seen[-5:]) < 0.8 * np.mean(seen[:5]), seen


def test_invented_sources_take_the_place_of_some(root: Path) -> None:
    few = {"batch_size": 12, "same_person": 0.5, "same_identity": False, "weight_transplant": 1, "jitter": 0}
    (_, plain), (_, novel) = build(root, **few), build(root, **few, source_novel=0.5)
    pairs = first_pairs(plain)
    a, b, again = plain._prepare(pairs), novel._prepare(pairs), novel._prepare(pairs)
    assert torch.equal(b.Xs, again.Xs) and torch.equal(b.wanted, again.wanted)
    changed = (a.Xs != b.Xs).flatten(1).any(1)
    assert 0 < int(changed.sum()) < 12 and not (changed & (b.same == 1)).any()
    assert torch.equal(a.Xt, b.Xt), "targets are real"
    assert ((a.z_id != b.z_id).any(1) == changed).all()


def test_targets_that_look_into_the_sources_direction(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = stock.label

    def turned(faces: Faces, path: str) -> tuple[Tensor, np.ndarray]:
        points, sure = plain(faces, path)
        turn = torch.arange(len(faces)).view(-1, 1, 1) % 2 * torch.tensor([0.5, 0.0]) + torch.tensor([0.5, 1.0])
        return (points - 40) * turn + 40, sure  # every second one is half as wide

    monkeypatch.setattr(stock, "label", turned)
    shared = {"batch_size": 12, "same_person": 0.3, "same_identity": False, "weight_transplant": 1, "jitter": 0}
    (_, plain_task), (_, alike) = build(root, **shared), build(root, **shared, alike_targets=1)
    pairs = first_pairs(plain_task)
    a, b = plain_task._prepare(pairs), alike._prepare(pairs)
    assert a.belief is not None and b.belief is not None and float(b.belief.sum()) > 1.3 * float(a.belief.sum())
    assert torch.equal(a.Xs, b.Xs) and torch.equal(a.Xt[pairs.same], b.Xt[pairs.same])
    assert (b.Xs != b.Xt).flatten(1).any(1)[~torch.from_numpy(pairs.same)].all(), "never the source itself"


def test_swaps_by_warping_have_their_own_features(root: Path) -> None:
    few = {"weight_transplant": 1, "weight_features": 1, "batch_size": 4, "same_person": 0}
    _, task = build(root, **OFF, **few)
    batch = next(task.batches(range(1)))()
    assert batch.donor is not None and batch.belief is not None and float(batch.belief.sum()) > 1
    target, donor = (float(task._G_terms._appearing(Y, batch)["features"]) for Y in (batch.Xt, batch.donor))
    assert donor == pytest.approx(0, abs=1e-6) and target > 1e-4


def test_the_second_recogniser_knows_the_source_again(root: Path) -> None:
    unlike = []
    for same_person in (1, 0):
        _, task = build(root, **OFF, weight_faceres=1, same_person=same_person, same_identity=False, jitter=0)
        batch = next(task.batches(range(1)))()
        unlike.append(float(task._G_terms._appearing(batch.Xt, batch)["faceres"]))
    assert unlike[0] < 0.5 * unlike[1], unlike


def test_generator_step_leaves_no_gradient_in_the_discriminator(root: Path) -> None:
    _, task = build(root)
    task._generator_step([next(task.batches(range(1)))], 0, 1.0)
    assert all(p.grad is None for p in task._D.parameters())


def test_the_gradient_penalty_flattens_the_discriminator(root: Path) -> None:
    steepness = {}
    for weight in (0.0, 10.0):
        torch.manual_seed(0)
        _, task = build(root, weight_r1=weight, lr_D=2e-3)
        course(task, 34)
        batch = next(task.batches(range(1)))()
        steepness[weight] = float(task._D_terms._penalty(batch.Xs).detach())
    assert steepness[10.0] < 0.7 * steepness[0.0], steepness


def test_the_aligned_critic_looks_a_little_differently_each_time(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generator, "load_sface", lambda config, device: Teacher())
    _, task = build(root, critic="sface", batch_size=12)
    pairs = first_pairs(task)
    M, again = (task._prepare(pairs).M_align for _ in range(2))
    assert M is not None and again is not None and torch.equal(M, again)
    area = torch.linalg.det(M[:, :, :2])
    assert (area < 0).any() and (area > 0).any(), "half of the looks are mirrored"
    size = area.abs().sqrt()
    assert float(size.max() / size.min()) < 1.06 / 0.94 and len(set(size.tolist())) > 6


def test_a_margin_counts_against_swaps_that_stay_near_their_targets(root: Path) -> None:
    values = []
    for margin in (0.0, 1.5):
        torch.manual_seed(0)
        _, task = build(root, id_margin=margin, same_person=0)
        batch = next(task.batches(range(1)))()
        values.append(float(task._G_terms(batch)[1]["id"].detach()))
    assert values[1] > values[0] + 0.1


def test_the_discriminator_sees_swaps_as_they_are_pasted(root: Path) -> None:
    _, task = build(root, weight_outside=1)
    _, shown = task._generator_step([next(task.batches(range(1)))], 0, 1.0)
    batch = next(task.batches(range(1)))()
    assert batch.shown is not None
    away = (batch.shown == 0).expand_as(batch.Xt)
    assert away.any() and torch.equal(shown[0][0][away], batch.Xt[away])


def test_discr_force_holds_the_discriminator_back(root: Path) -> None:
    _, task = build(root, discr_force=True)
    old = copy.deepcopy(task.networks()["D"])
    task.step([next(task.batches(range(1)))], 0)
    assert same(old, task.networks()["D"]) and task._running_L_adv < 20
    task._running_L_adv = 3.0
    assert task.step([next(task.batches(range(1)))], 1)["grad_D"] > 0
    assert not same(old, task.networks()["D"])


def test_accumulated_batches_step_like_one_large_batch(root: Path) -> None:
    # Linear in the samples but for batch norm, which sees the parts: so in inference mode.
    results = []
    for batch, accumulate in ((4, 1), (2, 2)):
        _, task = build(root, batch_size=batch, accumulate=accumulate, weight_outside=1, same_person=0.5)
        task._G_updater.network.eval()
        batches = task.batches(range(1))
        results.append(task.step([next(batches) for _ in range(accumulate)], 0))
    for name in results[0]:
        if name != "spread":
            assert float(results[1][name]) == pytest.approx(float(results[0][name]), rel=1e-3), name


def course(task: GeneratorTask, steps: int) -> Tensor:
    """L_rec and L_id of so many steps, (steps, 2)."""
    batches, seen = task.batches(range(steps)), []
    for step in range(steps):
        values = task.step([next(batches)], step)
        seen.append((float(values["rec"]), float(values["id"])))
    return torch.tensor(seen)


def test_losses_fall_on_a_few_faces(root: Path) -> None:
    _, task = build(root, batch_size=6, same_person=0.5, same_identity=False, lr_G=2e-3, id_warmup=0, weight_adv=0.1)
    seen = course(task, 60)
    first, last = seen[:3].mean(0), seen[-5:].mean(0)
    assert (last < first / 2).all(), (first, last)


def test_warm_up_begins_with_the_target(root: Path) -> None:
    weights = {"weight_adv": 3, "weight_id": 20, "weight_rec": 10, "weight_tone": 5, "weight_outside": 1}
    _, task = build(root, batch_size=2, id_warmup=10, **weights)
    batches = task.batches(range(3))
    for step, share in ((0, 0.002), (5, 0.002**0.5), (10, 1), (11, 1)):
        if step < 11:
            task.step([next(batches)], step)
        found = {name: float(weight) for name, weight in task._loss_weights.items()}
        expected = {"adv": 3 * share, "id": 20 * share, "rec": 10, "tone": 5, "outside": 1}
        assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_finetuning_preset_does_not_diverge(root: Path) -> None:
    few = {"batch_size": 6, "same_person": 0.5, "same_identity": False}
    _, task = build(root, **few, lr_G=2e-3, weight_adv=0.1)
    course(task, 30)
    for name, state in task.networks().items():
        torch.save(state, root / f"{name}.pth")
    start = {"G_path": root / "G.pth", "D_path": root / "D.pth", "pretrained": True}
    preset = read_preset(PRESETS / "finetune.yaml") | few | start | {"compile": False, "num_blocks": 1, "size": 64}
    calm = course(build(root, **(preset | {"ema": 0.9, "warmup": 10}))[1], 20)
    wild = course(build(root, **(preset | {"ema": 0.9, "warmup": 0, "lr_G": 4e-2}))[1], 20)
    assert (calm[-10:].mean(0) < 1.2 * calm[:10].mean(0)).all(), calm
    assert (wild[-10:].mean(0) > 1.5 * calm[-10:].mean(0)).any(), "this test would not notice"


def test_terms_are_one_graph_for_the_compiler(root: Path) -> None:
    _, task = build(root, weight_outside=1, weight_landmarks=1, weight_tone=1, batch_size=2)
    batch = next(task.batches(range(1)))()
    _, plain = task._G_terms(batch)
    whole = torch.compile(task._G_terms, backend="aot_eager", fullgraph=True)
    _, compiled = whole(batch)
    for name, value in plain.items():
        assert float(compiled[name].detach()) == pytest.approx(float(value.detach()), rel=1e-3), name
    sum(compiled.values()).backward()
    assert all(p.grad is not None for p in task._G_updater.network.parameters())


def test_judges_of_identity_have_no_say_in_gaze_and_teeth() -> None:
    Y, Xt = torch.rand(2, 1, 3, 8, 8).unbind()
    Y.requires_grad_()
    openings = torch.zeros(1, 1, 8, 8)
    openings[..., 2:4, 3:6] = 1
    empty = torch.zeros(1)
    batch = SwapBatch(Xt, Xt, empty, empty, empty, empty, empty, openings=openings)
    seen = shown_to_critics(Y, batch)
    assert torch.equal(seen[..., 2:4, 3:6], Xt[..., 2:4, 3:6]) and torch.equal(seen[..., 4:, :], Y[..., 4:, :])
    (gradient,) = torch.autograd.grad(seen.sum(), Y)
    assert not gradient[..., 2:4, 3:6].any() and bool(gradient[..., 4:, :].all())
    assert shown_to_critics(Y, SwapBatch(Xt, Xt, empty, empty, empty, empty, empty)) is Y


def test_judges_of_identity_see_the_swap_where_it_will_be_shown() -> None:
    Y, Xt = torch.rand(2, 1, 3, 8, 8).unbind()
    shown, empty = torch.zeros(1, 1, 8, 8), torch.zeros(1)
    shown[..., 2:6, 2:6] = 1
    seen = shown_to_critics(Y, SwapBatch(Xt, Xt, empty, empty, empty, empty, empty, shown=shown))
    assert torch.equal(seen[..., 2:6, 2:6], Y[..., 2:6, 2:6])
    assert torch.equal(seen[..., :2, :], Xt[..., :2, :]) and torch.equal(seen[..., 6:, :], Xt[..., 6:, :])


def test_judges_of_identity_see_no_stains() -> None:
    Y, Xt = torch.rand(2, 2, 3, 128, 128).unbind()
    Y.requires_grad_()
    empty, stain = torch.zeros(2), torch.zeros(2, 3, 128, 128)
    batch = SwapBatch(Xt, Xt, empty, empty, empty, empty, empty)
    for pixels, felt in ((slice(None), False), (slice(8, 10), True)):
        stain[:, 0, :, pixels], stain[:, 2, :, pixels] = 1, -1
        seen = shown_to_critics(Y * 0.1 + 0.3, batch, Pasting(tone=1.0))
        (gradient,) = torch.autograd.grad((seen * stain).sum(), Y)
        assert bool(gradient.abs().max() > 1e-4) is felt  # what many pixels share is the target's
        stain.zero_()
