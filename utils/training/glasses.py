"""Find what glasses do to an identity encoder's embeddings, and write it into the encoder's JSON.

python -m utils.training.glasses --faces FOLDER --wearers LIST [--validation LIST] [--gain 1.3]

LIST of --wearers: a photo's name (without ending) and what it wears, clear or sunglasses, on every line; all other
photos of the folder show bare faces. Kinds are told apart by a linear discriminant (Fisher, 1936), with the covariance
shrunk towards a sphere (Ledoit and Wolf, 2004).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from utils import registry
from utils.command import carried_out
from utils.errors import InputError
from utils.inference.config import InferenceConfig
from utils.inference.glasses import KINDS, Glasses
from utils.inference.stages import Stages, load_stages
from utils.inference.track import most_prominent
from utils.io.folder import pictures_in
from utils.io.profile import read_in_srgb
from utils.name_lists import read_names
from utils.options import Parser
from utils.weights_file import read_card, write_card

_SHRUNK = 0.05  # share of the sphere in the covariance
_DIGITS = 5


def read_wearers(path: Path) -> dict[str, int]:
    """Photo names and the number of the kind of glasses in them, from 1; raises InputError."""
    result = {}
    for line in read_names(path):
        words = line.split()
        if len(words) != 2 or words[1] not in KINDS:
            raise InputError(f"--wearers {path}: expected a name and {' or '.join(KINDS)}, not {line!r}")
        result[words[0]] = 1 + KINDS.index(words[1])
    return result


def embeddings(photos: Sequence[Path], stages: Stages) -> dict[str, np.ndarray]:
    """Raw embedding (D,) float32 of the most prominent face of every photo that shows one, by name."""
    result = {}
    for path in photos:
        image = read_in_srgb(path)
        faces = stages.detector.detect(image, careful=True)
        if faces:
            result[path.stem] = stages.identifier.embed(image, [faces[most_prominent(faces, image.shape)]])[0]
    return result


def fit(z_id: np.ndarray, kinds: np.ndarray, gain: float = 1.0) -> Glasses:
    """Tell kinds of glasses by embeddings.

    z_id: (N, D) float32, raw. kinds: (N,) int, 0 for bare faces, else the kind's number from 1.
    """
    groups = [z_id[kinds == kind].astype(np.float64) for kind in range(1 + len(KINDS))]
    means = np.stack([group.mean(0) for group in groups])
    spread = np.concatenate([group - mean for group, mean in zip(groups, means, strict=True)])
    covariance = spread.T @ spread / len(spread)
    sphere = np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    weights = np.linalg.solve((1 - _SHRUNK) * covariance + _SHRUNK * sphere, means.T).T
    bias = np.log([len(group) / len(z_id) for group in groups]) - (means * weights).sum(1) / 2
    weights, bias, shift = (part[1:] - part[0] for part in (weights, bias, means))
    return Glasses(weights.astype(np.float32), bias.astype(np.float32), shift.astype(np.float32), gain)


def as_json(glasses: Glasses) -> dict[str, object]:
    """What the encoder's JSON holds under "glasses"."""

    def plain(numbers: np.ndarray) -> object:
        return np.vectorize(lambda x: float(f"{x:.{_DIGITS}g}"), otypes=[float])(numbers).tolist()

    return {"kinds": list(KINDS), "weights": plain(glasses.weights), "bias": plain(glasses.bias),
            "shift": plain(glasses.shift), "gain": glasses.gain}


def seen(glasses: Glasses, z_id: np.ndarray, kinds: np.ndarray) -> str:
    """How many bare faces and how many wearers are told right."""
    worn = glasses.worn(z_id).sum(1) > 0.5
    bare = kinds == 0
    return f"bare {(~worn[bare]).sum()} of {bare.sum()}, glasses {worn[~bare].sum()} of {(~bare).sum()}"


def write(faces: Path, wearers: Mapping[str, int], held: set[str], identity: Path, gain: float) -> list[str]:
    """Fit, and add the result to the encoder's JSON; returns what to report.

    held: names that are only looked at. Raises InputError, OutputError, WeightsError.
    """
    stages = load_stages(InferenceConfig(model="embedded", image_to_image=True, glasses="source"))
    known = embeddings(pictures_in(faces), stages)
    for names, what in ((wearers.keys(), "--wearers"), (held, "--validation")):
        lost = sorted(names - known.keys())
        if lost:
            raise InputError(f"{what}: {len(lost)} names have no face in {faces}, the first is {lost[0]!r}")
    rows, kinds = np.stack(list(known.values())), np.array([wearers.get(name, 0) for name in known])
    test = np.array([name in held for name in known])
    if len(set(kinds[~test])) != 1 + len(KINDS):
        raise InputError(f"--wearers: expected bare faces and wearers of {' and '.join(KINDS)} in {faces}")
    glasses = fit(rows[~test], kinds[~test], gain)
    write_card(identity.with_suffix(".json"), read_card(identity) | {"glasses": as_json(glasses)})
    report = [f"fitted: {seen(glasses, rows[~test], kinds[~test])}"]
    return report + ([f"held out: {seen(glasses, rows[test], kinds[test])}"] if held else [])


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, fit, report; returns the exit code."""
    parser = Parser(prog="-m utils.training.glasses", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--faces", type=Path, required=True, metavar="P", help="folder of photos, one person each")
    parser.add_argument("--wearers", type=Path, required=True, metavar="P", help="names and kinds of glasses")
    parser.add_argument("--validation", type=Path, metavar="P", help="names that are not fitted to, one a line")
    parser.add_argument("--gain", type=float, default=1.3, metavar="X",
                        help="times what glasses add, where the target's are added (default: 1.3)")

    def work() -> None:
        options = parser.parse_args(argv)
        held = set(read_names(options.validation)) if options.validation else set()
        identity = registry.require(registry.EMBEDDED_IDENTITY)
        for line in write(options.faces, read_wearers(options.wearers), held, identity, options.gain):
            print(line)

    return carried_out(work)


if __name__ == "__main__":
    sys.exit(main())
