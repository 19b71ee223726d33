"""Batches that are prepared beside the steps."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import cache, partial
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from utils.inference.stream import prefetch
from utils.training.draws import Draws
from utils.training.graphs import recording

_AHEAD = 2  # batches
_KEPT = 32  # steps' batches to be used again

Item = TypeVar("Item")
Batch = TypeVar("Batch")


def prepared(
    prepare: Callable[[Item], Batch], items: Iterable[Item], device: torch.device
) -> Iterator[Callable[[], Batch]]:
    """What `prepare` makes of each item, in order, each to be asked for once. On CUDA it is made in advance, by a
    thread and in a stream of its own; elsewhere when it is asked for, since the processor is at work anyway."""
    if device.type != "cuda":
        yield from (partial(prepare, item) for item in items)
        return
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))

    def beside() -> Iterator[tuple[Batch, torch.cuda.Event]]:
        left = iter(items)
        while True:
            with recording, torch.cuda.stream(side):
                try:
                    made = prepare(next(left))
                except StopIteration:
                    return
                done = side.record_event()
            yield made, done

    with closing(prefetch(beside(), _AHEAD)) as ready:
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
    count = max(0, (steps.start - 1) // reuse + 1 - _KEPT)
    made, kept = make(range(count, -(-steps.stop // reuse))), deque[list[Callable[[], Batch]]](maxlen=_KEPT)
    for step in steps:
        while count <= step // reuse:
            kept.append([cache(part) for part in islice(made, parts)])
            count += 1
        again = int(Draws(seed, "again", np.array([step])).integers(len(kept))[0])
        yield from kept[again if step % reuse else -1]


def _taken(batch: Batch, done: torch.cuda.Event) -> Batch:
    """A batch of another stream, whose memory stays as long as this one works on it."""
    here = torch.cuda.current_stream()
    here.wait_event(done)
    for leaf in tree_leaves(batch):
        if isinstance(leaf, Tensor):
            leaf.record_stream(here)
    return batch
