"""Which face continues which one of the frames before: by position, and by identity where that is in doubt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from utils.inference.embeddings import normalise
from utils.inference.keypoints import face_size
from utils.inference.types import Face

# Distances between faces are mean distances of their key points in units of the face's size.
_REACH = 1.0  # farther apart, two faces of neighbouring frames are different ones
_SURE = 0.35  # nearer, they are the same, unless another one is about as near
_MARGIN = 0.3  # how much farther the next best has to be
_FORGET = 0.5  # weight of the newest motion in a track's velocity

Embed = Callable[[Sequence[int]], np.ndarray]  # positions of faces in the frame -> (N, D) unit embeddings


@dataclass
class Track:
    """One face over the frames in which it is seen without interruption."""

    number: int
    kps: np.ndarray  # (5, 2) float32, where it was last seen
    last_index: int  # of the frame where it was last seen
    embedding: np.ndarray | None = None  # (D,) sum of unit embeddings of this face
    person: int | None = None  # source that it gets
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2, np.float32))  # pixels per frame
    first_index: int = 0  # of its first frame
    next_check: int = 0  # index of the frame where a face that is not known for sure is identified once more
    last_check: int = 0  # index of the frame where it was last identified, or found to look the same
    thumbnail: np.ndarray | None = None  # of the face when it was last identified
    last_crowded: int | None = None  # index of the last frame where somebody else was close by
    embedding_count: int = 0  # that are summed up in the embedding
    provisional: bool = False  # whether the embedding is of a face that the frame's edge cuts off
    foreign_embeddings: list[np.ndarray] = field(default_factory=list)  # (D,) unit, the latest ones, of somebody else

    def predict(self, index: int) -> np.ndarray:
        """Key points expected in the frame `index`, (5, 2) float32."""
        return self.kps + self.velocity * (index - self.last_index)

    def update(self, kps: np.ndarray, index: int) -> None:
        """Continue the track with the key points (5, 2) found in the frame `index`."""
        motion = (kps - self.kps).mean(axis=0) / max(1, index - self.last_index)
        self.velocity = _FORGET * motion + (1.0 - _FORGET) * self.velocity
        self.kps, self.last_index = kps, index

    def add_embedding(self, embedding: np.ndarray) -> None:
        """Add one unit embedding (D,) to what is known of the face."""
        self.embedding = embedding if self.embedding is None else self.embedding + embedding
        self.embedding_count += 1

    def renew_embedding(self, embedding: np.ndarray, whole: bool) -> None:
        """Forget what is known of the face but one unit embedding (D,). whole: no frame's edge cuts it off."""
        self.embedding, self.embedding_count, self.provisional = embedding, 1, not whole
        self.foreign_embeddings.clear()

    def is_foreign(self, embedding: np.ndarray, threshold: float) -> bool:
        """Whether a unit embedding (D,) is somebody else's, by the cosine similarity `threshold`; such ones are kept
        until one is this face's again."""
        if self.embedding is None or float(embedding @ normalise(self.embedding)) >= threshold:
            self.foreign_embeddings.clear()
            return False
        self.foreign_embeddings.append(embedding)
        return True

    def similarity(self, embeddings: np.ndarray) -> np.ndarray:
        """Cosine similarity (N,) to unit embeddings (N, D); 1 while the track has none of its own."""
        return np.ones(len(embeddings)) if self.embedding is None else embeddings @ normalise(self.embedding)


def best_pairs(scores: np.ndarray) -> list[tuple[int, int]]:
    """Match rows and columns one to one so that the sum of scores is largest; pairs that score 0 or less stay apart.

    scores: (R, C) float, unitless. Source: Hungarian method, scipy.optimize.linear_sum_assignment.
    """
    gains = np.maximum(scores, 0.0)
    if min(gains.shape) == 1:  # one face or one track: no need to import what takes long
        rows, columns = (np.array([i]) for i in np.unravel_index(int(gains.argmax()), gains.shape))
    else:
        from scipy.optimize import linear_sum_assignment

        rows, columns = linear_sum_assignment(gains, maximize=True)
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if gains[r, c] > 0.0]


def distances(tracks: Sequence[Track], faces: Sequence[Face], index: int) -> np.ndarray:
    """Distances (T, F) between where tracks should be in the frame `index` and the faces found there."""
    expected = np.stack([track.predict(index) for track in tracks])[:, None]
    found = np.stack([face.kps for face in faces])[None]
    sizes = np.array([face_size(track.kps) for track in tracks])[:, None]
    sizes = np.maximum(sizes, np.array([face_size(face.kps) for face in faces])[None])
    apart = np.linalg.norm(expected - found, axis=-1).mean(axis=-1)
    return apart / (2.0 * sizes)  # a head is about two eye distances wide


def note_crowds(tracks: Sequence[Track], index: int) -> None:
    """Remember in which tracks heads touch in the frame `index`, or where one of them was lost a moment ago."""
    for one, other in combinations(tracks, 2):
        size = max(face_size(one.kps), face_size(other.kps))
        if np.linalg.norm(one.kps - other.kps, axis=-1).mean() < 2.0 * size * _REACH:
            one.last_crowded = other.last_crowded = index


def _doubtful(apart: np.ndarray, pairs: list[tuple[int, int]], tracks: Sequence[Track], index: int) -> set[int]:
    """Faces (columns of `apart`) whose track is not clear from positions alone."""
    unclear: set[int] = set()
    for row, column in pairs:
        others = np.concatenate([np.delete(apart[row], column), np.delete(apart[:, column], row)])
        rival = others.min(initial=np.inf) < apart[row, column] + _MARGIN
        if rival or apart[row, column] > _SURE or index - tracks[row].last_index > 1:
            unclear.update(np.flatnonzero(apart[row] < _REACH).tolist())
    return unclear


def continue_tracks(
    tracks: Sequence[Track], faces: Sequence[Face], index: int, embed: Embed | None, threshold: float
) -> dict[int, int]:
    """Match the faces of the frame `index` to tracks, one to one, best total first.

    embed: gives unit embeddings of the faces at the named positions; asked only for faces in doubt; None: never.
    threshold: cosine similarity below which a face in doubt is another person's.
    Returns position of the face -> position of its track; embeddings of faces in doubt are added to their tracks.
    """
    if not tracks or not faces:
        return {}
    apart = distances(tracks, faces, index)
    scores = 1.0 - apart / _REACH
    pairs = best_pairs(scores)
    unclear = sorted(_doubtful(apart, pairs, tracks, index)) if embed is not None else []
    if embed is None or not unclear:
        return {column: row for row, column in pairs}
    embeddings = embed(unclear)
    similarity = np.stack([track.similarity(embeddings) for track in tracks])
    near = scores[:, unclear] > 0.0
    scores[:, unclear] = np.where(near & (similarity >= threshold), scores[:, unclear] + 2.0 * similarity, 0.0)
    for row, column in (pairs := best_pairs(scores)):
        if column in unclear:
            tracks[row].add_embedding(embeddings[unclear.index(column)])
    return {column: row for row, column in pairs}
