"""Write the tables of docs/speed.md from benchmarks/results: python benchmarks/tables.py"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import RESULTS, ROOT, spread

DOCUMENT = ROOT / "docs" / "speed.md"
_BEGIN, _END = "<!-- tables: made by benchmarks/tables.py -->", "<!-- end of tables -->"


def load(name: str) -> dict[str, Any] | None:
    """A result, or None where that benchmark has not been run."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def ranged(value: dict[str, Any], digits: int = 1) -> str:
    """Median and, where there were several runs, the smallest and the largest."""
    middle = f"{value['median']:.{digits}f}"
    return middle if value["runs"] == 1 else f"{middle} ({value['least']:.{digits}f} to {value['most']:.{digits}f})"


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """A table in Markdown."""
    yield "| " + " | ".join(head) + " |"
    yield "|" + "-|" * len(head)
    yield from ("| " + " | ".join(row) + " |" for row in rows)
    yield ""


def taken_on(result: dict[str, Any]) -> Iterator[str]:
    """Where, with what and how busy."""
    machine = result["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["packages"].items() if number != "absent")
    yield (f"{machine['gpu'] or machine['processor']}, {machine['cores']} cores, {machine['torch_threads']} threads; "
           f"calibration: {machine['gflops_float32']:.0f} GFLOP/s in float32, {machine['gflops_bfloat16']:.0f} in "
           f"bfloat16; load before the run {machine['load_average_before']}; commit {machine['commit']}; "
           f"Python {machine['python']}, {versions}.")
    yield ""


def engines(name: str) -> Iterator[str]:
    """One table of engines."""
    result = load(name)
    if result is None:
        return
    yield f"### Generator, {result['network']} size, batch {result['batch']}"
    yield ""
    rows = []
    for engine, entry in result["engines"].items():
        if isinstance(entry, str):
            rows.append((engine, entry, "", "", "", ""))
            continue
        start, error = entry["seconds_to_first_batch"], entry["error_levels"]
        rows.append((engine, ranged(entry["ms_per_crop"]), f"{entry.get('times_plain', '')}",
                     f"{start['cold']} / {start['warm']}", f"{error['mean']:.3f} / {error['most']:.2f}",
                     f"{entry['error_relative']:.1e}"))
    yield from table(("engine", "ms per crop", "times plain", "s to first batch, cold / warm",
                      "error in levels, mean / most", "largest relative error"), rows)
    yield from taken_on(result)


def end_to_end(name: str) -> Iterator[str]:
    """The pipeline against the straightforward version."""
    result = load(f"end_to_end_{name}")
    if result is None:
        return
    yield f"### 1280x720, one face, {result['pipeline']['frames']} frames, {name} set"
    yield ""
    rows = [(kind, ranged(run["fps"]), ranged(run["processor_seconds"]), ranged(run["peak_above_idle_mib"], 0),
             ranged(run["idle_mib"], 0), ranged(run["megabytes"], 2))
            for kind in ("pipeline", "reference") if (run := result.get(kind))]
    yield from table(("", "frames/s", "processor s", "peak MiB above idle", "idle MiB", "output MB"), rows)
    if "times_faster" in result:
        yield (f"{result['times_faster']} times faster than the straightforward version; "
               f"{result['share_of_memory']:.0%} of its memory above idle.")
        yield ""
    stages = sorted(result["pipeline"]["ms_per_frame"].items(), key=lambda entry: -entry[1])
    yield "Milliseconds per frame and stage (they overlap): " + ", ".join(
        f"{stage} {value:.1f}" for stage, value in stages if stage != "load") + "."
    yield ""
    yield from taken_on(result)


def crowd(name: str) -> Iterator[str]:
    """Sizes and numbers of faces."""
    result = load(f"crowd_{name}")
    if result is None:
        return
    yield f"### Sizes and numbers of faces, {name} set"
    yield ""
    rows = [(title, ranged(run["fps"]), f"{run['swapped'] / run['frames']:.2f}", ranged(run["peak_above_idle_mib"], 0))
            for title, run in result.items() if title != "machine"]
    yield from table(("video", "frames/s", "faces swapped per frame", "peak MiB above idle"), rows)
    yield from taken_on(result)


def startup() -> Iterator[str]:
    """Seconds from the start of the process."""
    result = load("startup")
    if result is None:
        return
    yield "### Start-up"
    yield ""
    rows = [("`python inference.py --help`", ranged(result["help"], 2)),
            ("`import torch` alone", ranged(result["import torch alone"], 2)),
            ("photo swap, process start to file", ranged(result["photo"], 2))]
    yield from table(("", "seconds"), rows)
    yield from taken_on(result)


def encoding() -> Iterator[str]:
    """Presets of the video encoder."""
    result = load("encoding")
    if result is None:
        return
    yield "### Presets of x264, 1280x720, one moving face"
    yield ""
    rows = [(f"{row['grain']:g}", f"`{row['preset']}`", f"{row['crf']:g}",
             "searched" if row["search"] else "fixed", f"{row['ms']:.1f}", f"{row['kilobytes']:.1f}",
             f"{row['psnr']:.1f}") for row in result["rows"]]
    head = ("grain in levels", "preset", "crf", "B frames", "ms per frame", "kB per frame", "PSNR in dB")
    yield from table(head, rows)
    yield from taken_on(result)


def training() -> Iterator[str]:
    """One step of training."""
    result = load("training_step")
    if result is None:
        return
    yield f"### One training step of the published networks, {result['batch']} pairs"
    yield ""
    rows = []
    for setting, seconds in result["seconds"].items():
        entry = spread(seconds, 2)
        rows.append((setting, ranged(entry), f"{result['images_per_second'][setting]:.2f}"))
    yield from table(("setting", "seconds", "images/s"), rows)
    yield (f"{result['ratio']:.1f} times as fast. {result['device']}, {result['threads']} threads, "
           f"PyTorch {result['torch']}; processes of both settings in turns.")
    yield ""


def cuda() -> Iterator[str]:
    """The generator and whole videos on an NVIDIA card."""
    result = load("cuda")
    if result is None:
        return
    yield f"### {result['card']}"
    yield ""
    for part in (_cuda_generator, _cuda_videos):
        yield from part(result)
    rates = {**result["matrix"]["tflops"]}
    side = rates.pop("side")
    tflops = ", ".join(f"{rate:.0f} in {name}" for name, rate in rates.items())
    yield (f"Products of {side}x{side} matrices, in TFLOP/s: {tflops}. {result['processor']}, {result['cores']} cores; "
           f"commit {result['commit']}; PyTorch {result['torch']}.")
    yield ""


def _cuda_generator(result: dict[str, Any]) -> Iterator[str]:
    rows = [(entry["network"], entry["engine"], f"{entry['batch']}", f"{entry['crops_per_second']:.0f}",
             f"{entry['share_of_matrix_rate']:.1%}" if entry["share_of_matrix_rate"] else "",
             "{:.2f} / {:.0f}".format(*entry["error_levels"])) for entry in result.get("generator", {}).values()]
    gflops = {entry["network"]: entry["gflops_per_crop"] for entry in result.get("generator", {}).values()}
    for network, entry in result.get("compile", {}).items():
        rate = result.get("matrix", {}).get("tflops", {}).get("bfloat16")
        share = f"{entry['crops_per_second'] * gflops[network] / 1e3 / rate:.1%}" if rate and network in gflops else ""
        rows.append((network, f"torch.compile bfloat16, after {entry['seconds_to_compile']:.0f} s", f"{entry['batch']}",
                     f"{entry['crops_per_second']:.0f}", share,
                     "{:.2f} / {:.0f}".format(*entry["error_levels"])))
    head = ("network", "engine", "batch", "crops/s", "share of the matrix rate", "error in levels, mean / most")
    yield from table(head, rows)


def _cuda_videos(result: dict[str, Any]) -> Iterator[str]:
    rows = []
    for entry in result.get("videos", {}).values():
        stages = sorted(entry["ms_per_frame"].items(), key=lambda stage: -stage[1])
        longest = ", ".join(f"{stage} {value:.1f}" for stage, value in stages if stage not in ("load", "wall"))
        where = entry["set"], entry["size"], entry["device"]
        rows.append((*where, f"{entry['frames']}", f"{entry['fps']:.1f}", longest))
    head = ("set", "video", "networks on", "frames", "frames/s", "ms per frame and stage (they overlap)")
    yield from table(head, rows)
    for size, entry in result.get("decoder", {}).items():
        yield f"Decoding alone, {size}, in frames/s: processor {entry['processor']}, card {entry['card']}."
        yield ""


def main() -> int:
    """Replace what lies between the marks of the document."""
    lines: list[str] = []
    for name in sorted(path.stem for path in RESULTS.glob("engines_*.json")):
        lines += engines(name)
    for name in ("embedded", "published"):
        lines += [*end_to_end(name), *crowd(name)]
    lines += [*cuda(), *encoding(), *startup(), *training()]
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(_BEGIN)
    after = rest.partition(_END)[2]
    DOCUMENT.write_text("\n".join([before + _BEGIN, "", *lines, _END]) + after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
