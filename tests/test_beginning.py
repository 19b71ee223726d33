"""How videos begin: their first frames are searched while their sources are looked at."""

from __future__ import annotations

import gc
import threading
import weakref
from pathlib import Path
from typing import Any

import cv2
import pytest

from examples.demo_video import write_clip
from tests.clips import pictures
from tests.conftest import People
from utils import errors
from utils.inference.pipeline import load_pipeline
from utils.inference.report import FaceCounts
from utils.inference.types import SwappedFrame
from utils.io.frame import Frame


@pytest.fixture
def source(people: People) -> str:
    return str(people(5, "studio_portrait"))


@pytest.fixture
def clip(people: People, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    image = cv2.imread(str(people(2, "studio_portrait")))
    assert image is not None
    write_clip(path, cv2.resize(image, (300, 300), interpolation=cv2.INTER_AREA), 20, (256, 256))
    return path


def test_frames_that_have_passed_are_not_kept(
    random_weights: Path, clip: Path, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GHOST_WEIGHTS", str(random_weights))
    pipeline, alive = load_pipeline(device="cpu"), []

    def passed(found: Any) -> Any:
        frames: list[weakref.ref[Frame]] = []
        for frame, _ in found:
            frames.append(weakref.ref(frame))
            gc.collect()
            alive.append([one() is not None for one in frames])
            yield SwappedFrame(frame.pixels, frame.index, frame.time, (), FaceCounts(found=1))

    monkeypatch.setattr(pipeline, "swapped", passed)
    with pytest.raises(errors.GhostError):  # nobody was swapped
        pipeline.swap_video(source, clip, tmp_path / "o.mp4")
    assert len(alive) == 20 and not any(alive[-1][:-6])


@pytest.mark.parametrize("error", [None, errors.NoFaceInSourceError("nobody")])
def test_frames_are_searched_while_sources_are_looked_at(
    error: Exception | None, random_weights: Path, clip: Path, source: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GHOST_WEIGHTS", str(random_weights))
    pipeline, searched = load_pipeline(device="cpu"), threading.Event()
    known, search = pipeline.set_sources, pipeline._detected

    def late(*people: Any) -> None:
        assert searched.wait(60), "nothing was searched before"
        if error:
            raise error
        known(*people)

    def noted(frames: Any, careful: bool) -> Any:
        for found in search(frames, careful):
            searched.set()
            yield found

    monkeypatch.setattr(pipeline, "set_sources", late)
    monkeypatch.setattr(pipeline, "_detected", noted)
    if error:
        with pytest.raises(type(error), match="nobody"):
            pipeline.swap_video(source, clip, tmp_path / "o.mp4")
    else:
        assert pipeline.swap_video(source, clip, tmp_path / "o.mp4")["frames"] == len(pictures(clip))
    assert [path.name for path in tmp_path.iterdir()] == ([] if error else ["o.mp4"])
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]
