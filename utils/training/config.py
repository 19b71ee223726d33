"""Options of train.py: one dataclass for the four networks that it trains; presets are YAML files of the same
names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from typing import Any

from utils.errors import InputError, OptionError
from utils.inference.config import InferenceConfig
from utils.options import Parser, boolean, build_parser, option
from utils.training import checks

TASKS = ("generator", "identity", "landmarks", "occlusion", "glasses")
_UNSEEN = "see inference.py; written to the exported card, training does not see it"


def _as_inference(name: str, text: str) -> Any:
    """A number that inference.py takes, too, of the same range."""
    facts = InferenceConfig.__dataclass_fields__[name].metadata
    return option(facts["type"](), text, **{fact: facts[fact] for fact in ("type", "metavar", "within")})


@dataclass(frozen=True)
class TrainConfig:
    """Everything a training run depends on, in the groups of the help text."""

    # run
    run_name: str = option(
        "", "name of the run; its files go to saved_models_<run_name>/ and current_models_<run_name>/ (required)",
        metavar="NAME", group="run",
    )
    config: str | None = option(None, "preset: a YAML file of options; options given beside it win", metavar="FILE")
    task: str = option(
        "generator", "what to train: the generator; one of two small networks, by distillation; or the one that sees "
        "what covers a face, on drawn occluders", choices=TASKS
    )
    resume: str = option(
        "none",
        "auto: go on from the newest whole checkpoint of this run, if there is one; none: start "
        "anew; or a checkpoint file",
        metavar="auto|none|FILE",
    )
    dry_run: bool = option(
        False, "build everything, take one step, print what would be done, write nothing", type=boolean,
        alias="--dry-run",
    )
    seed: int = option(0, "seed of weights, pairs and augmentation", type=int, metavar="N", within=(0, 2**32 - 1))
    device: str = option("auto", "where to train; auto: an NVIDIA card, else the processor",
                         choices=("auto", "cpu", "cuda", "mps"))
    quiet: bool = option(False, "print errors only", type=boolean)

    # data
    dataset_path: str = option(
        "/VggFace2-crop/", "crops made by preprocess_vgg.py, or a folder of aligned faces", metavar="P", group="data"
    )
    vgg: bool = option(
        True, "one sub-folder per identity (VGGFace2); False: every photo is another person", type=boolean
    )
    same_person: float = option(
        0.2, "share of the pairs whose source and target are one person", type=float, metavar="X", within=(0, 1)
    )
    same_identity: bool = option(
        True,
        "in such pairs the target is another photo of the person (needs --vgg True); False: the same photo",
        type=boolean,
    )
    validation: str | None = option(
        None, "photos that are measured and never trained on: a text file with their names, or about this share of the "
        "people, such as 0.02, always the same ones", metavar="P|SHARE"
    )
    without: str | None = option(None, "text file with names of photos to leave out, the first word of each line",
                                 metavar="P")
    source_novel: float = option(
        0.0, "share of the sources, or of the faces of --task identity, that are invented people, between two of the "
        "set; in the first case needs --weight_transplant", type=float, metavar="X", within=(0, 1),
    )
    alike_targets: float = option(
        0.0, "share of the pairs whose target has a head pose similar to the source's; needs --weight_transplant",
        type=float, metavar="X", within=(0, 1),
    )
    cache_gb: float = option(
        4.0, "sets that take less memory than this are decoded once and kept, on a graphics card that has plenty of it",
        type=float, metavar="X",
    )
    workers: int = option(4, "processes that decode pictures of larger sets", type=int, metavar="N")
    jitter: float = option(
        0.2, "random change of brightness, contrast and saturation, either way", type=float, metavar="X", within=(0, 1)
    )
    hue: float = option(0.01, "random change of hue in turns, either way", type=float, metavar="X")
    mirror: float = option(0.0, "probability of mirroring a face", type=float, metavar="X", within=(0, 1))
    rotation: float = option(0.0, "random turn in degrees, either way", type=float, metavar="X", within=(0, 180))
    zoom: float = option(0.0, "random change of scale, either way", type=float, metavar="X", within=(0, 0.9))
    shift: float = option(0.0, "random shift as a share of the crop's side, either way", type=float, metavar="X",
                          within=(0, 1))
    degrade: bool = option(False, "show the identity encoder blurred and noisy faces too", type=boolean)

    # generator and discriminator
    G_path: str = option(
        "./saved_models/G.pth", "generator, or small network, to start from", metavar="P", group="networks"
    )
    D_path: str = option("./saved_models/D.pth", "discriminator to start from", metavar="P")
    pretrained: bool = option(
        True,
        "start from --G_path and --D_path. Where one of these three options is given, both files have to be there, or "
        "'' for a network from scratch; else the two default places may be empty. False: from scratch, with neither",
        type=boolean,
    )
    backbone: str = option("unet", "attribute encoder", choices=("unet", "linknet", "resnet"))
    num_blocks: int = option(2, "AAD layers per block", type=int, choices=(1, 2, 3))
    size: int = option(256, "side of the crops in pixels (published: 256)", type=int, metavar="N")
    width: float = option(1.0, "multiplier of the generator's channels (published: 1)", type=float, metavar="X")
    discr_layers: int = option(5, "layers of each discriminator", type=int, metavar="N", within=(1, inf))
    discr_channels: int = option(64, "channels of each discriminator's first layer", type=int, metavar="N",
                                 within=(1, inf))
    discr_scales: int = option(3, "number of image scales, each with its own discriminator", type=int, metavar="N",
                               within=(1, inf))
    identity: str = option(
        "arcface", "identity encoder: a model's name, or a .safetensors file with its JSON", metavar="P"
    )
    critic: str = option(
        "encoder", "who judges identity in L_id: the encoder itself (published), or SFace", choices=("encoder", "sface")
    )
    critic_blur: float = option(
        0.0,
        "blur of the swaps that the critic sees, in pixels: keeps its gradient out of the finest detail", type=float,
        metavar="X",
    )
    sface: str = option("weights/face_recognition_sface_2021dec.onnx", "SFace teacher", metavar="P")
    faceres: str = option("weights/faceres.json", "FaceRes teacher of --weight_faceres, --weight_features", metavar="P")
    landmarks: str = option(
        "weights/ghost_compact_landmarks.safetensors",
        "landmark network of --weight_landmarks, --weight_pose, --weight_outside and --weight_transplant", metavar="P",
    )
    face_landmarker: str = option(
        "weights/face_landmarker.task",
        "MediaPipe teacher of --task landmarks, --weight_transplant and --source_novel", metavar="P",
    )
    eye_path: str = option(
        "AdaptiveWingLoss/AWL_detector/WFLW_4HG.pth", "eye landmark detector of --eye_detector_loss", metavar="P"
    )
    student_depth: int = option(
        18, "layers of the encoder of --task identity", type=int, choices=(18, 34, 50, 100, 200)
    )
    student_width: float = option(0.375, "channel multiplier of the identity student", type=float, metavar="X")
    student_features: int = option(
        128, "dimension of the identity student's embedding; SFace gives 128", type=int, metavar="N"
    )
    student_size: int = option(
        112, "side of the identity student's crops in pixels, a multiple of 16", type=int, metavar="N"
    )
    student_novel: bool = option(
        False, "teach the identity student invented people: mixtures of several faces, bent and recoloured",
        type=boolean,
    )
    student_centred: bool = option(
        False, "teach the identity student embeddings less their mean over the set", type=boolean
    )
    weight_hints: float = option(
        0.0, "weight of the hint loss: the identity student's last two feature maps imitate the teacher's", type=float,
        metavar="X",
    )
    teacher_reuse: int = option(
        1, "steps that share the same prepared faces, because preparing them is slow: at once and in other views "
        "(occlusion: mirrored in turn) or, for the generator, later and unchanged",
        type=int, metavar="N", within=(1, inf),
    )

    # losses
    weight_adv: float = option(1.0, "weight of the adversarial loss", type=float, metavar="X", group="losses")
    weight_r1: float = option(
        0.0, "weight of the gradient penalty on the discriminator, which keeps its gradients useful", type=float,
        metavar="X",
    )
    weight_attr: float = option(10.0, "weight of the attribute loss", type=float, metavar="X")
    weight_id: float = option(20.0, "weight of the identity loss", type=float, metavar="X")
    id_margin: float = option(
        0.0, "L_id also asks that swaps are nearer to the source than to the target, by this difference of cosines",
        type=float, metavar="X",
    )
    weight_encoder: float = option(
        0.0, "weight of L_id as the conditioning encoder sees it, beside --critic sface", type=float, metavar="X"
    )
    weight_faceres: float = option(0.0, "weight of likeness as FaceRes sees it", type=float, metavar="X")
    weight_features: float = option(0.0, "weight of FaceRes's maps' distance to a warped swap", type=float, metavar="X")
    weight_distill: float = option(
        0.0, "weight of the distance of a trained encoder (--lr_identity) to SFace", type=float, metavar="X"
    )
    weight_rec: float = option(10.0, "weight of the reconstruction loss", type=float, metavar="X")
    weight_eyes: float = option(
        0.0, "weight of the eye loss (about 800; needs --eye_detector_loss True)", type=float, metavar="X"
    )
    weight_tone: float = option(0.0, "weight of the loss that keeps light and skin tone", type=float, metavar="X")
    weight_outside: float = option(
        0.0, "weight of the loss that keeps what is around the face", type=float, metavar="X"
    )
    weight_landmarks: float = option(0.0, "weight of the loss that keeps the landmarks", type=float, metavar="X")
    weight_pose: float = option(
        0.0, "weight of the angle by which the head turned, going by its landmarks", type=float, metavar="X"
    )
    weight_transplant: float = option(
        0.0, "weight of the distance to a swap by warping (MediaPipe finds the landmarks)", type=float, metavar="X"
    )
    eye_detector_loss: bool = option(False, "use the eye loss", type=boolean)
    diff_eq_same: bool = option(False, "reconstruction loss on all pairs", type=boolean)
    discr_force: bool = option(
        False, "train the discriminator only while the running mean of L_adv is below 4", type=boolean
    )
    id_warmup: int = option(0, "steps over which the weights of all losses but those of reconstruction, attributes, "
                            "tone and outside grow from a 500th, by equal factors: the target is learned first",
                            type=int, metavar="N")
    rec_all_steps: int = option(0, "first steps with the reconstruction loss on all pairs", type=int, metavar="N")
    identity_blend: float = option(
        0.0, "share of the different-person pairs that get a blend of two identities", type=float, metavar="X",
        within=(0, 1),
    )

    # optimisation
    batch_size: int = option(16, "pairs per process and step", type=int, metavar="N", group="optimisation",
                             within=(1, inf))
    accumulate: int = option(1, "batches whose gradients make one step", type=int, metavar="N", within=(1, inf))
    lr_G: float = option(4e-4, "learning rate of the generator, or of a small network", type=float, metavar="X")
    lr_D: float = option(4e-4, "learning rate of the discriminator", type=float, metavar="X")
    lr_identity: float = option(
        0.0, "learning rate of the identity encoder, trained with the generator; 0: it stays as it is (published)",
        type=float, metavar="X",
    )
    optimizer: str = option(
        "adam", "adam: weight decay inside the gradient (published); adamw: beside it", choices=("adam", "adamw")
    )
    beta1: float = option(0.0, "Adam's first beta", type=float, metavar="X")
    weight_decay: float = option(1e-4, "weight decay", type=float, metavar="X")
    warmup: int = option(0, "steps over which the learning rates grow to their value", type=int, metavar="N")
    scheduler: bool = option(
        False, "multiply the learning rates by --scheduler_gamma every --scheduler_step steps", type=boolean
    )
    scheduler_step: int = option(5000, "see --scheduler", type=int, metavar="N", within=(1, inf))
    scheduler_gamma: float = option(0.2, "see --scheduler", type=float, metavar="X")
    scheduler_unit: str = option("step", "whether --scheduler_step counts steps or epochs", choices=("step", "epoch"))
    cosine: bool = option(False, "lower the learning rates to 0 along a cosine until the last step", type=boolean)
    grad_clip: float = option(0.0, "largest gradient norm of each network; 0: no limit", type=float, metavar="X")
    ema: float = option(
        0.0, "decay of the moving average of the weights, which is what gets exported; 0: off", type=float, metavar="X",
        within=(0, 1),
    )
    max_epoch: int = option(2000, "epochs to train", type=int, metavar="N", within=(1, inf))
    max_steps: int = option(0, "steps to train, if that is fewer; 0: no limit", type=int, metavar="N")
    max_minutes: float = option(0.0, "stop this session after so long; 0: no limit", type=float, metavar="X")

    # speed
    optim_level: str = option(
        "O2",
        "O0: float32; O1, O2, O3 (once Apex's): mixed precision, bfloat16 where the device has it, "
        "else float16 with loss scaling",
        choices=("O0", "O1", "O2", "O3"),
        group="speed",
    )
    compile: bool = option(False, "compile the losses (CPU: the critic); the first step takes minutes; "
                           "left out where there is no C++ compiler (CUDA: no Triton)", type=boolean)
    cuda_graphs: bool = option(
        True, "on CUDA, record a step of the generator's training and replay it, so that thousands of kernels start as "
        "one; for a single process without --accumulate", type=boolean,
    )
    channels_last: bool = option(True, "keep pictures with their channels last in memory", type=boolean)

    # output
    show_step: int = option(500, "steps between sample pictures", type=int, metavar="N", group="output",
                            within=(1, inf))
    log_step: int = option(10, "steps between lines of metrics.jsonl", type=int, metavar="N", within=(1, inf))
    validate_step: int = option(0, "steps between validations; 0: with every checkpoint", type=int, metavar="N")
    save_epoch: int = option(
        1, "epochs between numbered files in current_models_<run_name>/; 0: none", type=int, metavar="N"
    )
    checkpoint_minutes: float = option(15.0, "minutes between checkpoints", type=float, metavar="X")
    keep: int = option(3, "newest checkpoints, and numbered files, that stay; 0: all", type=int, metavar="N")
    collapse_steps: int = option(
        1000, "stop after so many steps of a collapsed generator or discriminator; 0: never", type=int, metavar="N"
    )
    export_name: str | None = option(
        None, "also export float16 NAME.safetensors and NAME.json beside G_latest.pth", metavar="NAME"
    )
    licence: str = option("", "licence that the exported card names", metavar="TEXT")
    max_yaw: float = _as_inference("max_yaw", "largest yaw in degrees, written to the exported card, beyond which "
                                              "swaps fade; 0: any")
    grain: float = option(
        0.0, "share of the target's grain and pores, too fine for the swap, that the pipeline lays over it", type=float,
        metavar="X", within=(0, 1),
    )
    sharpen: float = _as_inference("sharpen", _UNSEEN)
    detail: float = _as_inference("detail", _UNSEEN)
    match_blur: float = _as_inference("match_blur", _UNSEEN)
    occlusion: float = _as_inference("occlusion", _UNSEEN)
    identity_reach: float = option(
        0.0, "distance from targets' embeddings that the exported card asks for; 0: sources'", type=float, metavar="X"
    )
    tone: float = _as_inference("tone", "see inference.py; the judges of identity see it too")
    mask_wider: int = _as_inference("mask_wider", "by how many pixels of 224 the pipeline's masks are wider than the "
                                                  "published ones")
    mask_higher: float = _as_inference("mask_higher", "how much further above the brows, in half distances from the "
                                                      "lid (published: 2)")
    rim_contrast: float = _as_inference("rim_contrast", "share of brightness by which swaps may differ on forehead "
                                                        "and temples; 0: any")
    least_contrast: float = option(
        0.0, "lowest contrast (standard deviation in 8-bit levels) that faces are brought to for the exported "
        "generator", type=float, metavar="X",
    )
    tensorboard: bool = option(False, "write TensorBoard's files beside metrics.jsonl", type=boolean)
    use_wandb: bool = option(False, "log to Weights & Biases", type=boolean)
    wandb_project: str = option("ghost", "Weights & Biases project", metavar="NAME")
    wandb_entity: str | None = option(None, "Weights & Biases account", metavar="NAME")
    wandb_mode: str = option(
        "offline", "offline: to the disk only (send it later with `wandb sync`)", choices=("offline", "online")
    )
    output: str = option(".", "folder in which the run's folders are made", metavar="P")

    def check(self) -> None:
        """Refuse values and combinations that cannot work, before any work; raises OptionError."""
        checks.check(self)

    @property
    def saved_models(self) -> Path:
        """Folder of the run: users' files, checkpoints, logs, pictures."""
        return Path(self.output) / f"saved_models_{self.run_name}"

    @property
    def current_models(self) -> Path:
        """Folder of the numbered files."""
        return Path(self.output) / f"current_models_{self.run_name}"

    def weights(self) -> dict[str, float]:
        """The generator's loss terms that are switched on, with their weights."""
        names = ("adv", "attr", "id", "encoder", "rec", "eyes", "tone", "outside", "landmarks",
                 "pose", "transplant", "distill", "faceres", "features")
        return {name: getattr(self, f"weight_{name}") for name in names if getattr(self, f"weight_{name}") > 0}

    @property
    def uses_landmarks(self) -> bool:
        """Whether losses of the generator need the landmark network."""
        marked = (self.weight_landmarks, self.weight_pose, self.weight_outside, self.weight_transplant)
        return self.task == "generator" and any(marked)

    @property
    def needs_float64(self) -> bool:
        """Whether landmarks are measured, or faces bent by them: both solve equations in float64."""
        return self.uses_landmarks or (self.task == "identity" and self.source_novel > 0)

    def total_steps(self, epoch_steps: int) -> int:
        """Steps of the whole training. epoch_steps: those in which every photo is seen once."""
        steps = self.max_epoch * epoch_steps
        return min(steps, self.max_steps or steps)

    def to_json(self) -> str:
        """All options as they are in force."""
        return json.dumps(asdict(self), indent=1)


def parser() -> Parser:
    """The command line of train.py."""
    return build_parser(TrainConfig, "train.py", "Train the generator, or one of the small networks beside it.")


def read_preset(path: Path) -> dict[str, Any]:
    """Options of a YAML file, checked like those of a command line.

    Raises InputError for files that cannot be read, OptionError for unknown names and unfit values.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read --config {path}: {error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        fault = f"line {mark.line + 1}: {getattr(error, 'problem', '')}" if mark else " ".join(str(error).split())
        raise InputError(f"--config {path}: expected lines such as `batch_size: 16` ({fault})") from error
    if not isinstance(content, dict) or any(isinstance(value, (dict, list)) for value in content.values()):
        raise InputError(f"--config {path}: expected lines such as `batch_size: 16`")
    argv = [f"--{name}={value}" for name, value in content.items() if value is not None]
    try:
        return parser().given(argv)
    except OptionError as error:
        raise OptionError(f"--config {path}: {error}") from error


def parse(argv: Sequence[str]) -> TrainConfig:
    """Command line, and the preset that it names, to checked options; raises OptionError, InputError."""
    given = parser().given(argv)
    chosen = (read_preset(Path(given["config"])) if given.get("config") else {}) | given
    config = TrainConfig(**chosen)
    config.check()
    checks.check_not_idle(config, given)
    if config.pretrained and (config.task == "generator" or config.G_path != TrainConfig.G_path):
        checks.check_sources(config, chosen)
    return config
