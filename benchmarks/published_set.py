"""Peak memory and seconds of a photo swap with networks of the published sizes, as JSON.

python benchmarks/published_set.py [--device cpu] [--runs 5]

The weights are made from names, in float32 as published; detector and landmarks are small stand-ins, so their time is
not that of the published ones. Every variant runs in a process of its own; the first swap warms up and is not counted.
Where other programs run, `processor_seconds_swap` says more than the time on the clock.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import in_fresh_process, machine, peak_rss_mib, write_results

GENERATORS = {1: "G_unet_1block.pth", 2: "G_unet_2blocks.pth", 3: "G_unet_3blocks.pth"}
VARIANTS = ((1, False), (2, False), (3, False), (2, True))  # blocks, enhancer


def write_photo(path: Path) -> None:
    """A picture with one face that the stand-in for the detector finds."""
    import cv2
    import numpy as np

    from tests.standins import paint_face

    image = np.random.default_rng(0).integers(60, 160, (640, 640, 3), np.uint8)
    paint_face(image, (330, 352), 16)
    cv2.imwrite(str(path), image)


def measure(folder: Path, blocks: int, enhance: bool, device: str, runs: int) -> dict[str, Any]:
    """Swap the same photo several times in this process; returns times and peak memory."""
    import torch

    from utils.inference.pipeline import load_pipeline

    begin = time.perf_counter()
    pipeline = load_pipeline(model="ghost", G_path=str(folder / "weights" / GENERATORS[blocks]), num_blocks=blocks,
                             use_sr=enhance, device=device)
    load, seconds, work, stages = time.perf_counter() - begin, [], [], []
    for _ in range(runs + 1):
        begin, begin_work = time.perf_counter(), time.process_time()
        result = pipeline.swap_photo(folder / "photo.png", folder / "photo.png", folder / "result.png")
        seconds.append(time.perf_counter() - begin)
        work.append(time.process_time() - begin_work)
        stages.append(result["seconds"])
    quarters = statistics.quantiles(seconds[1:], n=4)
    return {
        "num_blocks": blocks, "use_sr": enhance, "device": result["device"], "dtype": result["dtype"],
        "seconds_load": round(load, 3),
        "seconds_first_swap": round(seconds[0], 3),
        "seconds_swap": {"median": round(quarters[1], 3), "iqr": round(quarters[2] - quarters[0], 3)},
        "processor_seconds_swap": round(statistics.median(work[1:]), 3),
        "seconds_per_stage": {name: round(statistics.median(part[name] for part in stages[1:]), 4)
                              for name in stages[0] if name != "load"},
        "peak_rss_mib": peak_rss_mib(),
        "peak_cuda_mib": round(torch.cuda.max_memory_allocated() / 2**20, 1) if result["device"] == "cuda" else None,
    }


def write_set(folder: Path) -> None:
    """Everything in one weights folder."""
    from tests import published_set

    names = [*published_set.NETWORKS, *published_set.ONNX]
    for path in published_set.write_files(folder, names).values():
        if path.parent != folder / "weights":
            path.rename(folder / "weights" / path.name)
    write_photo(folder / "photo.png")


def one_run(folder: Path, blocks: int, enhance: bool, options: argparse.Namespace) -> dict[str, Any]:
    """What a process of its own measured, whose peak memory is that of this variant alone."""
    arguments = ["--folder", str(folder), "--blocks", str(blocks), "--device", options.device,
                 "--runs", str(options.runs), *["--enhance"] * enhance]
    result: dict[str, Any] = in_fresh_process(__file__, arguments, {"GHOST_WEIGHTS": str(folder / "weights")})
    return result


def main() -> int:
    """Write the set, measure all variants, print everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="as for inference.py")
    parser.add_argument("--runs", type=int, default=5, help="swaps that are timed")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--blocks", type=int, default=2, help=argparse.SUPPRESS)
    parser.add_argument("--enhance", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder:
        print(json.dumps(measure(options.folder, options.blocks, options.enhance, options.device, options.runs)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        write_set(Path(folder))
        runs = [one_run(Path(folder), *variant, options) for variant in VARIANTS]
    device = runs[0]["device"]
    write_results(f"published_set_{device}", {"machine": machine(device), "photo": "640x640, one face", "runs": runs})
    return 0


if __name__ == "__main__":
    sys.exit(main())
