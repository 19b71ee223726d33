"""Small videos for the tests, made with PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np


def picture(index: int, width: int = 64, height: int = 48, shade: int = 7) -> np.ndarray:
    """A smooth BGR picture whose mean brightness tells its number; a bright top left corner tells what is up."""
    x, y = np.meshgrid(np.linspace(0, 40, width), np.linspace(0, 30, height))
    image = np.stack([x, y, 20 + 0 * x], axis=-1) + 20 + shade * index
    image[: height // 4, : width // 4] = 250
    return np.clip(image, 0, 255).astype(np.uint8)


def make_clip(
    path: Path,
    frames: int = 20,
    size: tuple[int, int] = (64, 48),
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    times: Sequence[int] | None = None,
    tick: Fraction = Fraction(1, 12800),
    rate: int = 25,
    sound: Sequence[str] = ("aac",),
    turn: int | None = None,
    tags: dict[str, int] | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    still: np.ndarray | None = None,
    silent: int = 0,
    hertz: int = 48000,
    layout: str = "mono",
    comment: str = "",
    timecode: str = "",
) -> Path:
    """Write a clip. times: time stamps in ticks; sound: one codec per track; turn: degrees of the rotation tag;
    still: a BGR picture to show all the time; silent: frames at the end without sound; hertz, layout: of the sound;
    comment: a tag of the file; timecode: of the first frame.
    """
    with av.open(str(path), "w", options=container_options or {}) as out:
        out.metadata.update({"comment": comment} if comment else {})
        video: Any = out.add_stream(codec, rate=rate, options=options or {})
        video.width, video.height = size
        video.pix_fmt, video.codec_context.time_base = pixel_format, tick
        video.metadata.update({"timecode": timecode} if timecode else {})
        for name, value in (tags or {}).items():
            setattr(video.codec_context, name, value)
        if turn is not None:
            video.set_display_rotation(turn)
        tracks: list[Any] = [out.add_stream(name, rate=hertz, layout=layout) for name in sound]
        for track in tracks:
            if track.name == "wmav2":
                track.bit_rate = 64_000  # has no default
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(index, *size) if still is None else still, format="bgr24")
            frame = frame.reformat(format=pixel_format)
            frame.pts = times[index] if times else round(index / (rate * tick))
            frame.time_base = tick
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        for number, track in enumerate(tracks):
            _sing(out, track, 48000 * (frames - silent) // rate, 220 * (number + 1))
    return path


def _sing(out: Any, track: Any, samples: int, pitch: int) -> None:
    wave = (8000 * np.sin(2 * np.pi * pitch * np.arange(samples) / 48000)).astype(np.int16)
    for start in range(0, samples, 1024):
        frame = av.AudioFrame.from_ndarray(wave[None, start : start + 1024], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        out.mux(track.encode(frame))
    out.mux(track.encode(None))


def packets(path: Path, kind: str = "audio", track: int = 0) -> list[bytes]:
    """The bytes of every packet of a track."""
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[track]
        return [bytes(packet) for packet in container.demux(stream) if packet.size]


def times(path: Path) -> list[float]:
    """Time stamps of all pictures, seconds."""
    with av.open(str(path)) as container:
        return [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]  # type: ignore[operator]


def planes(path: Path) -> list[list[np.ndarray]]:
    """The planes of all pictures as they were coded, each (H, W) uint8, or uint16 where they have more bits."""

    def samples(plane: Any, bits: int) -> np.ndarray:
        kind = np.dtype(np.uint8 if bits == 8 else np.uint16)
        return np.frombuffer(plane, kind).reshape(plane.height, -1)[:, : plane.width].copy()

    with av.open(str(path)) as container:
        return [[samples(plane, frame.format.components[0].bits) for plane in frame.planes]
                for frame in container.decode(video=0)]


def pictures(path: Path) -> list[np.ndarray]:
    """All pictures, BGR."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
