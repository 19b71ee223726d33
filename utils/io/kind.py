"""Whether a file is a photo or a video, before it is read."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from utils.io.folder import is_picture
from utils.io.image import DAMAGED, identified

_VIDEOS = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".m2ts", ".ts", ".wmv", ".flv",
           ".ogv", ".3gp", ".mxf"}


def is_video(path: Path) -> bool:
    """Whether a file is taken for a video, by its name."""
    return path.suffix.lower() in _VIDEOS


def is_still(path: Path) -> bool:
    """Whether a file is a picture that does not move; one that Pillow cannot open is not."""
    if not is_picture(path):
        return False
    try:
        with identified(path) as picture:
            return getattr(picture, "n_frames", 1) == 1
    except (*DAMAGED, Image.DecompressionBombError):
        return False
