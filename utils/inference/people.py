"""Who the sources and references are: one photo of a person, or a folder of several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from utils.errors import GhostError, InputError, OptionError
from utils.inference import align
from utils.inference.detail import SourceDetail, detail_of_source, share_of
from utils.inference.embeddings import normalise
from utils.inference.exposure import exposure_of
from utils.inference.keypoints import eye_distance, yaw
from utils.inference.regions import face_region
from utils.inference.report import RunReport, reasons_of
from utils.inference.stages import Stages
from utils.inference.track import most_prominent
from utils.inference.track_detail import LEAST_SIDE
from utils.inference.warp import rescaled_points
from utils.io.folder import left_out_of, no_pictures, pictures_in
from utils.io.image import Photo, read_photo
from utils.io.profile import to_srgb
from utils.paths import is_folder

_FAR = 0.1  # below an encoder's own threshold; as much is granted to whoever was recognised before
_SOURCE_YAW, _SOURCE_EYES = 40, 20  # degrees and pixels between the eyes beyond which likeness suffers
_SUNGLASSES = 0.97  # likelihood from which they are told; of 700 bare faces none, of 56 with sunglasses 44 have more
_SOURCE_COVERED = 0.15  # share of the face; hands and things alone: the network sees less in nearly all bare faces


@dataclass(frozen=True)
class Person:
    """Files, or folders of several, as they were named."""

    source: str
    reference: str | None  # of whom gets it, where that is said


class KnownPerson(NamedTuple):
    """What photos tell of a person."""

    z_id: np.ndarray  # (D,) float32, raw embedding
    detail: SourceDetail | None  # of a source, where swaps are to have it


class _Seen(NamedTuple):
    """A face of a photo."""

    path: Path
    z_id: np.ndarray  # (D,) float32, raw embedding
    kps: np.ndarray  # (5, 2) float32, pixels of the photo
    crop: np.ndarray | None  # (S, S, 3) uint8 BGR, aligned, of a source that may lend its detail or be covered


def photos_of(people: Sequence[Path | str]) -> list[Path]:
    """The files behind some people; raises InputError for a folder without pictures."""
    return [photo for person in people for photo in _photos(Path(person))]


def _photos(person: Path) -> list[Path]:
    if not is_folder(person):
        return [person]
    photos = pictures_in(person)
    if not photos:
        raise no_pictures(person, "give a photo, or a folder with photos of one person")
    return photos


def read(path: Path | str, report: RunReport) -> Photo:
    """A photo, with what had to be adapted in the report; raises InputError."""
    with report.stage("read"):
        photo = read_photo(path)
    for text in photo.notes:
        report.note(text)
    return photo


def identities(
    people: Sequence[Path | str],
    kind: str,
    no_face: type[GhostError],
    stages: Stages,
    report: RunReport,
    which: Sequence[int | None] = (),
) -> list[KnownPerson]:
    """Each person: the embedding of one face of the photo, or the mean of several photos; the detail is that of
    the one that is like the others, large enough and looks most at the camera.

    kind: source or reference, for messages. which: numbers of the faces, from 0 at the left; None or none: the most
    prominent ones. Raises InputError, OptionError, and no_face where a person's photos show nobody.
    """
    if kind == "reference":
        say_low_threshold(stages, report)
    numbers = which or [None] * len(people)
    return [_identity(Path(person), number, kind, no_face, stages, report)
            for person, number in zip(people, numbers, strict=True)]


def say_low_threshold(stages: Stages, report: RunReport) -> None:
    """A note where --similarity_th, perhaps written for another identity encoder, lets strangers in."""
    own = stages.encoder_threshold
    if own is not None and stages.threshold < own - _FAR:
        report.note(f"--similarity_th {stages.threshold:g} is far below {own:g}, the threshold that "
                    f"{stages.model('identity').name} was measured at; strangers may be taken for the person")


def _identity(
    person: Path, number: int | None, kind: str, no_face: type[GhostError], stages: Stages, report: RunReport
) -> KnownPerson:
    photos = _photos(person)
    if number is not None and is_folder(person):
        raise OptionError(f"--source_face_index {number} chooses a face of one photo, but {person} is a folder; give "
                          "-1 for it")
    for text in left_out_of(person) if is_folder(person) else ():
        report.note(text)
    known = _known(person, photos, number, kind, no_face, stages, report)
    if kind == "source" and _wears_sunglasses(list(known.values()), stages):
        report.note(f"source {person} wears sunglasses, which swaps leave out; the eyes are guessed, and a photo that "
                    "shows them gives more likeness")
    if len(known) == 1:
        (seen,) = known.values()
        return KnownPerson(seen.z_id, _detail(seen, stages, report))
    rows = np.stack([seen.z_id for seen in known.values()])
    directions = normalise(rows)
    alikes = [float(normalise(directions.sum(0, keepdims=True) - row)[0] @ row) for row in directions]
    for path, alike in zip(known, alikes, strict=True):
        if alike < stages.threshold:
            report.note(f"{path} seems to show somebody else than the other photos of {person} (cosine {alike:.2f})")
    # A mean is shorter than what it is made of, and the generator was trained with whole lengths.
    z_id = normalise(directions.mean(0, keepdims=True))[0] * np.linalg.norm(rows, axis=1).mean()
    alike_enough = [alike >= stages.threshold for alike in alikes]
    return KnownPerson(z_id, _detail(_lender(list(known.values()), alike_enough), stages, report))


def _wears_sunglasses(seen: Sequence[_Seen], stages: Stages) -> bool:
    """Whether all photos of a source show sunglasses, and its swaps wear the target's instead."""
    glasses = stages.settings.glasses
    if glasses is None or not stages.settings.target_glasses:
        return False
    return bool((glasses.dark(np.stack([one.z_id for one in seen])) > _SUNGLASSES).all())


def _known(
    person: Path, photos: Sequence[Path], number: int | None, kind: str, no_face: type[GhostError], stages: Stages,
    report: RunReport,
) -> dict[Path, _Seen]:
    """The face of each of a person's photos that has one, at least one; of a folder, damaged photos are left out."""
    choosable = kind == "source" and not is_folder(person)
    found: dict[Path, _Seen | None] = {}
    damaged: list[InputError] = []
    for path in photos:
        try:
            found[path] = _seen(path, number, choosable, kind, stages, report)
        except InputError as error:
            if not is_folder(person):
                raise
            damaged.append(error)
    if not found:
        raise InputError(f"none of the {len(photos)} pictures of {person} can be read: {damaged[0]}")
    known = {path: seen for path, seen in found.items() if seen is not None}
    if not known:
        unread = f", of whose pictures {len(damaged)} cannot be read" * bool(damaged)
        raise no_face(f"no face found in the {kind} {person}{unread}; give a photo that shows one clearly")
    for why in [*map(str, damaged), *(f"no face found in {path}" for path in found if path not in known)]:
        report.note(f"{why}; the other photos of {person} are used")
    return known


def _lender(seen: Sequence[_Seen], alike: Sequence[bool]) -> _Seen:
    """Whose detail a person gets: of the faces that are like the others and large, that which looks most at the camera.

    alike: of each face, whether it is like the others.
    """
    def worth(number: int) -> tuple[bool, float, float]:
        return alike[number], share_of(seen[number].kps), -yaw(seen[number].kps)

    return seen[max(range(len(seen)), key=worth)]


def _seen(
    path: Path, number: int | None, choosable: bool, kind: str, stages: Stages, report: RunReport
) -> _Seen | None:
    """Of one of a photo's faces; None where there is no face. choosable: whether --source_face_index helps."""
    image = to_srgb(read(path, report))
    with report.stage("detect"):
        faces = stages.detector.detect(image, careful=True)
    if not faces:
        return None
    faces = sorted(faces, key=lambda face: float(face.kps[:, 0].mean()))
    if number is None:
        number = most_prominent(faces, image.shape)
        if len(faces) > 1:
            x, y = faces[number].kps.mean(axis=0)
            choice = f"; it is --source_face_index {number} of inference.py, others are counted from the left" \
                if choosable else ""
            report.note(f"{kind} {path} shows {len(faces)} faces; the most prominent one, at ({x:.0f}, {y:.0f}), is "
                        f"used{choice}")
    if number >= len(faces):
        raise OptionError(f"--source_face_index {number}: {path} shows {len(faces)} faces; count from 0 at the left")
    face = faces[number]
    warning = source_warning(face.kps) if kind == "source" else ""  # a reference lends nothing
    if warning:
        report.note(f"the face in the {kind} {path} {warning}")
    with report.stage("identify"):
        z_id = stages.identifier.embed(image, [face])[0]
    if kind == "reference" or not (stages.settings.detail or stages.occlusion):
        return _Seen(path, z_id, face.kps, None)
    with report.stage("align"):
        crop = align.cut(image, face.kps, max(LEAST_SIDE, stages.swapper.size)).image
    return _Seen(path, z_id, face.kps, crop)


def _detail(seen: _Seen, stages: Stages, report: RunReport) -> SourceDetail | None:
    if seen.crop is None or not share_of(seen.kps):
        return None
    glasses = stages.settings.glasses
    worn = 0.0 if glasses is None else float(glasses.worn(seen.z_id[None]).sum())
    with report.stage("landmarks"):
        landmarks = stages.landmarks.find([seen.crop])[0]
    covered = None if stages.occlusion is None else _covered(seen, landmarks, stages, report)
    if not stages.settings.detail:
        return None
    with report.stage("detail"):
        return detail_of_source(seen.crop, landmarks, share_of(seen.kps), worn, covered)


def _covered(seen: _Seen, landmarks: np.ndarray, stages: Stages, report: RunReport) -> np.ndarray:
    """Where something is in front of a source's face, (C, C) float32 [0, 1], with a note if that is much of it."""
    assert seen.crop is not None and stages.occlusion is not None
    with report.stage("occlusion"):
        lit = exposure_of(seen.crop, stages.settings.least_contrast).applied(seen.crop)
        (covered,) = stages.occlusion.covered([lit])
    side = len(covered)
    face = face_region(rescaled_points(landmarks, side / len(seen.crop)), side, 0.0)
    share = float((covered * face).sum() / face.sum())
    if share > _SOURCE_COVERED:
        report.note(f"something covers about {share:.0%} of the face in the source {seen.path}; a photo that shows all "
                    "of it gives more likeness")
    return covered


def source_warning(kps: np.ndarray) -> str:
    """What keeps a source's face, keypoints (5, 2) in pixels, from giving full likeness; empty where nothing does."""
    if yaw(kps) > _SOURCE_YAW:
        return f"is turned away by about {yaw(kps):.0f} degrees; a photo that looks at the camera gives more likeness"
    if eye_distance(kps) < _SOURCE_EYES:
        return f"has {eye_distance(kps):.0f} pixels between the eyes; from {_SOURCE_EYES} on there is more likeness"
    return ""


def facts_of(people: Sequence[Person], report: RunReport) -> list[dict[str, Any]]:
    """What --json says of each person: swaps that show and, where there is a reference, the best cosine to it."""
    best = [report.similarity.get(number) if person.reference else None for number, person in enumerate(people)]
    return [{"source": person.source, "reference": person.reference, "swapped": report.swaps[number],
             "similarity": None if cosine is None else round(cosine, 4)}
            for number, (person, cosine) in enumerate(zip(people, best, strict=True))]


def unused(people: Sequence[Person], report: RunReport, place: str, threshold: float) -> list[str]:
    """A note for each person with a reference who was never swapped.

    place: where the people were looked for, in words. threshold: cosine from which somebody is the reference's person.
    """
    return [f"{_why_not(number, person.reference, report, place, threshold)}, so source {person.source} was not used"
            for number, person in enumerate(people) if person.reference and not report.swaps[number]]


def _why_not(number: int, reference: str, report: RunReport, place: str, threshold: float) -> str:
    unseen = Counter({reason: count for (person, reason), count in report.unseen.items() if person == number})
    if unseen:
        return (f"the person of reference {reference} was found in {place}, but never well enough to swap "
                f"({reasons_of(unseen)})")
    cosine = report.similarity.get(number)
    if cosine is not None and cosine >= threshold:
        return f"whoever is like reference {reference} in {place} (similarity {cosine:.3f}) got another source"
    best = "" if cosine is None else f" (best similarity {cosine:.3f}; --similarity_th is {threshold:g})"
    return f"nobody in {place} matched reference {reference}{best}"
