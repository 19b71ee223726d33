"""Arithmetic with identity embeddings."""

from __future__ import annotations

import numpy as np

STRONGEST = 2.0  # strength of `steer`; more was never tried


def normalise(embeddings: np.ndarray) -> np.ndarray:
    """Scale embeddings (..., D) to length 1, for comparisons only."""
    return embeddings / np.maximum(np.linalg.norm(embeddings, axis=-1, keepdims=True), 1e-12)


def steer(own: np.ndarray, z_id: np.ndarray, strength: float | None, reach: float) -> np.ndarray:
    """Embeddings on the lines from the targets' own ones through the sources'; beyond the latter, they make up for what
    shines through of the target's identity.

    own, z_id: (N, D) float32, raw. strength: share of the way, or None for as far as `reach` (in the unit of the
    embeddings) where that is between the source's own and `STRONGEST`: people who are alike need more of it.
    """
    way = z_id - own
    if strength is not None:
        return own + np.float32(strength) * way
    length = np.linalg.norm(way, axis=1, keepdims=True)
    return own + np.clip(reach / np.maximum(length, 1e-12), 1, STRONGEST).astype(np.float32) * way
