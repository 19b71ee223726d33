"""Whom a generator is to paint: a source's embedding as it is, or on the way to it from the target's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from utils.inference import align
from utils.inference.embeddings import steer
from utils.inference.recent import Recent
from utils.inference.report import Stage
from utils.inference.types import FrameFaces, TrackedFace
from utils.io.frame import Frame

if TYPE_CHECKING:
    from utils.inference.identify import Identifier
    from utils.inference.settings import SwapSettings


_DARK = 30.0  # mean level of a face below which glasses are missed
_SIDE = 64  # pixels of a crop that tells the light


class _Own(NamedTuple):
    """The embedding of a target's person from some frame on."""

    since: int  # index of that frame
    z_id: np.ndarray  # (D,) float32, raw
    clear: bool


class Conditioning:
    """Embeddings for the faces of one stream."""

    def __init__(self, identifier: Identifier, settings: SwapSettings) -> None:
        self._identifier, self._glasses = identifier, settings.glasses
        self._given = settings.glasses if settings.target_glasses else None  # to swaps
        self._strength, self._reach = settings.identity_strength, settings.identity_reach
        self._known: Recent[list[_Own]] = Recent()  # by track: of its first frame, then of its first clear one

    def embeddings(self, z_id: np.ndarray, faces: FrameFaces, stage: Stage) -> np.ndarray:
        """What the generator is given for each face; see `steer` and `Glasses`.

        z_id: (persons, D) float32, raw, of the sources. Returns (N, D) float32, raw. A face's own embedding is that of
        the first frame of its track, so that nothing flickers; where it is dark there or cut off by the frame's edge,
        that of the first frame where it is not takes over.
        """
        wanted = z_id[[face.person for _, face in faces]]
        steered = self._strength != 1 and (self._strength is not None or self._reach > 0)
        if not faces or not (steered or self._given):
            return wanted
        own = self._own(faces, stage)

        def steer_on(z_id: np.ndarray) -> np.ndarray:
            return steer(own, z_id, self._strength, self._reach) if steered else z_id

        return self._given.of_target(own, wanted, steer_on) if self._given else steer_on(wanted)

    def glasses(self, faces: FrameFaces, stage: Stage) -> np.ndarray:
        """How likely each target wears some, (N,) float32 [0, 1]; 0 where nobody can tell."""
        if self._glasses is None or not faces:
            return np.zeros(len(faces), np.float32)
        return self._glasses.worn(self._own(faces, stage)).sum(1)

    def _own(self, faces: FrameFaces, stage: Stage) -> np.ndarray:
        """Embeddings (N, D) of the people who are replaced."""
        self._known.shrink()
        return np.stack([self._of(frame, face, stage) for frame, face in faces])

    def _of(self, frame: Frame, face: TrackedFace, stage: Stage) -> np.ndarray:
        """The embedding (D,) of one of them, from its track up to this frame: later frames change nothing."""
        if face.track not in self._known:
            self._known[face.track] = []
        known = self._known[face.track]
        if not known or not known[-1].clear:
            clear = _is_clear(frame, face)
            if clear or not known:
                with stage("identify"):
                    known.append(_Own(frame.index, self._identifier.embed(frame.pixels, [face])[0], clear))
        return next(own.z_id for own in reversed(known) if own.since <= frame.index)


def _is_clear(frame: Frame, face: TrackedFace) -> bool:
    """Whether a face is neither cut off by the frame's edge nor dark."""
    if not align.is_whole(face.kps, frame.pixels.shape):
        return False
    crop = align.cut(frame.pixels, face.kps, _SIDE, face.template).image
    return float(align.middle(crop).mean()) >= _DARK
