"""From pairs of photos to measured cases: swap, look again, measure."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from utils.errors import GhostError, NobodyMatchedError, NoFaceInTargetError
from utils.evaluation import measures
from utils.evaluation.landmarkers import Landmarker
from utils.evaluation.measures import Case, Identity
from utils.evaluation.people import Photo
from utils.evaluation.recognisers import Recogniser, cosines
from utils.inference.detect import Detector
from utils.inference.track import most_prominent
from utils.inference.types import Face

log = logging.getLogger("ghost")
NOT_SWAPPED = (NoFaceInTargetError, NobodyMatchedError, ValueError)  # what a pair that cannot be swapped raises


@dataclass(frozen=True)
class Portrait:
    """A photo with the face that counts in it."""

    photo: Photo
    image: np.ndarray  # (H, W, 3) uint8 BGR
    face: Face


# Source and target to the final picture, like the target's; raises GhostError where the pipeline does not swap.
Swap = Callable[[Portrait, Portrait], np.ndarray]


class Album:
    """Reads photos and remembers where the faces in them are; the pictures themselves are read anew."""

    def __init__(self, read: Callable[[Photo], np.ndarray], detector: Detector) -> None:
        self._read, self._detector = read, detector
        self._faces: dict[Photo, Face | None] = {}

    def portrait(self, photo: Photo) -> Portrait:
        """Raises NoFaceInTargetError where there is no face."""
        image = self._read(photo)
        if photo not in self._faces:
            found = self._detector.detect(image)
            self._faces[photo] = found[most_prominent(found, image.shape)] if found else None
        face = self._faces[photo]
        if face is None:
            raise NoFaceInTargetError(f"{photo.path}: no face found")
        return Portrait(photo, image, face)

    def face_again(self, image: np.ndarray, before: Face) -> Face:
        """The face of a swapped picture: found anew, or where it was where the detector no longer sees it there."""
        size = float(np.linalg.norm(before.kps[1] - before.kps[0]))
        found = self._detector.detect(image)
        near = [(float(np.linalg.norm(face.kps - before.kps, axis=1).mean()), face) for face in found]
        distance, face = min(near, key=lambda item: item[0], default=(np.inf, before))
        return face if distance < size else before


class Gallery:
    """One embedding per person and recogniser, among which a swap's source has to be the nearest."""

    def __init__(self, portraits: Iterable[Portrait], recognisers: Sequence[Recogniser]) -> None:
        """Raises NoFaceInTargetError where there is nobody."""
        self.recognisers = recognisers
        self.people: list[str] = []
        rows: list[list[np.ndarray]] = []
        for portrait in portraits:
            if portrait.photo.identity not in self.people:
                self.people.append(portrait.photo.identity)
                rows.append([r.embed(portrait.image, portrait.face.kps) for r in recognisers])
        if not self.people:
            raise NoFaceInTargetError("no photo of the gallery shows a face; give --gallery, --faces or --sources with "
                                      "photos that show one clearly")
        self._rows = {r.name: np.stack([row[i] for row in rows]) for i, r in enumerate(recognisers)}

    def identify(self, recogniser: Recogniser, swap: np.ndarray, source: str, target: str) -> Identity:
        """Compare a swap's embedding (D,) with its source, its target and everybody else."""
        rows = self._rows[recogniser.name]
        s, t = self.people.index(source), self.people.index(target)
        distances, alike = recogniser.distances(swap, rows), cosines(swap, rows)
        between = recogniser.distances(rows[s], rows[t : t + 1])[0]
        rank = int((distances < distances[s]).sum()) + 1
        return Identity(
            to_source=float(distances[s]),
            to_target=float(distances[t]),
            source_to_target=float(between),
            cosine_source=float(alike[s]),
            cosine_target=float(alike[t]),
            rank=rank,
        )


class Evaluation:
    """Measures one way of swapping."""

    def __init__(self, swap: Swap, album: Album, gallery: Gallery, landmarker: Landmarker) -> None:
        self._swap, self._album, self._gallery, self._landmarker = swap, album, gallery, landmarker

    def cases(self, pairs: Iterable[tuple[Photo, Photo]]) -> Iterator[Case]:
        """Each pair swapped and measured; a pair that cannot be swapped says why instead."""
        for source, target in pairs:
            case = Case(source.path, target.path)
            try:
                self._measure(case, self._album.portrait(source), self._album.portrait(target))
            except NOT_SWAPPED as error:
                case.failure = str(error)
                log.warning("%s into %s: %s", source.path.name, target.path.name, error)
            yield case

    def picture(self, source: Photo, target: Photo) -> tuple[Portrait, Portrait, np.ndarray]:
        """Source, target and the swap, made again for the sheet."""
        portraits = self._album.portrait(source), self._album.portrait(target)
        return *portraits, self._swap(*portraits)

    def _measure(self, case: Case, source: Portrait, target: Portrait) -> None:
        swapped = self._swap(source, target)
        face = self._album.face_again(swapped, target.face)
        names = source.photo.identity, target.photo.identity
        for recogniser in self._gallery.recognisers:
            embedding = recogniser.embed(swapped, face.kps)
            case.identity[recogniser.name] = self._gallery.identify(recogniser, embedding, *names)
        before = self._landmarker.find(target.image, target.face.kps)
        # The same keypoints: what differs is the face, not the way it was cut out.
        after = self._landmarker.find(swapped, target.face.kps)
        case.attributes |= measures.attributes(after, before)
        case.attributes |= measures.background(swapped, target.image, before)

    def self_swaps(self, photos: Iterable[Photo]) -> Iterator[dict[str, float]]:
        """Faces swapped with themselves."""
        for photo in photos:
            try:
                portrait = self._album.portrait(photo)
                swapped = self._swap(portrait, portrait)
            except GhostError as error:
                log.warning("%s into itself: %s", photo.path.name, error)
                continue
            landmarks = self._landmarker.find(portrait.image, portrait.face.kps)
            yield measures.self_swap(swapped, portrait.image, landmarks)
