"""Whom a generator is to paint: a source's embedding as it is, or on the way to it from the target's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from utils.inference.embeddings import steer
from utils.inference.recent import Recent
from utils.inference.report import Stage
from utils.inference.types import FrameFaces

if TYPE_CHECKING:
    from utils.inference.identify import Identifier
    from utils.inference.settings import SwapSettings


class Conditioning:
    """Embeddings for the faces of one stream."""

    def __init__(self, identifier: Identifier, settings: SwapSettings) -> None:
        self._identifier, self._glasses = identifier, settings.glasses
        self._given = settings.glasses if settings.target_glasses else None  # to swaps
        self._strength, self._reach = settings.identity_strength, settings.identity_reach
        self._own_id: Recent[np.ndarray] = Recent()  # (D,) float32, raw, of the target's person, by track

    def embeddings(self, z_id: np.ndarray, faces: FrameFaces, stage: Stage) -> np.ndarray:
        """What the generator is given for each face; see `steer` and `Glasses`.

        z_id: (persons, D) float32, raw, of the sources. Returns (N, D) float32, raw. A face's own embedding is that of
        the first frame of its track, so that nothing flickers.
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
        self._own_id.shrink()
        for frame, face in faces:
            if face.track not in self._own_id:
                with stage("identify"):
                    self._own_id[face.track] = self._identifier.embed(frame.pixels, [face])[0]
        return np.stack([self._own_id[face.track] for _, face in faces])
