"""Render examples/images/: reduced photos of the synthetic people of the `openpeople` package, and a group of them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np

IMAGES = Path(__file__).parent / "images"
GROUP = ("P002", "P005", "P009", "P003")  # from left to right
_SOURCES = {
    "portrait.jpg": ("P008", "studio_portrait", 640),
    "selfie.jpg": ("P003", "amateur_selfie", 720),
    "portrait_2.jpg": ("P006", "studio_portrait", 640),
    "selfie_2.jpg": ("P007", "amateur_selfie", 720),
}


def assets(person: str) -> Path:
    """Folder of one person's photos in the installed package."""
    spec = importlib.util.find_spec("openpeople")
    if spec is None or spec.origin is None:
        raise SystemExit("the openpeople package is missing: pip install -r requirements-dev.txt")
    return Path(spec.origin).parent / "data" / "curated" / person / "assets"


def reduced(person: str, kind: str, width: int) -> np.ndarray:
    """One photo at the given width, (H, width, 3) uint8 BGR."""
    path = assets(person) / f"{kind}.jpg"
    image = cv2.imread(str(path))
    if image is None:
        raise SystemExit(f"cannot read {path}")
    return cv2.resize(image, (width, round(width * image.shape[0] / image.shape[1])), interpolation=cv2.INTER_AREA)


def group() -> np.ndarray:
    """People side by side before one wall, (H, W, 3) uint8 BGR: the middles of their studio portraits."""
    return np.concatenate([reduced(person, "studio_portrait", 480)[:, 72:408] for person in GROUP], axis=1)


def main() -> None:
    """Write all pictures."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    pictures = {name: reduced(*source) for name, source in _SOURCES.items()}
    pictures["group.jpg"] = group()
    pictures["group_person.jpg"] = reduced(GROUP[1], "amateur_selfie", 480)
    for name, image in pictures.items():
        cv2.imwrite(str(IMAGES / name), image, [cv2.IMWRITE_JPEG_QUALITY, 90])


if __name__ == "__main__":
    main()
