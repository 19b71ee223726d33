"""Face to identity embedding z_id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arcface_model.iresnet import IResNet
from utils.inference import align
from utils.inference.pixels import to_tensor
from utils.inference.types import Face, TrackedFace
from utils.io.frame import Pixels

_BATCH = 32


class Identifier:
    """Identity encoder with the framing that it was trained with.

    Runs in float32: embeddings steer the generator and are compared with a calibrated threshold.
    """

    def __init__(self, network: nn.Module, device: torch.device, direct: bool) -> None:
        """direct: cut the crop at the network's own size and look at it `both_ways` (encoders trained here); else at
        224 and halve it (published)."""
        self._side = cast(IResNet, network).size
        self._network = network.to(device)
        self._device = device
        self._direct = direct

    def embed(self, image: Pixels, faces: Sequence[Face | TrackedFace]) -> np.ndarray:
        """Raw embeddings of faces of a picture.

        image: (H, W, 3) uint8 or uint16 BGR. Returns (N, D) float32, unitless, not normalised.
        """
        side = self._side if self._direct else align.BASE
        crops = [align.cut(image, face.kps, side).image for face in faces]
        parts = [self._run(crops[i : i + _BATCH]) for i in range(0, len(crops), _BATCH)]
        return np.concatenate(parts)

    @torch.inference_mode()
    def _run(self, crops: list[np.ndarray]) -> np.ndarray:
        x = to_tensor(crops, self._device)
        if self._direct:
            return both_ways(self._network, x).cpu().numpy()
        x = F.interpolate(x, size=(self._side, self._side), mode="bilinear", align_corners=True)
        return self._network(x).float().cpu().numpy()


def both_ways(network: nn.Module, x: Tensor) -> Tensor:
    """Mean of the embeddings of faces and of the same in the mirror, at their mean length: small encoders err less so.

    x: (B, 3, S, S) float [-1, 1] RGB. Returns (B, D) float32, raw.
    """
    seen = network(torch.cat((x, x.flip(3)))).float().view(2, len(x), -1)
    return F.normalize(seen.mean(0)) * seen.norm(dim=2).mean(0)[:, None]
