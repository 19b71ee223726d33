"""Photos and videos with swapped faces. In Python:

    from utils.inference.pipeline import load_pipeline
    pipeline = load_pipeline()
    result = pipeline.swap_photo("source.jpg", "target.jpg", "result.png")
    print(result["faces"])
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from utils.inference import photos, video
from utils.inference.config import InferenceConfig
from utils.inference.frames import FramePipeline
from utils.inference.stages import load_stages
from utils.paths import OneOrMore, as_list


def load_pipeline(config: InferenceConfig | None = None, **options: Any) -> SwapPipeline:
    """A pipeline with its models; options are those of inference.py, such as device="cpu" or use_sr=True, and change
    those of `config` where that is given.

    Raises OptionError, WeightsError, ResourceError.
    """
    config = replace(config or InferenceConfig(), **options)
    config.check_values()
    return SwapPipeline(load_stages(config), config)


class SwapPipeline(FramePipeline):
    """Swap faces in files.

    Each method writes `output` and returns the result that --json prints; sources, or references, are one path or
    several. Raises the errors of utils.errors: InputError, OutputError, OptionError, the NoFace errors,
    NobodyMatchedError and, but for single photos, SkippedError.
    """

    def swap_photo(
        self,
        sources: OneOrMore,
        target: Path | str,
        output: Path | str,
        references: OneOrMore = (),
    ) -> dict[str, Any]:
        """Swap faces in a photo."""
        return photos.swap_photo(self, as_list(sources), target, output, as_list(references))

    def swap_photos(
        self,
        sources: OneOrMore,
        folder: Path | str,
        output: Path | str,
        references: OneOrMore = (),
    ) -> dict[str, Any]:
        """Swap faces in all photos of a folder and write them to another one."""
        return photos.swap_photos(self, as_list(sources), folder, output, as_list(references))

    def swap_video(
        self,
        sources: OneOrMore,
        target: Path | str,
        output: Path | str,
        references: OneOrMore = (),
    ) -> dict[str, Any]:
        """Swap faces in a video."""
        return video.swap_video(self, as_list(sources), target, output, as_list(references))
