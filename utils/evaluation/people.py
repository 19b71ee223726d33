"""Whose photos are swapped with whose: folders, the openpeople package, and a deterministic choice of pairs."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from utils.errors import InputError, OptionError, ResourceError
from utils.io.folder import pictures_below
from utils.name_lists import places_of, read_names
from utils.paths import is_folder

OPENPEOPLE = {"studio": "studio_portrait.jpg", "selfie": "amateur_selfie.jpg"}
OPENPEOPLE_STEPS = (1, 3)  # person i goes into person i + 1 and i + 3, cyclic


@dataclass(frozen=True)
class LabelledPhoto:
    """One photo of one person."""

    path: Path
    identity: str


Pair = tuple[LabelledPhoto, LabelledPhoto]  # source and target


def folder_photos(folder: Path) -> list[LabelledPhoto]:
    """All photos below a folder, sorted: in sub-folders the sub-folder's name is the identity, else the file's path,
    since other folders have other people by the same names.

    Raises InputError when there are none.
    """
    if not is_folder(folder):
        raise InputError(f"{folder}: no such folder; expected photos, or one folder of photos per person")
    paths = pictures_below(folder)
    if not paths:
        raise InputError(f"{folder}: no photos here; expected files such as name.jpg")
    return [LabelledPhoto(path, str(path.resolve()) if path.parent == folder else path.relative_to(folder).parts[0])
            for path in paths]


def photos_of(place: str) -> list[LabelledPhoto]:
    """Photos of a folder, or of the openpeople package where it says `openpeople:studio` or `openpeople:selfie`."""
    package, _, kind = place.partition(":")
    return openpeople_photos(kind) if package == "openpeople" and kind else folder_photos(Path(place))


def listed(photos: list[LabelledPhoto], names_file: Path) -> list[LabelledPhoto]:
    """The photos that a text file names; raises InputError."""
    names = read_names(names_file)
    return [photos[place] for place in places_of(names, [photo.path for photo in photos], names_file)]


def openpeople_photos(kind: str) -> list[LabelledPhoto]:
    """The ten synthetic people of the `openpeople` package, one photo each, in the package's order."""
    if kind not in OPENPEOPLE:
        raise OptionError(f"the openpeople photos are {' or '.join(OPENPEOPLE)}, not {kind}")
    package = importlib.util.find_spec("openpeople")
    if package is None or package.origin is None:
        raise ResourceError("the openpeople photos need `pip install openpeople`")
    people = sorted((Path(package.origin).parent / "data" / "curated").glob("P*"))
    return [LabelledPhoto(person / "assets" / OPENPEOPLE[kind], person.name) for person in people]


def by_person(photos: Sequence[LabelledPhoto]) -> list[list[LabelledPhoto]]:
    """The photos of each identity, each photo once, in their order."""
    people: dict[str, dict[LabelledPhoto, None]] = {}  # keeps the order, drops repeats
    for photo in photos:
        people.setdefault(photo.identity, {})[photo] = None
    return [list(own) for own in people.values()]


def dealt(photos: Sequence[LabelledPhoto]) -> list[LabelledPhoto]:
    """Each photo once, people taking turns, so that the first few show many of them: everybody's first photo, then
    everybody's second, and so on. Where each photo shows another person, they keep their order."""
    return [photo for turn in zip_longest(*by_person(photos)) for photo in turn if photo is not None]


def cyclic_pairs(photos: Sequence[LabelledPhoto], steps: Sequence[int], count: int) -> list[Pair]:
    """Source and target: each photo into the one `step` places further, for every step.

    count: most pairs wanted, the first ones; 0 for all.
    """
    around = len(photos)
    pairs = [(photos[i], photos[(i + step) % around]) for step in steps for i in range(around)]
    return pairs[: count or None]


def crossed_pairs(sources: Sequence[LabelledPhoto], targets: Sequence[LabelledPhoto], count: int) -> list[Pair]:
    """Cross sources and targets of different identity; the same arguments always give the same pairs.

    count: most pairs wanted, 0 for all. Photos are used as evenly as the count allows; people take turns.
    Raises InputError when no two photos show different people.
    """
    sources, targets = dealt(sources), dealt(targets)
    offsets = list(range(len(targets)))
    random.Random(0).shuffle(offsets)
    pairs: dict[Pair, None] = {}  # keeps the order, drops repeats
    # Both wrap around: one turn of the longer list uses every photo of either at least once.
    for offset in offsets:
        for i in range(max(len(sources), len(targets))):
            pair = (sources[i % len(sources)], targets[(i + offset) % len(targets)])
            if pair[0].identity != pair[1].identity:
                pairs[pair] = None
        if count and len(pairs) >= count:
            break
    if not pairs:
        raise InputError("no pair of photos shows two different people; give photos of at least two")
    return list(pairs)[: count or None]
