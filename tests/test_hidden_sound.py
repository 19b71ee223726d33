"""Sound that a file holds but hides, as where its beginning was cut off without encoding it anew."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from tests.clips import make_clip, packets
from tests.test_video_io import copy
from utils.io.span import Span

PACKET = 1024 / 48_000  # seconds of AAC


def cut(clip: Path, seconds: float) -> Path:
    """The same pictures with the sound that comes so many seconds later; what comes before is hidden."""
    path = clip.with_stem("cut")
    with av.open(str(clip)) as source, av.open(str(path), "w") as out:
        tracks = [out.add_stream_from_template(stream) for stream in source.streams]
        for packet in source.demux():
            if packet.size:
                track = tracks[packet.stream_index]
                if track.type == "audio":
                    earlier = round(seconds / packet.time_base)
                    packet.pts, packet.dts = packet.pts - earlier, packet.dts - earlier  # type: ignore[operator]
                packet.stream = track
                out.mux(packet)
    return path


def begins(path: Path) -> list[float]:
    """Where pictures and sound begin, seconds."""
    with av.open(str(path)) as container:
        return [float((stream.start_time or 0) * stream.time_base) for stream in container.streams]  # type: ignore[operator]


@pytest.mark.parametrize("name", ["out.mkv", "out.mp4", "out.mov"])
def test_hidden_sound_is_not_heard(tmp_path: Path, name: str) -> None:
    clip = cut(make_clip(tmp_path / "in.mp4", frames=40), 0.7)
    copy(clip, tmp_path / name)
    pictures, sound = begins(tmp_path / name)
    assert abs(pictures - sound) < 2 * PACKET
    hidden = len(packets(clip)) - len(packets(tmp_path / name))
    assert hidden == (int(0.7 / PACKET) if name == "out.mkv" else 0), "one packet stays, that decoders begin with"
    assert packets(tmp_path / name) == packets(clip)[hidden:]


def test_a_part_begins_with_what_is_heard(tmp_path: Path) -> None:
    clip = cut(make_clip(tmp_path / "in.mp4", frames=40), 0.7)
    copy(clip, tmp_path / "out.mkv", Span(0.2, 0.6))
    assert begins(tmp_path / "out.mkv") == pytest.approx([0, 0], abs=2 * PACKET)
