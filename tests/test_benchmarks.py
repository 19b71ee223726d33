"""The benchmarks run: a training step, plain and fast, with small networks; what is measured of cards without networks;
scripts beside packages of their names."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn

from arcface_model.iresnet import iresnet
from benchmarks import nvidia, training_step
from network.AEI_Net import AEI_Net
from network.MultiscaleDiscriminator import MultiscaleDiscriminator
from tests.conftest import ROOT

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


def test_the_benchmark_of_cards_is_tried_out_on_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[dict[str, Any]] = []
    monkeypatch.setattr(nvidia, "write_set", lambda name, folder: None)  # those of the parts that are left out
    monkeypatch.setattr(nvidia, "keep_results", lambda name, result: kept.append(deepcopy(result)))
    monkeypatch.setattr(nvidia, "SIZES", {"1080p": (128, 96)})
    monkeypatch.setattr(sys, "argv", ["nvidia", "--device", "cpu", "--frames", "4", "--side", "16",
                                      "--skip", "generator", "videos", "videos_cpu", "compile"])
    assert nvidia.main() == 0
    assert min(kept[0]["matrix"]["tflops"].values()) >= 0 and kept[-1]["decoder"]["1080p"]["processor"] > 0


def test_no_benchmark_stands_in_the_way_of_a_package() -> None:
    """A script's folder comes first where Python looks for modules."""
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'benchmarks')!r}); import torch, onnxruntime, cv2, av"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
