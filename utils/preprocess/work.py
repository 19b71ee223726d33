"""One unit of photos: look, choose, cut, write. Runs in every worker process."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from utils.errors import InputError
from utils.inference.align import estimate
from utils.inference.detect import Detector
from utils.inference.embeddings import normalise
from utils.inference.track import prominence
from utils.inference.types import Face
from utils.inference.warp import apply, warp
from utils.io.image import Photo, write_photo
from utils.io.profile import read_in_srgb
from utils.preprocess.choose import ENOUGH, agreeing, refusal
from utils.preprocess.config import PreprocessConfig
from utils.preprocess.models import load_detector, load_identifier
from utils.preprocess.photos import SourcePhoto, Unit, read_keypoints
from utils.preprocess.records import Record

if TYPE_CHECKING:
    from utils.inference.identify import Identifier

_CANDIDATES = 4  # most faces of a photo that are looked at


@dataclass
class Candidate:
    """A face that is good enough."""

    face: Face
    embedding: np.ndarray | None = None  # (D,) normalised
    agreement: float | None = None  # cosine with the person's other photos


@dataclass
class Look:
    """What a photo holds."""

    candidates: list[Candidate] = field(default_factory=list)  # most prominent first
    reason: str = ""  # why there is none


class Worker:
    """Everything a process needs, loaded once."""

    def __init__(
        self, config: PreprocessConfig, threads: int = 0, stopped: Callable[[], bool] = lambda: False
    ) -> None:
        """threads: of each network, 0 for one per core. stopped: asked at every photo, whether to end there.

        Raises InputError, WeightsError, ResourceError.
        """
        self.config, self._stopped = config, stopped
        self._keypoints = read_keypoints(Path(config.keypoints)) if config.keypoints else None
        self._detector: Detector | None = None
        self._identifier: Identifier | None = None
        self._stranger = -1.0  # cosine below which a face is somebody else's
        if self._keypoints is None:
            self._detector = load_detector(config.device, threads)
            if config.check_person:
                self._load_identifier(threads)

    def _load_identifier(self, threads: int) -> None:
        found = load_identifier(self.config.device, threads)
        if found is not None:
            self._identifier, self._stranger = found

    def __call__(self, unit: Unit) -> list[Record]:
        """Write the crops of a unit and return a record for each of its photos; raises KeyboardInterrupt where it is
        stopped before the last one."""
        if not unit.one_person or self._identifier is None:
            return [self._alone(photo) for photo in unit.photos]
        looks = []
        for photo in unit.photos:
            image, look = self._look(photo)
            if image is not None and look.candidates:
                self._embed(image, look)
            looks.append(look)
        _agree(looks, self._stranger)
        # A person may have a thousand photos: they are read again rather than kept.
        return [self._write(photo, self._read(photo) if look.candidates else None, look)
                for photo, look in zip(unit.photos, looks, strict=True)]

    def _alone(self, photo: SourcePhoto) -> Record:
        """A photo that is decided without others: the most prominent of its good faces."""
        image, look = self._look(photo)
        return self._write(photo, image, look)

    def _read(self, photo: SourcePhoto) -> np.ndarray:
        if self._stopped():
            raise KeyboardInterrupt
        return read_in_srgb(Path(self.config.path_to_dataset) / photo.file)

    def _look(self, photo: SourcePhoto) -> tuple[np.ndarray | None, Look]:
        try:
            image = self._read(photo)
        except InputError as error:
            return None, Look(reason=f"cannot be read: {error}")
        faces = self._faces(photo, image)
        if not faces:
            return image, Look(reason="no face found" if self._keypoints is None else "no keypoints in the list")
        faces = sorted(faces, key=lambda face: -prominence(face, image.shape))[:_CANDIDATES]
        reasons = [refusal(face, self.config.min_face, self.config.min_score) for face in faces]
        good = [Candidate(face) for face, reason in zip(faces, reasons, strict=True) if not reason]
        return image, Look(good, "" if good else reasons[0])

    def _embed(self, image: np.ndarray, look: Look) -> None:
        assert self._identifier is not None
        rows = normalise(self._identifier.embed(image, [candidate.face for candidate in look.candidates]))
        for candidate, row in zip(look.candidates, rows, strict=True):
            candidate.embedding = row

    def _faces(self, photo: SourcePhoto, image: np.ndarray) -> list[Face]:
        if self._detector is not None:
            return self._detector.detect(image)
        path, keypoints = Path(photo.file), self._keypoints or {}
        known = keypoints.get(path.with_suffix("").as_posix()) or keypoints.get(path.stem)
        if known is None:
            return []
        kps, score = known
        return [Face(np.concatenate([kps.min(axis=0), kps.max(axis=0)]), score, kps)]

    def _write(self, photo: SourcePhoto, image: np.ndarray | None, look: Look) -> Record:
        if image is None or not look.candidates:
            return Record(photo.file, photo.identity, photo.stamp, reason=look.reason)
        kept, config, border = look.candidates[0], self.config, self.config.border
        matrix, template = estimate(kept.face.kps, config.size)
        matrix[:, 2] += border
        crop = photo.crop(config.format)
        pixels = warp(image, matrix, (config.size + 2 * border,) * 2)
        write_photo(Path(config.save_path) / crop, Photo(pixels))
        kps = array("d", np.round(apply(matrix, kept.face.kps.astype(np.float64)), 3).ravel())
        score = round(kept.face.score, 4)
        return Record(photo.file, photo.identity, photo.stamp, crop, "", kps, int(template), score, kept.agreement)


def _agree(looks: Sequence[Look], stranger: float) -> None:
    """Leave in every photo of one person the face that the photos have in common, or the reason why there is none."""
    empty = np.zeros((0, 1), np.float32)
    known = [[c.embedding for c in look.candidates if c.embedding is not None] for look in looks]
    rows = [np.stack(one) if one else empty for one in known]
    if sum(len(row) > 0 for row in rows) < ENOUGH:
        return
    chosen, agreement = agreeing(rows)
    for look, index, cosine in zip(looks, chosen, agreement, strict=True):
        if not look.candidates:
            continue
        if cosine < stranger:
            look.candidates, look.reason = (
                [],
                f"another person: cosine {cosine:.2f} with the other photos, asked for {stranger:.2f}",
            )
        else:
            look.candidates = [look.candidates[index]]
            look.candidates[0].agreement = round(float(cosine), 4)
