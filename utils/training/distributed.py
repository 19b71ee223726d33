"""Several processes that train one network: started by torchrun; tensors on CUDA travel over NCCL where PyTorch
has it (not on Windows), all others over gloo.

PyTorch's SyncBatchNorm does not run on the CPU, so there batch norm is reduced here, by a differentiable all_reduce.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import signature
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from utils.device import choose_device
from utils.errors import OptionError


def world_size() -> int:
    """Number of processes; 1 outside of torchrun."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


@contextmanager
def process_group(device_name: str) -> Iterator[torch.device]:
    """Join the processes that torchrun started, if it did; gives this process's device.

    Raises ResourceError where the device is missing, OptionError where there are more processes than cards.
    """
    device = choose_device(device_name)
    if "WORLD_SIZE" not in os.environ:
        yield device
        return
    if device.type == "cuda":
        device = _own_card(int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    # Flags travel through gloo, which does not make the processes wait for their devices.
    over_nccl = device.type == "cuda" and dist.is_nccl_available()
    dist.init_process_group("cpu:gloo,cuda:nccl" if over_nccl else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def _own_card(number: int) -> torch.device:
    count = torch.cuda.device_count()
    if number >= count:
        raise OptionError(f"process {number + 1} on this machine has no CUDA device of its own (PyTorch sees {count}); "
                          f"give torchrun --nproc_per_node={count}")
    return torch.device("cuda", number)


class _SumOverProcesses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].clone()
        dist.all_reduce(gradient)
        return gradient


def sum_over_processes(x: Tensor) -> Tensor:
    """Differentiable sum of a tensor over all processes."""
    return _SumOverProcesses.apply(x) if world_size() > 1 else x


@torch.no_grad()
def mean_over_processes(x: Tensor) -> Tensor:
    """Mean of a tensor over all processes, without gradient."""
    if world_size() == 1:
        return x
    x = x.detach().clone()
    dist.all_reduce(x)
    return x / world_size()


@torch.no_grad()
def gather_rows(x: Tensor) -> Tensor:
    """Rows (B, ...) of all processes in the order of their ranks, (B * processes, ...)."""
    if world_size() == 1:
        return x
    parts = [torch.empty_like(x) for _ in range(world_size())]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts)


def gather_objects(thing: Any) -> list[Any]:
    """What every process holds, by rank."""
    if world_size() == 1:
        return [thing]
    things: list[Any] = [None] * world_size()
    dist.all_gather_object(things, thing)
    return things


def any_of(*flags: bool) -> list[bool]:
    """Each flag, true where it is for any process."""
    if world_size() == 1:
        return list(flags)
    numbers = torch.tensor(flags, dtype=torch.int32)
    dist.all_reduce(numbers, dist.ReduceOp.MAX)
    return [bool(number) for number in numbers.tolist()]


class GlobalBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm over the batches of all processes, on any device."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected (B, C, ...), got {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        """input: (B, C, ...) float. Returns the same shape; updates the running statistics while training."""
        if not self.training or world_size() == 1:
            return super().forward(input)
        axes = [0, *range(2, input.dim())]
        x = input.float()
        shape = [1, -1, *[1] * (x.dim() - 2)]
        count = x.numel() // x.shape[1] * world_size()
        mean = sum_over_processes(x.sum(axes)) / count
        centred = x - mean.view(shape)
        variance = sum_over_processes(centred.square().sum(axes)) / count
        self._update(mean.detach(), variance.detach() * (count / max(count - 1, 1)))
        y = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        return y.to(input.dtype)

    @torch.no_grad()
    def _update(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.momentum is None:
            return
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1


def with_global_batch_norm(network: nn.Module, device: torch.device) -> nn.Module:
    """The network with batch norms that see all processes' batches; names and tensors stay."""
    if world_size() == 1:
        return network
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, (nn.BatchNorm1d, nn.BatchNorm2d)):
                twin = GlobalBatchNorm(child.num_features, child.eps, child.momentum, child.affine)
                twin.load_state_dict(child.state_dict())
                for parameter, original in zip(twin.parameters(), child.parameters(), strict=True):
                    parameter.requires_grad_(original.requires_grad)
                setattr(parent, name, twin)
    return network


def can_compile(device: torch.device) -> bool:
    """Whether torch.compile applies: not to batch norm that is reduced here."""
    return world_size() == 1 or device.type == "cuda"


def parallel(network: nn.Module, device: torch.device) -> nn.Module:
    """Average the gradients of all processes after every backward pass."""
    if world_size() == 1:
        return network
    ids = [device.index] if device.type == "cuda" else None
    # The batch norms above keep the buffers alike, and broadcasting would change them between two uses in one pass.
    wrap: Callable[..., nn.Module] = nn.parallel.DistributedDataParallel
    new, old = "forward_sync_buffers", "broadcast_buffers"  # from PyTorch 2.13 on, and before
    return wrap(network, device_ids=ids, **{new if new in signature(wrap).parameters else old: False})
