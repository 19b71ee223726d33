"""Which photos make a sample, and how they are changed."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from coordinate_reg.network import LandmarkNet
from coordinate_reg.points import MIRRORED
from tests.training_set import KPS, MARGIN, SIZE, write_set
from utils.errors import InputError, OptionError
from utils.training import augment, geometry
from utils.training.augment import Changes, Framing
from utils.training.config import TrainConfig
from utils.training.draws import Draws
from utils.training.faces import Faces, Paths, decoded, digest, find_faces, hold_out
from utils.training.pairs import PairPlan, Share, batches, plan_batch
from utils.training.setup import load_set
from utils.training.stock import Stock
from utils.training.validation import sources_of

PEOPLE = [f"p{i // 3}" for i in range(30)]
FRAMING = Framing(SIZE + 2 * MARGIN, SIZE)


def pictures(count: int) -> torch.Tensor:
    return torch.randint(0, 255, (count, 3, FRAMING.side, FRAMING.side), dtype=torch.uint8,
                         generator=torch.Generator().manual_seed(0))


def test_draws_belong_to_the_sample() -> None:
    whole = Draws(3, "view", np.arange(100))
    parts = [Draws(3, "view", np.arange(i, i + 25)) for i in range(0, 100, 25)]
    for _ in range(3):
        assert np.array_equal(whole.next(), np.concatenate([part.next() for part in parts]))
    assert torch.equal(whole.normal(2, 2), torch.cat([part.normal(2, 2) for part in parts]))
    many = Draws(0, "x", np.arange(20000)).next()
    assert abs(many.mean() - 0.5) < 0.01 and abs(many.var() - 1 / 12) < 0.002
    assert not np.array_equal(Draws(0, "x", np.arange(9)).next(), Draws(0, "y", np.arange(9)).next())


def test_every_photo_is_source_once_an_epoch() -> None:
    plan = PairPlan(PEOPLE, 0.2, True, 0)
    first, second = plan.pairs(np.arange(30)).source, plan.pairs(np.arange(30, 60)).source
    assert sorted(first) == sorted(second) == list(range(30)) and first.tolist() != second.tolist()


def test_pairs_of_one_person() -> None:
    pairs = PairPlan(PEOPLE, 0.5, True, 1).pairs(np.arange(3000))
    people = np.array(PEOPLE)
    assert np.array_equal(pairs.same, people[pairs.source] == people[pairs.target])
    assert (pairs.source != pairs.target).all()  # another photo, never the same one
    assert pairs.same.mean() == pytest.approx(0.5 + 0.5 * 2 / 29, abs=0.03)
    alone = PairPlan([str(i) for i in range(10)], 0.5, False, 1).pairs(np.arange(1000))
    assert np.array_equal(alone.same, alone.source == alone.target)


def test_same_photo_where_a_person_has_only_one() -> None:
    pairs = PairPlan(["a", "b", "c"], 1.0, True, 0).pairs(np.arange(30))
    assert np.array_equal(pairs.source, pairs.target) and pairs.same.all()


def test_processes_and_turns_share_a_step() -> None:
    plan = PairPlan(PEOPLE, 0.5, True, 0)
    whole = plan_batch(plan, Share(8), 5, 0)
    ranks = [plan_batch(plan, Share(4, rank=rank, world=2), 5, 0) for rank in (0, 1)]
    turns = [plan_batch(plan, Share(4, accumulate=2), 5, turn) for turn in (0, 1)]
    for parts in (ranks, turns):
        assert np.array_equal(whole.source, np.concatenate([part.source for part in parts]))
        assert all(part.same_share * 2 == whole.same_share == whole.same.sum() for part in parts)


def test_memory_and_workers_give_the_same_pictures(tmp_path: Path) -> None:
    faces = find_faces(write_set(tmp_path / "set"), True)
    plan = PairPlan(faces.identities, 0.5, True, 0)
    for a, b in zip(batches(decoded(faces), plan, Share(4), range(2, 5), 0),
                    batches(faces, plan, Share(4), range(2, 5), 2), strict=True):
        assert torch.equal(a.source_images, b.source_images) and torch.equal(a.target_images, b.target_images)


def test_a_set_is_the_same_however_its_folder_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_set(tmp_path / "set")
    monkeypatch.chdir(folder)
    found = {digest(given, find_faces(Path(given), True)) for given in (str(folder), ".", "../set", "./", "../set/")}
    rows = "".join(f"/n{i // 2:03}/{i:04}.png\0n{i // 2:03}\n" for i in range(12))
    (name,) = found
    # What checkpoints of older versions hold.
    assert name.split("-")[0] == hashlib.sha256(rows.encode()).hexdigest()[:16]
    shutil.move(folder / "n000/0000.png", folder / "n000/moved.png")
    (folder / "index.csv").write_text((folder / "index.csv").read_text().replace("0000.png", "moved.png"))
    assert digest(".", find_faces(Path(), True)) not in found


def test_a_set_is_another_one_with_other_photos_of_the_same_names(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set")

    def names_and_contents() -> list[str]:
        return digest(folder, *hold_out(find_faces(folder, True), "0.3")).split("-")

    first, photo, index = names_and_contents(), folder / "n003/0006.png", folder / "index.csv"
    shutil.copytree(folder, tmp_path / "copy")
    assert digest(tmp_path / "copy", *hold_out(find_faces(tmp_path / "copy", True), "0.3")).split("-") == first
    photo.write_bytes(photo.read_bytes() + b"x")
    bigger = names_and_contents()
    photo.unlink()
    gone = names_and_contents()
    index.write_text(index.read_text().replace(",8,", ",6,"))
    framed = names_and_contents()
    index.write_text(index.read_text().replace(str(KPS[2, 0]), "41", 1))
    moved = names_and_contents()
    index.unlink()
    unmarked = names_and_contents()
    assert first[0] == bigger[0] == gone[0] == framed[0] == moved[0] != unmarked[0]
    assert len({contents for _, contents in (first, bigger, gone, framed, moved, unmarked)}) == 6


def test_crops_that_are_resampled_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_set(tmp_path / "set")
    (folder / "index.csv").unlink()
    for more, said in (({}, False), ({"size": SIZE + 2 * MARGIN + 16}, True)):
        config = TrainConfig(run_name="x", dataset_path=str(folder), output=str(tmp_path), **{"size": SIZE} | more)
        load_set(config)
        assert ("show faces of 80 pixels, which --size 96 enlarges" in caplog.text) == said
    assert "the side of the first one" not in caplog.text
    cv2.imwrite(str(sorted(folder.rglob("*.png"))[-1]), np.zeros((42, 42, 3), np.uint8))
    sorted(folder.rglob("*.png"))[3].write_bytes(b"broken")
    assert find_faces(folder, True).framing == Framing(80, 80)
    assert "sides from 42 to 80 pixels: all are brought to 80, the side of the first one" in caplog.text


def test_broken_pictures_are_skipped_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING", "ghost")
    faces = find_faces(write_set(tmp_path / "set"), True)
    faces.paths[3].write_bytes(b"no picture")
    named = f"{faces.paths[3]} cannot be read as a picture; "
    assert len(decoded(faces)) == len(faces) - 1 and caplog.messages == [f"{named}it is left out"]
    caplog.clear()
    plan = PairPlan(faces.identities, 0.5, True, 0)
    read = list(batches(faces, plan, Share(6), range(2), 0))
    assert all(batch.source_images.shape == (6, 3, 80, 80) for batch in read)
    for batch in read:
        assert 3 not in batch.source and 3 not in batch.target
        people = np.array(faces.identities)
        assert np.array_equal(batch.same, people[batch.source] == people[batch.target])
        for position, image in zip(batch.source, batch.source_images, strict=True):
            assert np.array_equal(image.numpy(), faces.read(int(position)))
    assert set(caplog.messages) == {f"{named}another one takes its place"}


def test_reading_here_leaves_the_threads_as_they_are(tmp_path: Path) -> None:
    faces = find_faces(write_set(tmp_path / "set"), True)
    before, pictures = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(2)
    cv2.setNumThreads(2)
    try:
        next(batches(faces, PairPlan(faces.identities, 0.5, True, 0), Share(2), range(1), 0))
        assert torch.get_num_threads() == cv2.getNumThreads() == 2
    finally:
        torch.set_num_threads(before)
        cv2.setNumThreads(pictures)


class Threads(Faces):
    """Pictures as bright as there are threads where they are read: tens for OpenCV, ones for PyTorch."""

    def read(self, position: int) -> np.ndarray:
        return np.full((3, 8, 8), 10 * cv2.getNumThreads() + torch.get_num_threads(), np.uint8)


def test_workers_read_by_one_thread_each() -> None:
    faces = Threads(Paths(Path(), ["a.png"] * 4), ["a", "a", "b", "b"], None, Framing(8, 8))
    (batch,) = batches(faces, PairPlan(faces.identities, 0.5, True, 0), Share(4), range(1), 1)
    assert batch.source_images is not None and (batch.source_images == 11).all()


def test_workers_start_where_opencv_has_used_its_threads(tmp_path: Path) -> None:
    code = (
        "import sys, cv2, numpy as np, torch; from pathlib import Path; from tests.test_training_data import *\n"
        "cv2.setNumThreads(2); cv2.GaussianBlur(np.zeros((2000, 2000), np.uint8), (99, 99), 0)\n"
        "faces = find_faces(Path(sys.argv[1]), True); plan = PairPlan(faces.identities, 0.5, True, 0)\n"
        "print(len(list(batches(faces, plan, Share(4), range(3), 2))), cv2.getNumThreads())"
    )
    done = subprocess.run([sys.executable, "-c", code, write_set(tmp_path / "set")], capture_output=True, text=True,
                          timeout=120, cwd=Path(__file__).parents[1], check=True)  # it waits for ever otherwise
    assert done.stdout.split() == ["3", "2"]


def test_a_large_set_takes_little_memory(tmp_path: Path) -> None:
    index = write_set(tmp_path / "set") / "index.csv"
    columns, *rows = index.read_text().splitlines(keepends=True)
    more = [row.replace(".png", f"_{i}.png") for i in range(5000 // len(rows)) for row in rows]
    index.write_text("".join([columns, *rows, *more]))
    tracemalloc.start()
    try:
        faces = find_faces(index.parent, True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(faces) == len(rows) + len(more) > 4900 and peak / len(faces) < 600  # VGGFace2 has 3 million
    assert faces.kps is not None and np.allclose(faces.kps, KPS, atol=1e-4)
    assert faces.subset([0, 13]).paths[1] == index.parent / "n000/0001_0.png"


@pytest.mark.parametrize(("text", "said"), [
    ("", "lists no faces"), ("file,identity\na.png,b\n", "expected columns .*kp1_x"),
    ("file,identity,kp1_x\na.png\n", "expected columns"), ("file,identity,margin\na.png,b,wide\n", "expected columns")])
def test_a_list_of_faces_without_what_is_needed(tmp_path: Path, text: str, said: str) -> None:
    index = write_set(tmp_path / "set") / "index.csv"
    index.write_text(text)
    with pytest.raises(InputError, match=said):
        find_faces(index.parent, True)


def test_a_list_of_faces_that_is_no_text(tmp_path: Path) -> None:
    index = write_set(tmp_path / "set") / "index.csv"
    index.write_bytes(b"\xff\xfefile")
    with pytest.raises(InputError, match=r"index\.csv"):
        find_faces(index.parent, True)


def test_folders_without_index(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set")
    (folder / "index.csv").unlink()
    faces = find_faces(folder, True)
    assert faces.kps is None and len(set(faces.identities)) == 6 and faces.framing == Framing(80, 80)
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in faces.paths:
        shutil.copy(path, flat)
    assert len(set(find_faces(flat, False).identities)) == 12
    with pytest.raises(InputError, match="--vgg False"):
        find_faces(flat, True)
    with pytest.raises(InputError, match="no such folder"):
        find_faces(tmp_path / "nowhere", True)


def test_photos_that_were_never_cut_are_refused(tmp_path: Path) -> None:
    """In sets with an index, crops have the size that it belongs to."""
    folder = write_set(tmp_path / "set")
    photo = sorted(folder.rglob("*.png"))[-1]
    cv2.imwrite(str(photo), np.zeros((80, 60, 3), np.uint8))
    find_faces(folder, True)
    (folder / "index.csv").unlink()
    with pytest.raises(InputError, match=rf"{photo.name} has 60 x 80 pixels.*preprocess_vgg\.py --path_to_dataset"):
        find_faces(folder, True)
    photo.write_text("no picture")
    assert len(find_faces(folder, True)) == 12


def test_parts_of_a_set_are_no_people(tmp_path: Path) -> None:
    for name in ("train/n1", "train/n2", "test/n3"):
        (tmp_path / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / name / "1.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(OptionError, match=r"train holds 2 folders .*give --dataset_path"):
        find_faces(tmp_path, by_folder=True)
    assert find_faces(tmp_path / "train", by_folder=True).identities == ["n1", "n2"]


def test_validation_photos_are_held_out(tmp_path: Path) -> None:
    faces = find_faces(write_set(tmp_path / "set"), True)
    names = tmp_path / "names.txt"
    names.write_text("0003\n0005\n")
    train, held = hold_out(faces, names)
    assert sorted(path.stem for path in held.paths) == ["0003", "0005"] and len(train) == 10
    assert train.kps is not None and len(train.kps) == 10
    names.write_text("n001/0003\nn002/0005\n")
    assert [path.stem for path in hold_out(faces, names)[1].paths] == ["0003", "0005"]
    for wrong in (b"other\n", b"n002/0003\n", b"0003\n0004.png\n", b"\xff\xfe", b"\n"):
        names.write_bytes(wrong)
        with pytest.raises(InputError, match=r"names\.txt"):
            hold_out(faces, names)


def test_a_share_of_the_people_is_held_out_with_all_their_photos(tmp_path: Path) -> None:
    faces = find_faces(write_set(tmp_path / "set"), True)
    people = sorted(set(faces.identities))
    train, held = hold_out(faces, "0.5")
    assert 0 < len(set(held.identities)) < len(people)
    assert not set(held.identities) & set(train.identities) and len(train) + len(held) == len(faces)
    fewer = faces.subset([i for i, person in enumerate(faces.identities) if person != train.identities[0]])
    assert list(hold_out(fewer, "0.5")[1].paths) == list(held.paths), "nobody changes sides when others go"
    here = find_faces(tmp_path / "set", False)
    there = find_faces(shutil.copytree(tmp_path / "set", tmp_path / "copy"), False)
    assert [p.name for p in hold_out(here, "0.5")[1].paths] == [p.name for p in hold_out(there, "0.5")[1].paths]
    many = Faces(Paths(Path(), [f"{i}.png" for i in range(4000)]), [f"{i}" for i in range(4000)], None, FRAMING)
    assert 60 < len(hold_out(many, "0.02")[1]) < 100
    for wrong in ("0", "0.0001", "1", "-1", "nan"):
        with pytest.raises(InputError, match=f"--validation {wrong}"):
            hold_out(faces, wrong)


def test_each_validation_face_gets_the_identity_of_somebody_else() -> None:
    assert sources_of(np.array(["a", "b", "c"])).tolist() == [2, 0, 1]
    assert sources_of(np.array(["a", "a", "a", "b", "b", "c"])).tolist() == [5, 5, 5, 2, 2, 4]
    assert sources_of(np.array(["a", "a", "a"])).tolist() == [2, 0, 1]


def test_plain_views_are_the_middle_of_the_stored_crop() -> None:
    images = augment.to_float(pictures(2))
    views = augment.plain_views(FRAMING, SIZE, 2, torch.device("cpu"))
    middle = images[:, :, MARGIN:-MARGIN, MARGIN:-MARGIN]
    assert torch.allclose(augment.cut(images, views, SIZE, FRAMING), middle, atol=1e-4)
    assert torch.equal(augment.cut(images, views, SIZE, FRAMING, still=True), middle)


def test_mixed_precision_moves_no_coordinates() -> None:
    images = augment.to_float(pictures(2))
    M = torch.tensor([[[1.06, 0.11, 3.3], [-0.11, 1.06, 7.7]], [[0.97, -0.2, 9.1], [0.2, 0.97, -4.4]]])
    points = torch.rand(2, 7, 2) * 300
    kps = points[:, :5]

    def everything() -> list[torch.Tensor]:
        return [geometry.warp(images, M, 72), geometry.warp(images.bfloat16(), M, 72), geometry.transform(M, points),
                geometry.compose(M, geometry.invert(M)), geometry.similarity(kps, geometry.transform(M, kps))]

    exact = everything()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = everything()
    for one, other in zip(exact, mixed, strict=True):
        assert one.dtype == other.dtype == torch.float32 and torch.equal(one, other)
    assert torch.allclose(exact[3], torch.eye(2, 3).expand(2, 2, 3), atol=1e-4)
    assert torch.allclose(exact[4], M, atol=1e-3)
    assert torch.allclose(exact[2], points @ M[:, :, :2].mT + M[:, :, 2:].mT, atol=1e-3)


def test_mixed_precision_rounds_no_landmarks() -> None:
    torch.manual_seed(0)
    network, crops = LandmarkNet((8, 8, 8, 8)).eval(), torch.rand(2, 3, 112, 112)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        points, features = network(crops), network.stages(crops).flatten(1)
    assert features.dtype == torch.bfloat16 and points.dtype == torch.float32
    with torch.no_grad():
        assert torch.equal(points, network.fc(features.float()).unflatten(1, (106, 2)))


def test_views_move_points_and_pixels_alike() -> None:
    how = Changes(rotation=20, zoom=0.1, shift=0.05, mirror=0.5)
    views = augment.views(FRAMING, SIZE, how, Draws(0, "v", np.arange(16)))
    assert 0 < int(augment.mirrored(views).sum()) < 16
    spot = torch.tensor([[30.0, 35.0], [52.0, 40.0]])
    images = -torch.ones(16, 3, 80, 80)
    images[:, :, 34:37, 29:32] = 1
    seen = augment.seen_points(views, spot.expand(16, 2, 2), [0, 1])[:, 0]
    cuts = (augment.cut(images, views, SIZE, FRAMING) + 1)[:, 0]
    grid = torch.stack(torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="xy"), -1)
    centre = (cuts[..., None] * grid).sum((1, 2)) / cuts.sum((1, 2))[:, None]
    assert torch.allclose(centre, seen, atol=0.2)


def test_a_mirror_swaps_left_and_right() -> None:
    assert sorted(MIRRORED) == list(range(106)) and [MIRRORED[i] for i in MIRRORED] == list(range(106))
    assert (MIRRORED[38], MIRRORED[52], MIRRORED[72], MIRRORED[1]) == (88, 61, 72, 17)


def test_colours_change_within_their_ranges() -> None:
    x = torch.full((64, 3, 8, 8), 0.2)
    how = Changes(jitter=0.2)
    y = (augment.jitter(x, how, Draws(0, "c", np.arange(64))) + 1) / 2
    assert 0.6 * 0.8 - 1e-3 <= float(y.min()) < 0.55 and 0.65 < float(y.max()) <= 0.6 * 1.2 + 1e-3
    colourful = pictures(4).float()[:, :, :8, :8] / 255
    same = augment.jitter(colourful, Changes(), Draws(0, "c", np.arange(4)))
    assert torch.allclose(same, colourful, atol=1e-6)
    turned = augment.jitter(colourful, Changes(hue=0.1), Draws(0, "c", np.arange(4)))
    assert torch.allclose(turned.mean(1), colourful.mean(1), atol=0.15)
    assert not torch.allclose(turned, colourful, atol=0.02)


@pytest.mark.parametrize("name", ["cpu", "mps", "cuda"])
def test_only_cuda_copies_faces_while_the_processor_goes_on(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def copied(tensor: torch.Tensor, device: torch.device, non_blocking: bool) -> torch.Tensor:
        asked.append(non_blocking)
        return tensor

    write_set(tmp_path)
    stock = Stock(find_faces(tmp_path, False), None, torch.device(name))
    monkeypatch.setattr(torch.Tensor, "to", copied)
    monkeypatch.setattr(augment, "to_float", lambda images: images)
    stock.known(pictures(1), np.zeros(1, np.int64))
    assert asked == [name == "cuda"] * 4
