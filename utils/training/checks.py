"""What options of train.py can be; each fault is an error that names the option."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils import registry
from utils.errors import OptionError, WeightsError
from utils.options import check_names, check_ranges
from utils.paths import is_file

if TYPE_CHECKING:
    from utils.training.config import TrainConfig

_SOURCES = ("G_path", "D_path")
_ABOVE_ZERO = ("lr_G", "lr_D", "width")
_STUDENT = ("student_depth", "student_width", "student_features", "student_size", "student_novel", "student_centred",
            "weight_hints")  # options of --task identity

_OWN_FILES = ("config", "G_latest", "D_latest")  # of a run, without their endings, which --export_name could replace


def check(config: TrainConfig) -> None:
    """Refuse values and combinations that cannot work."""
    if config.run_name in ("", "..") or Path(config.run_name).name != config.run_name:
        raise OptionError("give --run_name with a name for this run, without slashes")
    check_names(config, ("config", "dataset_path", "identity", "output"))  # '' of --G_path and --D_path: from scratch
    _check_numbers(config)
    _check_combinations(config)
    if config.task == "generator" and not config.weights():
        raise OptionError("all weights of the losses are 0: give one, such as --weight_id 20")


def _check_numbers(config: TrainConfig) -> None:
    check_ranges(config)
    for name in _ABOVE_ZERO:
        if getattr(config, name) == 0:
            raise OptionError(f"--{name} must be above 0")
    share = as_share(config.validation or "")
    if share is not None and not 0 < share < 1:
        raise OptionError("--validation must be a text file with names, or a share between 0 and 1, not "
                          f"{config.validation}")
    if config.beta1 >= 1:
        raise OptionError(f"--beta1 must be below 1, not {config.beta1}")
    if config.task == "generator" and config.discr_scales > (most := max((config.size - 1).bit_length(), 1)):
        raise OptionError(f"--discr_scales {config.discr_scales} halves --size {config.size} to nothing: expected "
                          f"{most} or fewer")
    if config.task == "identity" and config.batch_size == 1:
        raise OptionError("--task identity needs a --batch_size of 2 or more: embeddings are normalised over the batch")
    if config.student_size < 16 or config.student_size % 16:
        raise OptionError(f"--student_size must be a multiple of 16, not {config.student_size}")


def as_share(text: str) -> float | None:
    """The number that --validation is; None where it is a file."""
    try:
        return float(text)
    except ValueError:
        return None


def _check_combinations(config: TrainConfig) -> None:
    if config.same_identity and not config.vgg and config.same_person > 0 and config.task == "generator":
        raise OptionError(
            "--same_identity True needs several photos of a person, which --vgg False rules out: "
            "give --same_identity False"
        )
    if config.eye_detector_loss and config.weight_eyes == 0:
        raise OptionError("--eye_detector_loss True with --weight_eyes 0 does nothing: give --weight_eyes 800")
    if config.weight_eyes > 0 and not config.eye_detector_loss:
        raise OptionError(f"--weight_eyes {config.weight_eyes:g} does nothing without --eye_detector_loss True")
    if config.validate_step and not config.validation:
        raise OptionError(f"--validate_step {config.validate_step} does nothing without --validation: "
                          "give --validate_step 0, or hold photos out with --validation")
    idle = [name for name in _STUDENT if getattr(config, name) != getattr(type(config), name)]
    if idle and config.task != "identity":
        raise OptionError(f"--{idle[0]} {getattr(config, idle[0])} does nothing without --task identity")
    alike = config.critic == "encoder" and not (config.critic_blur or config.id_margin)
    if config.task == "generator" and config.weight_encoder > 0 and config.weight_id > 0 and alike:
        raise OptionError("--weight_encoder and --weight_id weigh the same number with --critic encoder: give one of "
                          "them, or --critic sface")
    unmarked = config.weight_transplant == 0 and config.task == "generator"
    if (config.source_novel > 0 or config.alike_targets > 0 or config.weight_features > 0) and unmarked:
        raise OptionError("--source_novel, --alike_targets and --weight_features need --weight_transplant")
    if (config.lr_identity > 0 or config.weight_faceres > 0) and config.identity_blend > 0:
        raise OptionError("--identity_blend suits neither --lr_identity nor --weight_faceres: give 0 for one")
    if config.weight_distill > 0 and (config.lr_identity == 0 or config.critic != "sface"):
        raise OptionError("--weight_distill needs an encoder that learns, --lr_identity, and --critic sface")
    if config.cosine and config.scheduler:
        raise OptionError("--cosine and --scheduler are two ways to lower the learning rates: choose one")
    if config.export_name:
        _check_export_name(config, config.export_name)


def _check_export_name(config: TrainConfig, name: str) -> None:
    """The exported files must replace none that the run writes into their folder."""
    if Path(name).name != name:
        raise OptionError(f"--export_name {name}: expected a plain name without slashes")
    encoder = [Path(config.identity).stem] if config.task == "generator" else []
    if name.casefold() in {own.casefold() for own in (*_OWN_FILES, *encoder)}:  # one file on many file systems
        raise OptionError(f"--export_name {name}: the run has a file of this name itself; give another one")


def check_not_idle(config: TrainConfig, given: dict[str, Any]) -> None:
    """A start that the command line names (given: what it says) is not left out because of --pretrained False."""
    for name in _SOURCES if config.task == "generator" else _SOURCES[:1]:
        if config.pretrained or not given.get(name):
            continue
        if "pretrained" in given:
            raise OptionError(f"--{name} {given[name]} contradicts --pretrained False: leave out one of them, or "
                              "give --pretrained True")
        raise OptionError(f"--{name} {given[name]} does nothing with `pretrained: false` of --config {config.config}: "
                          "add --pretrained True to start from it")


def check_sources(config: TrainConfig, chosen: dict[str, Any]) -> None:
    """A start that was asked for has to be there (WeightsError); `--D_path ''` asks for a fresh discriminator."""
    asked = any(name in chosen for name in (*_SOURCES, "pretrained"))
    for name in _SOURCES if config.task == "generator" else _SOURCES[:1]:
        path = getattr(config, name)
        file = registry.resolve_file(path)
        if asked and path and not is_file(file):
            moved = "" if file == Path(path) else f", where {registry.WEIGHTS_VARIABLE} looks for it: {file}"
            raise WeightsError(
                f"--{name} {path}: no such file{moved}. Give the file to start from, --pretrained False to start "
                f"from scratch, or --{name} '' to start this network alone from scratch"
            )
