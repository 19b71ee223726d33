"""How much a swapped face trembles: a still photo under a moving crop, swapped as a video.

python benchmarks/steadiness.py [--frames 75] [--device cpu]

Prints, in percent of the distance of the eyes, the standard deviation over time of the swap's landmarks in the face's
own frame (where a perfect swap stands still), and the same for the video before the swap, which is the measure's noise.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.common import IMAGES  # noqa: E402 - the repository is not installed as a package
from coordinate_reg.points import EYE_CENTRES  # noqa: E402
from examples.demo_video import hand_motion, set_in_motion  # noqa: E402
from utils.inference import align  # noqa: E402
from utils.inference.pipeline import SwapPipeline, load_pipeline  # noqa: E402
from utils.inference.track import most_prominent  # noqa: E402
from utils.inference.warp import apply, invert  # noqa: E402
from utils.io.frame import Frame  # noqa: E402

_CROP = 224


def deviation(landmarks: np.ndarray) -> float:
    """Standard deviation of landmarks over time in percent of the eyes' distance, mean over points and axes.

    landmarks: (frames, 106, 2) float, in a coordinate system in which the face stands still.
    """
    eyes = np.linalg.norm(landmarks[:, EYE_CENTRES[1]] - landmarks[:, EYE_CENTRES[0]], axis=-1).mean()
    return float(100 * landmarks.std(axis=0).mean() / eyes)


def measure(pipeline: SwapPipeline, still: np.ndarray, frames: int, size: tuple[int, int]) -> dict[str, Any]:
    """Swap a moving crop of a still (H, W, 3) uint8 BGR; the pipeline has its source already."""
    report = pipeline.begin()
    faces = pipeline.stages.detector.detect(still, careful=True)
    kps = faces[most_prominent(faces, still.shape)].kps
    template = int(np.argmin(align.template_errors(kps)))
    images = list(set_in_motion(still, frames, size))
    results = [frame.image for frame in pipeline.run(Frame(image, i, i / 25) for i, image in enumerate(images))]
    own: dict[str, list[np.ndarray]] = {"before": [], "swapped": []}
    for M_frame2still, before, after in zip(hand_motion(still.shape, frames, size), images, results, strict=True):
        there = apply(invert(M_frame2still), kps).astype(np.float32)  # where the face really is, without detecting it
        crops = [align.cut(image, there, _CROP, template).image for image in (before, after)]
        for name, points in zip(own, pipeline.stages.landmarks.find(crops), strict=True):
            own[name].append(points)
    deviations = {name: round(deviation(np.stack(points)), 4) for name, points in own.items()}
    return {"frames": frames, "swapped_frames": report.frames - report.frames_skipped, "percent_of_eyes": deviations}


def main() -> int:
    """Measure on the demo's selfie and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=75)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    pipeline = load_pipeline(device=options.device)
    pipeline.set_sources([IMAGES / "portrait.jpg"])
    still = cv2.imread(str(IMAGES / "selfie.jpg"))
    assert still is not None
    sizes = [(480, 480), (1280, 720)]
    print(json.dumps({f"{w}x{h}": measure(pipeline, still, options.frames, (w, h)) for w, h in sizes}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
