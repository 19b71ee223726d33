"""Options of evaluate.py."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from utils.errors import OptionError
from utils.inference.config import InferenceConfig
from utils.options import boolean, build_parser, check_names, check_ranges, option

RECOGNISERS = ("dlib", "sface", "arcface", "embedded")
LANDMARKERS = ("mediapipe", "2d106", "embedded")
_AS_INFERENCE = "as for inference.py"


def _as_inference(name: str) -> Any:
    """An option of inference.py, with its default and all that is said of its values."""
    entry = InferenceConfig.__dataclass_fields__[name]
    facts = ("type", "choices", "metavar", "within")
    return option(entry.default, _AS_INFERENCE, **{fact: entry.metadata[fact] for fact in facts
                                                   if fact in entry.metadata})


@dataclass(frozen=True)
class EvaluateConfig:
    """Everything an evaluation depends on, in the groups of the help text."""

    # faces
    faces: str | None = option(
        None,
        "folder of photos used as sources and as targets; one sub-folder per person, or one photo per person; "
        "openpeople:studio or openpeople:selfie takes the photos of that package",
        metavar="P",
        group="faces",
    )
    sources: str | None = option(None, "folder of sources instead of --faces", metavar="P")
    targets: str | None = option(None, "folder of targets instead of --faces", metavar="P")
    names: str | None = option(
        None, "text file with the photo names (without ending) to take from --faces, one a line", metavar="P"
    )
    openpeople: str | None = option(
        None,
        "swap the ten synthetic people of the openpeople package, on this kind of photo: person i into i+1 and i+3, "
        "cyclic; of these 20 pairs, --pairs takes the first",
        choices=("studio", "selfie"),
    )
    gallery: list[str] = option(
        list,
        "folders with more people among whom the source must be found; or with other photos of those who are swapped, "
        "with which swaps are then compared instead of their own photos",
        nargs="+",
        metavar="P",
    )
    gallery_names: str | None = option(None, "as --names, for the folders of --gallery", metavar="P")
    pairs: int = option(
        200,
        "most pairs of source and target; 0 for all; the same number always means the same pairs",
        type=int,
        metavar="N",
    )
    self_swaps: int = option(20, "targets that are swapped with themselves for PSNR and SSIM", type=int, metavar="N")

    # what is measured
    G_path: str | None = option(
        None,
        "generator weights to measure (default: what inference.py would use)",
        metavar="P",
        group="what is measured",
    )
    model: str = _as_inference("model")
    backbone: str = _as_inference("backbone")
    num_blocks: int = _as_inference("num_blocks")
    use_sr: bool = _as_inference("use_sr")
    identity_strength: float | None = _as_inference("identity_strength")
    tone: float | None = _as_inference("tone")
    sharpen: float | None = _as_inference("sharpen")
    detail: float | None = _as_inference("detail")
    match_blur: float | None = _as_inference("match_blur")
    occlusion: float | None = _as_inference("occlusion")
    max_yaw: float | None = _as_inference("max_yaw")
    mask_wider: int | None = _as_inference("mask_wider")
    mask_higher: float | None = _as_inference("mask_higher")
    rim_contrast: float | None = _as_inference("rim_contrast")
    glasses: str = _as_inference("glasses")
    device: str = _as_inference("device")
    precision: str = _as_inference("precision")
    video: str | None = option(None, "a swapped video, to measure its flicker against --target_video", metavar="P")
    target_video: str | None = option(None, "the video that --video was made from", metavar="P")

    # networks that measure
    recogniser: list[str] = option(
        lambda: ["dlib"],
        "face recognisers; the first one ranks the cases",
        nargs="+",
        choices=RECOGNISERS,
        group="networks that measure",
    )
    teachers: list[str] = option(
        lambda: ["sface", "arcface", "embedded"],
        "recognisers that took part in training the generator: marked so in the report",
        nargs="*",
        choices=RECOGNISERS,
    )
    landmarker: str = option("embedded", "landmarks for pose, expression and gaze", choices=LANDMARKERS)
    landmarks_against: str | None = option(
        None, "also measure how far --landmarker is from this one, on the targets", choices=LANDMARKERS
    )
    sface: str | None = option(None, "face_recognition_sface_2021dec.onnx (or environment GHOST_SFACE)", metavar="P")
    face_landmarker: str | None = option(
        None, "MediaPipe's face_landmarker.task (or environment GHOST_FACE_LANDMARKER)", metavar="P"
    )
    fid_network: str | None = option(None, "TorchScript Inception (inception-2015-12-05.pt) for FID", metavar="P")
    lpips_network: str | None = option(None, "TorchScript VGG16 (vgg16.pt) for LPIPS of the self-swap", metavar="P")

    # output
    out: str = option("runs/evaluate", "folder for metrics.json, table.md and sheet.png", metavar="P", group="output")
    table: str | None = option(None, "write the Markdown table here instead of into --out", metavar="P")
    beside: str | None = option(
        None,
        "metrics.json of another evaluation of the same faces, to show in a column that is named after its folder",
        metavar="P",
    )
    sheet_rows: int = option(3, "rows of best, of median and of worst cases on the sheet", type=int, metavar="N")
    quiet: bool = option(False, "print errors only", type=boolean)

    def check(self) -> None:
        """Refuse values and combinations that cannot work; raises OptionError."""
        check_ranges(self)
        check_names(self, (entry.name for entry in fields(self) if entry.metadata.get("metavar") == "P"))
        if bool(self.video) != bool(self.target_video):
            raise OptionError("flicker needs both --video and --target_video")
        if self.openpeople and (self.faces or self.sources or self.targets):
            raise OptionError("--openpeople brings its own faces; leave --faces, --sources and --targets out")
        if not self.openpeople and not self.video and not self.faces and not (self.sources and self.targets):
            raise OptionError("no faces: give --faces, or --sources and --targets, or --openpeople studio")


# What evaluate.py hands on to inference.py's pipeline as it is.
SHARED = tuple(entry.name for entry in fields(EvaluateConfig) if entry.metadata["help"] == _AS_INFERENCE)


def shown_people(config: EvaluateConfig) -> str:
    """Whose photos are swapped, in words."""
    package, _, kind = (config.faces or "").partition(":")
    if config.openpeople or package == "openpeople":
        return f"the ten openpeople people ({config.openpeople or kind})"
    if config.names:
        return f"the faces listed in {Path(config.names).name}"
    sources, targets = (Path(own or config.faces or "").name for own in (config.sources, config.targets))
    return f"the faces in {sources}" + (f" into those in {targets}" if targets != sources else "")


def command(config: EvaluateConfig) -> str:
    """The command line that these options came from, defaults left out."""
    words = ["python", "evaluate.py"]
    for name, default in vars(EvaluateConfig()).items():
        value = getattr(config, name)
        if value != default:
            words += [f"--{name}", *(map(str, value) if isinstance(value, list) else [str(value)])]
    return shlex.join(words)


def parse(argv: Sequence[str] | None = None) -> EvaluateConfig:
    """Command line to checked options; raises OptionError."""
    parser = build_parser(EvaluateConfig, "evaluate.py", "Measure swaps: identity, pose, expression, gaze, pixels.")
    config = EvaluateConfig(**vars(parser.parse_args(argv)))
    config.check()
    return config
