"""preprocess_vgg.py is stopped: at once, with all that is done on record, and the next run goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import pytest

from tests.test_preprocess import ROOT, write_keypoints, write_photos
from utils.preprocess import run, work
from utils.preprocess.config import PreprocessConfig
from utils.preprocess.photos import list_units
from utils.preprocess.records import Record

PHOTOS = 8


@pytest.fixture
def config(tmp_path: Path) -> PreprocessConfig:
    """Photos of one person each, and one who has several."""
    names = [*(f"{i}/0.jpg" for i in range(PHOTOS)), *(f"many/{i}.jpg" for i in range(PHOTOS))]
    write_photos(tmp_path / "in", names)
    keys = write_keypoints(tmp_path / "k.csv", list(map(str, range(PHOTOS))))
    return PreprocessConfig(str(tmp_path / "in"), str(tmp_path / "out"), str(keys), workers=2)


class AtOnce:
    """A pool that does all in this process, as soon as it is handed out."""

    def __init__(self, *arguments: Any) -> None:
        pass

    def __enter__(self) -> AtOnce:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def submit(self, work: Callable[..., list[Record]], *arguments: Any) -> Future[list[Record]]:
        future: Future[list[Record]] = Future()
        try:
            future.set_result(work(*arguments))
        except KeyboardInterrupt as error:
            future.set_exception(error)
        return future

    def shutdown(self, wait: bool, cancel_futures: bool) -> None:
        pass


def test_what_is_done_at_a_stop_is_on_record(config: PreprocessConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "ProcessPoolExecutor", AtOnce)
    monkeypatch.setattr(run, "_worker", work.Worker(config))
    results = run._in_processes(config, list_units(Path(config.path_to_dataset)))
    assert [next(results) for _ in range(config.processes)] == [[], []]
    assert len(next(results)) == 1
    records: list[Record] = []
    with pytest.raises(KeyboardInterrupt):
        records += results.throw(KeyboardInterrupt)  # as it comes while the main process waits
        while True:
            records += next(results)
    crops = list(Path(config.save_path).rglob("*.jpg"))
    assert len(records) == len(crops) - 1 == 2 * PHOTOS - 1, "all but those that were taken before"


def test_results_are_waited_for_in_moments(config: PreprocessConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows Ctrl-C is heeded only between two of them."""
    empty = iter([True, False, True] + [False] * 99)

    class Slow(SimpleQueue):
        def get(self, block: bool = True, timeout: float | None = None) -> Any:
            assert timeout is not None and timeout <= 0.5
            if next(empty):
                raise Empty
            return super().get(block, timeout)

    monkeypatch.setattr(run, "ProcessPoolExecutor", AtOnce)
    monkeypatch.setattr(run, "SimpleQueue", Slow)
    monkeypatch.setattr(run, "_worker", work.Worker(config))
    found = run._in_processes(config, list_units(Path(config.path_to_dataset)))
    assert sum(map(len, found)) == 2 * PHOTOS


def test_a_worker_ends_within_a_persons_photos(config: PreprocessConfig) -> None:
    asked = iter([False] * 3 + [True])
    worker = work.Worker(config, stopped=lambda: next(asked))
    with pytest.raises(KeyboardInterrupt):
        worker(list_units(Path(config.path_to_dataset))[-1])
    assert len(list(Path(config.save_path).rglob("*.jpg"))) == 3


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
@pytest.mark.parametrize("stop", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_a_stop_is_clean_and_the_next_run_goes_on(tmp_path: Path, stop: str) -> None:
    names = [f"{i:04}.jpg" for i in range(640)]  # some seconds' work
    write_photos(tmp_path / "in", names[:32])
    for i, name in enumerate(names[32:]):
        shutil.copy(tmp_path / "in" / names[i % 32], tmp_path / "in" / name)
    keys = write_keypoints(tmp_path / "k.csv", [Path(name).stem for name in names])
    argv = [sys.executable, "preprocess_vgg.py", "--path_to_dataset", str(tmp_path / "in"), "--keypoints", str(keys),
            "--save_path", str(tmp_path / "out"), "--workers", "2", "--size", "512"]
    process = subprocess.Popen(argv, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    records = tmp_path / "out/records.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (records.exists() and len(records.read_text().splitlines()) > 1):
        time.sleep(0.05)
    if stop == "SIGINT":
        os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the workers as well
    else:
        process.send_signal(signal.Signals[stop])
    _, errors = process.communicate(timeout=60)  # the workers hold the pipe: they have ended, too
    assert process.returncode == (-signal.SIGKILL if stop == "SIGKILL" else 130)
    assert "Traceback" not in errors
    assert stop == "SIGKILL" or not list((tmp_path / "out").glob(".*"))
    done = len(records.read_text().splitlines()) - 1
    assert 0 < done < 640
    assert subprocess.run([*argv, "--quiet"], cwd=ROOT, check=False).returncode == 0
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert (report["kept"], report["this_run"]["photos"]) == (640, 640 - done)
