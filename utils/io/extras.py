"""What a file holds beside its pictures and sound: tags, chapters, names and flags of tracks, covers, attachments."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import TYPE_CHECKING

from utils.io.container import picture_streams
from utils.io.stills import Note

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer
    from av.container.core import Chapter
    from av.stream import Stream

# What a file says of its own form and of the program that wrote it.
_OWN = {"major_brand", "minor_version", "compatible_brands", "encoder", "software", "duration", "timecode"}
_QUICKTIME = {"title", "artist", "album", "date", "comment", "genre", "copyright", "location", "creation_time"}
_HELD: dict[str, set[str]] = {  # tags that a format holds; those that are not here hold any
    "mp4": _QUICKTIME | {
        "album_artist", "composer", "grouping", "lyrics", "description", "synopsis", "show", "episode_id", "network",
        "keywords", "episode_sort", "season_number", "media_type", "hd_video", "gapless_playback", "compilation",
        "track", "disc",
    },
    "mov": _QUICKTIME | {"make", "model"},
    "gif": set(),
}
_MOST_NAMED = 5
_MICROSECOND = Fraction(1, 1_000_000)


def copy_tags(source: InputContainer, target: OutputContainer, note: Note) -> None:
    """Take over what a file says of itself, but for what `target` says already or cannot hold, which is noted."""
    tags = {name.lower(): value for name, value in source.metadata.items() if value}
    held = _HELD.get(target.format.name)
    lost = []
    for name, value in tags.items():
        translation = re.fullmatch("(.+)-[a-z]{3}", name)
        if name in _OWN or target.metadata.get(name) == value or (translation and translation[1] in tags):
            continue
        if name in target.metadata or (held is not None and name not in held):
            lost.append(name)
        else:
            target.metadata[name] = value
    if lost:
        more = f" and {len(lost) - _MOST_NAMED} more" * (len(lost) > _MOST_NAMED)
        note(f"tags left out: {', '.join(sorted(lost)[:_MOST_NAMED])}{more}")


def copy_description(source: Stream, target: Stream) -> None:
    """Take over language, title and flags (default, forced, comment, ...) of a track."""
    from av.stream import Disposition

    title = source.metadata.get("title") or source.metadata.get("name")  # MP4 calls it so
    for name, value in (("language", source.language), ("title", title)):
        if value:
            target.metadata[name] = value
    target.disposition = source.disposition & ~Disposition.attached_pic


def chapters_of(source: InputContainer, begin: float, length: float | None) -> list[Chapter]:
    """Chapters of a part of a file, counted from its beginning.

    begin: time in the file where the part begins, seconds. length: of the part, seconds; None: up to the file's end.
    """
    result: list[Chapter] = []
    for chapter in source.chapters():
        tick = chapter["time_base"] or _MICROSECOND
        start, end = (max(0.0, float(chapter[side] * tick) - begin) for side in ("start", "end"))
        end = min(end, math.inf if length is None else length)
        if start < end:
            result.append({**chapter, "start": round(start / tick), "end": round(end / tick)})
    return result


def copy_attachments(source: InputContainer, target: OutputContainer, note: Note) -> None:
    """Take over attached files, such as the fonts of subtitles, where `target` holds any, and note what is left out.

    A cover never goes along: it shows faces as they were.
    """
    attachments, pictures = source.streams.attachments, len(picture_streams(source))
    held = target.format.name == "matroska"
    for stream in attachments if held else ():
        target.add_stream_from_template(stream)
    parts = {"cover picture": len(source.streams.video) - pictures, "attachments": len(attachments) * (not held),
             "further video tracks": pictures - 1}
    if left_out := [name for name, number in parts.items() if number]:
        note(f"left out: {', '.join(left_out)}")
