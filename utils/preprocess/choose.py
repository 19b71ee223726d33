"""Which face of a photo is the labelled person's, and is it good enough to train on. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from utils.inference.align import BASE, estimate
from utils.inference.embeddings import normalise
from utils.inference.types import Face
from utils.inference.warp import scale_of

_ROUNDS = 4  # of choosing and averaging; settles after two
ENOUGH = 3  # photos of a person from which on their agreement says something


def face_side(kps: np.ndarray) -> float:
    """How many photo pixels the aligned crop shows along its side. kps: (5, 2), photo pixels."""
    return BASE / scale_of(estimate(kps, BASE)[0])


def refusal(face: Face, min_face: float, min_score: float) -> str:
    """Why a face is not good enough, in words; empty where it is."""
    if face.score < min_score:
        return f"detector unsure: score {face.score:.2f}, asked for {min_score:g}"
    side = face_side(face.kps)
    if side < min_face:
        return f"face too small: {side:.0f} pixels, asked for {min_face:g}"
    return ""


def agreeing(embeddings: Sequence[np.ndarray]) -> tuple[list[int], np.ndarray]:
    """The face of each photo that the photos of one person have in common.

    embeddings: per photo (faces, D), normalised, most prominent face first; photos without faces: (0, D).
    Returns the chosen face per photo (0 where there is none) and its cosine with the others' mean (NaN where none).
    """
    there = [i for i, rows in enumerate(embeddings) if len(rows)]
    chosen = [0] * len(embeddings)
    if not there:
        return chosen, np.full(len(embeddings), np.nan)
    reference = _most_common(embeddings, there)
    for _ in range(_ROUNDS):
        chosen = [int(np.argmax(rows @ reference)) if len(rows) else 0 for rows in embeddings]
        total = sum(embeddings[i][chosen[i]] for i in there)
        reference = normalise(total)
    agreement = np.full(len(embeddings), np.nan)
    for i in there:
        rest = total - embeddings[i][chosen[i]]  # a face must not vouch for itself
        agreement[i] = embeddings[i][chosen[i]] @ normalise(rest)
    return chosen, agreement


def _most_common(embeddings: Sequence[np.ndarray], there: list[int]) -> np.ndarray:
    """The single face that the other photos' best matches resemble most: a start that a few bystanders cannot shift."""
    faces = np.concatenate([embeddings[i] for i in there])
    starts = np.cumsum([0, *(len(embeddings[i]) for i in there)])[:-1]
    best_per_photo = np.maximum.reduceat(faces @ faces.T, starts, axis=1)  # (faces, photos)
    return faces[int(np.argmax(best_per_photo.sum(axis=1)))]
