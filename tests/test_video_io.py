"""Reading and writing videos: nothing is lost, nothing drifts, and what has to change is said."""

from __future__ import annotations

import gc
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.clips import make_clip, packets, picture, pictures, planes, times
from tests.conftest import ROOT
from utils.errors import InputError, OptionError, OutputError
from utils.io import encoders
from utils.io.encode import video_writer
from utils.io.encoders import EncodeOptions
from utils.io.frame import Frame
from utils.io.span import Span
from utils.io.video import VideoInfo, open_video

EXACT = EncodeOptions(crf=0)


def copy(source: Path, output: Path, span: Span | None = None, options: EncodeOptions = EXACT) -> tuple[int, list[str]]:
    """Write what is read; returns the number of frames and what was said about it."""
    notes: list[str] = []
    count = 0
    with (
        open_video(source, span, notes.append) as video,
        video_writer(output, video.info, options, notes.append) as writer,
    ):
        for frame in video.frames:
            assert frame.index == count
            writer.write(frame)
            count += 1
    return count, notes


def first(path: Path, **changes: Any) -> tuple[VideoInfo, Frame]:
    with open_video(path, **changes) as video:
        return video.info, next(video.frames)


def seconds_of_sound(path: Path) -> float:
    import av

    with av.open(str(path)) as container:
        return sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))


def test_mp4_with_aac_keeps_frames_times_and_every_audio_packet(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4", frames=40, sound=("aac", "aac"))
    assert copy(clip, tmp_path / "out.mp4") == (40, [])
    assert times(tmp_path / "out.mp4") == times(clip)
    for track in (0, 1):
        assert packets(tmp_path / "out.mp4", track=track) == packets(clip, track=track) != []
    for before, after in zip(planes(clip), planes(tmp_path / "out.mp4"), strict=True):
        assert all(np.array_equal(*pair) for pair in zip(before, after, strict=True))


@pytest.mark.parametrize("size", [(64, 48), (90, 722)])  # from 720 lines on, colours without a tag are BT.709
def test_only_what_changed_is_converted(tmp_path: Path, size: tuple[int, int]) -> None:
    clip = make_clip(tmp_path / "in.mp4", frames=2, size=size, sound=())
    boxes = [(0, 0, 13, 11), (21, 13, 40, 29), (size[0] - 15, size[1] - 13, *size)]
    with open_video(clip) as video, video_writer(tmp_path / "out.mp4", video.info, EXACT, print) as writer:
        for frame in video.frames:
            pixels = frame.pixels.copy()
            for left, top, right, bottom in boxes:
                pixels[top:bottom, left:right][:] = (20, 60, 200)
            writer.write(replace(frame, pixels=pixels, changed=tuple(boxes)))
    kept = np.ones((size[1] // 2, size[0] // 2), bool)  # pairs of lines and columns
    for left, top, right, bottom in boxes:
        kept[top // 2 : (bottom + 1) // 2, left // 2 : (right + 1) // 2] = False
    everywhere = (kept.repeat(2, axis=0).repeat(2, axis=1), kept, kept)
    for before, after in zip(planes(clip), planes(tmp_path / "out.mp4"), strict=True):
        for one, other, same in zip(before, after, everywhere, strict=True):
            assert np.array_equal(one[same], other[same]) and not np.array_equal(one, other)
    shown = first(tmp_path / "out.mp4")[1].image
    for left, top, right, bottom in boxes:
        middle = shown[(top + bottom) // 2, (left + right) // 2].astype(int)
        assert middle == pytest.approx([20, 60, 200], abs=4)


def test_result_begins_with_its_index_and_is_h264_in_420(tmp_path: Path) -> None:
    import av

    clip = make_clip(tmp_path / "in.mp4", pixel_format="yuv444p")
    copy(clip, tmp_path / "out.mp4", options=EncodeOptions())
    data = (tmp_path / "out.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(str(tmp_path / "out.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.codec.canonical_name, context.pix_fmt) == ("h264", "yuv420p")


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("in.mov", {"sound": ("pcm_s16le",)}, ["pcm_s16le sound cannot go into this file; it becomes AAC"]),
        ("in.mkv", {"tick": Fraction(1, 1000), "sound": ("flac",)}, []),
        ("in.mkv", {"tick": Fraction(1, 1000), "sound": ("mp2",)}, ["mp2 sound cannot go into this file; "]),
        ("in.webm", {"codec": "libvpx-vp9", "tick": Fraction(1, 1000), "sound": ("libopus",)}, []),
        ("in.avi", {"codec": "mpeg4", "tick": Fraction(1, 25), "sound": ("libmp3lame",)}, []),
        ("in.gif", {"codec": "gif", "pixel_format": "rgb8", "tick": Fraction(1, 100), "sound": ()}, []),
        ("in.mp4", {"pixel_format": "yuv420p10le"}, ["10-bit colour becomes 8-bit"]),
        ("in.mp4", {"sound": ()}, []),
    ],
)
def test_other_files_become_mp4(tmp_path: Path, name: str, settings: dict[str, Any], said: list[str]) -> None:
    clip = make_clip(tmp_path / name, **settings)
    count, notes = copy(clip, tmp_path / "out.mp4")
    assert count == 20 and len(notes) == len(said) and all(n.startswith(s) for n, s in zip(notes, said, strict=True))
    assert times(tmp_path / "out.mp4") == pytest.approx(times(clip), abs=0.0006)
    if settings.get("sound", ("aac",)):
        assert seconds_of_sound(tmp_path / "out.mp4") == pytest.approx(0.8, abs=0.06)


@pytest.mark.parametrize("name", ["out.mov", "out.mkv", "out.webm", "out.gif"])
def test_output_in_other_containers(tmp_path: Path, name: str) -> None:
    clip = make_clip(tmp_path / "in.mp4")
    count, notes = copy(clip, tmp_path / name, options=EncodeOptions())
    assert count == len(pictures(tmp_path / name)) == 20
    shown = times(tmp_path / name)  # Matroska has no times below 0, where AAC begins
    assert [time - shown[0] for time in shown] == pytest.approx(times(clip), abs=0.006)
    expected = {"out.webm": ["aac sound cannot go into this file; it becomes Opus"],
                "out.gif": ["this format holds no sound; it is left out"]}
    assert notes == expected.get(name, [])
    if not notes:
        assert packets(tmp_path / name) == packets(clip)
    middle = pictures(tmp_path / name)[10].mean()
    assert middle == pytest.approx(picture(10).mean(), abs=4)


def test_m4v_holds_what_mp4_holds(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mov", sound=("pcm_s16le",))
    count, notes = copy(clip, tmp_path / "out.m4v", options=EncodeOptions("libx265"))
    assert count == len(pictures(tmp_path / "out.m4v")) == 20
    assert notes == ["pcm_s16le sound cannot go into this file; it becomes AAC"]


def test_variable_frame_rate_keeps_its_times(tmp_path: Path) -> None:
    ticks = [0, 512, 600, 2000, 2600, 9000, 9001]
    clip = make_clip(tmp_path / "in.mp4", frames=7, times=ticks, sound=())
    copy(clip, tmp_path / "out.mp4")
    assert times(tmp_path / "out.mp4") == pytest.approx([tick / 12800 for tick in ticks])


@pytest.mark.parametrize(("turn", "corner", "shape"), [(90, (-1, 0), (64, 48)), (180, (-1, -1), (48, 64)),
                                                       (-90, (0, -1), (64, 48))])
def test_rotated_video_is_written_upright(tmp_path: Path, turn: int, corner: tuple[int, int], shape: Any) -> None:
    clip = make_clip(tmp_path / "in.mp4", turn=turn)
    _, notes = copy(clip, tmp_path / "out.mp4")
    image = pictures(tmp_path / "out.mp4")[0]
    assert image.shape[:2] == shape and "rotated" in notes[0]
    bright = image.mean(axis=-1) > 200
    assert bright[corner] and not bright[-1 - corner[0], -1 - corner[1]]


def test_odd_sizes_gain_an_edge(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4", size=(63, 47), pixel_format="yuv444p")
    _, notes = copy(clip, tmp_path / "out.mp4")
    assert pictures(tmp_path / "out.mp4")[0].shape == (48, 64, 3)
    assert notes == ["63x47 has an odd side; the result gains one edge row or column", "4:4:4 colour becomes 4:2:0"]


def test_colour_tags_are_kept_and_understood(tmp_path: Path) -> None:
    import av

    tags = {"colorspace": 1, "color_primaries": 1, "color_trc": 1, "color_range": 1}
    clip = make_clip(tmp_path / "in.mp4", tags=tags)
    copy(clip, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        frame = next(container.decode(video=0))
        assert [int(getattr(frame, name)) for name in tags] == list(tags.values())
    # A saturated colour differs by more than 10 levels between the two matrices.
    red = VideoInfo(tmp_path, 64, 48, container=False)
    for matrix in (1, 6):
        info = VideoInfo(tmp_path, 64, 48, colour=type(red.colour)(matrix, matrix, matrix), container=False)
        with video_writer(tmp_path / "red.mp4", info, EXACT, print) as writer:
            writer.write(Frame(np.full((48, 64, 3), (20, 30, 200), np.uint8)))
        assert first(tmp_path / "red.mp4")[1].image[24, 32].astype(int) == pytest.approx([20, 30, 200], abs=3)


def test_high_dynamic_range_is_mapped(tmp_path: Path) -> None:
    tags = {"colorspace": 9, "color_primaries": 9, "color_trc": 16}
    still = np.full((48, 64, 3), 112, np.uint8)  # 50 cd/m² in PQ
    still[:, 32:] = 148  # 203 cd/m², diffuse white
    clip = make_clip(tmp_path / "in.mp4", codec="libx265", pixel_format="yuv420p10le", tags=tags, sound=(), still=still,
                     options={"x265-params": "log-level=none"})
    notes: list[str] = []
    with open_video(clip, note=notes.append) as video:
        image = next(video.frames).image
    assert "HDR" in notes[0] and image.dtype == np.uint8
    assert image[24, 8].astype(int) == pytest.approx(3 * [255 * (50 / 203) ** (1 / 2.4)], abs=5)
    assert image[24, 56].min() > 245


def test_start_and_end(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4", frames=50)
    count, notes = copy(clip, tmp_path / "out.mp4", Span(0.8, 1.2))
    assert (count, notes) == (10, [])
    assert times(tmp_path / "out.mp4") == pytest.approx([i / 25 for i in range(10)])
    assert pictures(tmp_path / "out.mp4")[0].mean() == pytest.approx(pictures(clip)[20].mean(), abs=1)
    assert packets(tmp_path / "out.mp4") == packets(clip)[38 + 1 : 38 + 1 + len(packets(tmp_path / "out.mp4"))]
    with pytest.raises(OptionError, match="after the end"):
        copy(clip, tmp_path / "none.mp4", Span(5.0))


def test_one_broken_frame_is_counted_and_the_rest_stays_in_time(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mkv", frames=30, tick=Fraction(1, 1000), sound=(), options={"g": "1"})
    broken, data = packets(clip, "video")[12], clip.read_bytes()
    clip.write_bytes(data.replace(broken, b"\xff" * len(broken)))
    count, notes = copy(clip, tmp_path / "out.mp4")
    assert count == 29 and notes == ["1 broken frame(s) left out; the frame before is shown longer"]
    assert times(tmp_path / "out.mp4") == pytest.approx([i / 25 for i in range(30) if i != 12])


@pytest.mark.parametrize("name", ["in.mp4", "in.mkv"])
def test_a_file_that_ends_early_is_used_as_far_as_it_goes(tmp_path: Path, name: str) -> None:
    clip = make_clip(tmp_path / name, frames=100, size=(160, 120), options={"crf": "1"}, sound=(),
                     container_options={"movflags": "faststart"} if name == "in.mp4" else {})
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    count, notes = copy(clip, tmp_path / "out.mp4")
    assert 5 < count < 80 and len(pictures(tmp_path / "out.mp4")) == count
    assert any("end early" in note for note in notes)


def test_animated_webp_and_folders_of_images(tmp_path: Path) -> None:
    stills = [Image.fromarray(picture(i)[..., ::-1]) for i in range(5)]
    stills[0].save(tmp_path / "in.webp", save_all=True, append_images=stills[1:], duration=[100, 200, 50, 100, 100],
                   lossless=True)
    copy(tmp_path / "in.webp", tmp_path / "a.mp4")
    assert times(tmp_path / "a.mp4") == pytest.approx([0, 0.1, 0.3, 0.35, 0.45])
    (tmp_path / "folder").mkdir()
    for i in range(12):
        stills[i % 5].save(tmp_path / "folder" / f"image{i}.png")
    copy(tmp_path / "folder", tmp_path / "b.mp4")
    brightness = [int(image.mean()) for image in pictures(tmp_path / "b.mp4")]
    assert brightness[10] == pytest.approx(brightness[0], abs=2) != brightness[2], "10 comes after 9, not after 1"
    stills[0].resize((32, 32)).save(tmp_path / "folder" / "image99.png")
    with pytest.raises(InputError, match="differ in size"):
        copy(tmp_path / "folder", tmp_path / "c.mp4")


@pytest.mark.parametrize("content", [b"", b"not a video at all" * 50, b"RIFF\0\0\0\0WEBPbroken"])
def test_unreadable_files_are_input_errors(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "in.mp4").write_bytes(content)
    with pytest.raises(InputError, match=r"in\.mp4"):
        copy(tmp_path / "in.mp4", tmp_path / "out.mp4")
    with pytest.raises(InputError, match=r"missing\.mp4"):
        copy(tmp_path / "missing.mp4", tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    import av

    from tests.clips import _sing

    with av.open(str(tmp_path / "in.m4a"), "w") as out:
        _sing(out, out.add_stream("aac", rate=48000, layout="mono"), 48000, 440)
    with pytest.raises(InputError, match="only sound"):
        copy(tmp_path / "in.m4a", tmp_path / "out.mp4")


def test_choices_that_an_encoder_has_no_use_for_are_named(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4", frames=3)
    _, notes = copy(clip, tmp_path / "out.gif", options=EncodeOptions(crf=20, preset="slow"))
    assert any("no --crf" in note for note in notes) and any("no --preset" in note for note in notes)
    _, notes = copy(clip, tmp_path / "out.mp4", options=EncodeOptions(crf=20, preset="fast"))
    assert not notes
    _, notes = copy(clip, tmp_path / "out.mov", options=EncodeOptions("prores_ks", crf=60))
    assert notes == ["prores_ks has no --crf: 60 is left out"]


def test_hardware_that_does_not_work_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    works = encoders._opens
    monkeypatch.setattr(encoders, "_opens", lambda name, *rest: "nvenc" not in name and works(name, *rest))
    clip = make_clip(tmp_path / "in.mp4", frames=3)
    _, notes = copy(clip, tmp_path / "out.mp4", options=EncodeOptions("h264_nvenc", 20, "p5"))
    assert notes == ["the hardware encoder h264_nvenc does not work on this machine; using libx264"]
    assert len(pictures(tmp_path / "out.mp4")) == 3


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted there")
@pytest.mark.parametrize("threads", [1, 3])
def test_codecs_take_as_many_threads_as_they_are_told(tmp_path: Path, threads: int) -> None:
    def running() -> set[str]:
        return {path.name for path in Path("/proc/self/task").iterdir()}

    clip, options = make_clip(tmp_path / "in.mp4", frames=9), EncodeOptions(crf=0, threads=threads)
    gc.collect()  # threads of earlier files
    before = running()
    with open_video(clip, threads=threads) as video:  # decodes the first picture
        assert (len(running() - before) >= threads) == (threads > 1)
        frame = next(video.frames)
        before = running()
        with video_writer(tmp_path / "out.mp4", video.info, options, print) as writer:
            writer.write(frame)
            assert (len(running() - before) >= threads) == (threads > 1)


@pytest.mark.parametrize(
    ("name", "options", "error", "text"),
    [
        ("out.xyz", EncodeOptions(), OutputError, "unknown ending"),
        ("out.webm", EncodeOptions("libx264"), OptionError, "cannot write .webm"),
        ("out.mp4", EncodeOptions("nonsense"), OptionError, "cannot write .mp4"),
        ("out.mp4", EncodeOptions(crf=99), OptionError, "from 0"),
        ("out.mp4", EncodeOptions(preset="nonsense"), OptionError, "nonsense"),
    ],
)
def test_bad_choices_are_refused(tmp_path: Path, name: str, options: EncodeOptions, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        copy(make_clip(tmp_path / "in.mp4", frames=1), tmp_path / name, options=options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4"]


def test_an_encoder_that_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "_opens", lambda *_: False)
    with pytest.raises(OptionError, match="libx264 does not work with this PyAV"):
        copy(make_clip(tmp_path / "in.mp4", frames=1), tmp_path / "out.mp4")


def test_nothing_is_left_when_a_run_is_interrupted(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4")
    (tmp_path / "out.mp4").write_text("what was there before")
    with (
        pytest.raises(KeyboardInterrupt),
        open_video(clip) as video,
        video_writer(tmp_path / "out.mp4", video.info, EXACT, print) as writer,
    ):
        writer.write(next(video.frames))
        raise KeyboardInterrupt
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]
    assert (tmp_path / "out.mp4").read_text() == "what was there before"


_AV1 = """
import sys
from utils.io.encode import video_writer
from utils.io.encoders import EncodeOptions
from utils.io.video import open_video
with (open_video(sys.argv[1]) as video,
      video_writer(sys.argv[2], video.info, EncodeOptions("libsvtav1"), print) as writer):
    for frame in video.frames:
        writer.write(frame)
"""


@pytest.mark.parametrize("level", [None, "3"])
def test_av1_prints_nothing_unless_it_is_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str | None
) -> None:
    monkeypatch.delenv("SVT_LOG", raising=False)
    if level:
        monkeypatch.setenv("SVT_LOG", level)
    clip = make_clip(tmp_path / "in.mp4", frames=3, sound=())
    command = [sys.executable, "-c", _AV1, str(clip), str(tmp_path / "out.mp4")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and bool(done.stdout + done.stderr) == bool(level)


_FILL = """
import resource, signal, sys
sys.path.insert(0, ".")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
from pathlib import Path
from utils.errors import OutputError
from utils.io.encode import video_writer
from utils.io.encoders import EncodeOptions
from utils.io.video import open_video
try:
    with open_video(sys.argv[1]) as video, video_writer(sys.argv[2], video.info, EncodeOptions(crf=0), print) as writer:
        for frame in video.frames:
            writer.write(frame)
except OutputError as error:
    print(error)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs limits on file sizes")
@pytest.mark.parametrize("name", ["out.mp4", "out.mkv"])
def test_a_file_that_cannot_grow_is_an_output_error(tmp_path: Path, name: str) -> None:
    assert resource.RLIMIT_FSIZE is not None
    clip = make_clip(tmp_path / "in.mp4", frames=100, size=(320, 240))
    command = [sys.executable, "-c", _FILL, str(clip), str(tmp_path / name)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.startswith("cannot write"), done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4"]
