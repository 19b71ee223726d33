"""From pairs of photos to measured cases: swap, look again, measure."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from utils.errors import GhostError, InputError, NobodyMatchedError, NoFaceInSourceError, NoFaceInTargetError
from utils.evaluation import measures
from utils.evaluation.landmarkers import Landmarker
from utils.evaluation.measures import Case, Identity
from utils.evaluation.people import LabelledPhoto, Pair
from utils.evaluation.recognisers import Recogniser, cosines
from utils.inference.detect import Detector
from utils.inference.track import most_prominent
from utils.inference.types import Face

log = logging.getLogger("ghost")
_LEFT_OUT = (InputError, NoFaceInTargetError)  # what a photo raises that cannot be used
# What a pair raises that cannot be swapped or measured. Anything else is a fault of the program or the machine.
NOT_SWAPPED = (InputError, NoFaceInSourceError, NoFaceInTargetError, NobodyMatchedError)


@dataclass(frozen=True)
class Portrait:
    """A photo with the face that counts in it."""

    photo: LabelledPhoto
    image: np.ndarray  # (H, W, 3) uint8 BGR
    face: Face


# Source and target to the final picture, like the target's; raises GhostError where the pipeline does not swap.
Swap = Callable[[Portrait, Portrait], np.ndarray]

Watch = Callable[[Portrait, np.ndarray], None]  # is told of every target and its swap


def _again(error: GhostError) -> GhostError:
    """The same error without its traceback, which would keep the pictures of all frames of the stack in memory."""
    return type(error)(str(error))


class Album:
    """Reads photos and remembers where the faces in them are; the pictures themselves are read anew."""

    def __init__(self, read: Callable[[LabelledPhoto], np.ndarray], detector: Detector) -> None:
        self._read, self._detector = read, detector
        self._faces: dict[LabelledPhoto, Face] = {}
        self.left_out: dict[LabelledPhoto, GhostError] = {}  # photos that show no face or cannot be read, so far

    def portrait(self, photo: LabelledPhoto) -> Portrait:
        """Raises NoFaceInTargetError where there is no face and InputError for a broken file, with one warning each."""
        if photo in self.left_out:
            raise _again(self.left_out[photo])
        try:
            return self._look(photo)
        except _LEFT_OUT as error:
            log.warning("%s; it is left out", error)
            self.left_out[photo] = _again(error)
            raise

    def portraits(self, photos: Iterable[LabelledPhoto]) -> Iterator[Portrait]:
        """Those of the photos that can be read and show a face."""
        for photo in photos:
            try:
                portrait = self.portrait(photo)
            except _LEFT_OUT:
                continue
            yield portrait

    def _look(self, photo: LabelledPhoto) -> Portrait:
        image = self._read(photo)
        if photo not in self._faces:
            found = self._detector.detect(image)
            if not found:
                raise NoFaceInTargetError(f"{photo.path}: no face found")
            self._faces[photo] = found[most_prominent(found, image.shape)]
        return Portrait(photo, image, self._faces[photo])

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
        """portraits: the first one of each person counts."""
        self.recognisers = recognisers
        self.people: list[str] = []
        rows: list[list[np.ndarray]] = []
        for portrait in portraits:
            if portrait.photo.identity not in self.people:
                self.people.append(portrait.photo.identity)
                rows.append([r.embed(portrait.image, portrait.face.kps) for r in recognisers])
        self._rows = {r.name: np.array([row[i] for row in rows]) for i, r in enumerate(recognisers)}

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

    def cases(self, pairs: Iterable[Pair], watch: Watch | None = None) -> Iterator[Case]:
        """Each pair swapped and measured; a pair that cannot be swapped says why instead."""
        for source, target in pairs:
            case = Case(source.path, target.path)
            try:
                self._measure(case, self._album.portrait(source), self._album.portrait(target), watch)
            except NOT_SWAPPED as error:
                case = Case(source.path, target.path, error=_again(error))
                self._warn(source, target, error)
            yield case

    def _warn(self, source: LabelledPhoto, target: LabelledPhoto, error: GhostError) -> None:
        """Say what cannot be swapped, but for photos of which the album has said it."""
        if not {source, target} & self._album.left_out.keys():
            log.warning("%s into %s: %s", source.path.name, target.path.name, error)

    def picture(self, source: LabelledPhoto, target: LabelledPhoto) -> tuple[Portrait, Portrait, np.ndarray]:
        """Source, target and the swap, made again for the sheet."""
        portraits = self._album.portrait(source), self._album.portrait(target)
        return *portraits, self._swap(*portraits)

    def _swapped(self, source: Portrait, target: Portrait, watch: Watch | None) -> np.ndarray:
        swapped = self._swap(source, target)
        if watch is not None:
            watch(target, swapped)
        return swapped

    def _measure(self, case: Case, source: Portrait, target: Portrait, watch: Watch | None) -> None:
        swapped = self._swapped(source, target, watch)
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

    def self_swaps(
        self, photos: Iterable[LabelledPhoto], watch: Watch | None = None
    ) -> Iterator[dict[str, float]]:
        """Faces swapped with themselves; those that cannot be are left out, with a warning."""
        for photo in photos:
            try:
                portrait = self._album.portrait(photo)
                swapped = self._swapped(portrait, portrait, watch)
                landmarks = self._landmarker.find(portrait.image, portrait.face.kps)
                measured = measures.self_swap(swapped, portrait.image, landmarks)
            except NOT_SWAPPED as error:
                self._warn(photo, photo, error)
                continue
            yield measured
