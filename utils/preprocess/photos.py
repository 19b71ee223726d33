"""Which photos there are, and what is known of them beforehand."""

from __future__ import annotations

import csv
import os
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utils.errors import InputError
from utils.folders import check_people
from utils.io.folder import pictures_below
from utils.paths import is_folder
from utils.set_index import KEYPOINTS

_LOOSE = 16  # photos without a person in common that are worked on together


@dataclass(frozen=True)
class SourcePhoto:
    """One photo of the data set."""

    file: str  # from the data set's folder, with forward slashes
    identity: str
    stem: str  # path of its crop without ending
    stamp: str  # size and time of change: another stamp is another photo

    def crop(self, ending: str) -> str:
        """Its crop's file, from the result's folder; ending: jpg or png."""
        return f"{self.stem}.{ending}"


@dataclass(frozen=True)
class Unit:
    """Photos that one worker handles together."""

    photos: tuple[SourcePhoto, ...]
    one_person: bool  # they are said to show the same person


def _stamp(path: Path) -> str:
    """What changes with a file; empty for a link that leads nowhere, which cannot be read later on either."""
    try:
        state = path.stat()
    except OSError:
        return ""
    return f"{state.st_size}-{state.st_mtime_ns}"


def _folded(name: str) -> str:
    """What names have in common that macOS or Windows take for one: capitals or not, and accents in either form."""
    return unicodedata.normalize("NFC", name).casefold()


def _stems(paths: Iterable[Path]) -> dict[Path, str]:
    """A name for the crop of each photo, without ending: the photo's own, with its ending where another photo might
    claim the same (a.jpg beside a.png), and with a checksum of itself where that does not suffice (a.jpg, A.jpg)."""
    bare = {path: path.with_suffix("").as_posix() for path in paths}
    stems, files = Counter(map(_folded, bare.values())), Counter(_folded(path.as_posix()) for path in bare)

    def unclaimed(path: Path, stem: str) -> str:
        if stems[_folded(stem)] == 1 and _folded(stem) not in files:
            return stem
        whole = path.as_posix()
        return whole if files[_folded(whole)] == 1 else f"{whole}.{zlib.crc32(os.fsencode(whole)):08x}"

    return {path: unclaimed(path, stem) for path, stem in bare.items()}


def list_units(folder: Path) -> list[Unit]:
    """The data set in units of work: one per person's sub-folder, small groups of the photos that lie loose.

    Raises InputError where there is nothing to do, OptionError where people lie deeper than that.
    """
    if not is_folder(folder):
        raise InputError(f"{folder}: no such folder; give --path_to_dataset with the folder of photos")
    people: dict[str, list[SourcePhoto]] = {}
    loose: list[SourcePhoto] = []
    found = {path.relative_to(folder): path for path in pictures_below(folder)}
    for path, stem in _stems(found).items():
        person = path.parts[0] if len(path.parts) > 1 else path.stem
        photo = SourcePhoto(path.as_posix(), person, stem, _stamp(found[path]))
        (people.setdefault(person, []) if len(path.parts) > 1 else loose).append(photo)
    if not people and not loose:
        raise InputError(f"{folder}: no photos here; expected files such as name.jpg, or one sub-folder per person")
    check_people(folder, (photo.file for photos in people.values() for photo in photos), "--path_to_dataset")
    units = [Unit(tuple(photos), True) for photos in people.values()]
    return units + [Unit(tuple(loose[i : i + _LOOSE]), False) for i in range(0, len(loose), _LOOSE)]


def _known(row: dict[str, str]) -> tuple[np.ndarray, float]:
    """Keypoints and score of a row; raises ValueError, TypeError."""
    kps = np.array([float(row[name]) for name in KEYPOINTS], np.float32).reshape(5, 2)
    if not np.isfinite(kps).all() or len(np.unique(kps, axis=0)) < len(kps):
        raise ValueError("expected five points that differ")
    return kps, float(row.get("det_score") or 1)


def read_keypoints(path: Path) -> dict[str, tuple[np.ndarray, float]]:
    """Known keypoints by photo name, with its folder or without: kps (5, 2) float32, photo pixels, and the detector's
    score (1 where not given).

    Raises InputError that names the column or row at fault.
    """
    found: dict[str, tuple[np.ndarray, float]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            reader = csv.DictReader(file)
            missing = [name for name in ("id", *KEYPOINTS) if name not in (reader.fieldnames or ())]
            if missing:
                raise InputError(f"{path}: column {missing[0]} is missing; expected id, kp1_x, kp1_y, ... kp5_y")
            for row in reader:
                name, where = row["id"], f"{path}, line {reader.line_num}, id {row['id']}"
                if name in found:
                    raise InputError(f"{where}: this id came before; name photos of several folders as folder/name")
                try:
                    found[name] = _known(row)
                except (TypeError, ValueError) as error:
                    raise InputError(f"{where}: not the keypoints of a face ({error})") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    return found
