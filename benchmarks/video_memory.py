"""Peak memory and speed of swapping a 1280x720 video, for a short and a ten times longer one, as JSON.

python benchmarks/video_memory.py [--frames 300 3000] [--device cpu]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import IMAGES, in_fresh_process, machine, peak_rss_mib, write_results


def make_clip(path: Path, frames: int) -> None:
    """Write a moving still with one face; a long clip shows a 300-frame one again and again."""
    import cv2

    from examples.demo_video import write_clip

    still = cv2.imread(str(IMAGES / "selfie.jpg"))
    assert still is not None
    write_clip(path, still, frames, (1280, 720), period=300)


def measure(clip: Path, device: str) -> dict[str, Any]:
    """Swap one clip in this process; returns its peak memory and times."""
    from utils.inference.pipeline import load_pipeline

    with tempfile.TemporaryDirectory() as folder:
        result = load_pipeline(device=device).swap_video(IMAGES / "portrait.jpg", clip, Path(folder) / "out.mp4")
    frames, seconds = result["frames"], result["seconds"]
    return {
        "frames": frames,
        "swapped": result["faces"]["swapped"],
        "peak_rss_mib": peak_rss_mib(),
        "fps": result["video"]["fps"],
        "seconds": seconds,
        "ms_per_frame": {name: round(1000 * value / frames, 2) for name, value in seconds.items() if name != "load"},
        "device": result["device"],
        "dtype": result["dtype"],
        "models": [entry["name"] for entry in result["models"]],
    }


def main() -> int:
    """Make the clips, measure each, print everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[300, 3000], help="lengths to compare")
    parser.add_argument("--device", default="auto", help="as for inference.py")
    parser.add_argument("--clip", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.clip:
        print(json.dumps(measure(options.clip, options.device)))
        return 0
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for frames in options.frames:
            clip = Path(folder) / f"{frames}.mp4"
            make_clip(clip, frames)
            runs.append(in_fresh_process(__file__, ["--clip", str(clip), "--device", options.device]))
            clip.unlink()
            print(json.dumps(runs[-1]), file=sys.stderr)
    growth = runs[-1]["peak_rss_mib"] / runs[0]["peak_rss_mib"] - 1
    write_results("video_memory", {"machine": machine(runs[0]["device"]), "size": "1280x720", "runs": runs,
                                   "growth": round(growth, 4)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
