"""The best face detector that is installed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from utils import registry
from utils.inference.detect import SCRFD_OVERLAP, SCRFD_SCORE, SCRFD_SIDE, CenterFace, Detector, Scrfd
from utils.onnx_file import open_scrfd, open_session

if TYPE_CHECKING:
    import torch

_SCRFD, _CENTERFACE = "scrfd", "centerface"


def choose_detector(published: bool = True) -> tuple[str, Path]:
    """Name and file: SCRFD where it may be (`published`) and is there, else CenterFace. Raises WeightsError."""
    path = registry.locate(_SCRFD) if published else None
    return (_SCRFD, path) if path is not None else (_CENTERFACE, registry.require(_CENTERFACE))


def open_detector(name: str, path: Path, device: torch.device, threads: int = 0) -> Detector:
    """What `choose_detector` chose. threads: of CenterFace, 0 for one per core. Raises WeightsError, ResourceError."""
    if name == _SCRFD:
        return Scrfd(open_scrfd(path, device, SCRFD_SCORE, SCRFD_OVERLAP, SCRFD_SIDE))
    return CenterFace(open_session(path, device, any_size=True, threads=threads))
