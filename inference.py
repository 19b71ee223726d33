"""Swap faces in a photo or a video: `python inference.py --help`."""

from __future__ import annotations

import io
import json
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from utils.errors import INTERRUPTED, NOTHING_WRITTEN, GhostError
from utils.inference.config import InferenceConfig, parse
from utils.inference.report import console, profile_table


def run(config: InferenceConfig) -> dict[str, Any]:
    """Swap as the options say; returns the result for --json."""
    from utils.device import full_memory_as_error
    from utils.inference.people import photos_of
    from utils.inference.photos import check_photos
    from utils.inference.pipeline import load_pipeline  # PyTorch and all: --help must not wait for it
    from utils.inference.video import check_video
    from utils.io.image import check_input, check_output
    from utils.paths import is_folder

    photos = photos_of((*config.source_paths, *config.target_faces_paths))
    for path in photos:
        check_input(path)
    if config.image_to_image:
        if is_folder(config.target):
            check_photos(config, config.target, config.output, photos)
        else:
            check_input(config.target)
            check_output(config.output, not config.no_overwrite, inputs=(*photos, config.target))
    else:
        check_video(config, config.target, config.output, photos)
    with full_memory_as_error("close other programs, or use --device cpu"):
        pipeline = load_pipeline(config)
        of_photos = pipeline.swap_photos if is_folder(config.target) else pipeline.swap_photo
        swap = of_photos if config.image_to_image else pipeline.swap_video
        return swap(config.source_paths, config.target, config.output, config.target_faces_paths)


def terminate(number: int, frame: object) -> NoReturn:
    """End like Ctrl-C does, so that unfinished output is removed."""
    raise KeyboardInterrupt


def kept(stop: BaseException | None) -> str:
    """What an interruption says of the output, or one before it, to whose work it put an end."""
    while stop is not None:
        if isinstance(stop, KeyboardInterrupt) and stop.args:
            return str(stop.args[0])
        stop = stop.__context__
    return NOTHING_WRITTEN


def fail(text: str, exit_code: int, as_json: bool) -> int:
    """Say what --json has to say of a run without a result; returns the exit code."""
    if as_json:
        print(json.dumps({"error": text, "exit_code": exit_code}))
    return exit_code


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, check, build, run; returns the exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    signal.signal(signal.SIGTERM, terminate)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for names of files in no encoding
    as_json = "--json" in arguments  # before the options are known to be good
    try:
        config = parse(arguments)
        as_json = config.json
        with console(config.quiet):
            result = run(config)
    except GhostError as error:
        print(f"error: {error}", file=sys.stderr)
        return fail(str(error), error.exit_code, as_json)
    except KeyboardInterrupt as stop:
        text = f"interrupted; {kept(stop)}"
        print(text, file=sys.stderr)
        return fail(text, INTERRUPTED, as_json)
    if config.profile:
        print(profile_table(result["seconds"], result["frames"]), file=sys.stderr)
    if config.json:
        print(json.dumps(result, indent=1))
    elif not config.quiet:
        print(f"{result['output']}: {result['faces']['swapped']} of {result['faces']['found']} faces swapped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
