"""Options of inference.py: one dataclass; the text beside each field is its help, its value the only default."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn

from utils.errors import OptionError

G_PATH = "weights/G_unet_2blocks.pth"
NETWORK_CROP = 224  # side of the crop that the published landmarks and masks are measured on
_TRUE, _FALSE = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}


def option(default: Any, text: str, **argument: Any) -> Any:
    """A dataclass field with its help text and further arguments of `add_argument`."""
    value = {"default_factory": default} if callable(default) else {"default": default}
    return field(**value, metadata={"help": text, **argument})


def boolean(text: str) -> bool:
    """True and False as people write them, so that `--flag False` switches off."""
    word = text.strip().lower()
    if word not in _TRUE | _FALSE:
        raise argparse.ArgumentTypeError(f"expected True or False, not {text!r}")
    return word in _TRUE


@dataclass(frozen=True)
class InferenceConfig:
    """Everything a run depends on, in the groups of the help text."""

    # what to swap
    source_paths: list[str] = option(list, "photos of the faces whose identity is taken, one per person", nargs="+",
                                     metavar="P", group="what to swap")
    target_faces_paths: list[str] = option(list, "reference photos of the people to replace: the first source goes to "
                                           "the person of the first reference, and so on", nargs="*", metavar="P")
    image_to_image: bool = option(False, "swap in a photo (--target_image) instead of a video (--target_video)",
                                  type=boolean)
    target_image: str | None = option(None, "photo to change", alias="--target_path", metavar="P")
    out_image_name: str = option("examples/results/result.png", "where the changed photo goes; its ending chooses the "
                                 "format", metavar="P")
    target_video: str | None = option(None, "video to change", metavar="P")
    out_video_name: str = option("examples/results/result.mp4", "where the changed video goes", metavar="P")
    select: str = option("reference", "whom to replace. reference: the people of --target_faces_paths or, without them, "
                         "the most prominent face of the first frame that has one; largest: the most prominent face of "
                         "every frame; all: everybody (one source)", choices=("reference", "largest", "all"))
    similarity_th: float | None = option(None, "smallest cosine similarity at which a face counts as a reference's "
                                         "person (default: the identity encoder's own, 0.15 for the published one)",
                                         type=float, metavar="X")

    # models and device
    model: str = option("auto", "auto: the published weights if generator and ArcFace are there, else the embedded ones; "
                        "ghost: the published ones; embedded: the ones in this repository",
                        choices=("auto", "ghost", "embedded"), group="models and device")
    G_path: str = option(G_PATH, "generator weights: a .pth of the published architecture, or a .safetensors with its "
                         "JSON beside it", metavar="P")
    backbone: str = option("unet", "attribute encoder of a .pth generator", choices=("unet", "linknet", "resnet"))
    num_blocks: int = option(2, "AAD layers per block of a .pth generator", type=int, choices=(1, 2, 3))
    batch_size: int = option(40, "most faces swapped at once; halved by itself when memory runs out", type=int,
                             metavar="N")
    crop_size: int = option(NETWORK_CROP, "side in pixels of the aligned crop that landmarks and mask are computed on; "
                            "the published numbers belong to 224", type=int, metavar="N")
    use_sr: bool = option(False, "enhance swapped faces with the super-resolution network", type=boolean)
    device: str = option("auto", "where the networks run", choices=("auto", "cpu", "cuda", "mps"))

    # output
    json: bool = option(False, "print one JSON object with the result on standard output", type=boolean,
                        group="reporting")
    quiet: bool = option(False, "print errors only", type=boolean)
    no_overwrite: bool = option(False, "fail instead of replacing an existing output file", type=boolean)

    def check(self) -> None:
        """Refuse values and combinations that cannot work, before any work; raises OptionError."""
        if self.batch_size < 1:
            raise OptionError(f"--batch_size must be 1 or more, not {self.batch_size}")
        if not 64 <= self.crop_size <= 1024:
            raise OptionError(f"--crop_size must be from 64 to 1024, not {self.crop_size}")
        if self.similarity_th is not None and not -1 <= self.similarity_th <= 1:
            raise OptionError(f"--similarity_th is a cosine, from -1 to 1, not {self.similarity_th}")
        if self.model == "embedded" and self.G_path != G_PATH:
            raise OptionError("--model embedded takes the generator of this repository; leave --G_path out")
        self._check_people()
        self._check_target()

    def _check_people(self) -> None:
        sources, references = len(self.source_paths), len(self.target_faces_paths)
        if not sources:
            raise OptionError("no source: give --source_paths with one photo per identity")
        if references and self.select != "reference":
            raise OptionError(f"--select {self.select} takes no --target_faces_paths; leave one of the two out")
        if references and references != sources:
            raise OptionError(f"{sources} in --source_paths but {references} in --target_faces_paths: "
                              "give one reference per source, in the same order")
        if sources > 1 and not references:
            raise OptionError(f"{sources} sources but no reference: give --target_faces_paths with one photo per source, "
                              "so that everybody gets the right face, or a single source")

    def _check_target(self) -> None:
        if self.image_to_image and not self.target_image:
            raise OptionError("--image_to_image needs the photo to change: give --target_image")
        if not self.image_to_image and not self.target_video:
            instead = "--image_to_image True with your --target_image" if self.target_image else \
                "--image_to_image True and --target_image for a photo"
            raise OptionError(f"no target: give --target_video for a video, or {instead}")

    @property
    def output(self) -> Path:
        """The file that this run writes."""
        return Path(self.out_image_name if self.image_to_image else self.out_video_name)


class _Parser(argparse.ArgumentParser):
    """Gives bad options one message and the exit code of OptionError, like every other error."""

    def error(self, message: str) -> NoReturn:
        raise OptionError(f"{message} (see python {self.prog} --help)")


def _add(target: Any, entry: Field[Any]) -> None:
    """One field as one option; booleans take `--flag`, `--flag True` and `--flag False`."""
    argument = {key: value for key, value in entry.metadata.items() if key not in ("alias", "group")}
    default = entry.default if entry.default is not MISSING else []
    if argument.get("type") is boolean:
        argument |= {"nargs": "?", "const": True, "metavar": "True|False"}
    if default not in (None, []):
        argument["help"] += f" (default: {default})"
    names = [f"--{entry.name}"]
    names += [f"--{entry.name.replace('_', '-')}"] if entry.name == "no_overwrite" else []
    names += [entry.metadata["alias"]] if "alias" in entry.metadata else []
    target.add_argument(*names, dest=entry.name, default=default, **argument)


def parser() -> argparse.ArgumentParser:
    """The command line of inference.py, built from InferenceConfig."""
    result = _Parser(prog="inference.py", description="Swap faces in a photo or a video.", allow_abbrev=False)
    target: Any = result
    for entry in fields(InferenceConfig):
        if "group" in entry.metadata:
            target = result.add_argument_group(entry.metadata["group"])
        _add(target, entry)
    return result


def parse(argv: Sequence[str] | None = None) -> InferenceConfig:
    """Command line to checked options; raises OptionError."""
    config = InferenceConfig(**vars(parser().parse_args(argv)))
    config.check()
    return config
