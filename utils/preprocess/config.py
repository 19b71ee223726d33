"""Options of preprocess_vgg.py."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.errors import GhostError, InputError, OptionError
from utils.options import boolean, build_parser, check_names, check_ranges, option
from utils.paths import sha256_of

_MOST_ON_WINDOWS = 61  # processes that a ProcessPoolExecutor takes there


@dataclass(frozen=True)
class PreprocessConfig:
    """Everything that decides what the training set looks like, and how it is made."""

    # photos
    path_to_dataset: str = option(
        "./VggFace2/VGG-Face2/data/preprocess_train",
        "folder of photos: one sub-folder per person (of VGGFace2: data/train), or all photos in one folder",
        metavar="P",
        group="photos",
    )
    save_path: str = option(
        "./VggFace2-crop",
        "where crops, index.csv and the report go; a second run goes on where the first one stopped",
        metavar="P",
    )
    keypoints: str | None = option(
        None,
        "CSV of known keypoints (columns id, kp1_x, kp1_y to kp5_x, kp5_y; id is the photo's name without ending, "
        "or folder/name where names come twice) instead of the detector",
        metavar="P",
    )

    # crops
    size: int = option(256, "side of the crops in pixels", type=int, metavar="N", group="crops", within=(32, 1024))
    margin: float = option(
        0.0, "extra border on every side for augmentation, as a share of --size", type=float, metavar="X", within=(0, 1)
    )
    format: str = option("jpg", "jpg (quality 95) or png", choices=("jpg", "png"))

    # quality
    min_face: int = option(
        96,
        "refuse faces of which the crop shows fewer photo pixels than this along its side",
        type=int,
        metavar="N",
        group="quality",
    )
    min_score: float = option(
        0.6, "refuse faces of which the detector is less sure than this, 0 to 1", type=float, metavar="X", within=(0, 1)
    )
    check_person: bool = option(
        True,
        "in folders of one person: keep the face that agrees with the folder's other "
        "photos, by the identity encoder where one is installed",
        type=boolean,
    )

    # machine
    workers: int = option(0, "processes; 0 for one per core", type=int, metavar="N", group="machine")
    device: str = option("cpu", "where the identity encoder runs; auto: an NVIDIA card, else the processor",
                         choices=("auto", "cpu", "cuda", "mps"))
    quiet: bool = option(False, "print errors only", type=boolean)

    def check(self) -> None:
        """Refuse values that cannot work; raises OptionError."""
        check_ranges(self)
        check_names(self, ("path_to_dataset", "save_path", "keypoints"))
        photos, crops = Path(self.path_to_dataset).resolve(), Path(self.save_path).resolve()
        if crops.is_relative_to(photos):
            raise OptionError(f"--save_path {self.save_path} lies in --path_to_dataset {self.path_to_dataset}: crops "
                              "would replace photos or be cut once more; give a folder elsewhere")

    @property
    def processes(self) -> int:
        """How many processes work."""
        from utils.device import cores  # and with it NumPy, which --help need not wait for

        most = _MOST_ON_WINDOWS if sys.platform == "win32" else math.inf
        return int(min(self.workers or cores(), most))

    @property
    def border(self) -> int:
        """Extra pixels on every side of the crop."""
        return round(self.margin * self.size)

    def decisive(self) -> dict[str, str | int | float | bool | None]:
        """The options that change the result; a run can only go on with the same ones.

        Where photos and keypoints lie is none of them: folders are moved. Raises InputError for keypoints that cannot
        be read.
        """
        names = ("size", "margin", "format", "min_face", "min_score", "check_person")
        keypoints = None if self.keypoints is None else sha256(Path(self.keypoints), InputError)
        return {"keypoints_sha256": keypoints, **{name: getattr(self, name) for name in names}}


def sha256(path: Path, failure: type[GhostError]) -> str:
    """The checksum of a file, 64 hexadecimal digits; raises `failure` where it cannot be read."""
    try:
        return sha256_of(path)
    except OSError as error:
        raise failure(f"cannot read {path}: {error.strerror or error}") from error


def parse(argv: Sequence[str] | None = None) -> PreprocessConfig:
    """Command line to checked options; raises OptionError."""
    parser = build_parser(PreprocessConfig, "preprocess_vgg.py", "Cut aligned faces out of photos for training.")
    config = PreprocessConfig(**vars(parser.parse_args(argv)))
    config.check()
    return config
