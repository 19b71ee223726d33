"""Write videos: one encode generation, sound carried over, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2

from utils.io.atomic import atomic_path, move
from utils.io.beside import Beside
from utils.io.colour import copy_with_changes, from_bgr, to_pixel_format
from utils.io.decoded import DecodedPicture
from utils.io.encoders import ENCODERS, EncodeOptions, choose_encoder, container_for
from utils.io.frame import Frame
from utils.io.layout import Layout
from utils.io.leftovers import without_leftovers
from utils.io.mark import UNMARKED, Mark
from utils.io.video import Note, VideoInfo

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import OutputContainer
    from av.filter import Graph
    from av.packet import Packet
    from av.video.stream import VideoStream

_GIF_TICK = Fraction(1, 100)
_GIF_SHORTEST = 2  # ticks; browsers show frames of one tick for ten
_REORDERED = 60  # seconds from decoding to showing a frame that no encoder reaches


class _Pictures:
    """The video track of a result."""

    def __init__(
        self, container: OutputContainer, info: VideoInfo, name: str, options: dict[str, str], layout: Layout,
        note: Note,
    ) -> None:
        from av.video.reformatter import VideoReformatter

        self._info, self._layout, self._note = info, layout, note
        self._colour = info.colour
        if not ENCODERS[name].says_range:
            self._colour = replace(self._colour, full_range=False)
        self._converter = VideoReformatter()
        self._tick = _GIF_TICK if name == "gif" else info.time_base
        self._odd = _missing(info, name, layout)
        self._shortest = _GIF_SHORTEST if name == "gif" else 1
        self._last = self._came = -self._shortest  # ticks of the last frame that was written, and of the last of all
        self._delay: int | None = None  # ticks from decoding the first frame to showing it
        rate: Any = info.rate.limit_denominator(10**6)
        stream: Any = container.add_stream(name, rate=rate)
        self.stream: VideoStream = stream
        self.stream.metadata.update({"timecode": info.timecode} if info.timecode and name != "gif" else {})
        context = self.stream.codec_context
        context.width, context.height = info.width + self._odd[1], info.height + self._odd[0]
        context.time_base, context.options = self._tick, options
        context.sample_aspect_ratio = info.pixel_aspect
        self._palette = _palette_graph(info) if name == "gif" else None
        context.pix_fmt = "pal8" if self._palette else layout.name
        if not self._palette:
            self._describe(name in ("libx265", "hevc_nvenc") and container.format.name in ("mp4", "mov"))

    def _describe(self, apple: bool) -> None:
        context = self.stream.codec_context
        context.thread_type = "AUTO"
        context.colorspace, context.color_range = self._colour.matrix, 2 if self._colour.full_range else 1
        context.color_primaries, context.color_trc = self._colour.primaries, self._colour.transfer
        if apple:
            context.codec_tag = "hvc1"  # the only name under which Apple's players know H.265

    def encode(self, frame: Frame) -> list[Packet[Any]]:
        """Encode one frame, unless it comes too soon after the last."""
        ticks = round((frame.time - self._info.span.start) / self._tick)
        self._came = max(ticks, self._last + 1)  # a clock that stands still or runs back is not writable
        if self._came < self._last + self._shortest:
            self._note("GIF shows at most 50 frames a second; frames that come sooner are left out")
            return []
        picture = self._picture(frame)
        picture.pts = self._last = self._came
        picture.time_base = self._tick
        if self._palette:
            self._palette.push(picture)
            picture = self._palette.pull()  # type: ignore[assignment]
            picture.pts, picture.time_base = self._last, self._tick
        return self._stamped(self.stream.encode(picture))

    def _picture(self, frame: Frame) -> VideoFrame:
        """The frame as the encoder takes it; what was decoded, where nothing has changed, goes by no other colours."""
        from av import VideoFrame

        pixels = frame.pixels
        if isinstance(pixels, DecodedPicture) and not self._palette:
            colour = self._info.colour
            result = copy_with_changes(pixels.frame, pixels.layout, pixels.original, pixels, frame.changed, colour)
            if (pixels.layout, colour.full_range) == (self._layout, self._colour.full_range):
                return result
            return to_pixel_format(result, self._layout, self._colour.full_range, self._converter)
        image = frame.image
        if self._palette:
            bgra: Any = cv2.cvtColor(image, cv2.COLOR_BGR2BGRA)
            return VideoFrame.from_ndarray(bgra, format="bgra")
        if any(self._odd):
            image = cv2.copyMakeBorder(image, 0, self._odd[0], 0, self._odd[1], cv2.BORDER_REPLICATE)
        return from_bgr(image, self._colour, self._layout)

    def end(self, following: float | None) -> float:
        """Where the last frame ends, in seconds of the result; following: when the next one comes in the original, in
        seconds, where that is known."""
        if following is not None:
            return following - self._info.span.start
        return float(self._came * self._tick + 1 / self._info.rate)

    def finish(self) -> list[Packet[Any]]:
        """The last packets."""
        return self._stamped(self.stream.encode(None))

    def _stamped(self, packets: list[Packet[Any]]) -> list[Packet[Any]]:
        """The packets with all their time stamps."""
        for packet in packets:
            if packet.dts is not None and packet.pts is not None:
                if abs(packet.pts - packet.dts) * packet.time_base > _REORDERED:
                    packet.dts = packet.pts  # x265 leaves it unset in videos of one or two frames
                if self._delay is None:
                    self._delay = packet.pts - packet.dts
        return packets

    def set_end(self, packets: list[Packet[Any]], seconds: float | None) -> None:
        """Show the last frame up to `seconds` of the result; None: for as long as in the original.

        packets: those since it came.
        """
        if seconds is None and self._info.last_shown:
            seconds = float(self._came * self._tick) + self._info.last_shown[-1]
        if seconds is None or not packets:
            return
        end = max(round(seconds / self._tick), self._last + self._shortest)
        for packet in packets:
            if packet.pts == self._last:
                packet.duration = end - self._last
        final = packets[-1]
        if final.pts != self._last and final.dts is not None:  # by which MP4 counts the length, in order of decoding
            final.duration = max(0, end - final.dts - (self._delay or 0))


def _missing(info: VideoInfo, name: str, layout: Layout) -> tuple[int, int]:
    """Rows and columns that have to be added."""
    return (0, 0) if name == "gif" else (-info.height % layout.down, -info.width % layout.across)


def _sharing(layout: Layout) -> str:
    """What people call the way in which pixels share their colour, such as 4:2:0."""
    return ":".join(layout.name.removeprefix("yuv")[:3])


def _remedy(path: Path, info: VideoInfo) -> str:
    """What to do where a file does not say how wide its pixels are."""
    wide = info.pixel_aspect * info.width / info.height
    aspect = f"{wide.numerator}:{wide.denominator}"
    return (f"this encoder's {path.suffix} does not say that the picture is to be shown as {aspect}, and players "
            "squeeze or widen it; this makes a file that says so: "
            f'ffmpeg -i "{path.name}" -map 0 -aspect {aspect} -c copy "new {path.name}"')


def _palette_graph(info: VideoInfo) -> Graph:
    """A filter from BGRA to 256 colours chosen for each frame."""
    from av.filter import Graph

    graph = Graph()
    entry = graph.add_buffer(width=info.width, height=info.height, format="bgra", time_base=_GIF_TICK)  # type: ignore[arg-type]
    split, choose = graph.add("split"), graph.add("palettegen", "stats_mode=single:reserve_transparent=0")
    use, leave = graph.add("paletteuse", "new=1:dither=bayer:bayer_scale=4"), graph.add("buffersink")
    entry.link_to(split)
    split.link_to(choose, 0, 0)
    split.link_to(use, 1, 0)
    choose.link_to(use, 0, 1)
    use.link_to(leave)
    graph.configure()
    return graph


@contextmanager
def _failures_as_os_errors() -> Iterator[None]:
    """FFmpeg's refusals to write in the operating system's form, which atomic_path explains; full memory is none."""
    import av

    try:
        yield
    except MemoryError:  # FFmpeg's is one, too
        raise
    except av.FFmpegError as error:
        detail = f" ({str(error.log[-1]).strip()})" if error.log else ""
        raise OSError(error.errno, f"{error.strerror}{detail}") from error


def _give_up(container: OutputContainer) -> None:
    """Close a file, whole or not; that one cannot be completed is no news where that has failed already."""
    import av

    with suppress(av.FFmpegError):
        container.close()


class VideoWriter:
    """Takes frames in order and writes them, with what is heard and read meanwhile."""

    def __init__(
        self, container: OutputContainer, pictures: _Pictures, beside: Beside, place: Path, mark: Mark
    ) -> None:
        """place: where the file is written. mark: what it says of itself."""
        self._container, self._pictures, self._beside, self._place = container, pictures, beside, place
        self._mark = mark
        self._held: list[Packet[Any]] = []  # that the last frame brought, since none may follow

    def write(self, frame: Frame) -> None:
        """Encode one frame; raises OSError when the file cannot be written."""
        with _failures_as_os_errors():
            packets = self._pictures.encode(frame)
            if packets:
                self._mux(self._held)
                self._held = packets

    def finish(self) -> None:
        """Write what is left and complete the file."""
        self._complete(None)

    def _complete(self, end: float | None) -> None:
        """end: seconds of the result where it ends; None: where the original does, or its used part."""
        with _failures_as_os_errors():
            packets = [*self._held, *self._pictures.finish()]
            self._pictures.set_end(packets, end)
            self._mux(packets)
            self._beside.finish(end)
            self._container.close()
        self._mark.seal(self._place)

    def keep(self, path: Path, following: float | None = None) -> None:
        """Complete the file as a shorter one, with the sound up to the end of its last picture, and give it this name,
        which must be free; nothing can be written after that. Raises OSError, OutputError.

        following: when the next picture would come, in seconds of the original, where that is known.
        """
        self._complete(self._pictures.end(following))
        move(self._place, path, overwrite=False)

    def _mux(self, packets: list[Packet[Any]]) -> None:
        for packet in packets:
            if packet.dts is not None:
                self._beside.advance(float(packet.dts * packet.time_base))
            self._container.mux(packet)


@contextmanager
def video_writer(
    path: Path | str, info: VideoInfo, options: EncodeOptions, note: Note, mark: Mark = UNMARKED, overwrite: bool = True
) -> Iterator[VideoWriter]:
    """Open a video for writing; it appears under its name when the block ends well, and never otherwise.

    info: of the video whose size, timing, colours and sound the result keeps.
    note: told what has to be adapted. mark: what the file is to say of itself. overwrite: what is there when all is
    written.
    Raises OutputError when the result cannot be written, OptionError for an encoder that does not fit.
    """
    import av

    path = Path(path)
    form = container_for(path)
    name, settings, layout = choose_encoder(path, options, note, info.layout)
    if any(_missing(info, name, layout)):
        note(f"{info.width}x{info.height} has an odd side; the result gains one edge row or column")
    if info.timecode and form.most_counted and info.rate > form.most_counted:
        note(f"this format holds no time code at {float(info.rate):g} frames a second; it is left out")
        info = replace(info, timecode=None)
    if info.pixel_aspect != 1 and not (form.says_aspect or ENCODERS[name].says_aspect):
        note(_remedy(path, info))
    if info.layout.bits > layout.bits:
        note(f"{info.layout.bits}-bit colour becomes {layout.bits}-bit")
    if info.layout.across * info.layout.down < layout.across * layout.down and not info.rgb and name != "gif":
        note(f"{_sharing(info.layout)} colour becomes {_sharing(layout)}")
    with without_leftovers(path), atomic_path(path, overwrite) as temporary, ExitStack() as stack:
        with _failures_as_os_errors():
            file = str(temporary.absolute())  # names with a colon alone would be taken for addresses
            chosen = dict(form.options) | ({"loop": str(info.loops)} if name == "gif" else {})
            container = av.open(file, "w", format=form.muxer, options=chosen)
            stack.callback(_give_up, container)
            if name != "gif" and (comment := mark.comment()):
                container.metadata["comment"] = comment
            pictures = _Pictures(container, info, name, settings, layout, note)
            beside = Beside(stack, container, pictures.stream, info, form.sound, note)
        writer = VideoWriter(container, pictures, beside, temporary, mark)
        yield writer
        writer.finish()
