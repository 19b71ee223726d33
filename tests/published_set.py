"""A folder like a finished download: files under the published names, with weights made from names."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import nn

from arcface_model.iresnet import iresnet100
from models.enhancer import LIPSPADEGenerator, SpectralConv
from network.AEI_Net import AEI_Net
from tests import standins
from tests.fill import build

ROOT = Path(__file__).resolve().parents[1]
CODE = ("inference.py", "network", "arcface_model", "models", "coordinate_reg", "utils", "weights/manifest.tsv")
ONNX = {"scrfd_10g_bnkps.onnx": standins.make_scrfd, "2d106det.onnx": standins.make_landmarks}


def _generator(num_blocks: int) -> nn.Module:
    return build(functools.partial(AEI_Net, "unet", num_blocks=num_blocks, c_id=512))


def _enhancer() -> nn.Module:
    """Filled, with settled spectral norms, as after training."""
    network = build(LIPSPADEGenerator)
    for module in network.modules():
        if isinstance(module, SpectralConv):
            for _ in range(10):
                module.iterate()
    return network


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "G_unet_1block.pth": functools.partial(_generator, 1),
    "G_unet_2blocks.pth": functools.partial(_generator, 2),
    "G_unet_3blocks.pth": functools.partial(_generator, 3),
    "backbone.pth": functools.partial(build, functools.partial(iresnet100, fp16=False), 0.5),
    "10_net_G.pth": _enhancer,
}
USUAL = ("G_unet_2blocks.pth", "backbone.pth", *ONNX)  # what a photo or a video needs


def places() -> dict[str, str]:
    """Where each published file belongs, from the repository's root."""
    rows = (ROOT / "weights" / "manifest.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return {row.split("\t")[0]: row.split("\t")[1] for row in rows}


def write_files(root: Path, names: Iterable[str], dtype: torch.dtype = torch.float32) -> dict[str, Path]:
    """Write published files to their places below `root`; floating point as `dtype`."""
    written = {}
    for name in names:
        path = written[name] = root / places()[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        if name in ONNX:
            ONNX[name](path)
        else:
            state = NETWORKS[name]().state_dict()
            torch.save({key: t.to(dtype) if t.is_floating_point() else t for key, t in state.items()}, path)
    return written


def copy_code(root: Path) -> Path:
    """A checkout of the program alone, without any weights."""
    for name in CODE:
        source, target = ROOT / name, root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.pth", "*.onnx"))
        else:
            shutil.copy(source, target)
    return root
