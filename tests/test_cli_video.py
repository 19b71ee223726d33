"""inference.py on videos, as people call it."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from examples.demo_video import set_in_motion, write_clip
from tests.clips import make_clip, packets, pictures, times
from tests.conftest import OPENCV_IS_FULL, ROOT, Call, People
from utils import errors
from utils.inference.conditioning import Conditioning
from utils.inference.config import InferenceConfig
from utils.inference.pipeline import load_pipeline
from utils.inference.report import Stage
from utils.inference.types import TrackedFace
from utils.inference.video import check_video
from utils.io.frame import Frame
from utils.io.mark import Mark
from utils.io.xmp import SOURCE_TYPE

FRAMES = 15


@pytest.fixture(scope="module")
def still(people: People) -> Callable[[int], np.ndarray]:
    def read(number: int) -> np.ndarray:
        image = cv2.imread(str(people(number, "studio_portrait")))
        assert image is not None
        return cv2.resize(image, (300, 300), interpolation=cv2.INTER_AREA)

    return read


@pytest.fixture(scope="module")
def source(still: Callable[[int], np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("source") / "source.png"
    cv2.imwrite(str(path), still(5))
    return str(path)


@pytest.fixture(scope="module")
def clip(still: Callable[[int], np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One person, sound, 15 frames of 256x256."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_clip(path, still(2), FRAMES, (256, 256))
    return path


def test_a_video_is_swapped_and_its_times_and_sound_are_kept(
    call: Call, clip: Path, source: str, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "out.mp4"
    options = ("--out_video_name", out, "--preview", 5, "--crf", 0, "--similarity_th", 0.15)
    code, result, _ = call("--source_paths", source, "--target_video", clip, *options)
    assert [note for note in result["notes"] if "far below 0.3" in note] == result["notes"][:1] != []
    assert code == 0 and result["output"] == str(out)
    assert result["frames"] == result["faces"]["swapped"] == FRAMES and result["frames_skipped"] == 0
    assert {"decode", "detect", "swap", "blend", "encode", "wall"} <= set(result["seconds"])
    assert result["video"]["fps"] > 0 and (result["video"]["width"], result["video"]["height"]) == (256, 256)
    assert times(out) == times(clip) and packets(out) == packets(clip)
    for before, after in zip(pictures(clip), pictures(out), strict=True):
        change = np.abs(before.astype(int) - after).mean(axis=-1)
        assert change[100:140, 110:140].mean() > 10
        assert change[:16].max() == 0
    assert sorted(path.name for path in out.parent.iterdir()) == ["out.mp4", "out.preview.jpg"]
    assert all(SOURCE_TYPE.encode() in path.read_bytes() for path in out.parent.iterdir())


def test_a_preview_that_cannot_be_written_ends_no_video(
    call: Call, clip: Path, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def full(path: Path, *_: Any, **__: Any) -> None:
        asked.append(path)
        raise errors.OutputError("the disk is full")

    monkeypatch.setattr("utils.inference.video.write_photo", full)
    out = tmp_path / "o.mp4"
    options = ("--target_video", clip, "--out_video_name", out, "--preview", 5)
    code, result, _ = call("--source_paths", source, *options)
    assert code == 0 and len(pictures(out)) == FRAMES and asked == [tmp_path / "o.preview.jpg"]
    assert result["notes"].count("no more previews: the disk is full") == 1


def test_every_person_keeps_the_own_source_while_they_pass_each_other(
    random_weights: Path, still: Callable[[int], np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GHOST_WEIGHTS", str(random_weights))
    seen: list[tuple[Frame, TrackedFace]] = []
    monkeypatch.setattr(Conditioning, "embeddings", recorded(Conditioning.embeddings, seen))
    paths = []
    for number in (2, 5):
        paths.append(tmp_path / f"{number}.png")
        cv2.imwrite(str(paths[-1]), still(number))
    pipeline = load_pipeline(device="cpu")
    pipeline.set_sources([paths[1], paths[0]], [paths[0], paths[1]])
    assert np.linalg.norm(pipeline._references, axis=1) == pytest.approx([1, 1]), "raw ones would match everybody"
    frames = list(pipeline.run(passing(still(2), still(5))))
    assert [frame.index for frame in frames] == list(range(40)) and pipeline.report.frames_skipped == 0
    places: dict[int, dict[int, float]] = {0: {}, 1: {}}
    for frame, face in seen:
        places[face.person][frame.index] = float(face.kps[2, 0])
    for index in range(40):
        left, right = 150 + 16 * index, 790 - 16 * index
        if abs(left - right) > 200:  # otherwise one hides the other
            assert places[0][index] == pytest.approx(left, abs=25) and places[1][index] == pytest.approx(right, abs=25)


def test_threads_of_their_own_change_no_picture(
    random_weights: Path, still: Callable[[int], np.ndarray], source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GHOST_WEIGHTS", str(random_weights))
    results = []
    for many in (False, True):
        monkeypatch.setattr("utils.inference.frames.has_many_cores", lambda many=many: many)
        pipeline = load_pipeline(device="cpu", select="all")
        pipeline.set_sources([source])
        results.append(list(pipeline.run(passing(still(2), still(5)))))
        stopped = pipeline.run(passing(still(2), still(5)))
        assert np.array_equal(next(stopped).image, results[-1][0].image)
        stopped.close()
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]
    assert all(np.array_equal(one.image, other.image) for one, other in zip(*results, strict=True))
    assert all(frame.changed for frame in results[0])


@pytest.mark.parametrize(("large", "count", "most"), [(False, 6, 8), (True, 2, 4), (True, 6, 6)])
def test_batches_of_a_large_generator_are_small_but_give_every_core_a_face(
    random_weights: Path, still: Callable[[int], np.ndarray], source: str, monkeypatch: pytest.MonkeyPatch,
    large: bool, count: int, most: int,
) -> None:
    monkeypatch.setenv("GHOST_WEIGHTS", str(random_weights))
    monkeypatch.setattr("utils.inference.swap._HEAVY", 0 if large else math.inf)
    monkeypatch.setattr("utils.inference.swap._threads", lambda: count)
    pipeline = load_pipeline(device="cpu", select="largest")
    pipeline.set_sources([source])
    swapper, sizes = pipeline.stages.swapper, []
    swap = swapper.swap
    monkeypatch.setattr(swapper, "swap", lambda crops, z_id: sizes.append(len(crops)) or swap(crops, z_id))
    list(pipeline.run(passing(still(2), still(5))))
    assert sum(sizes) == 40 and max(sizes) == most


def recorded(method: Callable[..., Any], seen: list[tuple[Frame, TrackedFace]]) -> Callable[..., Any]:
    """The pipeline's step that says who faces become, taking note of them."""

    def note_and_do(self: Conditioning, z_id: np.ndarray, faces: list[tuple[Frame, TrackedFace]], stage: Stage) -> Any:
        seen.extend(faces)
        return method(self, z_id, faces, stage)

    return note_and_do


def passing(one: np.ndarray, other: np.ndarray) -> Generator[Frame, None, None]:
    """Two portraits that slide past each other, the first in front."""
    for index in range(40):
        canvas = np.full((300, 940, 3), 90, np.uint8)
        for x, image in ((640 - 16 * index, other), (16 * index, one)):
            canvas[:, x : x + 300] = image
        yield Frame(canvas, index, index / 25)


@pytest.mark.parametrize(("most", "code"), [("0.6", 0), ("0.4", errors.SkippedError.exit_code)])
def test_too_many_skipped_frames_fail_the_run(
    call: Call, still: Callable[[int], np.ndarray], source: str, tmp_path: Path, most: str, code: int
) -> None:
    folder, out = tmp_path / "frames", tmp_path / "out.mp4"
    folder.mkdir()
    for index, image in enumerate(set_in_motion(still(2), 20, (256, 256))):
        cv2.imwrite(str(folder / f"{index}.png"), image if index < 10 else np.full_like(image, 128))
    got, result, said = call("--source_paths", source, "--target_video", folder, "--out_video_name", out,
                             "--max-skipped", most)
    assert got == code and len(pictures(out)) == 20
    assert result["frames_skipped"] == 10 and result["faces"]["skipped"] == {"no face found": 10}
    if code:
        assert "10 of 20 frames (50%)" in said and f"the video is {out}" in said
        assert "10 of 10 faces swapped; no face in 10 frames" in said


def test_nobody_in_the_whole_video_has_an_exit_code_and_leaves_nothing(
    call: Call, source: str, tmp_path: Path
) -> None:
    clip = make_clip(tmp_path / "clip.mp4", size=(128, 96))
    code, result, said = call("--source_paths", source, "--target_video", clip, "--out_video_name", tmp_path / "o.mp4")
    assert code == errors.NoFaceInTargetError.exit_code == result["exit_code"] and "no face found" in said
    assert list(tmp_path.iterdir()) == [clip]


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        (["--out_video_name", "o.xyz"], errors.OutputError, "unknown ending"),
        (["--out_video_name", "o.mp4", "--encoder", "nonsense"], errors.OptionError, "--encoder"),
        (["--out_video_name", "o.mp4", "--start", "soon"], errors.OptionError, "h:mm:ss"),
        (["--out_video_name", "o.mp4", "--start", "0:05", "--end", "4"], errors.OptionError, "--end"),
        (["--out_video_name", "o.mp4", "--start", "1:00"], errors.OptionError, "after the end"),
        (["--out_video_name", "o.mp4", "--max-skipped", "5"], errors.OptionError, "--max_skipped must be from 0 to 1"),
        (["--out_video_name", "clip.mp4"], errors.OutputError, "is a file that is read"),
        (["--out_video_name", "o.mp4", "--target_video", "missing.mp4"], errors.InputError, "missing.mp4"),
    ],
)
def test_mistakes_are_found_before_the_work(
    call: Call, clip: Path, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str],
    error: type[errors.GhostError], text: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.mp4").write_bytes(clip.read_bytes())
    code, _, said = call("--source_paths", source, "--target_video", "clip.mp4", *options)
    assert code == error.exit_code and text in said
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
    assert (tmp_path / "clip.mp4").read_bytes() == clip.read_bytes()


def test_a_preview_replaces_nothing_that_is_to_stay(
    call: Call, clip: Path, source: str, still: Callable[[int], np.ndarray], tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    preview = tmp_path / "in" / "o.preview.jpg"
    cv2.imwrite(str(preview), still(2))
    before = preview.read_bytes()
    arguments = ("--out_video_name", preview.with_name("o.mp4"), "--preview", 1)
    for target, person, more in ((clip, source, ["--no-overwrite"]), (clip, preview, []), (preview.parent, source, [])):
        code, _, said = call("--source_paths", person, "--target_video", target, *arguments, *more)
        assert code == errors.OutputError.exit_code and "preview" in said
    for name in ("o.gif", "o.preview.jpg"):  # the results of a folder of pictures lie elsewhere
        code, _, said = call("--source_paths", source, "--target_video", preview.parent, "--out_video_name",
                             preview.with_name(name))
        assert code == errors.OutputError.exit_code
    assert preview.read_bytes() == before and len(list(preview.parent.iterdir())) == 1


@pytest.mark.parametrize("place", ["/proc/out.mp4", "x" * 300 + ".mp4"])
def test_a_place_that_takes_no_file_is_refused_before_the_work(clip: Path, place: str) -> None:
    with pytest.raises(errors.OutputError, match=f"cannot write {place}: "):
        check_video(InferenceConfig(), clip, place)


def test_a_failure_stops_all_threads(
    random_weights: Path, still: Callable[[int], np.ndarray], source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GHOST_WEIGHTS", str(random_weights))
    monkeypatch.setattr("utils.inference.frames.has_many_cores", lambda: True)
    pipeline = load_pipeline(device="cpu", select="all")
    pipeline.set_sources([source])

    def fail(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr("utils.inference.frames.align.cut", fail)
    frames = passing(still(2), still(5))
    with pytest.raises(MemoryError) as caught:
        list(pipeline.run(frames))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")], caught.value
    frames.close()


@pytest.mark.parametrize("name", ["clip.mp4", "source.mp4", "reference.mp4", "folder.mp4", "o.mp4"])
def test_python_overwrites_no_input_either(
    random_weights: Path, clip: Path, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("GHOST_WEIGHTS", str(random_weights))
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "o.mp4").touch()  # an older result
    for copy, original in (("clip", clip), ("source", source), ("reference", source)):
        (tmp_path / f"{copy}.mp4").write_bytes(Path(original).read_bytes())
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.iterdir()}
    pipeline = load_pipeline(device="cpu", no_overwrite=name == "o.mp4")
    with pytest.raises(errors.OutputError, match=name):
        pipeline.swap_video(tmp_path / "source.mp4", tmp_path / "clip.mp4", tmp_path / name,
                            [tmp_path / "reference.mp4"])
    assert before == {path: path.is_file() and path.read_bytes() for path in tmp_path.iterdir()}


@pytest.mark.parametrize(("name", "kept"), [("SIGINT", False), ("SIGINT", True), ("SIGHUP", True)])
def test_a_stop_leaves_no_broken_file(
    name: str, kept: bool, random_weights: Path, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GHOST_WEIGHTS", str(random_weights))
    long, count = tmp_path / "long.mp4", 600
    write_clip(long, cv2.imread(source), count, (256, 256), period=50)  # type: ignore[arg-type]
    out = tmp_path / "out" / "out.mp4"
    command = [sys.executable, "inference.py", "--source_paths", source, "--target_video", str(long),
               "--out_video_name", str(out), "--preview", "1", "--keep_partial", str(kept)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not out.with_name("out.preview.jpg").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(getattr(signal, name))
    said = process.communicate(timeout=60)[1]
    assert process.returncode == errors.INTERRUPTED and "interrupted" in said, said
    left = {"out.preview.jpg", "out.partial1.mp4"} if kept else {"out.preview.jpg"}
    assert {path.name for path in out.parent.iterdir()} == left
    if kept:
        part = out.with_name("out.partial1.mp4")
        done = len(pictures(part))
        following = float(said.split("--start ")[1].split()[0])
        assert 0 < done < count and following == done / 25
        with av.open(str(part)) as container:
            (sound,) = container.streams.audio
            assert sound.duration is not None and sound.time_base is not None
            assert float(sound.duration * sound.time_base) == pytest.approx(done / 25, abs=0.03)


def test_a_stop_while_the_file_is_completed_loses_nothing(
    call: Call, clip: Path, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(work: Callable[..., None]) -> Callable[..., None]:
        def stop_and_work(*arguments: Any) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            work(*arguments)

        return stop_and_work

    monkeypatch.setattr(Mark, "seal", stopped(Mark.seal))
    monkeypatch.setattr("utils.io.atomic.os.replace", stopped(os.replace))
    out = tmp_path / "o.mp4"
    code, result, _ = call("--source_paths", source, "--target_video", clip, "--out_video_name", out, "--keep_partial")
    assert code == 0 and result["frames"] == len(pictures(out)) == FRAMES
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("error", [errors.ResourceError("full"), MemoryError("full"), cv2.error(OPENCV_IS_FULL)])
def test_full_memory_keeps_what_is_done(
    error: Exception, random_weights: Path, clip: Path, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GHOST_WEIGHTS", str(random_weights))
    pipeline = load_pipeline(device="cpu", keep_partial=True, batch_size=4)
    works, calls = pipeline.stages.swapper.swap, iter(range(100))

    def full(*arguments: Any) -> Any:
        if next(calls) == 2:
            raise error
        return works(*arguments)

    monkeypatch.setattr(pipeline.stages.swapper, "swap", full)
    (tmp_path / "link.mp4").symlink_to("o.mp4")
    (tmp_path / "o.partial1.mp4").write_text("an earlier part")
    with pytest.raises(errors.ResourceError, match=r"full.*; what is done is in .*partial2\.mp4; --start 0\.320 goes"):
        pipeline.swap_video(source, clip, tmp_path / "link.mp4")
    assert len(pictures(tmp_path / "o.partial2.mp4")) == 8  # two batches of four
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.mp4", "o.partial1.mp4", "o.partial2.mp4"]
    assert (tmp_path / "o.partial1.mp4").read_text() == "an earlier part"
