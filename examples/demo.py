"""The demo: faces of synthetic people swapped in photos, each result beside its source and target."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from utils.command import carried_out  # noqa: E402 - the repository is not installed as a package
from utils.inference.pipeline import load_pipeline  # noqa: E402
from utils.io.frame import to_uint8  # noqa: E402
from utils.io.image import Photo, read_photo, write_photo  # noqa: E402
from utils.io.mark import Mark  # noqa: E402

IMAGES, RESULTS = ROOT / "examples" / "images", ROOT / "examples" / "results"
_HEIGHT = 420  # of the pictures in the side-by-side view


@dataclass(frozen=True)
class Case:
    """One swap of the demo."""

    name: str
    source: str
    target: str
    reference: str | None = None
    select: str = "reference"


CASES = (
    Case("portrait_into_selfie", "portrait.jpg", "selfie.jpg"),
    Case("one_of_a_group", "portrait_2.jpg", "group.jpg", reference="group_person.jpg"),
    Case("all_of_a_group", "portrait.jpg", "group.jpg", select="all"),
)


def swap(case: Case) -> Path:
    """Run one case; returns the result's file."""
    output = RESULTS / f"{case.name}.png"
    pipeline = load_pipeline(select=case.select)
    references = [IMAGES / case.reference] if case.reference else []
    result = pipeline.swap_photo(IMAGES / case.source, IMAGES / case.target, output, references)
    faces, seconds = result["faces"], sum(result["seconds"].values())
    print(f"{output.relative_to(ROOT)}: {faces['swapped']} of {faces['found']} faces swapped in {seconds:.1f} s")
    return output


def side_by_side(paths: Sequence[Path]) -> np.ndarray:
    """Pictures in a row at one height, (H, W, 3) uint8 BGR."""
    row = []
    for path in paths:
        image = to_uint8(read_photo(path).image)
        width = round(image.shape[1] * _HEIGHT / image.shape[0])
        row.append(cv2.resize(image, (width, _HEIGHT), interpolation=cv2.INTER_AREA))
    return np.concatenate(row, axis=1)


def main() -> int:
    """Swap all cases and write the overview; returns the exit code."""

    def work() -> None:
        for case in CASES:
            row = side_by_side([IMAGES / case.source, IMAGES / case.target, swap(case)])
            write_photo(RESULTS / f"{case.name}_side_by_side.jpg", Photo(row), mark=Mark("metadata"))
        print(f"source, target and result side by side: {RESULTS.relative_to(ROOT)}/*_side_by_side.jpg")

    return carried_out(work)


if __name__ == "__main__":
    sys.exit(main())
