"""What one swap is worth, in numbers; and what many are worth together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from coordinate_reg.points import LEFT_CORNERS, RIGHT_CORNERS
from utils.errors import GhostError
from utils.evaluation import geometry, pixels

_CLOSED = 0.05  # of the mouth's width; those that speak or smile with their teeth are at 0.1 and more
_NEARLY_ALL = 0.9


@dataclass(frozen=True)
class Identity:
    """One swap as one recogniser sees it."""

    to_source: float  # distance, the recogniser's own measure
    to_target: float
    source_to_target: float  # the two people before the swap
    cosine_source: float
    cosine_target: float
    rank: int  # place of the source among the gallery's identities, 1 is the nearest


@dataclass
class Case:
    """One pair and everything measured on it."""

    source: Path
    target: Path
    identity: dict[str, Identity] = field(default_factory=dict)  # recogniser -> what it sees
    attributes: dict[str, float] = field(default_factory=dict)
    error: GhostError | None = None  # why there is no swap, or none to measure; then the rest is empty

    @property
    def failure(self) -> str:
        """The error's text; empty where there is none."""
        return str(self.error or "")

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; only the names of the files, which say enough in a report."""
        identity = {name: vars(seen) for name, seen in self.identity.items()}
        values = {"source": _label(self.source), "target": _label(self.target), "identity": identity}
        return values | {"attributes": self.attributes} | ({"failure": self.failure} if self.failure else {})


def _label(path: Path) -> str:
    return "/".join(path.parts[-3:])


def attributes(swap: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """Pose, expression and gaze of a swap beside its target's.

    swap, target: landmarks (106, 2), pixels of two pictures of the same framing. Raises NoFaceInTargetError where they
    fit no head.
    """
    before, after = geometry.head_rotation(target), geometry.head_rotation(swap)
    turned = np.abs(geometry.head_angles(after) - geometry.head_angles(before))
    turned = np.minimum(turned, 360 - turned)
    looked = np.abs(geometry.gaze(swap) - geometry.gaze(target))
    return {
        "pose_degrees": geometry.angle_between(before, after),
        **{f"{name}_degrees": float(value) for name, value in zip(("yaw", "pitch", "roll"), turned, strict=True)},
        "mouth_swap": geometry.mouth_opening(swap),
        "mouth_target": geometry.mouth_opening(target),
        "eyes_swap": geometry.eye_opening(swap),
        "eyes_target": geometry.eye_opening(target),
        "gaze_x_difference": float(looked[0]),
        "gaze_y_difference": float(looked[1]),
        "gaze_x_swap": float(geometry.gaze(swap)[0]),
        "gaze_x_target": float(geometry.gaze(target)[0]),
    }


def mouths_closed(cases: Sequence[dict[str, float]]) -> bool:
    """Whether nearly all targets' mouths are closed, so that their openings hardly differ."""
    openings = [case["mouth_target"] for case in cases if "mouth_target" in case]
    return bool(openings) and float(np.mean(np.array(openings) < _CLOSED)) >= _NEARLY_ALL


def landmark_error(found: np.ndarray, reference: np.ndarray) -> float:
    """Mean distance of landmarks (106, 2) from those of a reference, in distances between the middles of the eyes."""
    left, right = (reference[list(corners)].mean(axis=0) for corners in (LEFT_CORNERS, RIGHT_CORNERS))
    return float(np.linalg.norm(found - reference, axis=1).mean() / np.linalg.norm(right - left))


def landmark_summary(errors: Sequence[float]) -> dict[str, float]:
    """Mean, median and 95th percentile of landmark errors; empty where nothing was compared."""
    if not errors:
        return {}
    middle, most = (float(value) for value in np.percentile(errors, [50, 95]))
    return {"error": float(np.mean(errors)), "error_median": middle, "error_95": most}


def background(swap: np.ndarray, target: np.ndarray, landmarks: np.ndarray) -> dict[str, float]:
    """How much changed away from the face, (H, W, 3) uint8 BGR pictures.

    landmarks: (106, 2), the target's. The hull is enlarged by half, room for mask and feather.
    """
    away = ~pixels.face_mask(target.shape, landmarks, grow=0.5)
    changed = (swap != target).any(axis=2) & away
    return {
        "background_difference": pixels.mean_difference(swap, target, away),
        "background_changed_share": float(changed.sum() / max(int(away.sum()), 1)),
    }


def self_swap(swap: np.ndarray, target: np.ndarray, landmarks: np.ndarray) -> dict[str, float]:
    """How well a face swapped with itself comes back, inside the face. Arguments as for `background`.

    Raises NoFaceInTargetError where the landmarks put the face outside of the picture.
    """
    inside = pixels.face_mask(target.shape, landmarks)
    return {"psnr": pixels.psnr(swap, target, inside), "ssim": pixels.ssim(swap, target, inside)}


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Pearson's; None where it has no meaning (fewer than three values, or one side constant)."""
    if len(first) < 3 or np.std(first) == 0 or np.std(second) == 0:
        return None
    return float(np.corrcoef(first, second)[0, 1])


def identity_summary(seen: Sequence[Identity]) -> dict[str, float | None]:
    """Means and shares over swaps, for one recogniser."""
    return {
        "retrieval": _mean([case.rank == 1 for case in seen]),
        "nearer_to_source": _mean([case.to_source < case.to_target for case in seen]),
        "distance_to_source": _mean([case.to_source for case in seen]),
        "distance_to_target": _mean([case.to_target for case in seen]),
        "distance_source_to_target": _mean([case.source_to_target for case in seen]),
        "moved": _mean([case.source_to_target - case.to_source for case in seen]),
        "cosine_source": _mean([case.cosine_source for case in seen]),
        "cosine_target": _mean([case.cosine_target for case in seen]),
    }


def attribute_summary(cases: Sequence[dict[str, float]]) -> dict[str, float | None]:
    """Means, mean differences and correlations over swaps."""

    def column(name: str) -> list[float]:
        return [case[name] for case in cases if name in case]

    plain = (
        "pose_degrees",
        "yaw_degrees",
        "pitch_degrees",
        "roll_degrees",
        "gaze_x_difference",
        "gaze_y_difference",
        "background_difference",
        "background_changed_share",
    )
    summary = {name: _mean(column(name)) for name in plain}
    for part in ("mouth", "eyes", "gaze_x"):
        swap, target = column(f"{part}_swap"), column(f"{part}_target")
        summary[f"{part}_correlation"] = correlation(swap, target)
        if part != "gaze_x":
            summary[f"{part}_difference"] = _mean([abs(a - b) for a, b in zip(swap, target, strict=True)])
    return summary
