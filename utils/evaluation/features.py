"""FID and LPIPS by networks that the user brings as TorchScript files; without a file there is no figure.

The files are those of StyleGAN's metrics, `inception-2015-12-05.pt` and `vgg16.pt`, so figures compare with papers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from utils.device import full_memory_as_error
from utils.errors import WeightsError
from utils.paths import is_file

if TYPE_CHECKING:
    import torch

    Network = Callable[..., torch.Tensor]

_BATCH = 16
_PROBE = 64  # side of a picture that a network is tried with
_REMEDY = "close other programs, or use --device cpu"
_CALLS: dict[str, dict[str, bool]] = {
    "FID": {"return_features": True},
    "LPIPS": {"resize_images": False, "return_lpips": True},
}


def load_script(path: Path, purpose: str, device: torch.device) -> Network:
    """A TorchScript network, for FID or LPIPS, that takes pictures to a device; raises WeightsError, ResourceError."""
    import torch

    if not is_file(path):
        raise WeightsError(f"{path}: no such file; {purpose} needs a TorchScript network, see docs/evaluation.md")
    try:
        with full_memory_as_error(_REMEDY):
            script = torch.jit.load(str(path), map_location=device).eval()
    except RuntimeError as error:
        raise WeightsError(f"{path} is not a TorchScript file; {purpose} needs one, see docs/evaluation.md") from error

    def network(pictures: torch.Tensor, **options: bool) -> torch.Tensor:
        return script(pictures.to(device), **options)

    try:
        with full_memory_as_error(_REMEDY):
            _outputs(network, [np.zeros((_PROBE, _PROBE, 3), np.uint8)], **_CALLS[purpose])
    except RuntimeError as error:
        raise WeightsError(f"{path} does not answer as {purpose} needs it; see docs/evaluation.md") from error
    return network


def _outputs(network: Network, crops: Sequence[np.ndarray], **options: bool) -> np.ndarray:
    """crops: N pictures (S, S, 3) uint8 BGR, as 0..255 RGB. Returns (N, D) float64."""
    import torch

    rows = []
    for start in range(0, len(crops), _BATCH):
        batch = np.stack(crops[start : start + _BATCH])[..., ::-1].transpose(0, 3, 1, 2)
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            rows.append(network(torch.from_numpy(batch.copy()), **options).cpu().double().numpy())
    return np.concatenate(rows)


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Distance of two sets of features (N, D), (M, D) as normal distributions (Heusel et al., arXiv:1706.08500)."""
    from scipy.linalg import sqrtm

    shift = first.mean(axis=0) - second.mean(axis=0)
    spread, other = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    mixed = np.real(sqrtm(spread @ other))
    return float(shift @ shift + np.trace(spread) + np.trace(other) - 2 * np.trace(mixed))


def fid(network: Network, swaps: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> float:
    """FID of swapped and target crops, (S, S, 3) uint8 BGR. network: features of Inception."""
    features = [_outputs(network, crops, **_CALLS["FID"]) for crops in (swaps, targets)]
    return frechet_distance(features[0], features[1])


def lpips(network: Network, swaps: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> float:
    """Mean LPIPS of pairs of crops, (S, S, 3) uint8 BGR. network: VGG16 with LPIPS's scales inside."""
    first, second = (_outputs(network, crops, **_CALLS["LPIPS"]) for crops in (swaps, targets))
    return float(np.square(first - second).sum(axis=1).mean())
