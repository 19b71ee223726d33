"""The photos of a training set: which there are, and how they are read.

Crops of preprocess_vgg.py come with index.csv (columns file, identity, margin, kp1_x to kp5_y; pixels of the stored
crop), the keypoints of which some losses need. Any other folder of aligned face crops does as well.
"""

from __future__ import annotations

import csv
import hashlib
import logging
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from utils import registry
from utils.errors import InputError
from utils.folders import check_people
from utils.io.crops import read_square, size_of
from utils.io.folder import INDEX, pictures_below
from utils.name_lists import places_of, read_names
from utils.paths import is_folder
from utils.progress import counted, silenced
from utils.set_index import KEYPOINTS
from utils.training.augment import Framing
from utils.training.checks import as_share

log = logging.getLogger("ghost")
_LOOKED_AT = 100  # pictures of a set without index.csv whose sides are compared; sets may have millions


class Paths(Sequence[Path]):
    """Photos below a folder. Sets may have millions, whose names take less memory than paths would."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self.folder, self._names = folder, names

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, position: int) -> Path:  # type: ignore[override]  # no slices
        return self.folder / self._names[position]

    def subset(self, rows: Sequence[int]) -> Paths:
        """Those at these positions."""
        return Paths(self.folder, [self._names[i] for i in rows])


@dataclass(frozen=True)
class Faces:
    """A set of stored crops."""

    paths: Paths
    identities: list[str]
    kps: Tensor | None  # (N, 5, 2) float32, pixels of the stored crops; None where the folder has no index.csv
    framing: Framing
    images: Tensor | None = None  # (N, 3, side, side) uint8 RGB, once they are all in memory

    def __len__(self) -> int:
        return len(self.paths)

    def subset(self, keep: Sequence[int]) -> Faces:
        """The photos at these positions."""
        rows = list(keep)
        return Faces(self.paths.subset(rows), [self.identities[i] for i in rows],
                     None if self.kps is None else self.kps[rows], self.framing,
                     None if self.images is None else self.images[rows])

    def on(self, device: torch.device) -> Faces:
        """The same with the crops, where they are in memory, in that of a device."""
        return replace(self, images=None if self.images is None else self.images.to(device))

    @property
    def bytes(self) -> int:
        """Memory that all crops take once decoded."""
        return len(self) * 3 * self.framing.side**2

    def read(self, position: int, otherwise: str = "another one takes its place") -> np.ndarray | None:
        """One crop, (3, side, side) uint8 RGB; None where its file is broken, which is logged with what happens."""
        image = read_square(self.paths[position], self.framing.side)
        if image is None:
            log.warning("%s cannot be read as a picture; %s", self.paths[position], otherwise)
        return image


def find_faces(folder: Path, by_folder: bool) -> Faces:
    """All crops below a folder.

    by_folder: sub-folders (or the identity column of index.csv) name people; else every photo is another person.
    Raises InputError that says what is missing, OptionError where people lie deeper.
    """
    if not is_folder(folder):
        raise InputError(
            f"{folder}: no such folder; give --dataset_path with face crops (preprocess_vgg.py makes them)"
        )
    index = folder / INDEX
    faces = _indexed(folder, index) if index.is_file() else _plain(folder, by_folder)
    if by_folder:
        return faces
    return Faces(faces.paths, [path.relative_to(folder).as_posix() for path in faces.paths], faces.kps, faces.framing)


def _indexed(folder: Path, index: Path) -> Faces:
    try:
        with index.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            names, people, kps, margin = _columns(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{index}: cannot be read ({error}); preprocess_vgg.py writes it") from error
    except (KeyError, IndexError, ValueError, OverflowError) as error:
        raise InputError(f"{index}: expected columns file, identity, margin, kp1_x to kp5_y ({error})") from error
    if not names:
        raise InputError(f"{index}: lists no faces")
    paths = Paths(folder, names)
    side = _side(paths)
    return Faces(paths, people, torch.from_numpy(kps), Framing(side, side - 2 * margin))


def _columns(rows: Iterator[list[str]]) -> tuple[list[str], list[str], np.ndarray, int]:
    """Names, people, keypoints (N, 5, 2) float32 and the first row's margin, read row by row."""
    place = {name: i for i, name in enumerate(next(rows, []))}
    names: list[str] = []
    people: list[str] = []
    known: dict[str, str] = {}  # a person's photos share one string
    numbers, margin = array("f"), ""
    for row in filter(None, rows):
        if not names and "margin" in place:
            margin = row[place["margin"]]
        names.append(row[place["file"]])
        people.append(known.setdefault(row[place["identity"]], row[place["identity"]]))
        numbers.extend(float(row[place[name]]) for name in KEYPOINTS)
    return names, people, np.frombuffer(numbers, np.float32).reshape(-1, 5, 2), round(float(margin or 0))


def _plain(folder: Path, by_folder: bool) -> Faces:
    paths = pictures_below(folder)
    if not paths:
        raise InputError(f"{folder}: no pictures here; expected face crops such as name.jpg")
    if by_folder:
        loose = [path for path in paths if path.parent == folder]
        if loose:
            raise InputError(
                f"{loose[0]} lies in no sub-folder, but --vgg True expects one per identity; "
                "give --vgg False --same_identity False for a flat folder"
            )
        check_people(folder, (path.relative_to(folder).as_posix() for path in paths), "--dataset_path")
    looked_at = _squares(paths, folder)
    side = _side(paths)
    if len(sides := looked_at | {side}) > 1:
        log.warning("pictures in %s have sides from %d to %d pixels: all are brought to %d, the side of the first one",
                    folder, min(sides), max(sides), side)
    names = [path.relative_to(folder).as_posix() for path in paths]
    return Faces(Paths(folder, names), [name.split("/")[0] for name in names], None, Framing(side, side))


def _squares(paths: list[Path], folder: Path) -> set[int]:
    """Sides of some of the crops. Refuses photos that nobody cut; raises InputError."""
    sides = set()
    for path in paths[:: -(-len(paths) // _LOOKED_AT)]:
        width, height = size_of(path) or (0, 0)
        if width != height:
            raise InputError(f"{path} has {width} x {height} pixels, but training takes square crops of aligned faces: "
                             f"cut them with preprocess_vgg.py --path_to_dataset {folder}, and give its --save_path as "
                             "--dataset_path")
        sides.add(width)
    return sides - {0}  # of broken ones


def _side(paths: Sequence[Path]) -> int:
    """Side of the first readable crop; the others are brought to it."""
    for path in paths:
        image = read_square(path)
        if image is not None:
            return int(image.shape[-1])
    raise InputError(f"{paths[0].parent}: none of its pictures can be read")


def hold_out(faces: Faces, chosen: Path | str | None) -> tuple[Faces, Faces]:
    """Part a set into training and validation photos.

    chosen: a file that lists names without ending, one a line, or about which share of the people.
    Raises InputError when the file is missing, or when none or all of the photos are chosen, or others.
    """
    if not chosen:
        return faces, faces.subset([])
    share = as_share(str(chosen))
    held = _named(faces, chosen) if share is None else _drawn(faces, share)
    people = {faces.identities[i] for i in held}
    # Validation swaps its photos with one another.
    if len(held) < 2 or len(held) == len(faces) or (share is not None and len(people) < 2):
        raise InputError(
            f"--validation {chosen}: takes {len(held)} of the {len(faces)} photos in {faces.paths.folder}, of "
            f"{len(people)} people; expected two people or more, and not all photos"
        )
    out = set(held)
    return faces.subset([i for i in range(len(faces)) if i not in out]), faces.subset(held)


def leave_out(faces: Faces, names_file: str, *parts: Faces) -> list[Faces]:
    """The parts of a set without the photos that the first words of a file's lines name; raises InputError."""
    file = registry.resolve_file(names_file)
    unwanted = {faces.paths[i] for i in places_of((line.split()[0] for line in read_names(file)), faces.paths, file)}
    return [part.subset([i for i, path in enumerate(part.paths) if path not in unwanted]) for part in parts]


def _named(faces: Faces, names_file: Path | str) -> list[int]:
    file = registry.resolve_file(str(names_file))
    return sorted(set(places_of(read_names(file), faces.paths, file)))


def _drawn(faces: Faces, share: float) -> list[int]:
    """Photos of about this share of the people.

    A person's name alone decides, so that nobody changes sides when others come or go.
    """
    return [i for i, person in enumerate(faces.identities) if _lot(person) < share]


def _lot(name: str) -> float:
    """A number from 0 to 1 that belongs to a name."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8]) / 2**64


def decoded(faces: Faces) -> Faces:
    """The set with all its crops in memory, less those that are broken."""
    images = torch.empty((len(faces), 3, faces.framing.side, faces.framing.side), dtype=torch.uint8)
    good = []
    for i in counted(range(len(faces)), "crops read", silenced()):
        image = faces.read(i, "it is left out")
        if image is not None:
            images[i] = torch.from_numpy(image)
            good.append(i)
    if not good:
        raise InputError(f"{faces.paths.folder}: none of its pictures can be read")
    whole = Faces(faces.paths, faces.identities, faces.kps, faces.framing, images)
    return whole if len(good) == len(faces) else whole.subset(good)


def digest(folder: Path | str, *sets: Faces) -> str:
    """A short name for exactly these photos below a folder, wherever that is and however its path is written.

    Before a hyphen, for their names and the people they show, which was all of it once; behind it, for what copies of
    them have in common and takes no reading: bytes of each, keypoints, framing.
    """
    root, named, held = Path(folder), hashlib.sha256(), hashlib.sha256()
    for faces in sets:
        for path, person in zip(faces.paths, faces.identities, strict=True):
            # index.csv may name photos that lie elsewhere.
            name = f"/{path.relative_to(root).as_posix()}" if path.is_relative_to(root) else path.as_posix()
            named.update(f"{name}\0{person}\n".encode("utf-8", "surrogateescape"))
            held.update(f"{_bytes_of(path)}\n".encode())
        held.update(f"{faces.framing}\n".encode())
        held.update(b"" if faces.kps is None else faces.kps.numpy().tobytes())
    return f"{named.hexdigest()[:16]}-{held.hexdigest()[:16]}"


def _bytes_of(path: Path) -> int:
    """Size of a file; -1 where there is none, since another photo takes its place."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def spaced(faces: Faces, most: int) -> Faces:
    """At most so many of the faces, evenly spread, in memory."""
    step = max(len(faces) / most, 1.0)
    chosen = faces.subset([int(i * step) for i in range(min(len(faces), most))])
    return chosen if chosen.images is not None else decoded(chosen)
