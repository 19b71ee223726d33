"""FaceRes is rebuilt from its file as TensorFlow computes it, and judges swaps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.training_set import write_faceres
from utils.errors import WeightsError
from utils.training.faceres import SIDE, FaceRes
from utils.training.losses import feature_loss


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Tensor]]:
    folder = tmp_path_factory.mktemp("faceres")
    return folder / "faceres.json", write_faceres(folder)


def as_tensorflow(x: Tensor, weights: dict[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
    """The network written down once more: TensorFlow pads at the end alone where a stride is 2."""
    maps = []
    x = (x.flip(1) + 1) * 127.5 - torch.tensor([103.939, 116.779, 123.68])[:, None, None]
    kernel = weights["conv1/convolution/merged_input"].permute(3, 2, 0, 1)
    x = F.conv2d(F.pad(x, (0, 1, 0, 1)), kernel, weights["conv1_bn/batchnorm_1/sub"], 2).clamp(0, 6)
    for i in range(1, 14):
        stride = 2 if i in (2, 4, 6, 12) else 1
        thin = weights[f"conv_dw_{i}/depthwise_kernel"].permute(2, 3, 0, 1)
        x = F.conv2d(F.pad(x, (2 - stride, 1, 2 - stride, 1)), thin, None, stride, groups=x.shape[1])
        norm = f"conv_dw_{i}_bn/batchnorm_1"
        x = (x * weights[f"{norm}/mul"][:, None, None] + weights[f"{norm}/sub"][:, None, None]).clamp(0, 6)
        dense = weights[f"conv_pw_{i}/convolution/merged_input"].permute(3, 2, 0, 1)
        x = F.conv2d(x, dense, weights[f"conv_pw_{i}_bn/batchnorm_1/sub"]).clamp(0, 6)
        if i in (3, 5, 11):
            maps.append(x)
    return x.mean((2, 3)), maps


def test_faceres_gives_the_numbers_of_its_file(stored: tuple[Path, dict[str, Tensor]]) -> None:
    path, weights = stored
    network, x = FaceRes(path), torch.rand(2, 3, SIDE, SIDE) * 2 - 1
    e, maps = network(x)
    expected, levels = as_tensorflow(x, weights)
    assert float(expected.std()) > 0.05 and torch.allclose(e, expected, atol=1e-4)
    assert [tuple(m.shape[2:]) for m in maps] == [(40, 40), (20, 20), (10, 10)]
    assert all(torch.allclose(a, b, atol=1e-3) for a, b in zip(maps, levels, strict=True))


def test_what_all_faces_have_in_common_is_left_out(stored: tuple[Path, dict[str, Tensor]]) -> None:
    network, x = FaceRes(stored[0]), torch.rand(5, 3, SIDE, SIDE) * 2 - 1
    network.centre_on(x)
    assert torch.allclose(network(x).e.mean(0), torch.zeros(1024), atol=1e-5)


def test_missing_and_other_files_are_named(stored: tuple[Path, dict[str, Tensor]], tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"nowhere.json: cannot read the FaceRes teacher.*requirements-teachers"):
        FaceRes(tmp_path / "nowhere.json")
    content = json.loads(stored[0].read_text())
    (tmp_path / "faceres.json").write_text(json.dumps(content))
    (tmp_path / "faceres.bin").write_bytes(b"cut short")
    with pytest.raises(WeightsError, match=r"next to .*faceres\.json do not match its manifest .*; download them"):
        FaceRes(tmp_path / "faceres.json")
    content["weightsManifest"][0]["weights"][0]["name"] = "other"
    (tmp_path / "faceres.json").write_text(json.dumps(content))
    (tmp_path / "faceres.bin").write_bytes(stored[0].with_suffix(".bin").read_bytes())
    with pytest.raises(WeightsError, match=r"expected faceres.json of @vladmandic/human.*conv1"):
        FaceRes(tmp_path / "faceres.json")


def test_maps_that_point_the_same_way_are_near() -> None:
    torch.manual_seed(0)
    maps = [torch.rand(2, 8, 4, 4), torch.rand(2, 16, 2, 2)]
    assert float(feature_loss([3 * m for m in maps], maps, torch.ones(2))) == pytest.approx(0, abs=1e-6)
    other = [m.clone() for m in maps]
    other[1][0] = other[1][0].flip(0)
    seen = [float(feature_loss(other, maps, torch.tensor(belief))) for belief in ([1.0, 1.0], [0.5, 1.0], [0.0, 1.0])]
    assert seen[0] > 0.01 and seen[1] == pytest.approx(seen[0] / 2) and seen[2] == 0
