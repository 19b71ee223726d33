"""The networks that preprocessing uses: the best that are installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from utils import registry
from utils.device import choose_device
from utils.errors import WeightsError
from utils.inference import detect
from utils.onnx_file import open_scrfd, open_session
from utils.preprocess.config import PreprocessConfig, sha256
from utils.weights_file import read_card

if TYPE_CHECKING:
    from utils.inference.identify import Identifier

_PUBLISHED, _EMBEDDED = "arcface", "ghost_compact_identity"
_PUBLISHED_THRESHOLD = 0.15  # cosine; the registry says it only of a network that is loaded
_SCRFD, _CENTERFACE = "scrfd", "centerface"


def load_detector(device: str, threads: int = 0) -> detect.Detector:
    """SCRFD where its file is there, else CenterFace. threads: 0 for one per core."""
    path = registry.locate(_SCRFD)
    if path is not None:
        return detect.Scrfd(
            open_scrfd(path, choose_device(device), detect.SCRFD_SCORE, detect.SCRFD_OVERLAP, detect.SCRFD_SIDE)
        )
    return detect.CenterFace(open_session(registry.require(_CENTERFACE), choose_device(device), True, threads))


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
    network = registry.load_identity(name).network
    return Identifier(network, choose_device(device), direct=name != _PUBLISHED), threshold


def _identity() -> str | None:
    """The encoder that is used, None where there is none."""
    return next((name for name in (_PUBLISHED, _EMBEDDED) if registry.locate(name) is not None), None)


def _threshold(name: str) -> float:
    """The cosine below which a face is somebody else's to an encoder; raises WeightsError where its JSON says none."""
    if name == _PUBLISHED:
        return _PUBLISHED_THRESHOLD
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
    detector = _SCRFD if registry.locate(_SCRFD) is not None else _CENTERFACE
    name = _identity() if config.check_person else None
    encoder = None if name is None else {**_as_json(name), "threshold": _threshold(name)}
    return {"detector": _as_json(detector), "identity_encoder": encoder}


def _as_json(name: str) -> dict[str, Any]:
    return {"name": name, "sha256": sha256(registry.require(name), WeightsError)}
