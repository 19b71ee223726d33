"""The networks that preprocessing uses: the best that are installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from utils import registry
from utils.device import choose_device
from utils.errors import WeightsError
from utils.inference.detect import Detector
from utils.inference.detectors import choose_detector, open_detector
from utils.preprocess.config import PreprocessConfig, sha256
from utils.weights_file import read_card

if TYPE_CHECKING:
    from utils.inference.identify import Identifier


def load_detector(device: str, threads: int = 0) -> Detector:
    """SCRFD where its file is there, else CenterFace. threads: 0 for one per core."""
    return open_detector(*choose_detector(), choose_device(device), threads)


def load_identifier(device: str, threads: int = 0) -> tuple[Identifier, float] | None:
    """The identity encoder, published or embedded, and its threshold; None where neither is there."""
    name = _identity()
    if name is None:
        return None
    threshold = _threshold(name)
    import torch  # takes seconds, and only here it is needed

    from utils.inference.identify import Identifier

    if threads:
        torch.set_num_threads(threads)
    loaded = registry.load_identity(name)
    return Identifier(loaded.network, choose_device(device), direct=loaded.mirrored), threshold


def _identity() -> str | None:
    """The encoder that is used, None where there is none."""
    names = (registry.PUBLISHED_IDENTITY, registry.EMBEDDED_IDENTITY)
    return next((name for name in names if registry.locate(name) is not None), None)


def _threshold(name: str) -> float:
    """The cosine below which a face is somebody else's to an encoder; raises WeightsError where its JSON says none."""
    if name == registry.PUBLISHED_IDENTITY:
        return registry.PUBLISHED_THRESHOLD
    path = registry.require(name)
    threshold = read_card(path).get("similarity_th")
    if not isinstance(threshold, (int, float)):
        raise WeightsError(f"{path.with_suffix('.json')}: similarity_th is {threshold!r}, expected a number; add it, "
                           "or give --check_person False")
    return threshold


def models_used(config: PreprocessConfig) -> dict[str, dict[str, Any] | None]:
    """Which files decide the result, without loading them: name and checksum by role, None where none has a say.

    Raises WeightsError where a file that is needed is not there or cannot be read.
    """
    if config.keypoints is not None:
        return {"detector": None, "identity_encoder": None}
    detector, _ = choose_detector()
    name = _identity() if config.check_person else None
    encoder = None if name is None else {**_as_json(name), "threshold": _threshold(name)}
    return {"detector": _as_json(detector), "identity_encoder": encoder}


def _as_json(name: str) -> dict[str, Any]:
    return {"name": name, "sha256": sha256(registry.require(name), WeightsError)}
