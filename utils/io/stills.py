"""Moving pictures made of stills: animations that only Pillow reads, and folders of images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from utils.errors import InputError
from utils.io.crops import size_of
from utils.io.folder import left_out_of, pictures_in
from utils.io.frame import to_uint8
from utils.io.image import read_photo
from utils.io.profile import to_srgb

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

    from utils.io.span import Span

FOLDER_RATE = Fraction(25)  # pictures per second of a folder of images
OPAQUE = "transparency is left out"

Note = Callable[[str], None]
Still = tuple[np.ndarray, float, float]  # (H, W, 3) uint8 BGR, seconds from the start, seconds for which it is shown


def only_pillow_animates(path: Path) -> bool:
    """Whether a file is an animated WebP, or a still one."""
    with path.open("rb") as file:
        head = file.read(12)
    return head[:4] == b"RIFF" and head[8:] == b"WEBP"


def loops(path: Path, kind: str) -> int:
    """How often an animation is repeated after it was shown once: 0 for ever, -1 never.

    kind: Pillow's name of the format. A file that Pillow cannot read counts as one that says nothing.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=[kind]) as image:
            said = image.info.get("loop")
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError):
        return 0
    if kind == "GIF":
        return -1 if said is None else said
    return said - 1 or -1 if said else 0  # these count how often it is shown


def animation(path: Path, span: Span, note: Note) -> Iterator[Still]:
    """Pictures of the part of an animation that Pillow reads.

    Raises InputError where it cannot be read.
    """
    for time, end, (image, see_through) in span.cut(_animated(path)):
        if see_through:
            note(OPAQUE)
        yield image, time, end - time


def _animated(path: Path) -> Iterator[tuple[float, float, tuple[np.ndarray, bool]]]:
    """Seconds from and to which pictures are shown, (H, W, 3) uint8 BGR, and whether these are not opaque."""
    from PIL import Image, ImageSequence, UnidentifiedImageError

    time = 0.0
    try:
        with Image.open(path, formats=["WEBP"]) as animation:
            for picture in ImageSequence.Iterator(animation):
                picture.load()  # only then its duration is known
                shown = picture.info.get("duration", 0) / 1000 or 0.1  # what browsers do without a duration
                pixels = np.ascontiguousarray(np.asarray(picture.convert("RGB"))[..., ::-1])
                yield time, time + shown, (pixels, _see_through(picture))
                time += shown
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read as an animation ({error}); is the file whole?") from error


def _see_through(picture: Picture) -> bool:
    """Whether a picture is not opaque; Pillow gives both the same mode."""
    return picture.mode == "RGBA" and bool((np.asarray(picture.getchannel("A")) < 255).any())


def files_of(path: Path, span: Span) -> list[tuple[Path, float]]:
    """The pictures of the part of a folder and their times, in seconds; raises InputError."""
    timed = ((name, float(index / FOLDER_RATE)) for index, name in enumerate(pictures_in(path)))
    return [(name, time) for name, time in timed if span.holds(time)]


def check_sizes(path: Path, span: Span) -> None:
    """Refuse, before any work, a folder of pictures of which one cannot be opened or has another size than the first.

    Which side is the longer one is left to the reader, since it depends on how a picture is turned. Raises InputError.
    """
    first: tuple[Path, tuple[int, int]] | None = None
    for name, _ in files_of(path, span):
        size = size_of(name)
        if size is None:
            _picture(name, lambda text: None)  # which says what is wrong
            continue
        first = first or (name, size)
        if sorted(size) != sorted(first[1]):
            raise InputError(f"the pictures of {path} differ in size: {first[0].name} has {first[1][0]}x{first[1][1]} "
                             f"pixels, {name.name} has {size[0]}x{size[1]}; make them alike")


def folder(path: Path, span: Span, note: Note) -> Iterator[Still]:
    """Pictures of the part of a folder.

    Raises InputError where one cannot be read.
    """
    for text in left_out_of(path):
        note(text)
    for name, time in files_of(path, span):
        yield _picture(name, note), time, float(1 / FOLDER_RATE)


def _picture(name: Path, note: Note) -> np.ndarray:
    try:
        photo = read_photo(name)
    except InputError as error:
        raise InputError(f"{error}; remove it from the folder or replace it") from error
    deep = photo.image.dtype == np.uint16
    see_through = photo.alpha is not None and photo.alpha.min() < np.iinfo(photo.alpha.dtype).max
    view = to_srgb(photo)
    converted = [f"{name}: converted to sRGB by its colour profile"] if view is not photo.image else []
    notes = [text.replace(str(name), "a picture of the folder") for text in (*photo.notes, *converted)]  # said once
    for text in (*notes, *[OPAQUE] * bool(see_through), *["16-bit colour becomes 8-bit"] * deep):
        note(text)
    return to_uint8(view)
