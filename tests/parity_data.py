"""The published networks' names, shapes and reference outputs, reduced to what fits into the repository.

`python -m tests.parity_data REFERENCE` makes the files of `tests/data/` from a folder with the whole reference:
`manifest.json` and `golden/*.npz`, float32 CPU outputs of the published definitions for the weights of `tests/fill.py`,
and what alignment, masks and losses gave.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).parent / "data"
FOLDER = DATA / "parity"
STAGES = ("align", "mask", "losses")
NETWORKS = ("aei_unet_2", "aei_linknet_2", "aei_resnet_2", "disc", "iresnet100", "lipspade", "fan")
STEP = 7  # coprime with the strides of all networks, so that every phase of every upsampling is sampled


def reduce_array(array: np.ndarray) -> dict[str, np.ndarray]:
    """An array as it is, or for large maps (B, C, H, W) every seventh pixel and each channel's mean and deviation."""
    if array.ndim < 4 or array.shape[2] < 32:
        return {"": array}
    return {
        "_pixels": np.ascontiguousarray(array[:, :, ::STEP, ::STEP]),
        "_mean": array.mean(axis=(2, 3)),
        "_std": array.std(axis=(2, 3), ddof=1),
    }


def reduce_reference(reference: Path) -> dict[str, Any]:
    """All reference outputs, reduced; keys are network/array. Also one face's landmarks on a 224 crop."""
    with np.load(reference / "golden" / "mask.npz") as arrays:
        reduced = {"landmarks": arrays["landmarks_target"][0]}
    for network in NETWORKS:
        with np.load(reference / "golden" / f"{network}.npz") as arrays:
            for key in arrays.files:
                for suffix, array in reduce_array(arrays[key]).items():
                    reduced[f"{network}/{key}{suffix}"] = array
    return reduced


def reference_of(stage: str, reference: Path) -> dict[str, Any]:
    """The reference of a stage as `tests/data/` has it: all of it, masks as bytes."""
    with np.load(reference / "golden" / f"{stage}.npz") as arrays:
        return {key: np.rint(255 * array).astype(np.uint8) if key == "mask" else array for key, array in arrays.items()}


def golden() -> dict[str, np.ndarray]:
    """The reduced reference outputs in the repository."""
    with np.load(FOLDER / "golden.npz") as arrays:
        return {key: arrays[key] for key in arrays.files}


def manifest() -> dict[str, list[list]]:
    """Per network, the [name, shape, type] of every tensor in the order of its state_dict."""
    with gzip.open(FOLDER / "manifest.json.gz", "rt") as file:
        return json.load(file)


def main(reference: Path) -> None:
    """Write the reference, reduced where it is large."""
    for stage in STAGES:
        np.savez_compressed(DATA / f"{stage}.npz", **reference_of(stage, reference))
    FOLDER.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(FOLDER / "golden.npz", **reduce_reference(reference))
    content = json.dumps(json.loads((reference / "manifest.json").read_text()), separators=(",", ":")).encode()
    (FOLDER / "manifest.json.gz").write_bytes(gzip.compress(content, 9, mtime=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
