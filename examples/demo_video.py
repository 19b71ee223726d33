"""The demo with moving pictures: a still of a synthetic person set in motion, swapped, shown beside the original."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from utils.command import carried_out  # noqa: E402 - the repository is not installed as a package
from utils.inference.pipeline import load_pipeline  # noqa: E402
from utils.io.encode import video_writer  # noqa: E402
from utils.io.encoders import EncodeOptions  # noqa: E402
from utils.io.frame import Frame  # noqa: E402
from utils.io.image import read_photo  # noqa: E402
from utils.io.mark import Mark  # noqa: E402
from utils.io.video import open_video  # noqa: E402

IMAGES, RESULTS = ROOT / "examples" / "images", ROOT / "examples" / "results"
RATE, FRAMES, SIZE = 25, 75, (480, 480)
SAMPLES = 48_000  # per second
_SWAY, _BREATH = 0.04, 0.03  # how far the crop moves and grows, in parts of its side
_FACES = 0.4  # where faces are in portraits, in parts of the height
_CHORD = (220.0, 277.2, 329.6)  # Hz


def hand_motion(shape: tuple[int, ...], frames: int, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Matrices (2, 3) from frames to a still picture, as if a hand held the camera.

    shape: of the still, (H, W, ...). size: width and height of the frames.
    """
    height, width = shape[:2]
    fit = min(width / size[0], height / size[1]) * (1.0 - 2 * _SWAY - _BREATH)
    for index in range(frames):
        time = 2 * np.pi * index / RATE
        scale = fit * (1.0 + _BREATH * np.sin(0.23 * time))
        x = width / 2 + _SWAY * width * np.sin(0.31 * time)
        y = max(height * _FACES, scale * size[1] / 2) + _SWAY * height * np.sin(0.19 * time + 1.0)
        yield np.array([[scale, 0, x - scale * size[0] / 2], [0, scale, y - scale * size[1] / 2]])


def set_in_motion(still: np.ndarray, frames: int, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """A slowly moving crop of a still picture, (H, W, 3) uint8 BGR. size: width and height of the frames."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for M_frame2still in hand_motion(still.shape, frames, size):
        yield cv2.warpAffine(still, M_frame2still, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)


def chord(seconds: float) -> np.ndarray:
    """A soft chord, (1, N) int16, SAMPLES per second."""
    time = np.arange(round(seconds * SAMPLES)) / SAMPLES
    wave = sum(np.sin(2 * np.pi * pitch * time) for pitch in _CHORD) / len(_CHORD)
    fade = np.clip(np.minimum(time, seconds - time) / 0.3, 0, 1)
    return (6000 * wave * fade).astype(np.int16)[None]


def write_clip(
    path: Path, still: np.ndarray, frames: int = FRAMES, size: tuple[int, int] = SIZE, period: int = FRAMES
) -> None:
    """Write a still in motion as an MP4 with sound; the motion begins anew after `period` frames."""
    import av

    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=RATE, options={"crf": "16", "preset": "veryfast"})
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        sound: Any = container.add_stream("aac", rate=SAMPLES, layout="mono")
        for index in range(frames):
            if index % period == 0:
                motion = set_in_motion(still, period, size)
            image = next(motion)
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(video.encode(None))
        heard = av.AudioFrame.from_ndarray(chord(frames / RATE), format="s16", layout="mono")
        heard.sample_rate, heard.pts, heard.time_base = SAMPLES, 0, Fraction(1, SAMPLES)
        container.mux(sound.encode(heard))
        container.mux(sound.encode(None))


def beside(before: Path, after: Path, output: Path) -> None:
    """Write two videos of the same length as one, side by side, with the sound of the first."""
    with open_video(before) as left, open_video(after) as right:
        info = replace(left.info, width=left.info.width + right.info.width)
        with video_writer(output, info, EncodeOptions(), print, Mark("metadata")) as writer:
            for one, other in zip(left.frames, right.frames, strict=True):
                writer.write(Frame(np.concatenate([one.image, other.image], axis=1), one.index, one.time))


def main() -> int:
    """Make, swap and show the clip; returns the exit code."""
    names = ("moving_selfie", "moving_selfie_swapped", "moving_selfie_side_by_side")
    clip, swapped, both = (RESULTS / f"{name}.mp4" for name in names)

    def work() -> None:
        RESULTS.mkdir(parents=True, exist_ok=True)
        write_clip(clip, read_photo(IMAGES / "selfie.jpg").image)
        result = load_pipeline().swap_video(IMAGES / "portrait.jpg", clip, swapped)
        beside(clip, swapped, both)
        print(f"{both.relative_to(ROOT)}: {result['frames']} frames at {result['video']['fps']} frames/s")

    return carried_out(work)


if __name__ == "__main__":
    sys.exit(main())
