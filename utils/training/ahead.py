"""Batches that are prepared beside the steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial

import torch
from torch.utils._pytree import tree_leaves

from utils.inference.stream import prefetch
from utils.training.graphs import recording
from utils.training.pairs import Pairs
from utils.training.terms import SwapBatch

_AHEAD = 2  # batches

Prepare = Callable[[Pairs], SwapBatch]
Prepared = Callable[[], SwapBatch]  # to be called once, by the thread that takes the steps


def prepared(prepare: Prepare, batches: Iterable[Pairs], device: torch.device) -> Iterator[Prepared]:
    """What becomes of each batch, in order. On CUDA it is made in advance, by a thread and in a stream of its own;
    elsewhere when it is asked for, since the processor is at work anyway."""
    if device.type != "cuda":
        yield from (partial(prepare, pairs) for pairs in batches)
        return
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))

    def beside() -> Iterator[tuple[SwapBatch, torch.cuda.Event]]:
        left = iter(batches)
        while True:
            with recording, torch.cuda.stream(side):
                pairs = next(left, None)
                if pairs is None:
                    return
                made = prepare(pairs), side.record_event()
            yield made

    with closing(prefetch(beside(), _AHEAD)) as ready:
        for batch, done in ready:
            yield partial(_taken, batch, done)


def _taken(batch: SwapBatch, done: torch.cuda.Event) -> SwapBatch:
    """A batch of another stream, whose memory stays as long as this one works on it."""
    here = torch.cuda.current_stream()
    here.wait_event(done)
    for tensor in tree_leaves(vars(batch)):
        if tensor is not None:
            tensor.record_stream(here)
    return batch
