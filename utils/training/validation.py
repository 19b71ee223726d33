"""How well a generator swaps faces that it never trained on, and a picture of the same pairs over time."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from utils.inference.identify import both_ways
from utils.inference.pixels import to_images
from utils.training import augment, geometry, losses
from utils.training.config import TrainConfig
from utils.training.faces import Faces, spaced
from utils.training.masks import pasting_masks, sure_parts
from utils.training.networks import landmark_view
from utils.training.optimise import mixed_precision
from utils.training.pasting import Pasting
from utils.training.pose import turning
from utils.training.prepare import alignment, embed_set
from utils.training.terms import Judges

_MOST = 256  # faces that are measured
_SHOWN = 8  # pairs in the picture
_BATCH = 16


def sources_of(identities: np.ndarray) -> np.ndarray:
    """For each of N faces, the place of its source: the nearest face before it that shows somebody else, the last faces
    counting as before the first; where all show one person, the face before it. identities: (N,), of any type."""
    count = len(identities)
    sources = (np.arange(count) - 1) % count
    if len(set(identities.tolist())) > 1:
        while (alike := identities[sources] == identities).any():
            sources[alike] = (sources[alike] - 1) % count
    return sources


class SwapCheck:
    """A fixed set of faces: each one is swapped into its neighbour, or into the next face of somebody else."""

    def __init__(self, config: TrainConfig, held: Faces, trained: Faces, judges: Judges,
                 device: torch.device, dtype: torch.dtype) -> None:
        """held: faces to measure; where there are none, faces of the training set are at least shown."""
        self._config, self._judges, self._dtype, self._device = config, judges, dtype, device
        self._measured = len(held) > 1
        faces = spaced(held if self._measured else trained, _MOST if self._measured else _SHOWN)
        assert faces.images is not None
        views = augment.plain_views(faces.framing, config.size, len(faces), device)
        images = augment.to_float(faces.images.to(device))
        self._X = augment.cut(images, views, config.size, faces.framing, still=True)
        self._identities = np.array(faces.identities)
        self._sources = sources_of(self._identities)
        aligned = judges.critic.aligned and self._measured
        if self._measured:
            recogniser = judges.critic.network
            known = embed_set(faces, recogniser, device, dtype) if aligned else self._embed(recogniser)
            self._known = F.normalize(known)
        kps = None if faces.kps is None else geometry.transform(geometry.invert(views), faces.kps.to(device))
        self._shown: Tensor | None = None
        self._sure: Tensor | None = None
        if judges.landmarks is not None and self._measured:
            with torch.no_grad():
                points = judges.landmarks(landmark_view(self._X)).cpu().numpy()
            self._shown = torch.from_numpy(pasting_masks(points, config)).to(device)
            if config.rim_contrast:
                self._sure = torch.from_numpy(sure_parts(points)).to(device)
        self._M_align = alignment(kps) if aligned and kps is not None else None

    @torch.no_grad()
    def _embed(self, encoder: nn.Module) -> Tensor:
        """Raw embeddings of all faces as the pipeline takes them."""
        judge = self._judges.encoder  # of the same kind and size where another one learns
        parts = (judge.view(part) for part in self._X.split(_BATCH))
        return torch.cat([encoder(part).float() if judge.published else both_ways(encoder, part) for part in parts])

    def threshold(self, encoder: nn.Module) -> dict[str, float]:
        """For the card of an encoder that learned: the likeness that one of a hundred pairs of strangers exceeds. Empty
        where there are no faces to measure."""
        strangers = torch.from_numpy(self._identities[:, None] != self._identities)
        if not self._measured or not strangers.any():
            return {}
        z_id = F.normalize(self._embed(encoder)).cpu()
        return {"similarity_th": round(float((z_id @ z_id.T)[strangers].quantile(0.99)), 3)}

    @torch.no_grad()
    def _swap(self, G: nn.Module, z_id: Tensor, count: int) -> Tensor:
        """The first `count` faces with these identities, (count, 3, S, S) float32; G is used as for inference."""
        training = G.training
        G.eval()
        parts = []
        with mixed_precision(self._device, self._dtype):
            for start in range(0, count, _BATCH):
                part = slice(start, min(start + _BATCH, count))
                parts.append(G(self._X[part], z_id[part])[0].float())
        G.train(training)
        return torch.cat(parts)

    @torch.no_grad()
    def measure(self, G: nn.Module, encoder: nn.Module) -> dict[str, float]:
        """Likeness to source and target by the critic, retrieval among the faces, self-swap, landmarks, and the turn of
        the head in degrees.

        The critic sees the swaps toned and pasted into the targets as by the pipeline, where there are landmarks."""
        if not self._measured:
            return {}
        count = len(self._X)
        z_id = self._embed(encoder)
        Y = self._swap(G, z_id[self._sources], count)
        itself = self._swap(G, z_id, count)
        pasted = Pasting.of(self._config).lay(Y, self._X, self._shown, self._sure)
        seen = F.normalize(torch.cat([self._critic(pasted, slice(i, i + _BATCH)) for i in range(0, count, _BATCH)]))
        alike = seen @ self._known.T
        to_target, to_source = alike.diagonal(), alike[torch.arange(count), self._sources]
        found = self._identities[alike.argmax(1).cpu()] == self._identities[self._sources]
        error = ((itself - self._X) / 2).square().flatten(1).mean(1)
        result = {
            "val_source": to_source.mean(), "val_target": to_target.mean(),
            "val_nearer": (to_source > to_target).float().mean(),
            "val_retrieval": found.mean(),
            "val_psnr": -10 * error.clamp(min=1e-10).log10().mean(),
        }
        if self._judges.landmarks is not None:
            before, after = (self._judges.landmarks(landmark_view(x)) for x in (self._X, Y))
            result["val_landmarks"] = losses.landmark_consistency_loss(before, after)
            result["val_pose"] = losses.pose_loss(before, after, turning(before)).rad2deg()
        numbers = {name: float(value) for name, value in result.items()}
        return numbers | {"val_score": self._score(numbers, float(error.mean()))}

    def _critic(self, Y: Tensor, part: slice) -> Tensor:
        return self._judges.critic(Y[part], None if self._M_align is None else self._M_align[part])

    def _score(self, numbers: dict[str, float], error: float) -> float:
        """One number for the best network, weighed like its losses; lower is better."""
        config = self._config
        kept = config.weight_rec * 2 * error + config.weight_landmarks * numbers.get("val_landmarks", 0.0)
        turned = config.weight_pose * math.radians(numbers.get("val_pose", 0.0))
        return config.weight_id * (1 - numbers["val_source"]) + kept + turned

    def grid(self, G: nn.Module, encoder: nn.Module) -> np.ndarray:
        """Sources above targets above swaps, (3 * S, 8 * S, 3) uint8 BGR."""
        count = min(_SHOWN, len(self._X))
        sources = self._sources[:count]
        rows = (self._X[sources], self._X[:count], self._swap(G, self._embed(encoder)[sources], count))
        picture = torch.cat([torch.cat(list(row), 2) for row in rows], 1)
        return to_images(picture[None])[0]
