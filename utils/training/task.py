"""What the training loop asks of a network's training, whichever network it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from torch import Tensor

Batch = TypeVar("Batch")


class Task(ABC, Generic[Batch]):
    """One kind of training: how a step is taken, what is measured, saved and exported."""

    epoch_steps: int  # steps in which every photo is seen once
    inputs: dict[str, str]  # digests of what is in the files of some options, by the options' names

    @property
    @abstractmethod
    def scaled(self) -> bool:
        """Whether gradients are scaled, so that an occasional infinite one is no fault."""

    @abstractmethod
    def batches(self, steps: range) -> Iterator[Batch]:
        """This process's batches of these steps, `accumulate` for each."""

    @abstractmethod
    def step(self, parts: list[Batch], number: int) -> dict[str, Tensor]:
        """Update the networks once. Returns named scalars on the device; names may join those of earlier steps."""

    @abstractmethod
    def rates(self) -> dict[str, float]:
        """Learning rates in force."""

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Measures on photos that are never trained on; `val_score` tells the best network, lower is better. Empty
        where there are no such photos."""

    @abstractmethod
    def picture(self) -> np.ndarray | None:
        """The same cases at every call, as one picture (H, W, 3) uint8 BGR."""

    @abstractmethod
    def networks(self) -> dict[str, dict[str, Tensor]]:
        """Users' networks by the letter in their files' names."""

    @abstractmethod
    def card(self, origin: str) -> dict[str, Any]:
        """The JSON beside the files of `G`. origin: where the weights come from."""

    @abstractmethod
    def export(self, folder: Path, origin: str) -> None:
        """Write the users' files. origin: where the weights come from, for their card."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything that the next steps depend on; tensors and plain Python values."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take such a state back; raises KeyError, RuntimeError or ValueError where it is of another training."""

    @abstractmethod
    def origins(self) -> list[str]:
        """Lines about where networks have their first numbers from, for runs that begin."""

    @abstractmethod
    def describe(self) -> list[str]:
        """Lines about sizes and data, for --dry-run and the start of a run."""
