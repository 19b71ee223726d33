"""Whose photos evaluate.py swaps with whose."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from utils.errors import InputError
from utils.evaluation import people, session
from utils.evaluation.config import EvaluateConfig
from utils.evaluation.people import LabelledPhoto


def test_crossed_pairs_are_deterministic_even_and_of_different_people() -> None:
    photos = [LabelledPhoto(Path(f"{i}"), str(i)) for i in range(10)]
    pairs = people.crossed_pairs(photos, photos, 20)
    assert pairs == people.crossed_pairs(photos, photos, 20)
    assert len(set(pairs)) == 20
    assert all(source.identity != target.identity for source, target in pairs)
    counts = [sum(source == photo for source, _ in pairs) for photo in photos]
    assert max(counts) - min(counts) <= 1
    assert len(people.crossed_pairs(photos, photos, 0)) == 90
    with pytest.raises(InputError, match="two different people"):
        people.crossed_pairs(photos[:1], photos[:1], 0)


def test_cyclic_pairs() -> None:
    photos = [LabelledPhoto(Path(f"{i}"), str(i)) for i in range(10)]
    pairs = people.cyclic_pairs(photos, (1, 3), 0)
    assert len(pairs) == 20
    assert people.cyclic_pairs(photos, (1, 3), 3) == pairs[:3]
    assert (photos[9], photos[0]) in pairs
    assert (photos[8], photos[1]) in pairs


def test_folders_name_people(tmp_path: Path) -> None:
    for name in ("anna/1.jpg", "anna/2.jpg", "ben/1.png", "loose.jpg"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    photos = people.folder_photos(tmp_path)
    assert [photo.identity for photo in photos] == ["anna", "anna", "ben", str(tmp_path.resolve() / "loose.jpg")]
    names = [[photo.path.name for photo in own] for own in people.by_person([*photos, *photos])]
    assert names == [["1.jpg", "2.jpg"], ["1.png"], ["loose.jpg"]]
    (tmp_path / "names.txt").write_text("# comment\nloose\n")
    assert [photo.path.name for photo in people.listed(photos, tmp_path / "names.txt")] == ["loose.jpg"]
    (tmp_path / "names.txt").write_text("ben/1\n")
    assert [photo.identity for photo in people.listed(photos, tmp_path / "names.txt")] == ["ben"]
    (tmp_path / "names.txt").write_text("1\n")
    with pytest.raises(InputError, match=r"2 photos are called '1'.*folder/name"):
        people.listed(photos, tmp_path / "names.txt")
    (tmp_path / "names.txt").write_text("nobody\n")
    with pytest.raises(InputError, match="nobody"):
        people.listed(photos, tmp_path / "names.txt")
    (tmp_path / "names.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"names\.txt: cannot be read"):
        people.listed(photos, tmp_path / "names.txt")


def test_people_with_many_photos_take_turns(tmp_path: Path) -> None:
    for person in range(20):
        (tmp_path / f"{person:02d}").mkdir()
        for photo in range(30):
            (tmp_path / f"{person:02d}" / f"{photo:02d}.jpg").touch()
    everybody = {f"{person:02d}" for person in range(20)}
    cast = session.choose_cast(EvaluateConfig(faces=str(tmp_path), pairs=200))
    for chosen in zip(*cast.pairs, strict=True):
        assert Counter(photo.identity for photo in chosen) == dict.fromkeys(everybody, 10)
        assert len(set(chosen)) == 200
    assert {photo.identity for photo in cast.targets[:20]} == everybody, "of which self-swaps are made"
    assert len(cast.targets) == 600


def test_photos_of_one_person_each_keep_their_order() -> None:
    photos = [LabelledPhoto(Path(f"{i}"), str(i)) for i in range(9)]
    assert people.dealt(photos) == photos
    uneven = [LabelledPhoto(Path(name), name[0]) for name in ("a0", "a1", "a2", "b0", "c0", "c1")]
    assert [str(photo.path) for photo in people.dealt(uneven)] == ["a0", "b0", "c0", "a1", "c1", "a2"]


def test_swaps_are_compared_with_the_gallerys_photos_of_the_same_people(tmp_path: Path) -> None:
    for name in ("swapped/anna/1.jpg", "swapped/ben/1.jpg", "others/anna/2.jpg", "others/carla/1.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    cast = session.choose_cast(EvaluateConfig(faces=str(tmp_path / "swapped"), gallery=[str(tmp_path / "others")]))
    first = {photos[0].identity: photos[0].path.parts[-3:] for photos in cast.gallery}
    assert first == {"anna": ("others", "anna", "2.jpg"), "carla": ("others", "carla", "1.jpg"),
                     "ben": ("swapped", "ben", "1.jpg")}
