"""Swap faces in a photo, or in all photos of a folder: models and sources are read once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from utils.errors import (
    GhostError,
    InputError,
    NobodyMatchedError,
    NoFaceInTargetError,
    OutputError,
    SkippedError,
)
from utils.inference.config import InferenceConfig
from utils.inference.frames import FramePipeline
from utils.inference.people import photos_of, read
from utils.inference.report import in_words
from utils.inference.targets import check_not_video, pictures_of, videos_in_words
from utils.io.atomic import check_place
from utils.io.folder import is_picture, left_out_of, pictures_in
from utils.io.frame import Frame
from utils.io.image import check_input, check_output, write_photo
from utils.io.mark import Mark
from utils.io.profile import from_srgb, to_srgb
from utils.paths import is_file, is_there
from utils.progress import progress


def check_photo(
    config: InferenceConfig, target: Path | str, output: Path | str, people: Iterable[Path | str] = ()
) -> None:
    """Refuse, before any work, a photo that cannot be changed; people: like for `check_photos`.

    Raises InputError, OutputError, OptionError.
    """
    check_not_video(target)
    check_input(target)
    check_output(output, not config.no_overwrite, inputs=(*people, target))


def check_photos(
    config: InferenceConfig, folder: Path | str, output: Path | str, people: Iterable[Path | str] = ()
) -> list[Path]:
    """The photos of a folder that are to be changed; refuses, before any work, what cannot be.

    people: photos of sources and references, which must not be overwritten, like those of the folder. Raises
    InputError, OutputError.
    """
    folder, output = Path(folder), Path(output)
    if is_picture(output) or is_file(output):
        raise OutputError(f"{folder} is a folder of photos, so the result is one, too: give --out_image_name the name "
                          f"of a folder, not {output}")
    if is_there(output) and output.samefile(folder):
        raise OutputError(f"{output} is the folder that is read; choose another one for the results")
    photos = pictures_of(folder)
    originals = {_number(path): path for path in (*people, *photos) if is_there(path)}
    for photo in photos:
        result = output / photo.name
        known = originals.get(_number(result)) if is_there(result) else None  # comparing each with all would take long
        check_place(result, True, [known] if known else [])
    check_output(output / photos[0].name)  # the folder can be written to
    return [photo for photo in photos if not (config.no_overwrite and is_there(output / photo.name))]


def _number(path: Path | str) -> tuple[int, int]:
    """What a file is known by, whatever its names and links."""
    facts = Path(path).stat()
    return facts.st_dev, facts.st_ino


def swap_photo(
    pipeline: FramePipeline,
    sources: Sequence[Path | str],
    target: Path | str,
    output: Path | str,
    references: Sequence[Path | str] = (),
) -> dict[str, Any]:
    """Swap faces in a photo and write it; returns the result that --json prints.

    Raises the errors of utils.errors: InputError, OutputError, OptionError, the NoFace errors, NobodyMatchedError.
    """
    check_photo(pipeline.config, target, output, photos_of((*sources, *references)))
    pipeline.begin()
    pipeline.set_sources(sources, references)
    change_photo(pipeline, target, output)
    pipeline.say_unused(str(target))
    return pipeline.result(output)


def change_photo(pipeline: FramePipeline, target: Path | str, output: Path | str) -> None:
    """Put the faces of `set_sources` into one more photo, in the same report; raises InputError, OutputError,
    NoFaceInTargetError, NobodyMatchedError."""
    report, config = pipeline.report, pipeline.config
    photo = read(target, report)
    view = to_srgb(photo)
    (result,) = pipeline.run([Frame(view)], careful=True)
    if not result.report.swapped:
        pipeline.fail(target, result.report)
    with report.stage("write"):
        mark = Mark(config.provenance, target, report.note)
        written = replace(photo, image=from_srgb(photo, view, result.image, result.changed))
        notes = write_photo(output, written, not config.no_overwrite, mark)
    for text in notes:
        report.note(text)
    report.carry(mark.carried)


def swap_photos(
    pipeline: FramePipeline,
    sources: Sequence[Path | str],
    folder: Path | str,
    output: Path | str,
    references: Sequence[Path | str] = (),
) -> dict[str, Any]:
    """Swap faces in all photos of a folder and write them to another one, under their names; with `no_overwrite` those
    that are not there yet. Returns the result that --json prints.

    Photos without a face, without anybody who matches, or that cannot be read are named and left out.
    Raises the errors of utils.errors: InputError, OutputError, the NoFace errors, NobodyMatchedError, SkippedError.
    """
    photos = check_photos(pipeline.config, folder, output, photos_of((*sources, *references)))
    report, count = pipeline.begin(), len(pictures_in(Path(folder)))
    if there := count - len(photos):
        report.note(f"{there} result(s) of earlier runs are there and stay")
    for text in filter(None, (*left_out_of(Path(folder)), videos_in_words(Path(folder)))):
        report.note(text)
    pipeline.set_sources(sources, references)
    done: list[str] = []
    try:
        left_out = _change(pipeline, photos, Path(output), done)
    except KeyboardInterrupt as stop:
        if not done and not there:
            raise
        raise KeyboardInterrupt(f"what is done is in {output}; --no-overwrite goes on with the rest") from stop
    if not there:  # else they may be in those of the earlier runs
        pipeline.say_unused(str(folder))
    result = {**pipeline.result(output), "photos": done, "photo_counts": _counts(left_out, len(done), there),
              "left_out": {name: str(error) for name, error in left_out.items()}, "photo_notes": report.photo_notes}
    _check(pipeline, folder, left_out, count, result)
    return result


def _counts(left_out: Mapping[str, GhostError], swapped: int, earlier: int) -> dict[str, int]:
    """What became of a folder's photos, for --json; the first is the sum of the others. --max-skipped is about the
    last three."""
    kinds = [type(error) for error in left_out.values()]
    return {"found": swapped + earlier + len(kinds), "swapped": swapped, "earlier": earlier,
            "unreadable": kinds.count(InputError), "without_face": kinds.count(NoFaceInTargetError),
            "nobody_to_swap": kinds.count(NobodyMatchedError)}


def _change(
    pipeline: FramePipeline, photos: Sequence[Path], output: Path, done: list[str]
) -> dict[str, GhostError]:
    """Change photos; returns those that were left out, with the reason. done: gets the names of the others, one by
    one."""
    left_out: dict[str, GhostError] = {}
    with progress(len(photos), pipeline.config.quiet, "photos") as advance:
        for photo in photos:
            try:
                with pipeline.report.of_photo(photo.name):
                    change_photo(pipeline, photo, output / photo.name)
                done.append(photo.name)
            except (InputError, NoFaceInTargetError, NobodyMatchedError) as error:
                left_out[photo.name] = error
                pipeline.report.note(str(error))
            advance()
    return left_out


def _check(
    pipeline: FramePipeline, folder: Path | str, left_out: Mapping[str, GhostError], count: int, result: dict[str, Any]
) -> None:
    """Fail when there is no result at all, or fewer of the `count` photos than were asked for have one."""
    if len(left_out) == count:
        if all(isinstance(error, InputError) for error in left_out.values()):
            raise InputError(f"none of the {count} pictures of {folder} can be read")
        pipeline.fail(folder, pipeline.report, "photos")
    if len(left_out) > count * pipeline.config.max_skipped:
        raise SkippedError(f"{len(left_out)} of {count} photos of {folder} not swapped, but --max-skipped allows "
                           f"{pipeline.config.max_skipped:.0%}; {in_words(result)}", result)
