"""Find what glasses do to an identity encoder's embeddings, and write it into the encoder's JSON.

python -m utils.training.glasses --faces FOLDER --wearers LIST [--validation LIST] [--gain 1.3]

LIST of --wearers: a photo's name (without ending) and what it wears, clear or sunglasses, on every line; all other
photos of the folder show bare faces. Kinds are told apart by a linear discriminant (Fisher, 1936), with the covariance
shrunk towards a sphere (Ledoit and Wolf, 2004).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
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
from utils.name_lists import places_of, read_names
from utils.options import Parser
from utils.progress import counted
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


def embeddings(photos: Sequence[Path], stages: Stages) -> dict[Path, np.ndarray]:
    """Raw embedding (D,) float32 of the most prominent face of every photo that shows one."""
    result = {}
    for path in counted(photos, "photos", quiet=False):
        image = read_in_srgb(path)
        faces = stages.detector.detect(image, careful=True)
        if faces:
            result[path] = stages.identifier.embed(image, [faces[most_prominent(faces, image.shape)]])[0]
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


def write(faces: Path, wearers: Path, held: Path | None, identity: Path, gain: float) -> list[str]:
    """Fit, and add the result to the encoder's JSON; returns what to report.

    held: list of the names that are only looked at. Raises InputError, OutputError, WeightsError.
    """
    photos, worn = pictures_in(faces), read_wearers(wearers)
    kind_of = dict(zip(_named(worn, photos, wearers), worn.values(), strict=True))
    tested = set(_named(read_names(held), photos, held)) if held else set()
    known = embeddings(photos, load_stages(InferenceConfig(model="embedded", image_to_image=True, glasses="source")))
    for named, what in ((kind_of, "--wearers"), (tested, "--validation")):
        lost = sorted(path.name for path in named if path not in known)
        if lost:
            raise InputError(f"{what}: no face found in {len(lost)} of its photos, the first is {faces / lost[0]}")
    rows, kinds = np.stack(list(known.values())), np.array([kind_of.get(path, 0) for path in known])
    test = np.array([path in tested for path in known])
    if len(set(kinds[~test])) != 1 + len(KINDS):
        raise InputError(f"--wearers: expected bare faces and wearers of {' and '.join(KINDS)} in {faces}")
    glasses = fit(rows[~test], kinds[~test], gain)
    write_card(identity.with_suffix(".json"), read_card(identity) | {"glasses": as_json(glasses)})
    report = [f"fitted: {seen(glasses, rows[~test], kinds[~test])}"]
    return report + ([f"held out: {seen(glasses, rows[test], kinds[test])}"] if held else [])


def _named(names: Iterable[str], photos: Sequence[Path], file: Path) -> list[Path]:
    return [photos[place] for place in places_of(names, photos, file)]


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, fit, report; returns the exit code."""
    parser = Parser(prog="-m utils.training.glasses", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--faces", type=Path, required=True, metavar="P", help="folder of photos, one person each")
    parser.add_argument("--wearers", type=Path, required=True, metavar="P", help="names and kinds of glasses")
    parser.add_argument("--validation", type=Path, metavar="P", help="names that are not fitted to, one a line")
    parser.add_argument("--gain", type=float, default=1.3, metavar="X",
                        help="times what glasses add, where the target's are painted (default: 1.3)")

    def work() -> None:
        options = parser.parse_args(argv)
        identity = registry.require(registry.EMBEDDED_IDENTITY)
        for line in write(options.faces, options.wearers, options.validation, identity, options.gain):
            print(line)

    return carried_out(work)


if __name__ == "__main__":
    sys.exit(main())
