"""The networks that preprocessing uses: the best that are installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from utils import registry
from utils.device import choose_device
from utils.inference import detect
from utils.onnx_file import open_scrfd, open_session

if TYPE_CHECKING:
    from utils.inference.identify import Identifier

_PUBLISHED, _EMBEDDED = "arcface", "ghost_compact_identity"


def load_detector(device: str, threads: int = 0) -> detect.Detector:
    """SCRFD where its file is there, else CenterFace. threads: 0 for one per core."""
    path = registry.locate("scrfd")
    if path is not None:
        return detect.Scrfd(
            open_scrfd(path, choose_device(device), detect.SCRFD_SCORE, detect.SCRFD_OVERLAP, detect.SCRFD_SIDE)
        )
    return detect.CenterFace(open_session(registry.require("centerface"), choose_device(device), True, threads))


def load_identifier(device: str, threads: int = 0) -> tuple[Identifier, float] | None:
    """The identity encoder, published or embedded, and its threshold; None where neither is there."""
    name = next((name for name in (_PUBLISHED, _EMBEDDED) if registry.locate(name) is not None), None)
    if name is None:
        return None
    import torch  # takes seconds, and only here it is needed

    from utils.inference.identify import Identifier

    if threads:
        torch.set_num_threads(threads)
    loaded = registry.load_identity(name)
    identifier = Identifier(loaded.network, choose_device(device), direct=name != _PUBLISHED)
    return identifier, loaded.card["similarity_th"]
