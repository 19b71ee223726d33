"""The records of preprocess_vgg.py take little memory, since a data set may have millions of photos."""

from __future__ import annotations

import tracemalloc
from array import array
from collections.abc import Callable
from pathlib import Path

import pytest

from utils.preprocess.records import Journal, Record

ROWS = 3000


def record(number: int) -> Record:
    """One of VGGFace2's, say."""
    file = f"n{number // 300:06d}/{number:04d}_01.jpg"
    kps = array("d", [100.125 + number + i for i in range(10)])
    return Record(file, file[:7], f"{20000 + number}-{1700000000123456789 + number}", file, "", kps, 2, 0.9, 0.7)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Journal(tmp_path, {}) as journal:
        journal.add(map(record, range(ROWS)))
    return tmp_path


def peak_per_row(work: Callable[[], object]) -> float:
    """Bytes per record that some work takes at most."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] / ROWS
    finally:
        tracemalloc.stop()


def test_reading_takes_little_more_than_what_is_kept(folder: Path) -> None:
    assert peak_per_row(lambda: Journal(folder, {})) < 700


def test_going_on_takes_no_second_copy(folder: Path) -> None:
    with Journal(folder, {}) as journal:
        assert peak_per_row(lambda: journal.add([record(ROWS)])) < 200
    assert list(Journal(folder, {}).records.values()) == [record(i) for i in range(ROWS + 1)]


def test_a_record_is_the_same_line_again(folder: Path) -> None:
    first, *lines = (folder / "records.jsonl").read_text().splitlines()
    assert first == '{"options": {}}' and len(lines) == ROWS
    assert '"kps": [[100.125, 101.125], [102.125, 103.125], ' in lines[0]
    with Journal(folder, {}) as journal:
        journal.add([])
    assert (folder / "records.jsonl").read_text().splitlines() == [first, *lines]
