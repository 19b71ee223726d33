"""What a result takes over from its original beside the pictures."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from utils.io.container import open_container, picture_stream
from utils.io.extras import chapters_of, copy_attachments, copy_description, copy_tags
from utils.io.sound import Sound
from utils.io.subtitles import Subtitles
from utils.io.video import Note, VideoInfo

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.video.stream import VideoStream


class Beside:
    """Sound, subtitles, chapters and tags of a video, for its result; made before anything is written to that."""

    def __init__(
        self, stack: ExitStack, target: OutputContainer, pictures: VideoStream, info: VideoInfo, sound: bool, note: Note
    ) -> None:
        """stack: closes the files that are opened. pictures: of the result. sound: whether its format holds any.
        note: told what is left out."""
        self._target, self._info = target, info
        self._sound: Sound | None = None
        self._subtitles: Subtitles | None = None
        self._source: InputContainer | None = None
        if not info.container:
            return
        source = stack.enter_context(open_container(info.path))
        copy_tags(source, target, note)
        copy_description(picture_stream(source, info.path), pictures)
        if source.streams.audio and sound:
            self._sound = Sound(source, target, info, note)
        elif source.streams.audio:
            note("this format holds no sound; it is left out")
        if source.streams.subtitles:  # read for themselves, since texts are far apart
            self._subtitles = Subtitles(stack.enter_context(open_container(info.path)), target, info, note)
        if sound:
            self._source = source
        elif source.chapters():
            note("this format holds no chapters; they are left out")
        copy_attachments(source, target, note)

    def advance(self, until: float | None) -> None:
        """Write what is heard and read before `until`, seconds from the beginning of the used part; None: the rest."""
        if self._sound is not None:
            self._sound.advance(until)
        if self._subtitles is not None:
            self._subtitles.advance(until)

    def finish(self, end: float | None) -> None:
        """Write what is left up to `end`, seconds from the beginning of the used part; None: all of it."""
        self.advance(end)
        if self._sound is not None:
            self._sound.finish()
        if self._source is not None:
            part = self._info.span
            if end is None and part.end is not None:
                end = part.end - part.start
            self._target.set_chapters(chapters_of(self._source, self._info.origin + part.start, end))
