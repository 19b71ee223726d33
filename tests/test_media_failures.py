"""What ends reading and writing a video early: full memory, disks that are gone or full."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import av
import pytest

from tests.clips import make_clip, pictures
from tests.test_extras import rich_clip
from tests.test_video_io import EXACT, copy
from utils.errors import InputError, OutputError
from utils.io import alongside, encode, video
from utils.io.container import packets_of
from utils.io.encode import video_writer
from utils.io.video import open_video


class _Failing:
    """A packet that cannot be decoded, with an error number."""

    def __init__(self, number: int) -> None:
        self._number = number

    def decode(self) -> Any:
        av.error.err_check(-self._number)


def failing(number: int, in_decoding: bool) -> Callable[..., Iterator[Any]]:
    """Packets of a file whose eleventh cannot be decoded or read, with an error number."""

    def packets(*arguments: Any) -> Iterator[Any]:
        for index, packet in enumerate(packets_of(*arguments)):
            if index == 10 and not in_decoding:
                av.error.err_check(-number)
            yield _Failing(number) if index == 10 else packet

    return packets


@pytest.mark.parametrize(
    ("number", "in_decoding", "error", "said"),
    [(errno.ENOMEM, True, MemoryError, "FFmpeg's decoder: Cannot allocate memory"),
     (errno.EIO, False, InputError, r"in\.mp4 cannot be read any further \(Input/output error\); see whether")],
)
def test_full_memory_and_a_lost_disk_are_no_end_of_a_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, in_decoding: bool, error: type[Exception], said: str
) -> None:
    clip = make_clip(tmp_path / "in.mp4", frames=30, sound=())
    monkeypatch.setattr(video, "packets_of", failing(number, in_decoding))
    with pytest.raises(error, match=said):
        copy(clip, tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("number", [errno.EIO, errno.EINVAL])
@pytest.mark.parametrize(("kind", "name"), [("audio", "sound"), ("subtitle", "subtitles")])
def test_a_lost_disk_is_no_end_of_sound_and_subtitles_and_damage_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str, number: int
) -> None:
    def packets(container: Any, streams: Sequence[Any]) -> Iterator[Any]:
        yield from islice(packets_of(container, streams), 1)
        if streams[0].type == kind:
            av.error.err_check(-number)

    clip, out = rich_clip(tmp_path / "in.mkv", "srt"), tmp_path / "out.mkv"
    monkeypatch.setattr(alongside, "packets_of", packets)
    if number == errno.EIO:
        with pytest.raises(InputError, match=r"in\.mkv cannot be read any further \(Input/output error\); see whether"):
            copy(clip, out)
        assert not out.exists()
    else:
        _, notes = copy(clip, out)
        assert [note for note in notes if note.startswith(f"the {name} could not be read any further (Invalid")]


def test_a_size_that_damaged_data_claim_is_no_full_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = make_clip(tmp_path / "in.mp4", frames=30, sound=(), options={"bf": "0"})
    monkeypatch.setattr(video, "packets_of", failing(errno.ENOMEM, in_decoding=False))
    count, notes = copy(clip, tmp_path / "out.mp4")
    assert 0 < count <= 10 and "could not be read any further (Cannot allocate memory)" in notes[0]


def test_full_memory_of_an_encoder_is_no_matter_of_the_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip, part = make_clip(tmp_path / "in.mp4", frames=5), tmp_path / "part.mp4"
    works = encode._Pictures.encode

    def full(track: Any, frame: Any) -> Any:
        return works(track, frame) if frame.index < 3 else av.error.err_check(-errno.ENOMEM)

    monkeypatch.setattr(encode._Pictures, "encode", full)
    with (
        pytest.raises(MemoryError, match="Cannot allocate memory"),
        open_video(clip) as source,
        video_writer(tmp_path / "out.mp4", source.info, EXACT, print) as writer,
    ):
        try:
            for frame in source.frames:
                writer.write(frame)
        except MemoryError:
            writer.keep(part)
            raise
    assert len(pictures(part)) == 3


class _OnAFullDisk:
    """A file to write to that takes nothing, and cannot be completed afterwards."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _OnAFullDisk:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def mux(self, packet: Any) -> None:
        av.error.err_check(-errno.ENOSPC)

    def close(self) -> None:
        self._file.close()
        av.error.err_check(-errno.EINVAL)


def test_a_file_that_cannot_be_completed_does_not_hide_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip, opened = make_clip(tmp_path / "in.mp4", frames=5, sound=()), av.open

    def full(file: str, mode: str = "r", **options: Any) -> Any:
        return _OnAFullDisk(opened(file, mode, **options)) if mode == "w" else opened(file, mode, **options)

    monkeypatch.setattr(av, "open", full)
    with pytest.raises(OutputError, match=r"cannot write .*out\.mp4: the disk is full"):
        copy(clip, tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]
