"""Glasses belong to the picture and not to the person: swaps wear the target's, or none where the target has none.

An identity encoder sees them all the same, and a generator paints those that the embedding speaks of: a source's
sunglasses come along, and a target's glasses end where the swap begins. Faces with glasses and without, in a set that
says which is which, tell how to see them in an embedding and what to add to it (`utils.training.glasses`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from utils.errors import WeightsError

KINDS = ("clear", "sunglasses")
_KEYS = ("weights", "bias", "shift")


@dataclass(frozen=True)
class Glasses:
    """What an encoder makes of K kinds of glasses; embeddings have D numbers and are raw."""

    weights: np.ndarray  # (K, D) float32: of the discriminant that parts faces of a kind from bare ones
    bias: np.ndarray  # (K,) float32
    shift: np.ndarray  # (K, D) float32: from the mean bare face to the mean face of a kind
    # Times the shift where the target's glasses are added: more for a generator that paints them weakly, 0 for none.
    gain: float = 1.0

    def worn(self, z_id: np.ndarray) -> np.ndarray:
        """How likely each kind is, (N, K) float32 in [0, 1]; z_id: (N, D) float32."""
        logits = z_id @ self.weights.T + self.bias
        odds = np.exp(logits - np.maximum(logits.max(1, keepdims=True), 0))
        none = np.exp(-np.maximum(logits.max(1, keepdims=True), 0))
        return odds / (none + odds.sum(1, keepdims=True))

    def dark(self, z_id: np.ndarray) -> np.ndarray:
        """How likely sunglasses are, (N,) float32 in [0, 1]; z_id: (N, D) float32."""
        return self.worn(z_id)[:, KINDS.index("sunglasses")]

    def of_target(
        self, own: np.ndarray, z_id: np.ndarray, steer: Callable[[np.ndarray], np.ndarray] = lambda z_id: z_id
    ) -> np.ndarray:
        """The sources' embeddings z_id (N, D) with the glasses of the targets, whose own embeddings are `own`.

        steer: what else is done to them, which is not to touch glasses.
        """
        change = self.worn(own) - self.worn(z_id)
        result = steer(z_id + change @ self.shift)
        return result + np.float32(self.gain - 1) * np.maximum(change, 0) @ self.shift


def from_card(card: Mapping[str, Any], name: str, features: int) -> Glasses | None:
    """What an encoder's JSON says of glasses, if anything.

    name: of the file, for messages. features: D. Raises WeightsError.
    """
    if "glasses" not in card:
        return None
    try:
        weights, bias, shift = (np.array(card["glasses"][key], np.float32) for key in _KEYS)
        gain = float(card["glasses"].get("gain", 1))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(f"{name}: glasses must hold numbers named {', '.join(_KEYS)}; write them again with "
                           "python -m utils.training.glasses") from error
    if bias.shape != (len(KINDS),) or not weights.shape == shift.shape == (len(KINDS), features):
        raise WeightsError(f"{name}: glasses are of another encoder (weights of {weights.shape}, embeddings of "
                           f"{features} dimensions); write them again with python -m utils.training.glasses")
    return Glasses(weights, bias, shift, gain)
