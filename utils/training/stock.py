"""The stored crops of a set, with what is known of them, and people between them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from utils.device import to_device
from utils.training import augment
from utils.training.draws import Draws
from utils.training.faces import Faces
from utils.training.invent import Known, morphed, most_alike
from utils.training.labels import LABELLED, label

CANDIDATES = 3  # faces of which the one is taken that looks into another one's direction


class Stock:
    """A set's faces on the device, batch by batch."""

    def __init__(self, faces: Faces, landmarker: str | None, device: torch.device) -> None:
        """landmarker: MediaPipe's file; without it all landmarks are unknown. Raises WeightsError,
        ResourceError."""
        self._faces, self._device = faces, device
        self._labels: tuple[Tensor, Tensor] | None = None
        if landmarker is not None:
            points, sure = label(faces, landmarker)
            self._labels = points, torch.from_numpy(sure > LABELLED)

    def known(self, images: Tensor, positions: np.ndarray) -> Known:
        """Crops (B, 3, H, H) uint8 at these positions (B,) of the set; zeros for what it does not know."""
        at = torch.from_numpy(positions)
        count = len(at)
        kps = torch.zeros(count, 5, 2) if self._faces.kps is None else self._faces.kps[at]
        points, sure = torch.zeros(count, 106, 2), torch.zeros(count, dtype=torch.bool)
        if self._labels is not None:
            points, sure = (known[at] for known in self._labels)
        parts = (to_device(x, self._device) for x in (images, kps, points, sure))
        return Known(augment.to_float(next(parts)), *parts)

    def drawn(self, draws: Draws) -> tuple[Known, np.ndarray]:
        """A random face of a set in memory for each sample, and their positions (B,)."""
        images = self._faces.images
        assert images is not None
        positions = draws.integers(len(self._faces))
        return self.known(images[to_device(torch.from_numpy(positions), images.device)], positions), positions

    def between(self, one: Known, draws: Draws) -> Known:
        """People between `one` and others of a set in memory that look into its direction."""
        others = [self.drawn(draws)[0] for _ in range(CANDIDATES)]
        return morphed(one, most_alike(one.points, others, [face.points for face in others]), draws)
