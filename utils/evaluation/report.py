"""Metrics as JSON and as a Markdown table for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from utils.errors import InputError
from utils.evaluation.measures import Case
from utils.io.atomic import atomic_path, check_writable

_IDENTITY = (
    ("retrieval", "ID retrieval", "{:.1%}"),
    ("nearer_to_source", "nearer to source than to target", "{:.1%}"),
    ("distance_to_source", "distance swap to source", "{:.3f}"),
    ("distance_to_target", "distance swap to target", "{:.3f}"),
    ("distance_source_to_target", "distance source to target", "{:.3f}"),
    ("moved", "gain: source to target minus swap to source", "{:.3f}"),
    ("cosine_source", "cosine similarity to source", "{:.3f}"),
    ("cosine_target", "cosine similarity to target", "{:.3f}"),
)
_ATTRIBUTES = (
    ("pose_degrees", "pose difference", "{:.2f}°"),
    ("yaw_degrees", "yaw difference", "{:.2f}°"),
    ("pitch_degrees", "pitch difference", "{:.2f}°"),
    ("roll_degrees", "roll difference", "{:.2f}°"),
    ("mouth_correlation", "mouth opening, correlation", "{:.3f}"),
    ("mouth_difference", "mouth opening, mean difference", "{:.4f}"),
    ("eyes_correlation", "eye opening, correlation", "{:.3f}"),
    ("eyes_difference", "eye opening, mean difference", "{:.4f}"),
    ("gaze_x_correlation", "gaze sideways, correlation", "{:.3f}"),
    ("gaze_x_difference", "gaze sideways, mean difference (eye widths)", "{:.4f}"),
    ("gaze_y_difference", "gaze up and down, mean difference (eye widths)", "{:.4f}"),
)
_PIXELS = (
    ("psnr", "self-swap PSNR in the face", "{:.2f} dB"),
    ("ssim", "self-swap SSIM in the face", "{:.4f}"),
    ("background_difference", "background difference (levels)", "{:.4f}"),
    ("background_changed_share", "background pixels changed", "{:.3%}"),
)
_LANDMARKS = (
    ("error", "landmark error (of the eye distance)", "{:.2%}"),
    ("error_median", "landmark error, median", "{:.2%}"),
    ("error_95", "landmark error, 95th percentile", "{:.2%}"),
)
_PERCEPTUAL = (("fid", "FID of swaps and targets", "{:.2f}"), ("lpips", "self-swap LPIPS", "{:.4f}"))
_VIDEO = (
    ("flicker", "change of the face from frame to frame, result (levels)", "{:.3f}"),
    ("flicker_target", "change of the face from frame to frame, target (levels)", "{:.3f}"),
    ("jitter", "landmark jitter of the result (eye distances)", "{:.5f}"),
    ("jitter_target", "landmark jitter of the target (eye distances)", "{:.5f}"),
)

_Row = tuple[str, str, str]  # measure, value, network


def check_places(paths: Iterable[Path]) -> None:
    """Refuse, before any work, files that could not be written at its end; raises OutputError. Makes their folders."""
    for path in paths:
        check_writable(path)


def write_json(path: Path, metrics: dict[str, Any]) -> None:
    """Whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(metrics, indent=1, sort_keys=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """The metrics of an earlier evaluation; raises InputError for anything else."""
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable metrics.json ({error}); give one that evaluate.py wrote") from error
    try:
        _measured(metrics)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: not the metrics of an evaluation; give a metrics.json that evaluate.py wrote"
        ) from error
    return metrics


def same_pairs(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two evaluations swapped the same photos among as many people."""
    seen = [
        (metrics.get("gallery"), [(Path(case["source"]).parts[-3:], Path(case["target"]).parts[-3:])
                                  for case in metrics.get("cases", [])])
        for metrics in (one, other)
    ]
    return seen[0] == seen[1]


def _rows(values: dict[str, Any], lines: Sequence[tuple[str, str, str]], network: str) -> list[_Row]:
    return [(title, form.format(values[key]), network) for key, title, form in lines if values.get(key) is not None]


def _measured(metrics: dict[str, Any]) -> list[_Row]:
    """Everything that was measured, in the order of the table."""
    rows: list[_Row] = []
    for name, seen in metrics["identity"].items():
        rows += _rows(seen, _IDENTITY, name + (" (a teacher)" if seen["teacher"] else ""))
    landmarker = metrics["landmarker"]
    rows += _rows(metrics["attributes"], _ATTRIBUTES, landmarker)
    rows += _rows(metrics["pixels"], _PIXELS, "none; the face is where " + landmarker + " puts it")
    rows += _rows(metrics["landmarks"], _LANDMARKS, metrics["landmarks"].get("networks", ""))
    for key, title, form in _PERCEPTUAL:
        rows += _rows(metrics["perceptual"], [(key, title, form)], metrics["perceptual"].get(f"{key}_network", ""))
    return rows + _rows(metrics["video"], _VIDEO, landmarker)


def markdown(
    metrics: dict[str, Any], pairs: Sequence[Case] = (), beside: dict[str, Any] | None = None, name: str = ""
) -> str:
    """The metrics as a table, with the network behind each; and a row per pair for the cases given.

    beside: metrics of another evaluation, whose values get a column of their own, with this name.
    """
    lines = [f"# {metrics['title']}", "", *metrics["notes"], ""]
    if beside is None:
        lines += ["| Measure | Value | Network |", "|---|---|---|"]
        lines += [f"| {title} | {value} | {network} |" for title, value, network in _measured(metrics)]
    else:
        other = {(title, network): value for title, value, network in _measured(beside)}
        lines += [f"| Measure | {name} | Value | Network |", "|---|---|---|---|"]
        lines += [f"| {title} | {other.get((title, network), '')} | {value} | {network} |"
                  for title, value, network in _measured(metrics)]
    return "\n".join(lines + _pair_table(pairs)) + "\n"


def _pair_table(cases: Sequence[Case]) -> list[str]:
    if not cases:
        return []
    name = next((name for case in cases for name in case.identity), "")
    lines = [
        "",
        f"Pair by pair ({name}; distances, small is alike):",
        "",
        "| Source | Target | Swap to source | Swap to target | Source to target | Gain | Place of the source |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in cases:
        people = f"| {_person(case.source)} | {_person(case.target)} |"
        seen = case.identity.get(name)
        if seen is None:
            lines.append(f"{people} not swapped: {case.failure} | | | | |")
            continue
        numbers = (seen.to_source, seen.to_target, seen.source_to_target, seen.source_to_target - seen.to_source)
        lines.append(people + "".join(f" {number:.3f} |" for number in numbers) + f" {seen.rank} |")
    return lines


def _person(path: Path) -> str:
    return path.parts[-3] if path.parent.name == "assets" else path.stem


def write_markdown(path: Path, text: str) -> None:
    """Whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace")
