"""What x264's quick presets make of a moving face: processor time, size and likeness.

python benchmarks/encoding.py [--frames 50]

1280x720, with three amounts of grain, which is new in every frame; one thread. Likeness is the PSNR of brightness.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import machine, write_results
from benchmarks.sets import still
from examples.demo_video import RATE, set_in_motion

SIZE = (1280, 720)
GRAINS = (0.0, 1.5, 4.0)  # standard deviation, levels
CHOICES = (  # preset, crf, whether it looks for good places of B frames
    ("veryfast", 18.0, True), ("superfast", 20.0, True),
    *(("superfast", crf, False) for crf in (18.0, 20.0, 22.0)), ("ultrafast", 18.0, False),
)


def grainy(frames: int, grain: float) -> list[np.ndarray]:
    """Frames (720 * 3 / 2, 1280) uint8, YUV with halved colour planes."""
    rng = np.random.default_rng(0)
    noisy = (picture + rng.normal(0, grain, picture.shape) for picture in set_in_motion(still(1, SIZE), frames, SIZE))
    return [cv2.cvtColor(picture.round().clip(0, 255).astype(np.uint8), cv2.COLOR_BGR2YUV_I420) for picture in noisy]


def encode(frames: Sequence[np.ndarray], preset: str, crf: float, search: bool) -> tuple[bytes, float]:
    """A file and the milliseconds of processor time that a frame took."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream: Any = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.options = {"preset": preset, "crf": f"{crf:g}", "b_strategy": f"{search:d}", "threads": "1"}
        ready = [av.VideoFrame.from_ndarray(frame, format="yuv420p") for frame in frames]
        begin = time.process_time()
        for frame in ready:
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        took = time.process_time() - begin
    return file.getvalue(), 1e3 * took / len(frames)


def likeness(frames: Sequence[np.ndarray], file: bytes) -> float:
    """Decibels between the brightness of frames and what was encoded."""
    with av.open(io.BytesIO(file), "r") as container:
        shown = [frame.to_ndarray()[: SIZE[1]].astype(float) for frame in container.decode(video=0)]
    error = np.mean([((a - b[: SIZE[1]]) ** 2).mean() for a, b in zip(shown, frames, strict=True)])
    return float(10 * np.log10(255**2 / error))


def main() -> int:
    """Measure, write the result and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=50)
    frames = parser.parse_args().frames
    result: dict[str, Any] = {"machine": machine(), "frames": frames, "rows": []}
    for grain in GRAINS:
        pictures = grainy(frames, grain)
        for preset, crf, search in CHOICES:
            file, took = encode(pictures, preset, crf, search)
            result["rows"].append({"grain": grain, "preset": preset, "crf": crf, "search": search, "ms": round(took, 2),
                                   "kilobytes": round(len(file) / frames / 1000, 2),
                                   "psnr": round(likeness(pictures, file), 2)})
    write_results("encoding", result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
