"""Everything about updating one network: precision, learning rate, clipping, moving average."""

from __future__ import annotations

import copy
import math
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from utils.device import fastest_dtype
from utils.training.config import TrainConfig
from utils.weights_file import differences

_CHOSEN = ("betas", "weight_decay", "decoupled_weight_decay")  # options of an optimizer that a resumed run may change


def training_dtype(device: torch.device, level: str) -> torch.dtype:
    """Arithmetic of a level: float32 for O0, else bfloat16, or float16 on GPUs that lack it."""
    if level == "O0":
        return torch.float32
    dtype = fastest_dtype(device)
    return torch.float16 if dtype == torch.float32 and device.type == "cuda" else dtype


def mixed_precision(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[Any]:
    """Autocast to `dtype`; off for float32."""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def learning_rate_factor(config: TrainConfig, step: int, total: int, epoch_steps: int) -> float:
    """Share of the full learning rate at a step, from 0; `total`: steps of the whole training."""
    warm = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    if config.cosine:
        return warm * 0.5 * (1 + math.cos(math.pi * min(step / max(total, 1), 1.0)))
    if not config.scheduler:
        return warm
    unit = epoch_steps if config.scheduler_unit == "epoch" else 1
    return warm * config.scheduler_gamma ** (step // (config.scheduler_step * unit))


class Updater:
    """One network's optimizer, scaler and moving average."""

    def __init__(self, network: nn.Module, config: TrainConfig, rate: float, dtype: torch.dtype, ema: bool) -> None:
        self.network, self.rate = network, rate
        self._clip = config.grad_clip
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        self._decay = config.ema if ema else 0.0
        kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
        device = self.parameters[0].device.type
        self.optimizer = kind(self.parameters, rate, betas=(config.beta1, 0.999), weight_decay=config.weight_decay,
                              fused=device in ("cpu", "cuda"))
        self._scaler = torch.amp.GradScaler(device, enabled=dtype == torch.float16)
        self.average = copy.deepcopy(network).eval().requires_grad_(False) if self._decay else None
        self._followed, self._counted = self._pairs_of_average()
        self.steps = 0

    def _pairs_of_average(self) -> tuple[tuple[list[Tensor], list[Tensor]], list[tuple[Tensor, Tensor]]]:
        """The average's numbers and those that it follows, two lists, and its whole numbers with their originals."""
        states = [] if self.average is None else [self.average.state_dict(), self.network.state_dict()]
        pairs = list(zip(*(state.values() for state in states), strict=True))
        followed = [pair for pair in pairs if pair[0].is_floating_point()]
        counted = [pair for pair in pairs if not pair[0].is_floating_point()]
        return ([mean for mean, _ in followed], [value for _, value in followed]), counted

    @property
    def best(self) -> nn.Module:
        """The network to measure and to export: the moving average where there is one."""
        return self.network if self.average is None else self.average

    @property
    def current_rate(self) -> float:
        """The learning rate of the last update."""
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def scaled(self) -> bool:
        """Whether gradients are scaled, so that an occasional infinite one is no fault."""
        return self._scaler.is_enabled()

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss."""
        self._scaler.scale(loss).backward()

    def update(self, factor: float) -> Tensor:
        """Change the weights by the gathered gradients and forget these; returns the gradient's length.

        factor: share of the full learning rate.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * factor
        self._scaler.unscale_(self.optimizer)
        length = nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        if self._clip:
            nn.utils.clip_grads_with_norm_(self.parameters, self._clip, length)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self.optimizer.zero_grad()
        self.steps += 1
        if self.average is not None:
            self._follow(min(self._decay, self.steps / (self.steps + 10)))
        return length

    @torch.no_grad()
    def _follow(self, decay: float) -> None:
        torch._foreach_lerp_(*self._followed, 1 - decay)
        for mean, value in self._counted:
            mean.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next update depends on."""
        return {
            "network": self.network.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a state back; raises ValueError where it is of another network."""
        if found := differences(self.network.state_dict(), state["network"]):
            raise ValueError(found)
        self.network.load_state_dict(state["network"])
        if self.average is not None:
            self.average.load_state_dict(state["average"] or state["network"])
        chosen = [{name: group[name] for name in _CHOSEN if name in group} for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, options in zip(self.optimizer.param_groups, chosen, strict=True):
            group.update(options)  # a run may go on with others
        for parameter, moments in self.optimizer.state.items():  # in the parameters' own layout, which may be another
            for name in ("exp_avg", "exp_avg_sq"):
                if name in moments:
                    moments[name] = torch.empty_like(parameter).copy_(moments[name])
        self._scaler.load_state_dict(state["scaler"])
        self.steps = state["steps"]
