"""Read moving pictures: whatever FFmpeg reads, animations that only Pillow reads, folders of images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2

from utils.errors import InputError, OptionError
from utils.io.colour import RGB, Colour, bit_depth, can_keep, colour_of, describes_light, to_bgr, to_planar, to_upright
from utils.io.container import (
    check_disk,
    frame_rate,
    open_container,
    origin_of,
    packets_of,
    picture_stream,
    promised_length,
)
from utils.io.decoded import DecodedPicture
from utils.io.folder import no_pictures, pictures_in
from utils.io.frame import Frame, Pixels
from utils.io.layout import Layout, layout_of
from utils.io.span import LONGEST_WAIT, Span
from utils.io.stills import FOLDER_RATE, OPAQUE, Note, Still, animation, files_of, folder, loops, only_pillow_animates
from utils.io.timecode import advanced
from utils.io.upright import Upright, upright_of
from utils.paths import is_file, is_folder

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.reformatter import VideoReformatter

MILLISECOND = Fraction(1, 1000)
_ENDS_EARLY = 0.5  # seconds missing at the end that are worth a note
_FURTHER_BACK = 10.0  # seconds; longer than from one key frame to the next
_AS_IT_IS = Upright(False, False, False)
_NOT_SHARED = Layout(across=1, down=1)
_SURFACES = 4  # threads of a graphics card's decoder, each of which needs memory of its few pictures
RUNS_BACK = 0.5  # seconds by which time stamps fall where another recording begins, and not by mere inaccuracy

_PILLOWS_NAMES = {"gif": "GIF", "apng": "PNG"}  # of animations that FFmpeg reads, but for how often they are shown

_Timed = tuple[float, float, "VideoFrame"]  # seconds from and to which a frame is shown


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
    layout: Layout = field(default_factory=Layout)  # that loses nothing
    pixel_aspect: Fraction = Fraction(1)  # width over height of a pixel
    timecode: str | None = None  # of the first frame in the used part
    container: bool = True  # whether the file is one that can hold sound
    rgb: bool = False  # whether the pictures are coded as RGB, which none are in videos for players
    read_from: float = 0.0  # seconds where reading began, at `span.start` or further back
    joins: list[float] = field(default_factory=list, compare=False)  # seconds added where time stamps run back, so far
    loops: int = 0  # how often an animation is repeated: 0 for ever, -1 never
    last_shown: list[float] = field(default_factory=list, compare=False)  # seconds of the last frame, once it is known


@dataclass
class Video:
    """An open video: what it is, and its frames, which can be taken once."""

    info: VideoInfo
    frames: Iterator[Frame]


@contextmanager
def open_video(
    path: Path | str, span: Span | None = None, note: Note = lambda text: None, threads: int = 0, card: bool = False,
    deep: bool = False,
) -> Iterator[Video]:
    """Open a video, an animation or a folder of images.

    note: told what had to be adapted, some of it only when the frames have been read. threads: of the decoder, 0 for as
    many as it likes. card: let an NVIDIA card decode what it can. deep: the result can hold a high dynamic range.
    Raises InputError when there is nothing readable at `path`, OptionError when the span begins after the end.
    """
    path, span = Path(path), span or Span()
    if is_folder(path):
        if not pictures_in(path):
            raise no_pictures(path)
        yield _from_pictures(path, folder(path, span, note), span, len(files_of(path, span)))
    elif not is_file(path):
        raise InputError(f"there is no video {path}; check the name")
    elif only_pillow_animates(path):
        yield _from_pictures(path, animation(path, span, note), span, repeats=loops(path, "WEBP"))
    else:
        with closing(_File(path, span, note, threads, card, deep)) as file:
            yield file.open()


class _File:
    """A video that FFmpeg reads."""

    def __init__(self, path: Path, span: Span, note: Note, threads: int, card: bool, deep: bool) -> None:
        self._path, self._span, self._note, self._threads, self._card = path, span, note, threads, card
        self._joins: list[float] = []
        self._deep = deep
        self._load()
        self._origin = origin_of(self._container, self._stream)

    def _load(self) -> None:
        """Open the file, to read it from its beginning."""
        import av

        try:
            self._container = self._opened()
        except av.FFmpegError as error:
            raise InputError(f"{self._path} cannot be read as a video ({error.strerror}); give a video file") from error
        self._stream = picture_stream(self._container, self._path)
        if self._card and not self._stream.codec_context.is_hwaccel:
            self._card = False
            self._note(f"{self._path} is of a kind that the NVIDIA card does not decode; the processor does")
        self._stream.thread_type, self._stream.thread_count = "AUTO", _SURFACES if self._card else self._threads
        self._forget()

    def _opened(self) -> InputContainer:
        """The file, for the card's decoder where that is wanted and works."""
        import av

        if not self._card:
            return open_container(self._path)
        try:
            return open_container(self._path, card=True)
        except av.FFmpegError:
            self._card = False
            container = open_container(self._path)  # says what is wrong where it is the file
            self._note("the NVIDIA card decodes no video here; the processor does")
            return container

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _forget(self) -> None:
        """Reading begins anew."""
        self._broken, self._landed = 0, math.inf
        self._joins.clear()

    def open(self) -> Video:
        """Read the first frame of the used part, which knows more than the file's header."""
        read_from, first, rest = self._begin()
        if first is None:
            raise self._nothing_there()
        stream, frame = self._stream, first[2]
        upright = upright_of(frame)
        self._colour = colour_of(frame).said(frame.height) if upright.swaps_sides else colour_of(frame)
        self._say_what_is_adapted(frame, upright)
        width, height, aspect = frame.width, frame.height, Fraction(stream.sample_aspect_ratio or 1)
        if upright.swaps_sides:
            width, height, aspect = height, width, 1 / aspect
        rate, tick = frame_rate(stream), self._tick()
        info = VideoInfo(
            self._path, width, height, rate, tick, self._expected(rate), self._span, self._origin,
            self._colour.of_result(self._deep), self._layout(frame, upright), aspect, self._timecode(first[0], rate),
            read_from=read_from, joins=self._joins, loops=self._loops(), rgb=self._colour.matrix == RGB,
        )
        return Video(info, self._frames(info, first, rest, upright))

    def _layout(self, frame: VideoFrame, upright: Upright) -> Layout:
        """The layout that loses nothing; where pictures have to be converted, they have 8 bits from then on."""
        from av.video.reformatter import VideoReformatter

        result, bits = self._colour.of_result(self._deep), bit_depth(frame)
        layout = layout_of(to_planar(frame, _AS_IT_IS, VideoReformatter()).format.name)
        layout = layout or (_NOT_SHARED if frame.format.is_rgb else Layout())
        if can_keep(to_planar(frame, upright, VideoReformatter()), upright) and self._colour == result:
            return layout
        if bits > 8:
            self._note(f"{bits}-bit colour becomes 8-bit")
        return replace(layout, bits=10 if result.high_dynamic_range else 8)

    def _loops(self) -> int:
        kind = _PILLOWS_NAMES.get(self._container.format.name)
        return loops(self._path, kind) if kind else 0

    def _tick(self) -> Fraction:
        return self._stream.time_base or MILLISECOND

    def _timecode(self, first: float, rate: Fraction) -> str | None:
        tags = {name.lower(): value for name, value in (self._container.metadata | self._stream.metadata).items()}
        begin = (self._stream.start_time or 0) * float(self._tick()) - self._origin
        frames = round((first - begin) * rate) if self._span.start else 0
        return advanced(tags.get("timecode", ""), frames, rate)

    def _begin(self) -> tuple[float, _Timed | None, Iterator[_Timed]]:
        """Where reading begins in seconds, the first frame of the used part, and the others.

        Some formats know no key frames to begin at (MPEG-TS), some no places at all (raw streams). Where no frame from
        before the used part comes, reading begins further back, in the end at the beginning of the file.
        """
        start, step = self._span.start, min(LONGEST_WAIT, float(1 / frame_rate(self._stream)))
        for place in (start, start - _FURTHER_BACK):
            if place > 0 and self._go_to(place):
                used = self._span.cut(self._timed(), self._seconds())
                first = next(used, None)
                self._broken = 0  # on the way there, which is not used
                if self._landed <= start + (step if first else 0) and (first or place == start):
                    return place, first, used
        if start:
            self.close()
            self._load()
        used = self._span.cut(self._timed(), self._seconds())
        first = next(used, None)
        if start:
            self._broken = 0
        return 0.0, first, used

    def _go_to(self, place: float) -> bool:
        """Read on from the key frame before `place`, in seconds; whether the file can do so."""
        import av

        self._forget()
        try:
            self._container.seek(int((place + self._origin) / self._tick()), stream=self._stream)
        except av.FFmpegError:
            return False
        return True

    def _frames(self, info: VideoInfo, first: _Timed, rest: Iterator[_Timed], upright: Upright) -> Iterator[Frame]:
        from av.video.reformatter import VideoReformatter

        time, end, latest, converter = 0.0, 0.0, 0.0, VideoReformatter()
        for index, (time, end, frame) in enumerate(chain((first,), rest)):
            latest = max(latest, end)
            yield Frame(self._pixels(frame, info, upright, converter), index, time)
        end = max(end, min(latest, self._seconds() or end))  # reordered, the last duration is not the last frame's
        info.last_shown.append(self._span.shown(time, end))
        self._say_what_was_missing(end)

    def _pixels(self, frame: VideoFrame, info: VideoInfo, upright: Upright, converter: VideoReformatter) -> Pixels:
        """A decoded frame, upright and in the size and colours of the video."""
        self._say_who_decodes(frame)
        colour = replace(self._colour, full_range=colour_of(frame).full_range)
        frame = to_planar(frame, upright, converter)
        sides = (frame.height, frame.width) if upright.swaps_sides else (frame.width, frame.height)
        if (*sides, colour) == (info.width, info.height, info.colour) and can_keep(frame, upright):
            return DecodedPicture(to_upright(frame, upright), colour)
        if colour != self._colour:
            self._note("frames change their range of brightness; all are written with that of the first one")
        mapped = not info.colour.high_dynamic_range
        image = upright.applied(to_bgr(frame, colour, converter, frame.height, mapped))
        if sides != (info.width, info.height):  # broadcasts may change their size
            self._note(f"frames change their size; all are written as {info.width}x{info.height}")
            image = cv2.resize(image, (info.width, info.height), interpolation=cv2.INTER_AREA)
        return image

    def _timed(self) -> Iterator[_Timed]:
        """Decoded frames with their times, in seconds, which run on where another recording begins."""
        tick, step = float(self._tick()), float(1 / frame_rate(self._stream))
        last, added = -step, 0.0
        for number, frame in enumerate(self._decoded()):
            time = last + step if frame.pts is None else frame.pts * tick - self._origin + added
            if number == 0:
                self._landed = time
            elif time < last - RUNS_BACK:
                added += last + step - time
                time = last + step
                self._joins.append(added)
            last = time
            yield time, time + (frame.duration * tick if frame.duration else step), frame

    def _decoded(self) -> Iterator[VideoFrame]:
        """All frames that can be decoded."""
        import av

        try:
            for packet in packets_of(self._container, [self._stream]):
                yield from self._completed(packet)
        except av.EOFError:
            return
        except av.FFmpegError as error:
            check_disk(error, self._path)
            self._note(f"{self._path} could not be read any further ({error.strerror}); what came before is used")

    def _completed(self, packet: Packet[Any] | None) -> list[VideoFrame]:
        """The frames that a packet completes; what cannot be read or decoded is counted. Raises MemoryError."""
        import av

        try:
            if packet is not None:
                return packet.decode()
        except (av.InvalidDataError, av.PatchWelcomeError):
            pass
        except av.error.MemoryError as error:  # when a packet is read, it means that damaged data claim any size
            raise MemoryError(f"FFmpeg's decoder: {error.strerror}") from error
        self._broken += 1
        return []

    def _seconds(self) -> float | None:
        return promised_length(self._container, self._stream, self._origin)

    def _expected(self, rate: Fraction) -> int | None:
        seconds = self._seconds()
        if not (self._span.start or self._span.end) and self._stream.frames:
            return self._stream.frames
        if seconds is None and self._span.end is None:
            return None
        end = min(t for t in (seconds, self._span.end) if t is not None)
        return max(1, round((end - self._span.start) * rate))

    def _nothing_there(self) -> InputError | OptionError:
        seconds, span = self._seconds(), self._span
        if self._landed < math.inf and span.start and (seconds is None or span.start >= seconds):
            length = "" if seconds is None else f" ({seconds:.3f} s)"
            return OptionError(f"--start {span.start:g} s is after the end of {self._path}{length}")
        if self._landed < math.inf and (span.start or span.end):
            return OptionError(f"no frame {span} in {self._path}; choose another --start or --end")
        return InputError(f"{self._path} has no frame that can be decoded; is the file whole?")

    def _say_who_decodes(self, frame: VideoFrame) -> None:
        """FFmpeg leaves what the card does not know to the processor silently; the card's frames are semi-planar."""
        if self._card and frame.format.name.startswith("yuv420p"):
            self._card = False
            self._note(f"the NVIDIA card does not decode all of {self._path}; the processor does the rest")

    def _say_what_is_adapted(self, frame: VideoFrame, upright: Upright) -> None:
        if upright:
            how = "rotated" if upright.only_turns else "mirrored"
            self._note(f"the video is {how} by a tag; the result is written upright")
        if self._colour.high_dynamic_range and not self._colour.of_result(self._deep).high_dynamic_range:
            self._note("the video has a high dynamic range (HDR); the result is mapped to the standard range, BT.709 "
                       "(--encoder libx265, libsvtav1, prores_ks and ffv1 keep it, but for RGB)")
        elif self._colour.high_dynamic_range and describes_light(frame):
            self._note("what describes the light of HDR (mastering display, HDR10+, Dolby Vision) is left out")
        see_through = any(part.is_alpha for part in frame.format.components)
        hidden = self._stream.metadata.get("alpha_mode") == "1"  # of VP8 and VP9, beside what FFmpeg decodes
        if hidden or (see_through and (frame.to_ndarray(format="rgba")[..., 3] < 255).any()):
            self._note(OPAQUE)
        if frame.interlaced_frame:
            self._note("the video is interlaced; the result shows the lines of both fields at once")

    def _say_what_was_missing(self, end: float) -> None:
        if self._joins:
            self._note("the time stamps run back; what follows is shown after what came before")
        if self._broken:
            self._note(f"{self._broken} broken frame(s) left out; the frame before is shown longer")
        seconds = self._seconds()
        if self._span.end is None and seconds is not None and end < seconds - _ENDS_EARLY:
            self._note(f"the pictures end early, after {end:.2f} of {seconds:.2f} s; what is there is used")


def _from_pictures(
    path: Path, pictures: Iterator[Still], span: Span, frames: int | None = None, repeats: int = 0
) -> Video:
    """A video from pictures with their times; frames: how many, where that is known. repeats: as `loops` says."""
    first = next(pictures, None)
    if first is None and span.start:
        raise OptionError(f"--start {span.start:g} s is after the end of {path}")
    if first is None:
        raise InputError(f"{path} has no pictures in the chosen part")
    height, width = first[0].shape[:2]
    info = VideoInfo(
        path, width, height, time_base=MILLISECOND, frames=frames, span=span, colour=Colour(RGB).of_result(deep=False),
        layout=_NOT_SHARED, rgb=True, container=False, loops=repeats,
    )
    return Video(info, _same_size(info, chain((first,), pictures)))


def _same_size(info: VideoInfo, pictures: Iterable[Still]) -> Iterator[Frame]:
    end = time = 0.0
    for index, (image, time, shown) in enumerate(pictures):
        if image.shape[:2] != (info.height, info.width):
            raise InputError(f"the pictures of {info.path} differ in size: the first has {info.width}x{info.height} "
                             f"pixels, number {index + 1} has {image.shape[1]}x{image.shape[0]}; make them alike")
        end = time + shown
        yield Frame(image, index, time)
    info.last_shown.append(info.span.shown(time, end))
