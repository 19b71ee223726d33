"""Batches that are prepared beside the steps."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from utils.inference.stream import prefetch
from utils.training.draws import Draws
from utils.training.graphs import recording

_AHEAD = 1  # batches, or groups of them, beside the one in use and the one that is being made
_KEPT = 32  # steps' batches to be used again

Item = TypeVar("Item")
Batch = TypeVar("Batch")


def grouped(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Items by `size`, the last ones maybe fewer."""
    left = iter(items)
    while group := list(islice(left, size)):
        yield group


def prepared(
    prepare: Callable[[Item], Batch], items: Iterable[Item], beside: torch.device | None
) -> Iterator[Callable[[], Batch]]:
    """What `prepare` makes of each item, in order, each to be asked for once.

    beside: a CUDA device, on which it is made in advance, by a thread and in a stream of its own; None: it is made when
    it is asked for. A processor is at work anyway, and several processes that tell each other something while they
    prepare must do so in one order.
    """
    if beside is None:
        yield from (partial(prepare, item) for item in items)
        return
    side = torch.cuda.Stream(beside)
    side.wait_stream(torch.cuda.current_stream(beside))

    def in_advance() -> Iterator[tuple[Batch, torch.cuda.Event]]:
        torch.cuda.set_device(side.device)  # each thread has a current one
        left = iter(items)
        while True:
            with recording, torch.cuda.stream(side):
                try:
                    made = prepare(next(left))
                except StopIteration:
                    return
                done = side.record_event()
            yield made, done

    with closing(prefetch(in_advance(), _AHEAD)) as ready:
        for batch, done in ready:
            yield partial(_taken, batch, done)


def replayed(
    make: Callable[[range], Iterator[Callable[[], Batch]]], steps: range, reuse: int, parts: int, seed: int
) -> Iterator[Callable[[], Batch]]:
    """The batches of all steps, `parts` for each, where preparing them takes longer than learning from them: every
    `reuse`-th step gets fresh ones, the others those of one of the last fresh steps, by chance.

    make: gives the parts of fresh steps by their numbers, which count these alone.
    """
    if reuse == 1:
        yield from make(steps)
        return
    count = max(0, steps.start // reuse + 1 - _KEPT)
    made, kept = make(range(count, -(-steps.stop // reuse))), deque[list[_Once]](maxlen=_KEPT)
    for step in steps:
        while count <= step // reuse:
            kept.append([_Once(part) for part in islice(made, parts)])
            count += 1
        again = int(Draws(seed, "again", np.array([step])).integers(len(kept))[0])
        yield from kept[again if step % reuse else -1]


class _Once:
    """What a function gives at its first call, and again at the others, without what that was made of."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make: Callable[[], Any] | None = make

    def __call__(self) -> Any:
        if self._make is not None:
            self._made, self._make = self._make(), None
        return self._made


def _taken(batch: Batch, done: torch.cuda.Event) -> Batch:
    """A batch of another stream, whose memory stays as long as this one works on it."""
    here = torch.cuda.current_stream()
    here.wait_event(done)
    for leaf in tree_leaves(batch):
        if isinstance(leaf, Tensor):
            leaf.record_stream(here)
    return batch
