"""Pairs of source and target: which photos make the n-th sample of a run, and how they reach the device.

The n-th sample depends on the seed and on n alone, so a run can go on at any step, on any number of processes.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from utils.device import to_device
from utils.errors import InputError, ResourceError
from utils.stop import leave_to_parent
from utils.training.draws import Draws
from utils.training.faces import Faces

_MOST_BROKEN = 100  # photos in a row that cannot be read, after which the set is taken for gone
# What PyTorch says where a worker is gone: to who reads, or to the thread that pins memory.
_SIGNS_OF_DEATH = ("DataLoader worker (pid", "Pin memory thread exited unexpectedly")


@dataclass(frozen=True)
class Pairs:
    """The pairs of one batch."""

    indices: np.ndarray  # (B,) int64, the samples' places in the run
    source: np.ndarray  # (B,) int64, positions in the set
    target: np.ndarray  # (B,)
    same: np.ndarray  # (B,) bool: both show one person
    same_share: float = 0.0  # such pairs of the whole step, per process and batch: the denominator of L_rec
    source_images: Tensor | None = None  # (B, 3, H, H) uint8 RGB, stored crops
    target_images: Tensor | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def pin_memory(self) -> Pairs:
        """The same in memory that a GPU copies from by itself; called by the DataLoader."""
        assert self.source_images is not None and self.target_images is not None
        return replace(
            self, source_images=self.source_images.pin_memory(), target_images=self.target_images.pin_memory()
        )


def joined(several: Sequence[Pairs]) -> Pairs:
    """Several batches with their pictures as one, whose `same_share` means nothing."""
    indices, source, target, same = (
        np.concatenate([getattr(pairs, name) for pairs in several]) for name in ("indices", "source", "target", "same")
    )
    shown = [(pairs.source_images, pairs.target_images) for pairs in several]
    sources, targets = (torch.cat([x for x in images if x is not None]) for images in zip(*shown, strict=True))
    whole = Pairs(indices, source, target, same, 0.0, sources, targets)
    pinned = several[0].source_images is not None and several[0].source_images.is_pinned()
    return whole.pin_memory() if pinned else whole


class PairPlan:
    """Chooses the pairs."""

    def __init__(self, identities: list[str], same_person: float, same_identity: bool, seed: int) -> None:
        """same_person: probability that both show one person; same_identity: by another photo of them, else by the
        same."""
        self._share, self._other_photo, self._seed = same_person, same_identity, seed
        names, self._person = np.unique(np.array(identities), return_inverse=True)
        self._by_person = np.argsort(self._person, kind="stable")
        self._first = np.searchsorted(self._person[self._by_person], np.arange(len(names) + 1))
        self._rank = np.empty(len(identities), np.int64)  # place of each photo among those of its person
        self._rank[self._by_person] = np.arange(len(identities)) - self._first[self._person[self._by_person]]
        self._order = (-1, np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self._person)

    def pairs(self, indices: np.ndarray) -> Pairs:
        """The samples of these places in the run."""
        draws = Draws(self._seed, "pairs", indices)
        source = self._sources(indices)
        wanted = draws.next() < self._share
        other = self._another(source, draws.next()) if self._other_photo else source
        away = 1 + np.minimum(draws.integers(max(len(self) - 1, 1)), len(self) - 1)
        anybody = (source + away) % len(self)  # anything but the source itself
        target = np.where(wanted, other, anybody)
        return Pairs(indices, source, target, self.show_one_person(source, target))

    def show_one_person(self, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """For positions (B,) each, (B,) bool."""
        return self._person[source] == self._person[target]

    def _sources(self, indices: np.ndarray) -> np.ndarray:
        """Each epoch shows every photo once as source, in its own order."""
        epochs, places = np.divmod(indices, len(self))
        source = np.empty(len(indices), np.int64)
        for epoch in np.unique(epochs):
            rows = epochs == epoch
            source[rows] = self._permutation(int(epoch))[places[rows]]
        return source

    def _permutation(self, epoch: int) -> np.ndarray:
        if self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng([self._seed, epoch]).permutation(len(self)))
        return self._order[1]

    def _another(self, source: np.ndarray, draw: np.ndarray) -> np.ndarray:
        """Another photo of the same person; the same one where there is no other."""
        person = self._person[source]
        first, count = self._first[person], self._first[person + 1] - self._first[person]
        away = np.where(count > 1, 1 + np.minimum((draw * (count - 1)).astype(np.int64), count - 2), 0)
        return self._by_person[first + (self._rank[source] + away) % count]


@dataclass(frozen=True)
class Share:
    """Which part of every step this process takes."""

    batch_size: int
    accumulate: int = 1
    rank: int = 0
    world: int = 1

    @property
    def step_samples(self) -> int:
        """Samples of a whole step: all processes, all accumulated batches."""
        return self.batch_size * self.accumulate * self.world

    def batch_samples(self, step: int, turn: int) -> np.ndarray:
        """Places of the samples that all processes take together in one turn of a step."""
        together = self.batch_size * self.world
        return step * self.step_samples + turn * together + np.arange(together)

    def own(self, together: np.ndarray) -> np.ndarray:
        """This process's part of such an array."""
        return together[self.rank * self.batch_size : (self.rank + 1) * self.batch_size]


def plan_batch(plan: PairPlan, share: Share, step: int, turn: int) -> Pairs:
    """This process's pairs of one turn of a step."""
    own = plan.pairs(share.own(share.batch_samples(step, turn)))
    whole = plan.pairs(np.arange(step * share.step_samples, (step + 1) * share.step_samples))
    return replace(own, same_share=float(whole.same.sum()) / (share.accumulate * share.world))


class _PairReader(Dataset["Pairs | InputError"]):
    """Decodes the batch of a (step, turn) in a worker process."""

    def __init__(self, faces: Faces, plan: PairPlan, share: Share) -> None:
        self._faces, self._plan, self._share = faces, plan, share

    def __getitem__(self, at: tuple[int, int]) -> Pairs | InputError:
        """An error is handed over whole: raised in another process, it would arrive wrapped in its traceback."""
        try:
            return self._pairs(at)
        except InputError as error:
            return error

    def _pairs(self, at: tuple[int, int]) -> Pairs:
        pairs = plan_batch(self._plan, self._share, *at)
        (source, source_images), (target, target_images) = self._read(pairs.source), self._read(pairs.target)
        same = self._plan.show_one_person(source, target)
        share = max(pairs.same_share, float((same & ~pairs.same).sum()))  # not 0 where broken photos made such a pair
        return replace(pairs, source=source, target=target, same=same, same_share=share,
                       source_images=source_images, target_images=target_images)

    def _read(self, positions: np.ndarray) -> tuple[np.ndarray, Tensor]:
        """Positions and crops of the faces at some positions."""
        places, images = zip(*[self._readable(int(position)) for position in positions], strict=True)
        return np.array(places), torch.from_numpy(np.stack(images))

    def _readable(self, position: int) -> tuple[int, np.ndarray]:
        """The face at a position or, where its crop is broken, the next that can be read."""
        for step in range(min(len(self._faces), _MOST_BROKEN)):
            place = (position + step) % len(self._faces)
            image = self._faces.read(place)
            if image is not None:
                return place, image
        raise InputError(f"{self._faces.paths[position]} and what comes after it cannot be read: are the photos of "
                         "--dataset_path still there?")


def _unchanged(batch: Pairs) -> Pairs:
    return batch


def _read(loader: DataLoader[Pairs | InputError]) -> Iterator[Pairs]:
    """What a loader reads; raises InputError, and ResourceError where a worker is gone."""
    try:
        for pairs in _started(loader):
            if isinstance(pairs, InputError):
                raise pairs
            yield pairs
    except RuntimeError as error:
        if not any(sign in str(error) for sign in _SIGNS_OF_DEATH):
            raise
        raise ResourceError("a process that reads photos died, probably for lack of memory: use fewer --workers, or a "
                            "smaller --batch_size") from error


def _started(loader: DataLoader[Pairs | InputError]) -> Iterator[Pairs | InputError]:
    """The loader with its workers running, which inherit that OpenCV has one thread."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with _deaths_wait():
            return iter(loader)
    finally:
        cv2.setNumThreads(threads)


@contextmanager
def _deaths_wait() -> Iterator[None]:
    """Workers start without PyTorch's handler of SIGCHLD, which raises their death wherever the main thread is, in the
    middle of a step as well; whoever waits for their batches notices it, too."""
    if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


def _start_worker(worker: int) -> None:
    """One thread each, and signals are left to the parent."""
    torch.set_num_threads(1)
    if cv2.getNumThreads() != 1:  # a worker that was forked would wait here for threads that only its parent has
        cv2.setNumThreads(1)
    leave_to_parent()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def batches(
    faces: Faces, plan: PairPlan, share: Share, steps: range, workers: int, pinned: bool = False
) -> Iterator[Pairs]:
    """The batches of these steps with their pictures: from memory where the set is there, else read by workers and, for
    a graphics card, pinned. Raises InputError where nothing can be read any more, ResourceError where a worker died."""
    order = ((step, turn) for step in steps for turn in range(share.accumulate))
    if faces.images is None:
        yield from _read(DataLoader(
            _PairReader(faces, plan, share),
            batch_size=None,
            sampler=order,
            num_workers=workers,
            collate_fn=_unchanged,  # type: ignore[arg-type]
            prefetch_factor=4 if workers else None,
            pin_memory=pinned,
            worker_init_fn=_start_worker,
            generator=torch.Generator(),  # or it would draw from that of the process, which sets in memory leave alone
        ))
        return
    for step, turn in order:
        pairs = plan_batch(plan, share, step, turn)
        places = (to_device(torch.from_numpy(at), faces.images.device) for at in (pairs.source, pairs.target))
        source, target = (faces.images[at] for at in places)
        yield replace(pairs, source_images=source, target_images=target)
