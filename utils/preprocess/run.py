"""The whole run: units to workers, records to the journal, and at the end index, report and contact sheet."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from queue import Empty, SimpleQueue

from utils.errors import GhostError, OptionError, ResourceError
from utils.io.folder import listed
from utils.paths import is_file, is_folder, is_there
from utils.preprocess import report
from utils.preprocess.config import PreprocessConfig
from utils.preprocess.models import models_used
from utils.preprocess.photos import SourcePhoto, Unit, list_units
from utils.preprocess.records import FILE, Journal, Record
from utils.preprocess.work import Worker
from utils.progress import progress
from utils.stop import leave_to_parent

_AHEAD = 4  # units handed out per worker beyond the one it works on
_HEED = 0.2  # seconds after which Ctrl-C is heeded at the latest
_FIRST = Unit((), one_person=False)  # takes a worker that can work, and no time
_worker: Worker | GhostError | None = None  # of a worker process, or why there is none


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ignore Ctrl-C for a moment; processes started in it ignore it from their first instruction on."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end_with_parent() -> None:
    """Wait for the main process's end, at which a worker would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _start(config: PreprocessConfig, stopped: ctypes.c_bool) -> None:
    """Prepare a worker process: one thread, and Ctrl-C is the main process's to answer, which sets `stopped`."""
    global _worker
    leave_to_parent()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import cv2

    cv2.setNumThreads(1)
    try:
        _worker = Worker(config, threads=1, stopped=lambda: stopped.value)
    except GhostError as error:  # raised here, it would be printed by every process and reach the main one as none
        _worker = error


def _work(unit: Unit) -> list[Record]:
    assert _worker is not None
    if isinstance(_worker, GhostError):
        raise _worker
    return _worker(unit)


def _results(config: PreprocessConfig, units: list[Unit]) -> Iterator[list[Record]]:
    """Records of units as they are done, and before the first crop, once all is loaded, none: the journal begins."""
    if not units:
        return iter(())
    if config.processes == 1:  # needs no pool; Ctrl-C stops it between two system calls, and crops are written whole
        return map(Worker(config), [_FIRST, *units])
    return _in_processes(config, units)


def _in_processes(config: PreprocessConfig, units: list[Unit]) -> Generator[list[Record], None, None]:
    """The same by several processes."""
    # Forking a process that has run ONNX Runtime or PyTorch hangs; spawned ones are the same on every system.
    context = multiprocessing.get_context("spawn")
    processes = min(config.processes, len(units))
    stopped = context.RawValue(ctypes.c_bool, False)  # without a lock, which a worker that is killed would keep
    with ProcessPoolExecutor(processes, context, _start, (config, stopped)) as pool:
        waiting = iter(units)
        # Not concurrent.futures.wait: a signal that comes while it takes all futures' locks leaves some locked.
        done: SimpleQueue[Future[list[Record]]] = SimpleQueue()

        def hand_out(some: Iterable[Unit]) -> None:
            for unit in some:
                pool.submit(_work, unit).add_done_callback(done.put)

        try:
            with _uninterrupted():  # the first hand-out starts the processes
                hand_out([_FIRST] * processes)
            for _ in range(processes):
                yield _next(done).result()
            hand_out(islice(waiting, processes * (1 + _AHEAD)))
            for _ in units:
                yield _next(done).result()
                hand_out(islice(waiting, 1))
        except BrokenProcessPool as error:
            raise ResourceError("a worker process died, probably for lack of memory; use fewer --workers") from error
        except KeyboardInterrupt:
            _end(pool, stopped)
            yield from _whole(done)
            raise
        finally:
            _end(pool, stopped)


def _next(done: SimpleQueue[Future[list[Record]]]) -> Future[list[Record]]:
    """Wait for a unit that is done, a moment at a time: on Windows nothing interrupts a wait."""
    while True:
        with suppress(Empty):
            return done.get(timeout=_HEED)


def _end(pool: ProcessPoolExecutor, stopped: ctypes.c_bool) -> None:
    """End the workers after the photo that each is at."""
    stopped.value = True
    pool.shutdown(wait=True, cancel_futures=True)


def _whole(done: SimpleQueue[Future[list[Record]]]) -> Iterator[list[Record]]:
    """Records of the units that were done before the stop."""
    while not done.empty():
        future = done.get()
        if not future.cancelled() and future.exception() is None:
            yield future.result()


def _left(units: list[Unit], journal: Journal, config: PreprocessConfig) -> list[Unit]:
    """Units with a photo that is new, changed, or whose crop is gone or would have another name now."""

    def done(photo: SourcePhoto) -> bool:
        record = journal.records.get(photo.file)
        if record is None or record.stamp != photo.stamp:
            return False
        crop = photo.crop(config.format)
        return not record.crop or (record.crop == crop and (Path(config.save_path) / crop).is_file())

    return [unit for unit in units if not all(map(done, unit.photos))]


def _check_same_set(config: PreprocessConfig, photos: set[str], journal: Journal) -> None:
    """Refuse a result folder of entirely other photos, whose crops would stay among the new ones; raises OptionError.

    photos: files of the data set.
    """
    cut = [record.file for record in journal.records.values() if record.crop]
    if cut and photos.isdisjoint(cut):
        raise OptionError(f"{config.save_path} holds crops of other photos: {cut[0]}, for one, is not in "
                          f"{config.path_to_dataset}; give another --save_path, or delete it first")


def _check_unclaimed(config: PreprocessConfig, units: list[Unit], journal: Journal) -> None:
    """Refuse to replace files that no earlier run accounts for, such as the user's own photos; raises OptionError."""
    folder = Path(config.save_path)
    if is_file(journal.path) or not is_folder(folder):
        return
    crops = (photo.crop(config.format) for unit in units for photo in unit.photos)
    there = [name for name in (*report.FILES, *crops) if is_there(folder / name)]
    if there:
        raise OptionError(f"{config.save_path} holds {listed(there)}, which this run would replace, and no {FILE} of "
                          "an earlier run that they belong to; give another --save_path, or move them away first")


def run(config: PreprocessConfig) -> report.Summary:
    """Preprocess a data set; raises GhostError. Ctrl-C keeps what is done, and the same command goes on from there."""
    folder = Path(config.save_path)
    units = list_units(Path(config.path_to_dataset))
    photos = {photo.file for unit in units for photo in unit.photos}
    models = models_used(config)
    journal = Journal(folder, {**config.decisive(), **models})
    _check_same_set(config, photos, journal)
    _check_unclaimed(config, units, journal)
    left = _left(units, journal, config)
    count = sum(len(unit.photos) for unit in left)
    start = time.monotonic()
    kept = 0
    with journal, progress(count, config.quiet, "photos") as advance:
        for records in _results(config, left):
            journal.add(records)
            kept += sum(bool(record.crop) for record in records)
            advance(len(records), f"{kept} kept")
    records = [journal.records[file] for file in sorted(photos & journal.records.keys())]
    return report.write(config, models, records, count, time.monotonic() - start)
