"""The small networks learn from their teachers, and their files load where faces are swapped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.training_set import KPS, options, write_set
from utils import registry
from utils.errors import InputError, OptionError, WeightsError
from utils.training import invent, stock, students
from utils.training.config import parse
from utils.training.draws import Draws
from utils.training.faces import Faces
from utils.training.setup import build_task
from utils.training.sface import Observed

CPU = torch.device("cpu")
HARD = {"teacher_reuse": 2, "student_centred": True, "student_novel": True, "weight_hints": 1,
        "source_novel": 0.5}


class Teacher(nn.Module):
    """Sees coarse colours: something that a student can learn in a moment."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, 3, 112, 112) float [-1, 1] RGB. Returns (B, 16) float32, L2-normalised."""
        return self.observed(x).e

    def observed(self, x: Tensor) -> Observed:
        """The same; its maps are the colours themselves, and all places have equal shares."""
        e = nn.functional.normalize(nn.functional.adaptive_avg_pool2d(x, (2, 3)).flatten(1)[:, :16])
        maps = [nn.functional.adaptive_avg_pool2d(x, side) for side in (14, 7)]
        return Observed(e, maps, (e / 49)[..., None, None].expand(-1, -1, 7, 7))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_set(tmp_path / "set")
    (tmp_path / "held.txt").write_text("0001\n0004\n0007\n")

    def label(faces: Faces, path: str) -> tuple[Tensor, np.ndarray]:
        """Every landmark somewhere on the lines between the keypoints."""
        corners = torch.from_numpy(KPS)[torch.arange(106) % 5]
        return corners.expand(len(faces), 106, 2) + torch.arange(106)[:, None] / 20, np.ones(len(faces), np.float32)

    monkeypatch.setattr(students, "load_sface", lambda config, device: Teacher())
    monkeypatch.setattr(students, "label", label)
    monkeypatch.setattr(stock, "label", label)
    return tmp_path


def build(root: Path, task: str, **more: Any) -> students.StudentTask:
    chosen = {"task": task, "validation": root / "held.txt", "batch_size": 8, "lr_G": 3e-3, "optim_level": "O0",
              "rotation": 5, "mirror": 0.5, "export_name": "mine", "optimizer": "adamw", "beta1": 0.9} | more
    if task == "identity":
        chosen = {"student_width": 0.25, "student_features": 16, "student_size": 64} | chosen
    built = build_task(parse(options(root, task, **chosen)), CPU)
    assert isinstance(built, students.StudentTask)
    return built


def run(task: students.StudentTask, steps: range) -> list[float]:
    batches = task.batches(steps)
    return [float(task.step([next(batches)], step)["loss"]) for step in steps]


@pytest.mark.parametrize("kind", ["identity", "landmarks"])
def test_students_learn_and_their_files_load(root: Path, kind: str) -> None:
    task = build(root, kind)
    losses = run(task, range(30))
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:3]), losses
    assert np.isfinite(list(task.validate().values())).all() and "val_score" in task.validate()
    task.export(root, "a test")
    if kind == "identity":
        loaded = registry.load_identity("mine", beside=root / "G.safetensors")
        assert loaded.network(torch.zeros(1, 3, 64, 64)).shape == (1, 16) and -1 < loaded.card["similarity_th"] <= 1
    else:
        loaded = registry.load_landmarks(root / "mine.safetensors")
        assert loaded.network(torch.zeros(1, 3, 112, 112)).shape == (1, 106, 2)


def test_the_threshold_is_that_of_strangers(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "held.txt").write_text("".join(f"{number:04d}\n" for number in range(8)))  # of four people, two each
    task = build(root, "identity")
    people = torch.eye(16)[[0, 0, 1, 1, 2, 2, 3, 3]]
    monkeypatch.setattr(task, "_answers", lambda crops: people + 0.1)
    task._known = people  # type: ignore[attr-defined]
    measured = task.validate()
    assert measured["val_retrieval"] == 1.0 and measured["val_strangers_p99"] < 0.5


@pytest.mark.parametrize("task", ["identity", "landmarks"])
def test_of_many_faces_that_are_held_out_some_are_measured(
    root: Path, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert build(root, task).describe()[0] == "9 faces to learn from, 3 held out"
    monkeypatch.setattr("utils.training.student._MOST", 2)
    some = build(root, task)
    assert len(some._held) == 2 and "val_score" in some.validate()
    assert some.describe()[0] == "9 faces to learn from, 3 held out, of which 2 are measured"


def test_students_that_cannot_be_taught_are_refused(root: Path) -> None:
    with pytest.raises(OptionError, match="--student_features must be 16"):
        build(root, "identity", student_features=512)
    with pytest.raises(OptionError, match="--batch_size of 2 or more"):
        build(root, "identity", batch_size=1)
    with pytest.raises(OptionError, match=r"student: width 0\.01: expected 0\.015625 or more"):
        build(root, "identity", student_width=0.01)


def test_faces_that_mediapipe_does_not_recognise_teach_no_landmarks(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(students, "label", lambda faces, path: (torch.zeros(len(faces), 106, 2),
                                                                np.zeros(len(faces), np.float32)))
    with pytest.raises(InputError, match=f"{root / 'set'}: MediaPipe recognises a face in none of its 9 pictures"):
        build(root, "landmarks")


def test_a_student_starts_from_its_files(root: Path) -> None:
    task = build(root, "identity")
    run(task, range(3))
    task.export(root, "a test")
    again = build(root, "identity", pretrained=True, G_path=root / "mine.safetensors")
    learned = dict(task.networks()["G"])
    assert all(torch.allclose(t.float(), learned[name].float(), rtol=2e-3, atol=1e-4)
               for name, t in again.networks()["G"].items())
    with pytest.raises(WeightsError, match="no such file"):
        build(root, "identity", pretrained=True, G_path=root / "missing.safetensors")
    with pytest.raises(WeightsError, match="--task landmarks"):
        build(root, "landmarks", pretrained=True, G_path=root / "mine.safetensors")


def test_students_go_on_exactly_even_between_lessons_of_one_faces_batch(root: Path) -> None:
    whole, first, second = (build(root, "identity", **HARD) for _ in range(3))
    expected = run(whole, range(5))
    begun = run(first, range(3))
    second.load_state_dict(first.state_dict())
    assert begun + run(second, range(3, 5)) == expected


def test_the_teacher_looks_once_at_faces_that_steps_share(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = build(root, "identity", teacher_reuse=3, accumulate=2)
    assert isinstance(task, students.IdentityTask)
    ask, asked = task._ask, []
    monkeypatch.setattr(task, "_ask", lambda faces: asked.append(len(faces)) or ask(faces))
    batches = task.batches(range(5))
    for step, total in enumerate((2, 2, 2, 4, 4)):
        task.step([next(batches) for _ in range(2)], step)
        assert asked == [8] * total


def test_people_between_two_take_the_place_of_some_mixtures(root: Path) -> None:
    plain, some = (build(root, "identity", source_novel=share) for share in (0.0, 0.5))
    assert isinstance(plain, students.IdentityTask) and isinstance(some, students.IdentityTask)
    faces = [task._faces_to_teach(Draws(0, "faces", np.arange(24))) for task in (plain, some)]
    for a, b in zip(*faces, strict=True):  # images, keypoints
        changed = (a != b).flatten(1).any(1)
        assert 4 < int(changed.sum()) < 20
    assert torch.isfinite(faces[1][0]).all() and float(faces[1][0].abs().max()) <= 1


def test_bending_moves_keypoints_with_their_pixels() -> None:
    images = -torch.ones(12, 3, 80, 80)
    images[:, :, 29:32, 39:42] = 1
    spot = torch.tensor([[40.0, 30.0]]).expand(12, 5, 2)
    pictures, kps = invent.bent((images, spot), Draws(0, "b", np.arange(12)))
    light = (pictures[:, 0] + 1).clamp(min=0)
    grid = torch.stack(torch.meshgrid(torch.arange(80.0), torch.arange(80.0), indexing="xy"), -1)
    centre = (light[..., None] * grid).sum((1, 2)) / light.sum((1, 2))[:, None]
    assert float((kps[:, 0] - spot[:, 0]).abs().max()) > 1
    assert float((centre - kps[:, 0]).norm(dim=1).median()) < 0.5


def test_morphed_landmarks_stay_with_their_pixels() -> None:
    count, side = 16, 80
    points = torch.rand(1, 106, 2, generator=torch.Generator().manual_seed(1)) * 40 + 20
    apart = points + torch.tensor([3.0, -2.0]) + torch.sin(points / 9)
    faces = []
    for landmarks in (points, apart):
        grid = torch.stack(torch.meshgrid(torch.arange(80.0), torch.arange(80.0), indexing="xy"), -1)
        spot = (-(grid - landmarks[0, 7]).square().sum(2) / 6).exp() * 2 - 1
        faces.append(invent.Known(spot.expand(count, 3, side, side), landmarks[:, 5:10].expand(count, 5, 2),
                                  landmarks.expand(count, 106, 2), torch.ones(count, dtype=torch.bool)))
    seen = invent.morphed(*faces, Draws(0, "m", np.arange(count)))
    light = (seen.images.mean(1) + 1).clamp(min=0) ** 4
    centre = (light[..., None] * grid).sum((1, 2)) / light.sum((1, 2))[:, None]
    assert float((centre - seen.points[:, 7]).norm(dim=1).max()) < 0.7
    assert float(seen.points[:, 7].std(0).max()) > 0.5 and torch.equal(seen.points[:, 5:10], seen.kps)
    strangers = faces[1]._replace(sure=torch.zeros(count, dtype=torch.bool))
    alone = invent.morphed(strangers, faces[0], Draws(0, "m", np.arange(count)))
    assert torch.equal(alone.points, strangers.points), "unknown landmarks are left alone"
