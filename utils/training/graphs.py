"""Recordings of CUDA work: what a step launches, thousands of kernels, is launched at once from then on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_unflatten

_WARM_UP = 3  # calls in which libraries choose their kernels, before anything is recorded
recording = threading.Lock()  # held while recording, when no other thread may ask anything of the device


class Recorded:
    """A function that is recorded when it is called for the fourth time, and replayed from then on.

    It must launch the same work each time, wait for nothing, and upload nothing; its arguments must keep their shapes.
    """

    def __init__(self, function: Callable[..., Any], parameters: Sequence[nn.Parameter]) -> None:
        """function: of tensors, also nested ones, to tensors. parameters: those whose gradients it sets; it
        does not add to what they have."""
        self._function, self._parameters = function, list(parameters)
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, *arguments: Any) -> Any:
        """The results; the next call overwrites them."""
        if self._calls < _WARM_UP:
            self._calls += 1
            return self._function(*arguments)
        tensors, structure = tree_flatten(arguments)
        if self._graph is None:
            with recording:
                self._record(tensors, structure)
        assert self._graph is not None
        torch._foreach_copy_(self._tensors, [t for t in tensors if t is not None])
        self._graph.replay()
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient
        return self._results

    def _record(self, tensors: list[Any], structure: Any) -> None:
        own = [None if t is None else t.clone() for t in tensors]
        self._tensors = [t for t in own if t is not None]
        arguments = tree_unflatten(own, structure)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._results = self._function(*arguments)
        self._gradients = [parameter.grad for parameter in self._parameters]
        self._graph = graph
