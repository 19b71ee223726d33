"""Frames per second and memory of whole videos, and how a straightforward version of the published method compares.

python benchmarks/end_to_end.py [--set embedded published] [--frames 300] [--runs 3] [--reference_runs 1]
python benchmarks/end_to_end.py --crowd [--set embedded] [--frames 100] [--runs 3]

Every run is a process of its own that swaps a short clip first. Seconds count from opening the video to the finished
file; loading the networks is not in them, reading the source photo is in the pipeline's. Memory is the peak above the
loaded, idle program (Linux).
--crowd: 1080p with 1, 2 and 5 faces, all swapped, and 720p with one for comparison.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import in_fresh_process, machine, spread, write_results

MODELS = {"embedded": "embedded", "published": "ghost"}
WARM_UP = 16  # frames
SIZES = {"720p": (1280, 720), "1080p": (1920, 1080)}


def memory(field: str) -> float:
    """A number of /proc/self/status in MiB: VmRSS for what is used now, VmHWM for the most."""
    match = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(match[1]) / 1024 if match else 0.0


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Swap one clip in this process."""
    from benchmarks.sets import SOURCE
    from utils.inference.config import InferenceConfig
    from utils.inference.pipeline import load_pipeline

    pipeline = load_pipeline(InferenceConfig(select=arguments.select, device="cpu", model=MODELS[arguments.one]))
    if arguments.reference:
        generator = made_plain(pipeline)
    pipeline.begin()
    pipeline.set_sources([SOURCE])
    ctypes.CDLL(None).malloc_trim(0)  # what loading left behind is not the idle program's
    Path("/proc/self/clear_refs").write_text("5")  # the most memory counts from here
    idle, output = memory("VmRSS"), arguments.folder / "out.mp4"

    def swap(clip: Path) -> tuple[int, dict[str, float]]:
        if arguments.reference:
            from benchmarks.reference_pipeline import swap_video

            return swap_video(pipeline, generator, pipeline._sources[0], clip, output), {}
        result = pipeline.swap_video(SOURCE, clip, output)
        return result["faces"]["swapped"], result["seconds"]

    swap(warm_up(arguments.clip))
    begin, work = time.perf_counter(), time.process_time()
    swapped, stages = swap(arguments.clip)
    seconds = time.perf_counter() - begin
    return {
        "seconds": seconds, "processor_seconds": time.process_time() - work, "swapped": swapped, "stages": stages,
        "idle_mib": idle, "peak_above_idle_mib": memory("VmHWM") - idle, "megabytes": output.stat().st_size / 1e6,
    }


def warm_up(clip: Path) -> Path:
    """The short video beside a clip that a process swaps first: what is done once is not in the rates."""
    return clip.with_name(f"warm_up_{clip.name}")


def write_clips(folder: Path, name: str, frames: int, faces: int = 0) -> Path:
    """A clip of a size by its name, and its warm-up; returns the former. faces: see `make_clip`."""
    from benchmarks.sets import make_clip

    clip = folder / f"{name}-{faces}_{frames}.mp4"
    make_clip(warm_up(clip), WARM_UP, SIZES[name], faces)
    return make_clip(clip, frames, SIZES[name], faces)


def made_plain(pipeline: Any) -> Any:
    """AEI-Net in float32, in place of the pipeline's own form, which is let go, as are its other forms made to work at
    the same time: the detector gets all cores, the landmarks float32."""
    import torch

    from coordinate_reg.landmarks import EmbeddedLandmarks
    from network.AEI_Net import AEI_Net
    from utils import registry
    from utils.device import choose_device
    from utils.inference.detect import CenterFace
    from utils.onnx_file import open_session

    path = Path(pipeline.stages.model("generator").file)
    pipeline.stages.swapper._network = pipeline.stages.swapper._exact = None
    device = choose_device("cpu")
    pipeline.stages.detector = CenterFace(open_session(registry.require("centerface"), device, any_size=True))
    landmarks = registry.load_landmarks(registry.require(registry.EMBEDDED_LANDMARKS))
    pipeline.stages.landmarks = EmbeddedLandmarks(landmarks.network, device)
    generator = registry.load_generator(path).network
    assert isinstance(generator, AEI_Net)
    with torch.inference_mode():  # what is done once, as the pipeline's own has done when it is loaded
        generator(torch.zeros(1, 3, generator.size, generator.size), torch.zeros(1, generator.c_id))
    return generator


def repeated(clip: Path, name: str, folder: Path, runs: int, *extra: str) -> dict[str, Any]:
    """Medians of several runs over one clip."""
    return summary(clip, [one_run(clip, name, folder, *extra) for _ in range(runs)])


def one_run(clip: Path, name: str, folder: Path, *extra: str) -> dict[str, Any]:
    """What a process of its own measured."""
    arguments = ["--one", name, "--clip", str(clip), "--folder", str(folder), *extra]
    return in_fresh_process(__file__, arguments, {"GHOST_WEIGHTS": str(folder / name)})


def summary(clip: Path, measured: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians of what several runs measured."""
    frames = int(clip.stem.split("_")[1])
    result = {key: spread([run[key] for run in measured], 2) for key in measured[0] if key not in ("swapped", "stages")}
    stages = {stage: spread([1000 * run["stages"][stage] / frames for run in measured], 2)["median"]
              for stage in measured[0]["stages"]}
    return {"frames": frames, "swapped": measured[0]["swapped"], "ms_per_frame": stages,
            "fps": spread([frames / run["seconds"] for run in measured], 2), **result}


def against_reference(name: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """720p with one face: the pipeline and, in turn, the straightforward version."""
    clip = write_clips(folder, "720p", options.frames)
    measured: list[list[dict[str, Any]]] = [[], []]
    for turn in range(max(options.runs, options.reference_runs)):
        for kind, runs, extra in ((0, options.runs, ()), (1, options.reference_runs, ("--reference",))):
            if turn < runs:
                measured[kind].append(one_run(clip, name, folder, *extra))
    ours = summary(clip, measured[0])
    if not measured[1]:
        return {"pipeline": ours}
    reference = summary(clip, measured[1])
    return {
        "pipeline": ours, "reference": reference,
        "times_faster": round(reference["seconds"]["median"] / ours["seconds"]["median"], 2),
        "share_of_memory": round(
            ours["peak_above_idle_mib"]["median"] / reference["peak_above_idle_mib"]["median"], 3),
    }


def crowd(name: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Sizes and numbers of faces, everybody swapped."""
    result = {}
    for size, faces in (("720p", 1), ("1080p", 1), ("1080p", 2), ("1080p", 5)):
        clip = write_clips(folder, size, options.frames, faces)
        result[f"{size}, {faces} faces"] = repeated(clip, name, folder, options.runs, "--select", "all")
    return result


def main() -> int:
    """Measure, write the result and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--reference_runs", type=int, default=1, help="0: without the straightforward version")
    parser.add_argument("--crowd", action="store_true", help="1080p with 1, 2 and 5 faces")
    for hidden in ("--one", "--select"):
        parser.add_argument(hidden, default="reference", help=argparse.SUPPRESS)
    for hidden in ("--clip", "--folder"):
        parser.add_argument(hidden, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--reference", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.clip:
        print(json.dumps(measure(options)))
        return 0
    from benchmarks.sets import write_set

    for name in options.set:
        result = {"machine": machine()}
        with tempfile.TemporaryDirectory() as place:
            write_set(name, Path(place) / name)
            work = crowd if options.crowd else against_reference
            write_results(f"{'crowd' if options.crowd else 'end_to_end'}_{name}",
                          result | work(name, Path(place), options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
