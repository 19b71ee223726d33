"""The benchmark of a training step runs: plain and fast, with small networks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from arcface_model.iresnet import iresnet
from benchmarks import training_step
from network.AEI_Net import AEI_Net
from network.MultiscaleDiscriminator import MultiscaleDiscriminator

CPU = torch.device("cpu")
Make = Callable[..., Callable[[], torch.Tensor]]


@pytest.mark.parametrize("make", [training_step.plain_step, training_step.fast_step])
def test_both_settings_train_both_networks(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.Module, "compile", lambda module: None)  # which needs a compiler, and a while
    torch.manual_seed(0)
    D = MultiscaleDiscriminator(3, ndf=4, n_layers=2, norm_layer=nn.InstanceNorm2d, num_D=2)
    arcface = iresnet(depth=18, num_features=16, width=0.125, size=112).eval().requires_grad_(False)
    models = (AEI_Net("unet", 1, c_id=16, width=0.125), D, arcface)
    before = [next(module.parameters()).clone() for module in models]
    assert torch.isfinite(make(models, 2, CPU)())
    changed = [not torch.equal(old, next(module.parameters())) for old, module in zip(before, models, strict=True)]
    assert changed == [True, True, False]
