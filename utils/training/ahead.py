"""Batches that are prepared beside the steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from utils.inference.stream import prefetch
from utils.training.graphs import recording

_AHEAD = 2  # batches

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


def _taken(batch: Batch, done: torch.cuda.Event) -> Batch:
    """A batch of another stream, whose memory stays as long as this one works on it."""
    here = torch.cuda.current_stream()
    here.wait_event(done)
    for leaf in tree_leaves(batch):
        if isinstance(leaf, Tensor):
            leaf.record_stream(here)
    return batch
