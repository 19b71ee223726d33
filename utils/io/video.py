"""Read moving pictures: whatever FFmpeg reads, animations that only Pillow reads, folders of images."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from utils.errors import InputError, OptionError
from utils.inference.types import Frame
from utils.io.colour import RGB, Colour, bit_depth, can_keep, colour_of, to_bgr
from utils.io.decoded import DecodedPicture

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

FOLDER_RATE = Fraction(25)  # pictures per second of a folder of images
_MILLISECOND = Fraction(1, 1000)
_PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"}
_TURNS = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}
_ENDS_EARLY = 0.5  # seconds missing at the end that are worth a note

Note = Callable[[str], None]


@dataclass(frozen=True)
class Span:
    """The part of a video that is used, in seconds from its start."""

    start: float = 0.0
    end: float | None = None

    def __post_init__(self) -> None:
        if self.start < 0:
            raise OptionError(f"--start must not be negative, not {self.start:g}")
        if self.end is not None and self.end <= self.start:
            raise OptionError(f"--end ({self.end:g} s) must come after --start ({self.start:g} s)")

    def holds(self, time: float) -> bool:
        """Whether the frame at `time` belongs to the part."""
        return time >= self.start - 1e-6 and (self.end is None or time < self.end - 1e-6)


@dataclass(frozen=True)
class VideoInfo:
    """What a writer has to know to make a video like the one that is read."""

    path: Path
    width: int  # upright
    height: int
    rate: Fraction = FOLDER_RATE  # average frames per second
    time_base: Fraction = Fraction(1, 25)  # seconds per tick of the clock
    frames: int | None = None  # expected, in the used part
    span: Span = field(default_factory=Span)
    origin: float = 0.0  # time stamp in the file that counts as 0 seconds
    colour: Colour = field(default_factory=Colour)
    pixel_aspect: Fraction = Fraction(1)  # width over height of a pixel
    container: bool = True  # whether the file is one that can hold sound


@dataclass
class Video:
    """An open video: what it is, and its frames, which can be taken once."""

    info: VideoInfo
    frames: Iterator[Frame]


@contextmanager
def open_video(
    path: Path | str, span: Span | None = None, note: Note = lambda text: None, threads: int = 0
) -> Iterator[Video]:
    """Open a video, an animation or a folder of images.

    note: told what had to be adapted, some of it only when the frames have been read. threads: of the decoder, 0 for as
    many as it likes.
    Raises InputError when there is nothing readable at `path`, OptionError when the span lies behind the end.
    """
    path, span = Path(path), span or Span()
    if path.is_dir():
        yield _from_pictures(path, _folder(path), span)
    elif not path.is_file():
        raise InputError(f"there is no video {path}; check the name")
    elif _only_pillow_animates(path):
        yield _from_pictures(path, _animation(path), span)
    else:
        import av

        try:
            container = av.open(str(path))
        except av.FFmpegError as error:
            raise InputError(f"{path} cannot be read as a video ({error.strerror}); give a video file") from error
        with container:
            yield _File(path, container, span, note, threads).open()


class _File:
    """A video that FFmpeg reads."""

    def __init__(self, path: Path, container: InputContainer, span: Span, note: Note, threads: int) -> None:
        self._path, self._container, self._span, self._note = path, container, span, note
        self._stream = self._find_stream()
        self._stream.thread_type, self._stream.thread_count = "AUTO", threads
        self._origin = max(0, container.start_time or 0) / 1_000_000
        self._broken = 0

    def _find_stream(self) -> VideoStream:
        from av.stream import Disposition

        streams = [s for s in self._container.streams.video if Disposition.attached_pic not in s.disposition]
        if not streams:
            raise InputError(f"{self._path} has no pictures, only sound; give a video file")
        return streams[0]

    def open(self) -> Video:
        """Read the first frame of the used part, which knows more than the file's header."""
        stream, tick = self._stream, self._stream.time_base or Fraction(1, 1000)
        if self._span.start:
            self._container.seek(int((self._span.start + self._origin) / tick), stream=stream)
        timed = self._timed(float(tick), float(1 / (stream.average_rate or stream.guessed_rate or FOLDER_RATE)))
        first = next(timed, None)
        if first is None:
            raise self._nothing_there()
        time, frame = first
        turn = round(frame.rotation / 90) * 90 % 360
        self._say_what_is_adapted(frame, turn)
        width, height, aspect = frame.width, frame.height, Fraction(stream.sample_aspect_ratio or 1)
        if turn in (90, 270):
            width, height, aspect = height, width, 1 / aspect
        rate = Fraction(stream.average_rate or stream.guessed_rate or FOLDER_RATE)
        info = VideoInfo(
            self._path, width, height, rate, tick, self._expected(rate), self._span, self._origin,
            colour_of(frame), aspect,
        )  # fmt: skip
        return Video(info, self._frames(info, (time, frame), timed, turn))

    def _frames(
        self, info: VideoInfo, first: tuple[float, VideoFrame], rest: Iterator[tuple[float, VideoFrame]], turn: int
    ) -> Iterator[Frame]:
        from av.video.reformatter import VideoReformatter

        time, converter, size = 0.0, VideoReformatter(), (info.width, info.height)
        for index, (time, frame) in enumerate(_chain(first, rest)):
            if not turn and can_keep(frame, info.colour) and (frame.width, frame.height) == size:
                yield Frame(DecodedPicture(frame, info.colour), index, time)
                continue
            image = to_bgr(frame, info.colour, converter, frame.height)
            if turn:
                image = cv2.rotate(image, _TURNS[turn])
            if image.shape[1::-1] != size:  # broadcasts may change their size
                self._note(f"frames change their size; all are written as {info.width}x{info.height}")
                image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            yield Frame(image, index, time)
        self._say_what_was_missing(time + float(1 / info.rate))

    def _timed(self, tick: float, step: float) -> Iterator[tuple[float, VideoFrame]]:
        """Decoded frames of the used part with their times in seconds."""
        last = -step
        for frame in self._decoded():
            time = last + step if frame.pts is None else frame.pts * tick - self._origin
            last = time
            if self._span.holds(time):
                yield time, frame
            elif time >= self._span.start:
                return

    def _decoded(self) -> Iterator[VideoFrame]:
        """All frames that can be decoded; the others are counted."""
        import av

        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
                frames = packet.decode()
            except StopIteration:
                return
            except av.EOFError:
                return
            except (av.InvalidDataError, av.PatchWelcomeError):
                self._broken += 1
                continue
            except av.FFmpegError as error:
                self._note(f"{self._path} could not be read any further ({error.strerror}); what came before is used")
                return
            yield from frames

    def _seconds(self) -> float | None:
        """Length of the pictures that the header promises."""
        stream = self._stream
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        if clock := re.fullmatch(r"(\d+):(\d+):([\d.]+)", stream.metadata.get("DURATION", "")):
            return int(clock[1]) * 3600 + int(clock[2]) * 60 + float(clock[3])
        return self._container.duration / 1_000_000 if self._container.duration else None

    def _expected(self, rate: Fraction) -> int | None:
        seconds = self._seconds()
        if not (self._span.start or self._span.end) and self._stream.frames:
            return self._stream.frames
        if seconds is None and self._span.end is None:
            return None
        end = min(t for t in (seconds, self._span.end) if t is not None)
        return max(1, round((end - self._span.start) * rate))

    def _nothing_there(self) -> InputError | OptionError:
        seconds = self._seconds()
        if self._span.start and seconds is not None and self._span.start >= seconds:
            return OptionError(f"--start {self._span.start:g} s lies behind the end of {self._path} ({seconds:.3f} s)")
        return InputError(f"{self._path} has no frame that can be decoded; is the file whole?")

    def _say_what_is_adapted(self, frame: VideoFrame, turn: int) -> None:
        if turn:
            self._note("the video is rotated by a tag; the result is written upright")
        if colour_of(frame).high_dynamic_range:
            self._note("the video has a high dynamic range (HDR); the result is mapped to the standard range, BT.709")
        if bit_depth(frame) > 8:
            self._note(f"{bit_depth(frame)}-bit colour becomes 8-bit")
        if self._container.streams.subtitles:
            self._note("subtitles are left out")

    def _say_what_was_missing(self, end: float) -> None:
        if self._broken:
            self._note(f"{self._broken} broken frame(s) left out; the frame before is shown longer")
        seconds = self._seconds()
        if self._span.end is None and seconds is not None and end + self._origin < seconds - _ENDS_EARLY:
            self._note(f"the pictures end early, after {end:.2f} of {seconds:.2f} s; what is there is used")


def _chain(first: Any, rest: Iterable[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _only_pillow_animates(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(12)
    return head[:4] == b"RIFF" and head[8:] == b"WEBP"


def _animation(path: Path) -> Iterator[tuple[np.ndarray, float]]:
    """Pictures of an animation that Pillow reads, with seconds from the start."""
    from PIL import Image, ImageSequence, UnidentifiedImageError

    time = 0.0
    try:
        with Image.open(path) as animation:
            for picture in ImageSequence.Iterator(animation):
                yield np.ascontiguousarray(np.asarray(picture.convert("RGB"))[..., ::-1]), time
                time += picture.info.get("duration", 0) / 1000 or 0.1  # what browsers do without a duration
    except (UnidentifiedImageError, OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read as an animation ({error}); is the file whole?") from error


def _folder(path: Path) -> Iterator[tuple[np.ndarray, float]]:
    """The pictures of a folder in the order of their names, numbers counted as numbers."""
    names = sorted((p for p in path.iterdir() if p.suffix.lower() in _PICTURES), key=_natural)
    for index, name in enumerate(names):
        image = cv2.imdecode(np.fromfile(name, np.uint8), cv2.IMREAD_COLOR) if name.stat().st_size else None
        if image is None:
            raise InputError(f"{name} cannot be read as an image; remove it from the folder or replace it")
        yield image, float(index / FOLDER_RATE)


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _from_pictures(path: Path, pictures: Iterator[tuple[np.ndarray, float]], span: Span) -> Video:
    """A video from pictures with their times."""
    used = ((image, time) for image, time in pictures if span.holds(time))
    first = next(used, None)
    if first is None:
        raise InputError(f"{path} has no pictures" + (" in the chosen part" if span.start else ""))
    height, width = first[0].shape[:2]
    info = VideoInfo(path, width, height, time_base=_MILLISECOND, span=span, colour=Colour(RGB), container=False)
    return Video(info, _same_size(path, _chain(first, used), (height, width)))


def _same_size(path: Path, pictures: Iterable[tuple[np.ndarray, float]], size: tuple[int, int]) -> Iterator[Frame]:
    for index, (image, time) in enumerate(pictures):
        if image.shape[:2] != size:
            raise InputError(f"the pictures of {path} differ in size: the first has {size[1]}x{size[0]} pixels, "
                             f"number {index + 1} has {image.shape[1]}x{image.shape[0]}; make them alike")  # fmt: skip
        yield Frame(image, index, time)
