"""Options of inference.py: one dataclass; the text beside each field is its help, its value the only default."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from math import inf
from pathlib import Path
from typing import Literal, get_args

from utils.errors import OptionError
from utils.inference.framing import BASE
from utils.io.mark import LEVELS
from utils.options import (
    Parser,
    boolean,
    build_parser,
    check_choices,
    check_names,
    check_ranges,
    check_types,
    clock,
    option,
)
from utils.paths import is_folder

Select = Literal["reference", "largest", "all"]
G_PATH = "weights/G_unet_2blocks.pth"
_OF_PHOTOS = {"target_image"}  # options that are for these alone
_OF_VIDEOS = {"target_video", "decoder", "encoder", "crf", "preset", "start", "end", "preview", "keep_partial",
              "max_skipped"}


@dataclass(frozen=True)
class InferenceConfig:
    """Everything a run depends on, in the groups of the help text."""

    # what to swap
    source_paths: Sequence[str] = option(
        list, "photos of the faces whose identity is taken, one per person, or a folder with several of that person",
        nargs="+", metavar="P", group="what to swap",
    )
    target_faces_paths: Sequence[str] = option(
        list, "reference photos, or folders of several, of the people to replace: the first source goes to the person "
        "of the first reference, and so on", nargs="*", metavar="P",
    )
    source_face_index: Sequence[int] = option(
        list, "which face of a source photo that shows several, one number per source, counted from 0 at the left, or "
        "-1 for the most prominent one (the default)", type=int, nargs="+", metavar="N", alias="--source-face-index",
    )
    image_to_image: bool = option(False, "swap in a photo (--target_image) instead of a video (--target_video)",
                                  type=boolean)
    target_image: str | None = option(None, "photo to change, or a folder of photos", alias="--target_path",
                                      metavar="P")
    out_image_name: str = option("examples/results/result.png", "where the changed photo goes; its ending chooses the "
                                 "format; of a folder of photos: another folder", metavar="P")
    target_video: str | None = option(None, "video to change", metavar="P")
    out_video_name: str = option("examples/results/result.mp4", "where the changed video goes", metavar="P")
    select: Select = option("reference", "whom to replace. reference: people of --target_faces_paths or, without them, "
                            "the most prominent face of the first frame that has one; largest: the most prominent face "
                            "of every frame; all: everybody (one source)", choices=get_args(Select))
    similarity_th: float | None = option(None, "smallest cosine similarity at which a face counts as a reference's "
                                         "person (default: the identity encoder's own, 0.15 for the published one)",
                                         type=float, metavar="X", within=(-1, 1))

    identity_strength: float | None = option(None, "how far to go from the target's identity to the "
                                             "source's, from 0 to 2: 1 takes the source's embedding (apart from "
                                             "glasses), less a mixture, and more exaggerates what sets the two apart "
                                             "(default: what suits the generator and the pair, 1 for the published "
                                             "ones)", type=float, metavar="X", within=(0, 2))
    tone: float | None = option(None, "share of the target's light and skin tone that swaps take on, from 0 to 1 "
                                "(default: what suits the generator, 0 for the published ones)", type=float,
                                metavar="X", within=(0, 1))
    sharpen: float | None = option(None, "sharpen swaps that are softer than the target's face: the largest share of "
                                   "their own detail that is added once more; 0: never (default: what suits the "
                                   "generator, 0 for the published ones)", type=float, metavar="X", within=(0, 5))
    detail: float | None = option(None, "share, from 0 to 1, of the source photo's own detail that swaps are given: "
                                  "brows, freckles, wrinkles (default: what suits the generator, 0 for the published "
                                  "ones)", type=float, metavar="X", within=(0, 1))
    match_blur: float | None = option(None, "share, from 0 to 1, of the target's blur, out of focus or by motion, that "
                                      "swaps are given where they are sharper (default: what suits the generator, 0 "
                                      "for the published ones)", type=float, metavar="X", within=(0, 1))
    occlusion: float | None = option(None, "share, from 0 to 1, of what covers the target's face that stays in front "
                                     "of the swap: hands, microphones, lettering (default: what suits the generator, 0 "
                                     "for the published ones)", type=float, metavar="X", within=(0, 1))
    max_yaw: float | None = option(None, "degrees by which a face may be turned away; swaps of others fade, as those "
                                   "of tiny and hidden faces always do; 0: any (default: what suits the generator, 0 "
                                   "for the published ones)", type=float, metavar="X", within=(0, 180))
    mask_wider: int | None = option(None, "by how many pixels of a 224 crop masks are wider than the published ones, "
                                    "or narrower below 0 (default: what suits the generator, 0 for the published ones)",
                                    type=int, metavar="N", within=(-100, 100))
    mask_higher: float | None = option(None, "how much further masks reach above the brows, in half distances from the "
                                       "lid, than the published ones (default: what suits the generator)", type=float,
                                       metavar="X", within=(-10, 10))
    rim_contrast: float | None = option(None, "share of brightness by which a swap may differ on forehead and temples "
                                        "before the target's hair, hat or headband is shown there; 0: any (default: "
                                        "what suits the generator, 0 for the published ones)", type=float, metavar="X",
                                        within=(0, 10))
    glasses: str = option("target", "whose glasses swaps wear: the target's, or the source's as the generator paints "
                          "them (always the latter with the published weights)",
                          choices=("target", "source"))

    # models and device
    model: str = option("auto", "auto: the published weights if generator and ArcFace are there, else the embedded "
                        "ones; ghost: the published ones; embedded: the ones in this repository",
                        choices=("auto", "ghost", "embedded"), group="models and device")
    G_path: str = option(G_PATH, "generator weights: a .safetensors or .pth with its JSON beside it, or a bare .pth of "
                         "the published architecture", metavar="P")
    backbone: str = option("unet", "attribute encoder of a .pth generator", choices=("unet", "linknet", "resnet"))
    num_blocks: int = option(2, "AAD layers per block of a .pth generator", type=int, choices=(1, 2, 3))
    batch_size: int = option(40, "most faces swapped at once, on a CPU eight or fewer; halved by itself when memory "
                             "runs out", type=int, metavar="N", within=(1, inf))
    crop_size: int = option(BASE, "side in pixels of the aligned crop that landmarks and mask are computed on; "
                            "the masks' numbers belong to 224 and are scaled to others", type=int, metavar="N",
                            within=(64, 1024))
    only_permissive: bool = option(False, "refuse models whose licence does not plainly allow commercial use (see "
                                   "MODELS.md)", type=boolean, alias="--only-permissive")
    use_sr: bool = option(False, "enhance swapped faces with the super-resolution network", type=boolean)
    device: str = option("auto", "where the networks run; auto: an NVIDIA card, else the processor",
                         choices=("auto", "cpu", "cuda", "mps"))
    precision: str = option("auto", "arithmetic of generator and landmarks. auto: bfloat16 where the device has it, "
                            "float32 elsewhere and from the first swap on that comes out flat or not finite; "
                            "float32: always, as exact as the published networks and slower",
                            choices=("auto", "float32"))

    # video
    decoder: str = option("software", "who decodes videos: the processor, or an NVIDIA card (nvdec), which spares a "
                          "slow processor and is slower than eight fast cores", choices=("software", "nvdec"),
                          group="video")
    encoder: str = option("auto", "video encoder: libx264, libx265, libsvtav1, libvpx-vp9, for editing prores_ks "
                          "(.mov) or ffv1 (.mkv, no loss), or hardware such as h264_nvenc, which is replaced where it "
                          "does not work; auto: H.264, VP9 in .webm", metavar="NAME")
    crf: float | None = option(None, "quality, smaller is better and larger files (default: the encoder's, 20 for "
                               "H.264)", type=float, metavar="N")
    preset: str | None = option(None, "effort of the encoder, or profile of ProRes, by its own names (default for "
                                "H.264: superfast, with B frames at fixed places; for ProRes: hq, or 4444 where "
                                "colours are not halved)", metavar="NAME")
    start: float = option(0.0, "where to begin, in seconds or as h:mm:ss", type=clock, metavar="T")
    end: float | None = option(None, "where to stop, in seconds or as h:mm:ss", type=clock, metavar="T")
    preview: int = option(0, "every N frames, put a picture of the latest beside the output; 0: never", type=int,
                          metavar="N")
    keep_partial: bool = option(False, "when stopped by Ctrl-C, SIGTERM or a closed terminal, out of memory, or at "
                                "what cannot be read, complete what is done as NAME.partial1 beside the output, and "
                                "say from which second to go on", type=boolean)
    max_skipped: float = option(1.0, "fail when more than this share of the frames, or of the photos of a folder, "
                                "could not be swapped, 0 to 1",
                                type=float, metavar="SHARE", alias="--max-skipped", within=(0, 1))

    # output
    json: bool = option(False, "print one JSON object with the result on standard output", type=boolean,
                        group="reporting")
    quiet: bool = option(False, "print errors only", type=boolean)
    profile: bool = option(False, "print a table of the seconds that each stage took on standard error", type=boolean)
    no_overwrite: bool = option(False, "fail instead of replacing an existing output file; of a folder of photos, "
                                 "leave out those whose results are there", type=boolean,
                                 alias="--no-overwrite")
    provenance: str = option("full", "how results say that faces were replaced by AI. full: in their metadata and, "
                             "where the format holds one, in a signed C2PA manifest; metadata: without the manifest; "
                             "off: not at all", choices=LEVELS)

    given: Collection[str] = ()  # options that somebody wrote, be it with their defaults

    def asks_for(self, name: str) -> bool:
        """Whether somebody wrote this option, or in Python gave another value than its (plain) default."""
        return name in self.given or getattr(self, name) != getattr(type(self), name)

    def check(self) -> None:
        """Refuse values and combinations that cannot work, before any work; raises OptionError."""
        self._check_names()
        self.check_values()
        self._check_people()
        self._check_target()
        self._check_output()

    def check_values(self) -> None:
        """Refuse values that cannot work, whatever is to be swapped; raises OptionError."""
        check_types(self)
        check_choices(self)
        check_ranges(self)
        if self.model == "embedded" and self.asks_for("G_path"):
            raise OptionError("--model embedded takes the generator of this repository; leave --G_path out")
        if self.target_faces_paths:
            self.check_references()
        if self.end is not None and self.end <= self.start:
            raise OptionError(f"--end ({self.end:g} s) must come after --start ({self.start:g} s)")

    def _check_names(self) -> None:
        kind = "image" if self.image_to_image else "video"
        check_names(self, ("source_paths", "target_faces_paths", f"target_{kind}", f"out_{kind}_name", "G_path"))

    def check_references(self) -> None:
        """Refuse reference photos where they would have no effect; raises OptionError."""
        if self.select != "reference":
            raise OptionError(f"--select {self.select} takes no --target_faces_paths; leave one of the two out")

    def faces_of(self, sources: int) -> Sequence[int | None]:
        """Which face each of so many sources is, None for the most prominent one; raises OptionError."""
        chosen = [self.source_face_index] if isinstance(self.source_face_index, int) else self.source_face_index
        if chosen and (len(chosen) != sources or min(chosen) < -1):
            raise OptionError(f"--source_face_index {' '.join(map(str, chosen))}: expected one number, of 0 or more or "
                              f"-1, for each of the {sources} in --source_paths")
        return [None if number == -1 else number for number in chosen or [-1] * sources]

    def _check_people(self) -> None:
        sources, references = len(self.source_paths), len(self.target_faces_paths)
        if not sources:
            raise OptionError("no source: give --source_paths with one photo per identity")
        if references and references != sources:
            raise OptionError(f"{sources} in --source_paths but {references} in --target_faces_paths: "
                              "give one reference per source, in the same order")
        self.faces_of(sources)
        if sources > 1 and not references:
            raise OptionError(f"{sources} sources but no reference: give --target_faces_paths with one photo per "
                              "source, so that everybody gets the right face, or a single source")

    def _check_target(self) -> None:
        if self.image_to_image and not self.target_image:
            instead = ", or leave --image_to_image out for your --target_video" if self.target_video else ""
            raise OptionError(f"--image_to_image needs the photo to change: give --target_image{instead}")
        if not self.image_to_image and not self.target_video:
            instead = "--image_to_image True with your --target_image" if self.target_image else \
                "--image_to_image True and --target_image for a photo"
            raise OptionError(f"no target: give --target_video for a video, or {instead}")

    def _check_output(self) -> None:
        """Refuse an output for videos alone where a photo is changed, and the reverse."""
        this, other = ("image", "video") if self.image_to_image else ("video", "image")
        if f"out_{other}_name" in self.given and f"out_{this}_name" not in self.given:
            kind, change = ("photo", "leave out") if self.image_to_image else ("video", "add")
            raise OptionError(f"--out_{other}_name {getattr(self, f'out_{other}_name')} has no effect on a {kind}: "
                              f"give --out_{this}_name, or {change} --image_to_image")

    def idle(self) -> list[str]:
        """Notes on the options that change nothing of a photo, a video, or with this selection, where there are any."""
        kind, names = ("photo", _OF_VIDEOS) if self.image_to_image else ("video", _OF_PHOTOS)
        names = names - {"max_skipped"} if is_folder(self.target) else names
        idle = [f"--{entry.name}" for entry in fields(self)
                if entry.name in names and getattr(self, entry.name) != entry.default]
        notes = [f"without effect on a {kind}: {', '.join(idle)}"] if idle else []
        if self.select != "reference" and self.similarity_th is not None:
            notes.append(f"without effect with --select {self.select}, which compares nobody: --similarity_th")
        return notes

    @property
    def target(self) -> str:
        """The file that is to be changed."""
        return (self.target_image if self.image_to_image else self.target_video) or ""

    @property
    def output(self) -> Path:
        """The file that this run writes."""
        return Path(self.out_image_name if self.image_to_image else self.out_video_name)


def parser() -> Parser:
    """The command line of inference.py."""
    return build_parser(InferenceConfig, "inference.py", "Swap faces in a photo or a video.")


def parse(argv: Sequence[str] | None = None) -> InferenceConfig:
    """Command line to checked options; raises OptionError."""
    given = parser().given(sys.argv[1:] if argv is None else argv)
    config = InferenceConfig(**given, given=frozenset(given))
    config.check()
    return config
