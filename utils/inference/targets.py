"""Targets that the chosen options cannot change: which ones can."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path

from utils.errors import InputError, OptionError
from utils.io.folder import listed, no_pictures, pictures_in, shown_in
from utils.io.kind import is_still, is_video


def check_not_video(target: Path | str) -> None:
    """Refuse a video where a photo is changed; raises OptionError."""
    if is_video(Path(target)):
        raise OptionError(f"{target} is a video: give it as --target_video, with --out_video_name, and leave "
                          "--image_to_image out")


def check_not_photo(target: Path | str) -> None:
    """Refuse a photo where a video is changed; raises OptionError."""
    if is_still(Path(target)):
        raise OptionError(f"{target} is a photo: give it as --target_image, with --out_image_name and --image_to_image "
                          "True; a folder of pictures can be a --target_video")


def pictures_of(folder: Path) -> list[Path]:
    """The pictures of a folder that is to be changed, in order; raises InputError where there are none."""
    pictures = pictures_in(folder)
    if pictures:
        return pictures
    videos = _videos_in(folder)
    if not videos:
        raise no_pictures(folder)
    (ending, _), = Counter(path.suffix for path in videos).most_common(1)
    raise InputError(
        f"{folder} has no pictures but {len(videos)} video(s), and videos are swapped one at a time; in a shell: "
        f'for clip in {shlex.quote(str(folder))}/*{ending}; do python inference.py --source_paths ... '
        '--target_video "$clip" --out_video_name "swapped/$(basename "$clip")"; done')


def videos_in_words(folder: Path) -> str:
    """What to say of the videos in a folder whose pictures are changed, "" where there are none; raises InputError."""
    names = [path.name for path in _videos_in(folder)]
    return f"{folder}: left out, as videos are swapped one at a time (--target_video): {listed(names)}" if names else ""


def _videos_in(folder: Path) -> list[Path]:
    return [path for path in shown_in(folder) if is_video(path)]
