"""Files that FFmpeg reads: opening them, their tracks and packets, how fast and how long they say that they are."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.errors import InputError
from utils.io.stills import FOLDER_RATE

if TYPE_CHECKING:
    from av import FFmpegError
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.stream import VideoStream

_DISK_IS_GONE = (errno.EIO, errno.ESTALE)
_FASTEST = 300  # frames per second; more in a codec's header or in FFmpeg's guess are the ticks of a clock
_MOST_BROKEN = 50  # pieces in a row that cannot be read, after which nothing more is expected


def open_container(path: Path, card: bool = False) -> InputContainer:
    """Open a file with FFmpeg, which takes names like 12:30.mp4 for addresses unless folders come before.

    card: decode on an NVIDIA card what it can decode; raises av.FFmpegError where none works.
    """
    import av
    from av.codec.hwaccel import HWAccel

    # Tags of old files are in any encoding.
    return av.open(str(path.absolute()), metadata_errors="replace", hwaccel=HWAccel("cuda") if card else None)


def picture_streams(container: InputContainer) -> list[VideoStream]:
    """The tracks with moving pictures, as against covers."""
    from av.stream import Disposition

    return [stream for stream in container.streams.video if Disposition.attached_pic not in stream.disposition]


def picture_stream(container: InputContainer, path: Path) -> VideoStream:
    """The track with moving pictures that is used: the first that can be decoded; raises InputError if there is none.

    path: of the file.
    """
    streams = picture_streams(container)
    if not streams:
        raise InputError(f"{path} has no pictures, only sound; give a video file")
    for stream in streams:
        if stream.codec_context:
            return stream
    raise InputError(f"{path} is coded in a way that this FFmpeg does not decode; save it as H.264 in a program that "
                     "shows it")


def packets_of(container: InputContainer, streams: Sequence[Stream]) -> Iterator[Packet[Any] | None]:
    """Packets of some streams in the order of the file, None for a piece that cannot be read, empty ones at the end.

    Raises av.FFmpegError where nothing more can be read.
    """
    import av

    packets, broken = container.demux(*streams), 0
    while streams:  # PyAV takes none for all
        try:
            packet = next(packets, None)
        except av.EOFError:
            return
        except IndexError:  # PyAV's reading ends so where a stream began after the file's header (FLV)
            packets = container.demux(*streams)
            continue
        except av.InvalidDataError:
            broken += 1
            if broken > _MOST_BROKEN:
                raise
            packets = container.demux(*streams)
            yield None
            continue
        if packet is None:
            return
        broken = 0
        yield packet


def check_disk(error: FFmpegError, path: Path | str) -> None:
    """Raises InputError where a file can be read no further because its disk is gone, and not because it is damaged."""
    if error.errno in _DISK_IS_GONE:
        raise InputError(f"{path} cannot be read any further ({error.strerror}); see whether its disk or network is "
                         "still connected, and run again") from error


def frame_rate(stream: VideoStream) -> Fraction:
    """Average frames per second; FOLDER_RATE where the file does not say and nothing plausible can be guessed."""
    coded, guessed = stream.codec_context.framerate or 0, stream.guessed_rate or 0
    if stream.start_time is None and 0 < coded <= _FASTEST:  # without time stamps FFmpeg's average is a guess
        return Fraction(coded)
    return Fraction(stream.average_rate or (guessed if 0 < guessed <= _FASTEST else FOLDER_RATE))


def origin_of(container: InputContainer, stream: Stream) -> float:
    """Time stamp in a file, in seconds, that counts as 0; stream: of its pictures.

    MPEG's clock starts anew every day; FFmpeg gives negative time stamps to what comes within a minute before. In other
    files sound may begin before 0, which is where its encoder warmed up.
    """
    if (container.start_time or 0) >= 0:
        return (container.start_time or 0) / 1_000_000
    return float(min(0, (stream.start_time or 0) * (stream.time_base or 0)))


def promised_length(container: InputContainer, stream: Stream, origin: float) -> float | None:
    """Seconds of pictures that a file's header promises; origin: time stamp of the first one, in seconds."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    if clock := re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", "")):
        end = int(clock[1]) * 3600 + int(clock[2]) * 60 + float(clock[3])
    elif container.duration:
        end = container.duration / 1_000_000
    else:
        return None
    return end - origin if "matroska" in container.format.name else end  # it tells when its clock ends
