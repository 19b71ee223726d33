"""Swap faces in a video: decoder, pipeline and encoder at work at the same time, memory independent of the length."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from itertools import chain, islice
from pathlib import Path
from typing import Any

from utils.device import full_memory_as_error, half_of_the_cores, shared_processor
from utils.errors import NOTHING_WRITTEN, InputError, OutputError, ResourceError, SkippedError
from utils.inference.config import InferenceConfig
from utils.inference.frames import FramePipeline
from utils.inference.people import photos_of, say_low_threshold
from utils.inference.report import RunReport, in_words
from utils.inference.sparse import Found
from utils.inference.stream import prefetch
from utils.inference.targets import check_not_photo, pictures_of
from utils.inference.types import SwappedFrame
from utils.io.atomic import behind, beside, check_place, check_writable, free_beside
from utils.io.encode import VideoWriter, video_writer
from utils.io.encoders import EncodeOptions, choose_encoder, holds_high_range
from utils.io.folder import is_picture
from utils.io.frame import Frame
from utils.io.image import Photo, check_input, write_photo
from utils.io.mark import Mark
from utils.io.span import Span
from utils.io.stills import check_sizes
from utils.io.video import Video, VideoInfo, open_video
from utils.memory import give_freed_frames_back, uncollected
from utils.paths import is_folder
from utils.progress import progress
from utils.stop import StopSignals

log = logging.getLogger("ghost")
_DECODED_AHEAD = 4  # frames
_SEARCHED_MEANWHILE = 2  # frames: the second one comes once all up to the next search have been followed
# Seconds: by which --start may come after a frame that is used all the same, and what rounding takes away.
_LATE, _ROUNDING = 1e-6, 1e-7
_SWAPPED_AHEAD = 3 * 2**23  # bytes of frames that wait for the encoder: about a batch of them at 1280x720


def encode_options(config: InferenceConfig) -> EncodeOptions:
    """What the options say about encoding."""
    return EncodeOptions(config.encoder, config.crf, config.preset, half_of_the_cores())


def check_video(
    config: InferenceConfig, target: Path | str, output: Path | str, photos: Iterable[Path | str] = ()
) -> None:
    """Refuse, before any work, files or an encoder that cannot be; raises InputError, OutputError, OptionError.

    photos: sources and references, which must not be overwritten either.
    """
    path, inputs = Path(output), (target, *photos)
    of_images = is_folder(target)
    if of_images:
        pictures_of(Path(target))
    else:
        check_input(target)
        check_not_photo(target)
    choose_encoder(path, encode_options(config), lambda text: None)
    for result in (path, _preview_path(path)) if config.preview else (path,):
        check_place(result, not config.no_overwrite, inputs)
        if of_images and is_picture(result) and path.parent.resolve() == Path(target).resolve():
            raise OutputError(f"{result} would lie among the pictures of {target}; write it to another folder")
    check_writable(path)
    if of_images:
        check_sizes(Path(target), Span(config.start, config.end))


def swap_video(
    pipeline: FramePipeline,
    sources: Sequence[Path | str],
    target: Path | str,
    output: Path | str,
    references: Sequence[Path | str] = (),
) -> dict[str, Any]:
    """Swap faces in a video and write it; returns the result that --json prints.

    Raises the errors of utils.errors: InputError, OutputError, OptionError, the NoFace errors, NobodyMatchedError,
    SkippedError.
    """
    check_video(pipeline.config, target, output, photos_of((*sources, *references)))
    give_freed_frames_back()
    config, output = pipeline.config, Path(output)
    report = pipeline.begin()
    if config.select == "reference" and not references:  # the first face is one, else those that are read say it
        say_low_threshold(pipeline.stages, report)
    span = Span(config.start, config.end)
    mark = Mark(config.provenance, target, report.note)
    begin = time.perf_counter()
    with ThreadPoolExecutor(1) as aside, ExitStack() as to_the_end:
        known = aside.submit(pipeline.set_sources, sources, references)
        with (
            open_video(target, span, report.note, half_of_the_cores(), config.decoder == "nvdec",
                       holds_high_range(output, encode_options(config))) as video,
            video_writer(output, video.info, encode_options(config), report.note, mark,
                         not config.no_overwrite) as writer,
        ):
            _stream(pipeline, known, video, writer, output, to_the_end)
            if not report.swapped:
                pipeline.fail(target, report)
    pipeline.say_unused(str(target))
    report.seconds["wall"] = time.perf_counter() - begin
    report.carry(mark.carried)
    result = {**pipeline.result(output), "video": _facts(video.info, report)}
    _check_share(report, config.max_skipped, target, result)
    return result


def _stream(
    pipeline: FramePipeline, known: Future[None], video: Video, writer: VideoWriter, output: Path, to_the_end: ExitStack
) -> None:
    """Pass all frames from the decoder through the pipeline to the encoder.

    known: done when the pipeline knows its sources; meanwhile the first frames are searched for faces. to_the_end:
    left when the file has its name.
    """
    partial, keep = _Partial(writer, output), pipeline.config.keep_partial
    kept = partial.kept_when_frames_fail if keep else nullcontext
    with (
        pipeline.stages.swapper.in_parts(),
        shared_processor(),
        uncollected(),
        closing(prefetch(pipeline.report.timed("decode", partial.expecting(video.frames)), _DECODED_AHEAD)) as frames,
        closing(pipeline.found(frames)) as found,
    ):
        with kept():
            first = iter(list(islice(found, _SEARCHED_MEANWHILE)))  # an iterator keeps nothing of what has passed
        known.result()
        if keep:
            to_the_end.enter_context(partial.stopped_between_frames())
        with kept():
            _write(pipeline, chain(first, found), video.info, writer, output, partial)


def _write(
    pipeline: FramePipeline, found: Iterable[Found], info: VideoInfo, writer: VideoWriter, output: Path,
    partial: _Partial,
) -> None:
    """Swap the faces that were found, and hand the frames to the encoder."""
    report, every = pipeline.report, pipeline.config.preview
    waiting = max(2, _SWAPPED_AHEAD // (info.width * info.height * 3))
    with (
        closing(prefetch(pipeline.swapped(found), waiting)) as swapped,
        progress(info.frames, pipeline.config.quiet, "frames") as advance,
    ):
        for result in swapped:
            with report.stage("encode"):
                writer.write(result)
            if every and result.index % every == 0 and not _preview(result, output, pipeline.config.provenance, report):
                every = 0
            advance()
            partial.reached(result)


class _Partial:
    """What is done of a video whose work is stopped."""

    def __init__(self, writer: VideoWriter, output: Path) -> None:
        self._writer, self._output = writer, output
        self._signals = StopSignals()
        # Seconds of the target.
        self._coming: deque[float] = deque()  # frames that were decoded and not yet written
        self._time: float | None = None  # the last frame that was written

    def expecting(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """The same frames, of which note is taken."""
        for frame in frames:
            self._coming.append(frame.time)
            yield frame

    def reached(self, result: SwappedFrame) -> None:
        """Take note of a frame that was written; raises KeyboardInterrupt where somebody asked to stop."""
        self._time = result.time
        self._coming.popleft()
        if self._signals.came:
            raise KeyboardInterrupt(self._keep())

    def stopped_between_frames(self) -> AbstractContextManager[None]:
        """Let somebody who asks to stop wait for `reached`, and after the last frame for the whole file."""
        return self._signals.listening()

    @contextmanager
    def kept_when_frames_fail(self) -> Iterator[None]:
        """Keep what is done when a frame cannot be read or memory is full; raises InputError, ResourceError."""
        try:
            with full_memory_as_error("close other programs, or use --device cpu"):
                yield
        except (InputError, ResourceError) as error:
            raise type(error)(f"{error}; {self._keep()}") from error

    def _keep(self) -> str:
        """Complete what is done; returns where it is, in words."""
        if self._time is None:
            return NOTHING_WRITTEN
        path = _partial_path(self._output)
        following = self._coming[0] if self._coming else None
        self._writer.keep(path, following)
        return f"what is done is in {path}; --start {_between(self._time, following):.3f} goes on from there"


def _between(time: float, following: float | None) -> float:
    """The latest whole millisecond after the frame at `time` and not after that at `following`; where the latter is not
    known, the first one."""
    first = math.floor((time + _LATE + _ROUNDING) * 1000) + 1
    return max(first, math.floor(((following or 0.0) + _ROUNDING) * 1000)) / 1000


def _preview(result: SwappedFrame, output: Path, provenance: str, report: RunReport) -> bool:
    """Show how far it is, in a picture beside the output, which is quickly replaced and not worth a manifest; whether
    that went well, since a video must not end because of it."""
    mark = Mark("off" if provenance == "off" else "metadata")
    try:
        write_photo(_preview_path(output), Photo(result.image), mark=mark)
    except OutputError as error:
        report.note(f"no more previews: {error}")
        return False
    return True


def _partial_path(output: Path) -> Path:
    """A free name beside the output, since a part that goes on may be stopped, too."""
    return free_beside(behind(output), "partial")  # on the same disk


def _preview_path(output: Path) -> Path:
    return beside(output, ".preview.jpg")


def _check_share(report: RunReport, most: float, target: Path | str, result: Mapping[str, Any]) -> None:
    """Fail when fewer frames have a swapped face than were asked for; the video stays, since it took long."""
    share = report.frames_skipped / report.frames
    if share > most:
        raise SkippedError(
            f"{report.frames_skipped} of {report.frames} frames ({share:.0%}) of {target} not swapped, but "
            f"--max-skipped allows {most:.0%}; {in_words(result)}; the video is {result['output']}",
            result,
        )


def _facts(info: VideoInfo, report: RunReport) -> dict[str, Any]:
    """What --json says of the video."""
    return {
        "width": info.width,
        "height": info.height,
        "rate": round(float(info.rate), 3),
        "fps": round(report.frames / report.seconds["wall"], 2),
    }
