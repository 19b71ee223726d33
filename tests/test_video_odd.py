"""Videos that are not as one would wish: places that cannot be found, clocks that run back, mirrored pictures."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from tests.clips import make_clip, packets, picture, pictures, times
from tests.test_video_io import EXACT, copy, first, seconds_of_sound
from utils.errors import InputError, OptionError
from utils.io import beside, sound
from utils.io.container import open_container
from utils.io.encode import _Pictures, video_writer
from utils.io.frame import Frame
from utils.io.span import Span
from utils.io.video import MILLISECOND, VideoInfo, open_video

JOINED = "the time stamps run back; what follows is shown after what came before"
PROGRAM_STREAM = {"codec": "mpeg2video", "sound": ("mp2",), "tick": Fraction(1, 25), "options": {"g": "50"}}


@pytest.mark.parametrize("start", [1.0, 3.0, 9.0])
@pytest.mark.parametrize(("name", "settings"), [("in.ts", {"options": {"g": "50"}}), ("in.mpg", PROGRAM_STREAM)])
def test_start_between_key_frames(tmp_path: Path, name: str, settings: dict[str, Any], start: float) -> None:
    clip = make_clip(tmp_path / name, frames=250, **settings)
    count, notes = copy(clip, tmp_path / "out.mp4", Span(start))
    assert count == pytest.approx(250 - 25 * start, abs=1) and not any("broken" in note for note in notes)
    assert times(tmp_path / "out.mp4") == pytest.approx([i / 25 for i in range(count)], abs=0.04)
    assert pictures(tmp_path / "out.mp4")[0].mean() == pytest.approx(pictures(clip)[-count].mean(), abs=2)
    assert seconds_of_sound(tmp_path / "out.mp4") == pytest.approx(10 - start, abs=0.1)


def test_reading_begins_a_little_further_back_where_no_key_frame_is_found(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.ts", frames=275, options={"g": "50"}, sound=())
    info, frame = first(clip, span=Span(10.6))
    assert (info.read_from, frame.time) == pytest.approx((0.6, 10.6), abs=0.001)


@pytest.mark.parametrize(("name", "head"), [("in.mkv", 4), ("in.ts", 12)])  # bytes of a packet that stay
def test_what_is_broken_before_the_used_part_does_not_matter(tmp_path: Path, name: str, head: int) -> None:
    clip = make_clip(tmp_path / name, frames=50, options={"g": "50"}, sound=())
    broken, data = packets(clip, "video")[3], clip.read_bytes()
    clip.write_bytes(data.replace(broken, broken[:head] + b"\xff" * (len(broken) - head)))
    count, notes = copy(clip, tmp_path / "all.mp4")
    assert count == 49 and notes == ["1 broken frame(s) left out; the frame before is shown longer"]
    assert copy(clip, tmp_path / "part.mp4", Span(0.4)) == (40, [])


@pytest.mark.parametrize("seconds", [
    [0, 0.04, 0.04, 0.04, 0.12], [0, 0.04, 0.02, 0.03, 0.08], [0.08, 0, 0.12],
])
def test_no_picture_is_lost_where_a_clock_stands_still_or_runs_back(tmp_path: Path, seconds: list[float]) -> None:
    info = VideoInfo(tmp_path, 64, 48, time_base=MILLISECOND, container=False)
    notes: list[str] = []
    with video_writer(tmp_path / "out.mp4", info, EXACT, notes.append) as writer:
        for index, time in enumerate(seconds):
            writer.write(Frame(picture(index), index, time))
    written = times(tmp_path / "out.mp4")
    assert len(written) == len(seconds) and np.diff(written).min() > 0 and not notes
    assert written[-1] - written[0] == pytest.approx(seconds[-1] - seconds[0], abs=0.003)


def test_a_time_of_decoding_that_an_encoder_leaves_unset() -> None:
    """As some x265 does in videos of one or two frames; it is then near the end of what a number can hold."""
    def packet(pts: int, dts: int) -> Any:
        return SimpleNamespace(pts=pts, dts=dts, time_base=MILLISECOND)

    for dts, wanted in (((-(2**62), -(2**62)), [0, 40]), ((-80, -40), [-80, -40])):
        track = _Pictures.__new__(_Pictures)
        track._delay = None
        stamped = track._stamped([packet(0, dts[0]), packet(40, dts[1])])
        assert [p.dts for p in stamped] == wanted and track._delay == -wanted[0]


def test_start_behind_the_end_where_places_are_hard_to_find(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="after the end"):
        copy(make_clip(tmp_path / "in.ts"), tmp_path / "out.mp4", Span(5.0))


@pytest.mark.parametrize(("name", "settings"), [("in.h264", {}),
                                                ("in.mjpeg", {"codec": "mjpeg", "pixel_format": "yuvj420p"})])
def test_start_in_streams_without_places(tmp_path: Path, name: str, settings: dict[str, Any]) -> None:
    clip = make_clip(tmp_path / name, frames=50, sound=(), **settings)
    assert copy(clip, tmp_path / "out.mp4", Span(0.8, 1.2)) == (10, [])
    assert pictures(tmp_path / "out.mp4")[0].mean() == pytest.approx(pictures(clip)[20].mean(), abs=2)
    with pytest.raises(OptionError, match="after the end"):
        copy(clip, tmp_path / "none.mp4", Span(5.0))


@pytest.mark.parametrize(("name", "codec"), [("in.h264", "libx264"), ("in.hevc", "libx265"), ("in.m2v", "mpeg2video")])
@pytest.mark.parametrize("rate", [24, 30])
def test_streams_without_time_stamps_keep_their_speed(tmp_path: Path, name: str, codec: str, rate: int) -> None:
    clip = make_clip(tmp_path / name, frames=2 * rate, rate=rate, codec=codec, tick=Fraction(1, rate), sound=())
    with open_video(clip) as video:
        assert video.info.rate == rate
    assert copy(clip, tmp_path / "out.mp4") == (2 * rate, [])
    assert np.diff(times(tmp_path / "out.mp4")) == pytest.approx((2 * rate - 1) * [1 / rate], abs=0.001)
    assert copy(clip, tmp_path / "part.mp4", Span(0.5, 1.5))[0] == pytest.approx(rate, abs=1)


@pytest.mark.parametrize("name", ["in.flv", "in.avi"])
def test_sound_near_the_beginning_of_files_that_cannot_be_rewound(tmp_path: Path, name: str) -> None:
    clip = make_clip(tmp_path / name, frames=100, codec="mpeg4" if name == "in.avi" else "flv1", sound=("libmp3lame",))
    count, notes = copy(clip, tmp_path / "out.mp4", Span(1.02))
    assert count in (74, 75) and notes == []
    assert seconds_of_sound(tmp_path / "out.mp4") == pytest.approx(2.98, abs=0.06)


def joined(clip: Path, parts: int) -> Path:
    """The same recording several times in one file, as `cat` makes it."""
    path = clip.with_name(f"joined{clip.suffix}")
    path.write_bytes(parts * clip.read_bytes())
    return path


def sound_begins(path: Path) -> list[float]:
    """Times of all packets of sound, seconds."""
    with av.open(str(path)) as container:
        return [float(p.pts * p.time_base) for p in container.demux(audio=0) if p.pts is not None]


@pytest.mark.parametrize("sound", [("aac",), ("mp2",), ()])
def test_time_stamps_that_run_back_are_continued(tmp_path: Path, sound: tuple[str, ...]) -> None:
    clip = joined(make_clip(tmp_path / "in.ts", frames=50, sound=sound), 3)
    count, notes = copy(clip, tmp_path / "out.mp4")
    assert count == 150 and JOINED in notes
    assert np.diff(times(tmp_path / "out.mp4")) == pytest.approx(149 * [0.04], abs=0.001)
    if sound == ("aac",):
        assert packets(tmp_path / "out.mp4") == [packet[7:] for packet in packets(clip)]  # MPEG-TS has headers there
        assert any("overlap" in note for note in notes)  # AAC comes in whole packets, so that sound is the longer
    if sound:
        assert seconds_of_sound(tmp_path / "out.mp4") == pytest.approx(6, abs=0.15)


def test_sound_that_changes_its_form_is_heard_to_its_end(tmp_path: Path) -> None:
    forms = [{}, {"layout": "stereo"}, {"hertz": 44100}, {"hertz": 32000, "layout": "stereo"}]
    clips = [make_clip(tmp_path / f"{i}.ts", frames=50, sound=("mp2",), **form) for i, form in enumerate(forms)]
    clip = tmp_path / "in.ts"
    clip.write_bytes(b"".join(part.read_bytes() for part in clips))
    count, _ = copy(clip, tmp_path / "out.mp4")
    assert count == 200 and seconds_of_sound(tmp_path / "out.mp4") == pytest.approx(8, abs=0.2)
    with av.open(str(tmp_path / "out.mp4")) as container:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
        rate = container.streams.audio[0].rate
    for second in (1, 3, 5, 7):
        spectrum = np.abs(np.fft.rfft(heard[second * rate : second * rate + rate // 2]))
        assert 2 * int(spectrum.argmax()) == pytest.approx(220, abs=4), f"the pitch after {second} s"


def test_sound_tracks_with_nothing_in_them_are_left_out(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.ts", sound=("ac3",), silent=20)
    count, notes = copy(clip, tmp_path / "out.mp4")
    assert count == 20 and any("1 sound track(s) left out" in note for note in notes)


class _Failing:
    """Sound whose every third packet cannot be decoded, and that cannot be read to its end."""

    def __init__(self, source: Any, error: av.FFmpegError) -> None:
        self._source, self._error, self._count = source, error, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def __enter__(self) -> _Failing:
        return self

    def __exit__(self, *error: object) -> None:
        self._source.close()

    def decode(self, packet: Any) -> Any:
        self._count += 1
        if packet is not None and self._count % 3 == 0:
            raise self._error
        return self._source.decode(packet)

    def demux(self, *streams: Any) -> Iterator[Any]:
        for number, packet in enumerate(self._source.demux(*streams)):
            if number == 30:
                raise self._error
            yield packet


def test_sound_that_cannot_be_read_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = av.PatchWelcomeError(1163346256, "Not yet implemented")
    monkeypatch.setattr(beside, "open_container", lambda path: _Failing(open_container(path), error))
    clip = make_clip(tmp_path / "in.mp4", frames=50)
    count, notes = copy(clip, tmp_path / "out.mp4")
    assert count == 50 and 0 < len(packets(tmp_path / "out.mp4")) < 40
    assert any("the sound could not be read any further" in note for note in notes)
    monkeypatch.undo()
    add = sound.Sound._add

    def adding(self: sound.Sound, stream: Any) -> Any:
        track = add(self, stream)
        track.source = _Failing(stream, error)
        return track

    monkeypatch.setattr(sound.Sound, "_add", adding)
    monkeypatch.setattr(sound.Sound, "_demux", lambda self: (p for p in self._source.demux(audio=0) if p.size))
    clip = make_clip(tmp_path / "in.ts", frames=50, sound=("mp2",))
    count, notes = copy(clip, tmp_path / "out.mp4")
    assert count == 50 and any("broken piece(s) of sound left out" in note for note in notes)


def test_sound_stays_with_the_pictures_of_its_recording(tmp_path: Path) -> None:
    clip = joined(make_clip(tmp_path / "in.ts", frames=50, silent=15), 3)
    copy(clip, tmp_path / "out.mp4")
    begins = np.array(sound_begins(tmp_path / "out.mp4"))
    gaps = begins[1:][np.diff(begins) > 0.3]
    assert gaps == pytest.approx([begins[0] + 2, begins[0] + 4], abs=0.03)


@pytest.mark.parametrize("start", [1.0, 3.0])
def test_start_before_and_behind_a_join(tmp_path: Path, start: float) -> None:
    clip = joined(make_clip(tmp_path / "in.ts", frames=50, options={"g": "50"}), 2)
    count, notes = copy(clip, tmp_path / "out.mp4", Span(start))
    assert count == 100 - 25 * start and JOINED in notes
    assert seconds_of_sound(tmp_path / "out.mp4") == pytest.approx(4 - start, abs=0.1)


def set_matrix(clip: Path, matrix: tuple[int, int, int, int]) -> None:
    """Overwrite the display matrix of the only track of an MP4 file."""
    a, b, c, d = (value << 16 for value in matrix)
    data = clip.read_bytes()
    place = data.index(b"tkhd") + 44
    clip.write_bytes(data[:place] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + data[place + 36 :])


@pytest.mark.parametrize(
    ("matrix", "shown", "said"),
    [
        ((-1, 0, 0, 1), lambda image: image[:, ::-1], ["mirrored"]),
        ((1, 0, 0, -1), lambda image: image[::-1], ["mirrored"]),
        ((0, 1, 1, 0), lambda image: image.transpose(1, 0, 2), ["mirrored"]),
        ((0, -1, -1, 0), lambda image: image[::-1, ::-1].transpose(1, 0, 2), ["mirrored"]),
        ((0, 1, -1, 0), lambda image: np.rot90(image, -1), ["rotated"]),
        ((-1, 0, 0, -1), lambda image: image[::-1, ::-1], ["rotated"]),
        ((1, 0, 0, 1), lambda image: image, []),
    ],
)
def test_display_matrices(tmp_path: Path, matrix: Any, shown: Callable[[np.ndarray], np.ndarray], said: Any) -> None:
    clip, notes = make_clip(tmp_path / "in.mp4", frames=1, sound=()), list[str]()
    before = np.asarray(first(clip)[1].image)
    set_matrix(clip, matrix)
    after = np.asarray(first(clip, note=notes.append)[1].image)
    assert np.abs(after.astype(int) - shown(before)).max() <= 2
    assert len(notes) == len(said) and all(word in note for word, note in zip(said, notes, strict=True))


def test_pictures_are_turned_by_exif_as_well(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x112] = 6  # a quarter clockwise
    Image.fromarray(picture(0)[..., ::-1]).save(tmp_path / "in.jpg", exif=exif, quality=100)
    image = first(tmp_path / "in.jpg")[1].image
    assert image.shape == (64, 48, 3) and image[0, -1].min() > 200 > image[0, 0].max()


def test_what_is_no_picture_in_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "4.png").mkdir(parents=True)
    for number in range(1, 4):
        Image.fromarray(picture(number)).save(folder / f"{number}.png")
    assert copy(folder, tmp_path / "out.mp4") == (3, [])
    for name in ("5.png", "0.png"):
        (folder / name).symlink_to(tmp_path / "nowhere.png")
        with pytest.raises(InputError, match=rf"{name}; remove it from the folder"):
            copy(folder, tmp_path / "out.mp4")


def test_only_the_used_part_of_a_folder_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(50):
        (folder / f"{number}.png").write_bytes(b"broken")
    for number in range(10, 20):
        Image.fromarray(picture(number)).save(folder / f"{number}.png")
    assert copy(folder, tmp_path / "out.mp4", Span(0.4, 0.8)) == (10, [])
    with open_video(folder, Span(0.4, 0.8)) as video:
        assert video.info.frames == 10
    with pytest.raises(OptionError, match="--start 2 s is after the end"):
        copy(folder, tmp_path / "out.mp4", Span(2))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has no pictures"):
        copy(tmp_path / "empty", tmp_path / "out.mp4", Span(2))


def test_pictures_of_a_folder_in_other_formats(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for number, name in enumerate(("a.gif", "b.jp2", "c.avif", "d.ppm", "e.jfif")):
        Image.fromarray(picture(number)).save(folder / name, "JPEG" if name == "e.jfif" else None)
    Image.fromarray(np.dstack([picture(5), picture(5)[..., 0]])).save(folder / "f.png")
    cv2.imwrite(str(folder / "g.png"), picture(6).astype(np.uint16) * 257)
    for name in ("h.jpg", "i.jpg"):
        Image.fromarray(picture(7)).convert("CMYK").save(folder / name)
    count, notes = copy(folder, tmp_path / "out.mp4")
    assert count == 9 and {"transparency is left out", "16-bit colour becomes 8-bit"} <= set(notes)
    assert len(set(notes)) == 3, "the same is said in the same words"


def test_tags_in_another_encoding(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.avi", codec="mpeg4", sound=(), comment="Title: \u00e9\u00e9")
    data = clip.read_bytes()
    assert "\u00e9\u00e9".encode() in data
    clip.write_bytes(data.replace("\u00e9\u00e9".encode(), b"\xe9\xe8\xe7\xe6"))
    assert copy(clip, tmp_path / "out.mp4")[0] == 20


def test_transparency_of_a_video_is_said(tmp_path: Path) -> None:
    for name, alpha, notes in (("a.png", 128, ["transparency is left out"]), ("b.png", 255, [])):
        still = Image.fromarray(np.dstack([picture(1), np.full((48, 64), alpha, np.uint8)]))
        still.save(tmp_path / name, save_all=True, append_images=[still.rotate(180)], duration=100)
        (tmp_path / name).rename(tmp_path / "in.apng")
        assert copy(tmp_path / "in.apng", tmp_path / "out.mp4")[1] == notes


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_transparency_that_is_not_decoded_is_said(tmp_path: Path, codec: str) -> None:
    clip = make_clip(tmp_path / "in.webm", codec=codec, pixel_format="yuva420p", tick=Fraction(1, 1000), sound=(),
                     options={"auto-alt-ref": "0"})
    assert copy(clip, tmp_path / "out.mp4") == (20, ["transparency is left out"])


def test_transparency_of_an_animation_is_said(tmp_path: Path) -> None:
    opaque, clear = np.full((48, 64), 255, np.uint8), picture(2)[..., 0]
    stills = [Image.fromarray(np.dstack([picture(i), alpha])) for i, alpha in enumerate((opaque, opaque, clear))]
    stills[0].save(tmp_path / "in.webp", save_all=True, append_images=stills[1:], duration=40, lossless=True)
    assert copy(tmp_path / "in.webp", tmp_path / "out.mp4", Span(0.08)) == (1, ["transparency is left out"])
    assert copy(tmp_path / "in.webp", tmp_path / "out.mp4", Span(0, 0.08)) == (2, [])
    (tmp_path / "frames").mkdir()
    stills[0].save(tmp_path / "frames" / "1.png")
    assert copy(tmp_path / "frames", tmp_path / "out.mp4") == (1, [])


def test_names_that_look_like_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "2024-01-01T12:30:00.mp4")
    assert copy(Path("2024-01-01T12:30:00.mp4"), Path("2024-01-01T12:40:00.mp4")) == (20, [])
    assert packets(tmp_path / "2024-01-01T12:40:00.mp4") != []


class _Counting:
    """A container that counts the packets that are taken from it."""

    def __init__(self, path: Path) -> None:
        self._container, self.taken = open_container(path), 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def __enter__(self) -> _Counting:
        return self

    def __exit__(self, *error: object) -> None:
        self._container.close()

    def demux(self, *streams: Any) -> Iterator[Any]:
        for packet in self._container.demux(*streams):
            self.taken += 1
            yield packet


def test_sound_behind_the_end_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[_Counting] = []
    monkeypatch.setattr(beside, "open_container", lambda path: opened.append(_Counting(path)) or opened[-1])
    clip = make_clip(tmp_path / "in.mp4", frames=100, sound=("aac", "aac"))
    copy(clip, tmp_path / "out.mp4", Span(0, 0.4))
    written = sum(len(packets(tmp_path / "out.mp4", track=track)) for track in (0, 1))
    assert written <= opened[0].taken <= written + 40 < 2 * len(packets(clip))


def test_the_decoder_gives_its_last_sound(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.wmv", codec="mpeg4", sound=("wmav2",))
    copy(clip, tmp_path / "out.webm")
    assert seconds_of_sound(tmp_path / "out.webm") == pytest.approx(seconds_of_sound(clip), abs=0.001)
