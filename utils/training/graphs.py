"""Recordings of CUDA work: what a step launches, thousands of kernels, is launched at once from then on."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_unflatten

log = logging.getLogger("ghost")
_WARM_UP = 3  # calls in which libraries choose their kernels, before anything is recorded
recording = threading.Lock()  # held while recording, when no other thread may ask anything of the device


class Recorded:
    """A function that is recorded when it is called for the fourth time, and replayed from then on.

    It must launch the same work each time, wait for nothing, and upload nothing; its arguments must keep their shapes.
    """

    def __init__(self, function: Callable[..., Any], parameters: Sequence[nn.Parameter], pool: Any = None) -> None:
        """function: of tensors, also nested ones, to tensors. parameters: those whose gradients it sets; it does not
        add to what they have. pool: memory that it shares with recordings that are never needed at the same time."""
        self._function, self._parameters, self._pool = function, list(parameters), pool
        self._plain_calls: float = _WARM_UP  # that are left
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, *arguments: Any) -> Any:
        """The results; the next call overwrites them."""
        if self._plain_calls:
            self._plain_calls -= 1
            return self._function(*arguments)
        tensors, structure = tree_flatten(arguments)
        if self._graph is None and not self._recorded(tensors, structure):
            return self._function(*arguments)
        assert self._graph is not None
        torch._foreach_copy_(self._tensors, [t for t in tensors if t is not None])
        self._graph.replay()
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient
        return self._results

    def _recorded(self, tensors: list[Any], structure: Any) -> bool:
        """Record, and say whether it worked: old drivers and little memory are no reason to end a training."""
        try:
            with recording:
                self._record(tensors, structure)
        except RuntimeError as error:
            log.warning("CUDA cannot record the training's steps (%s); going on without", str(error).splitlines()[0])
            self._plain_calls, self._results = math.inf, None
            for parameter in self._parameters:
                parameter.grad = None
            return False
        return True

    def _record(self, tensors: list[Any], structure: Any) -> None:
        own = [None if t is None else t.clone() for t in tensors]
        self._tensors = [t for t in own if t is not None]
        arguments = tree_unflatten(own, structure)
        graph = torch.cuda.CUDAGraph()
        # Threads that read pictures may ask for pinned memory meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            self._results = self._function(*arguments)
        self._gradients = [parameter.grad for parameter in self._parameters]
        self._graph = graph
