"""What the trainings of the small networks beside the generator have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from utils.device import to_device
from utils.training import augment, export
from utils.training.ahead import prepared
from utils.training.augment import Changes
from utils.training.config import TrainConfig
from utils.training.distributed import can_compile, parallel, with_global_batch_norm
from utils.training.draws import Draws
from utils.training.faces import Faces, spaced
from utils.training.networks import beginning, origin, start_from
from utils.training.optimise import Updater, learning_rate_factor, mixed_precision, training_dtype
from utils.training.pairs import Share
from utils.training.task import Task

_MOST = 1024  # faces that are measured, since all pairs of them are compared at once

Lesson = tuple[Tensor, Any]
Prepared = TypeVar("Prepared")


class StudentTask(Task[Callable[[], Lesson]]):
    """One network that learns what crops show; faces in memory."""

    def __init__(self, network: nn.Module, side: int, config: TrainConfig, faces: Faces, held: Faces, share: Share,
                 device: torch.device) -> None:
        """side: of the student's crops."""
        self._side, self._config, self._share, self._device = side, config, share, device
        self._faces, self._held = faces, spaced(held, _MOST) if len(held) else held
        self._held_out = len(held)
        self._dtype = training_dtype(device, config.optim_level)
        layout = torch.channels_last if config.channels_last else torch.contiguous_format
        placed = with_global_batch_norm(network, device).to(device, memory_format=layout)  # type: ignore[call-overload]
        self._layout = layout
        self._updater = Updater(placed, config, config.lr_G, self._dtype, ema=True)
        if config.compile and can_compile(device):
            placed.compile()
        self._network = parallel(placed, device)
        self._how = Changes(config.rotation, config.zoom, config.shift, config.mirror, config.jitter, config.hue)
        self.epoch_steps = max(len(faces) // share.step_samples, 1)
        self._reused: dict[int, Any] = {}  # by the place in the run of the first sample of each turn of a step

    @abstractmethod
    def lesson(self, indices: np.ndarray, number: int) -> Lesson:
        """Crops (B, 3, S, S) float32 [-1, 1] RGB and what is to be learned of them.

        indices: (B,) places of the samples in the run; number: of the step.
        """

    @abstractmethod
    def loss(self, answer: Any, wanted: Any) -> Tensor:
        """How far what the network made of the crops is off, a scalar."""

    def batches(self, steps: range) -> Iterator[Callable[[], Lesson]]:
        """See Task."""
        places = ((self._share.own(self._share.batch_samples(step, turn)), step)
                  for step in steps for turn in range(self._share.accumulate))
        return prepared(lambda at: self.lesson(*at), places, self._device if self._device.type == "cuda" else None)

    def step(self, parts: list[Callable[[], Lesson]], number: int) -> dict[str, Tensor]:
        """See Task."""
        config = self._config
        factor = learning_rate_factor(config, number, config.total_steps(self.epoch_steps), self.epoch_steps)
        total = torch.zeros((), device=self._device)
        for take in parts:
            crops, wanted = take()
            with mixed_precision(self._device, self._dtype):
                answer = self._network(crops.contiguous(memory_format=self._layout))
            loss = self.loss(answer, wanted)
            self._updater.backward(loss / len(parts))
            total = total + loss.detach() / len(parts)
        return {"loss": total, "grad": self._updater.update(factor)}

    def rates(self) -> dict[str, float]:
        """See Task."""
        return {"lr": self._updater.current_rate}

    def picture(self) -> np.ndarray | None:
        """Students make no pictures."""
        return None

    def networks(self) -> dict[str, dict[str, Tensor]]:
        """See Task."""
        return {"G": self._updater.best.state_dict()}

    def _card(self, network: str, arguments: dict[str, Any], origin: str) -> dict[str, Any]:
        return {"name": self._config.run_name, "network": network, "arguments": arguments, "crop_size": self._side,
                "licence": self._config.licence, "origin": origin}

    def export(self, folder: Path, origin: str) -> None:
        """See Task."""
        export.write_network(folder, "G_latest", self._config, self.networks()["G"], self.card(origin))

    @property
    def scaled(self) -> bool:
        """See Task."""
        return self._updater.scaled

    def state_dict(self) -> dict[str, Any]:
        """See Task."""
        return {"student": self._updater.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Task."""
        self._updater.load_state_dict(state["student"])

    def origins(self) -> list[str]:
        """See Task."""
        return [f"student {origin(_beginning(self._config))}"]

    def describe(self) -> list[str]:
        """See Task."""
        count = sum(p.numel() for p in self._updater.network.parameters()) / 1e6
        some = f", of which {len(self._held)} are measured" if len(self._held) < self._held_out else ""
        return [
            f"{len(self._faces)} faces to learn from, {self._held_out} held out{some}",
            f"student of {count:.2f} million parameters; {self._share.step_samples} crops a step",
        ]

    def _rows(self, positions: np.ndarray) -> tuple[Tensor, Tensor]:
        """Stored crops as float [-1, 1] and their keypoints."""
        assert self._faces.images is not None and self._faces.kps is not None
        at = torch.from_numpy(positions)
        both = (x[to_device(at, x.device)] for x in (self._faces.images, self._faces.kps))
        images, kps = (to_device(x, self._device) for x in both)
        return augment.to_float(images), kps

    def _draws(self, purpose: str, indices: np.ndarray) -> Draws:
        return Draws(self._config.seed, purpose, indices, self._device)

    def _views(self, draws: Draws) -> Tensor:
        return augment.views(self._faces.framing, self._side, self._how, draws)

    def _prepared(self, indices: np.ndarray, number: int, prepare: Callable[[np.ndarray], Prepared]) -> Prepared:
        """What `--teacher_reuse` steps share, since it is slow to make: `prepare` is given the first one's samples."""
        if self._config.teacher_reuse == 1:
            return prepare(indices)
        first = indices - number % self._config.teacher_reuse * self._share.step_samples
        place = int(first[0])
        if place not in self._reused:
            if len(self._reused) == self._share.accumulate:  # of steps that are over
                self._reused.clear()
            self._reused[place] = prepare(first)
        return self._reused[place]

    def _held_crops(self, side: int) -> Tensor:
        assert self._held.images is not None
        framing = self._held.framing
        views = augment.plain_views(framing, side, len(self._held), self._device)
        return augment.cut(augment.to_float(self._held.images.to(self._device)), views, side, framing, still=True)

    @torch.no_grad()
    def _answers(self, crops: Tensor) -> Tensor:
        network = self._updater.best
        training = network.training
        network.eval()
        answers = torch.cat([self._answer(network, part) for part in crops.split(64)])
        network.train(training)
        return answers

    def _answer(self, network: nn.Module, crops: Tensor) -> Tensor:
        return network(crops).float()


def _beginning(config: TrainConfig) -> str:
    """--G_path where that was given, since its default place is a generator's."""
    return beginning(config, config.G_path) if config.G_path != TrainConfig.G_path else ""


def started(network: nn.Module, config: TrainConfig) -> nn.Module:
    """The network with the weights that it starts from."""
    start_from(network, _beginning(config), f"the network of --task {config.task} and these options")
    return network
