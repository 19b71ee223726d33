"""Swap faces in a photo or a video: `python inference.py --help`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from utils.command import carried_out
from utils.errors import NOTHING_WRITTEN, SkippedError
from utils.inference.config import InferenceConfig, parse
from utils.inference.report import console, in_words, profile_table
from utils.options import wants


def run(config: InferenceConfig) -> dict[str, Any]:
    """Swap as the options say; returns the result for --json."""
    from utils.device import full_memory_as_error
    from utils.inference.people import photos_of
    from utils.inference.photos import check_photo, check_photos
    from utils.inference.pipeline import SwapPipeline, load_pipeline  # PyTorch and all: --help must not wait for it
    from utils.inference.video import check_video
    from utils.io.image import check_input
    from utils.paths import is_folder

    check: Callable[..., object]
    swap: Callable[..., dict[str, Any]]
    if not config.image_to_image:
        check, swap = check_video, SwapPipeline.swap_video
    elif is_folder(config.target):
        check, swap = check_photos, SwapPipeline.swap_photos
    else:
        check, swap = check_photo, SwapPipeline.swap_photo
    photos = photos_of((*config.source_paths, *config.target_faces_paths))
    for person in (*config.source_paths, *config.target_faces_paths):
        if not is_folder(person):  # of a folder, photos that cannot be read are left out
            check_input(person)
    check(config, config.target, config.output, photos)
    with full_memory_as_error("close other programs, or use --device cpu"):
        pipeline = load_pipeline(config)
        pipeline.stages.notes += config.idle()
        return swap(pipeline, config.source_paths, config.target, config.output, config.target_faces_paths)


def what_is_kept(stop: BaseException | None) -> str:
    """What an interruption says of the output, or one before it, to whose work it put an end."""
    while stop is not None:
        if isinstance(stop, KeyboardInterrupt) and stop.args:
            return str(stop.args[0])
        stop = stop.__context__
    return NOTHING_WRITTEN


def report(config: InferenceConfig, result: dict[str, Any]) -> None:
    """Print what was done, in the form that was asked for."""
    if config.profile:
        print(profile_table(result["seconds"], result["frames"]), file=sys.stderr)
    if config.json:
        print(json.dumps(result, indent=1))
    elif not config.quiet:
        print(f"{result['output']}: {in_words(result)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, check, build, run; returns the exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    as_json = wants(arguments, "json")  # of bad options as well
    done: dict[str, Any] = {}  # where that was not enough

    def work() -> None:
        nonlocal done
        config = parse(arguments)
        with console(config.quiet):
            try:
                result = run(config)
            except SkippedError as error:
                done = error.result
                raise
        report(config, result)

    def failed(text: str, exit_code: int) -> None:
        if as_json:
            print(json.dumps({"error": text, "exit_code": exit_code, **done}, indent=1 if done else None))

    return carried_out(work, lambda stop: f"interrupted; {what_is_kept(stop)}", failed)


if __name__ == "__main__":
    sys.exit(main())
