"""What killed runs leave is removed, and what living ones write is not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.clips import make_clip, pictures
from tests.conftest import ROOT
from tests.test_video_io import copy

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no locks of folders")
_RUN = """
import sys, time
from pathlib import Path
from utils.io.encode import video_writer
from utils.io.encoders import EncodeOptions
from utils.io.video import open_video
with open_video(sys.argv[1]) as video, video_writer(sys.argv[2], video.info, EncodeOptions(), print) as writer:
    for frame in video.frames:
        writer.write(frame)
    print("written", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def writing(clip: Path, output: Path) -> Iterator[subprocess.Popen[str]]:
    """Another run, which waits before it completes its file."""
    command = [sys.executable, "-c", _RUN, str(clip), str(output)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None and "written" in run.stdout.readline()
        try:
            yield run
        finally:
            run.kill()


def hidden(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def test_what_a_killed_run_leaves_goes_with_the_next_of_its_name(tmp_path: Path) -> None:
    clip, folder = make_clip(tmp_path / "in.mp4"), tmp_path / "results"
    with writing(clip, folder / "o.mp4") as run:
        run.kill()
    (partial,) = hidden(folder)
    (folder / f"{Path(partial).stem}.signed").touch()
    others = [".o.01234567.partial.mkv", ".o.0123.partial.mp4", ".o2.01234567.partial.mp4", ".o.mp4"]
    for name in others:
        (folder / name).touch()
    copy(clip, folder / "other.mp4")
    assert partial in hidden(folder)
    copy(clip, folder / "o.mp4")
    assert hidden(folder) == sorted(others) and len(pictures(folder / "o.mp4")) == 20


def test_runs_that_write_the_same_name_do_not_disturb_each_other(tmp_path: Path) -> None:
    clip, output = make_clip(tmp_path / "in.mp4"), tmp_path / "o.mp4"
    with writing(clip, output) as first, writing(clip, output) as second:
        assert len(hidden(tmp_path)) == 2
        for left, run in ((1, first), (0, second)):
            run.communicate("\n")
            assert run.returncode == 0 and len(pictures(output)) == 20
            output.unlink()
            copy(clip, output)
            assert len(hidden(tmp_path)) == left and len(pictures(output)) == 20


def test_where_there_are_no_locks_nothing_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: int, how: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", refuse)
    (tmp_path / ".o.01234567.partial.mp4").touch()
    copy(make_clip(tmp_path / "in.mp4"), tmp_path / "o.mp4")
    assert hidden(tmp_path) == [".o.01234567.partial.mp4"]
