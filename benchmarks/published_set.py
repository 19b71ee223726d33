"""Peak memory and seconds of a photo swap with networks of the published sizes, as JSON.

python benchmarks/published_set.py [--device cpu] [--runs 5]

The weights are made from names, in float32 as published; detector and landmarks are small stand-ins, so their time is
not that of the published ones. Every variant runs in a process of its own; the first swap warms up and is not counted.
Where other programs run, `processor_seconds_swap` says more than the time on the clock.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
_KIBIBYTES = 1 if sys.platform == "darwin" else 1024  # bytes per unit of ru_maxrss
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
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIBIBYTES
    quarters = statistics.quantiles(seconds[1:], n=4)
    return {
        "num_blocks": blocks, "use_sr": enhance, "device": result["device"], "dtype": result["dtype"],
        "seconds_load": round(load, 3),
        "seconds_first_swap": round(seconds[0], 3),
        "seconds_swap": {"median": round(quarters[1], 3), "iqr": round(quarters[2] - quarters[0], 3)},
        "processor_seconds_swap": round(statistics.median(work[1:]), 3),
        "seconds_per_stage": {name: round(statistics.median(part[name] for part in stages[1:]), 4)
                              for name in stages[0] if name != "load"},
        "peak_rss_mib": round(peak / 2**20, 1),
        "peak_cuda_mib": round(torch.cuda.max_memory_allocated() / 2**20, 1) if result["device"] == "cuda" else None,
    }


def in_fresh_process(folder: Path, variant: tuple[int, bool], options: argparse.Namespace) -> dict[str, Any]:
    """Measure one variant in a process of its own, whose peak memory is that of this variant alone."""
    command = [sys.executable, __file__, "--folder", str(folder), "--blocks", str(variant[0]), "--device",
               options.device, "--runs", str(options.runs), *["--enhance"] * variant[1]]
    environment = os.environ | {"GHOST_WEIGHTS": str(folder / "weights")}
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout)


def write_set(folder: Path) -> None:
    """Everything in one weights folder."""
    from tests import published_set

    names = [*published_set.NETWORKS, *published_set.ONNX]
    for path in published_set.write_files(folder, names).values():
        if path.parent != folder / "weights":
            path.rename(folder / "weights" / path.name)
    write_photo(folder / "photo.png")


def machine(device: str) -> dict[str, Any]:
    """What the numbers were taken on."""
    import torch

    gpu = torch.cuda.get_device_name() if device != "cpu" and torch.cuda.is_available() else None
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(), "gpu": gpu,
            "threads": torch.get_num_threads(), "torch": torch.__version__, "commit": commit.stdout.strip(),
            "load_average": round(os.getloadavg()[0], 1)}


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
        runs = [in_fresh_process(Path(folder), variant, options) for variant in VARIANTS]
    print(json.dumps({"machine": machine(options.device), "photo": "640x640, one face", "runs": runs}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
