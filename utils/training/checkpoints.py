"""Complete states of a training run, each one atomic file: a run that goes on from one ends as if it had never
stopped."""

from __future__ import annotations

import logging
import os
import pickle
import random
import shutil
import zipfile
import zlib
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from utils.errors import InputError, OptionError
from utils.io.atomic import atomic_path
from utils.paths import is_file
from utils.training.config import TrainConfig
from utils.training.saving import save

log = logging.getLogger("ghost")
FORMAT = 1
# Options that may differ between the sessions of one run; all others decide what it computes. (--cache_gb does where
# pictures are broken; the digest of those in use then differs.)
FREE = {
    "config", "resume", "dry_run", "quiet", "device", "workers", "cache_gb", "compile", "cuda_graphs", "show_step",
    "log_step", "validate_step", "save_epoch", "keep", "output", "checkpoint_minutes", "collapse_steps", "export_name",
    "max_yaw", "grain", "sharpen", "detail", "match_blur", "occlusion", "identity_reach", "least_contrast", "licence",
    "tensorboard", "use_wandb", "wandb_project", "wandb_entity", "wandb_mode", "max_steps", "max_epoch", "max_minutes",
    "run_name", "G_path", "D_path", "pretrained",
}
# Options that the networks are built by, for each task: no run goes on with others.
_BUILT_BY = {
    "generator": ("backbone", "num_blocks", "size", "width", "discr_layers", "discr_channels", "discr_scales"),
    "identity": ("student_depth", "student_width", "student_features", "student_size"),
    "landmarks": (),
    "occlusion": (),
    "glasses": (),
}
# Options that the validation's score depends on, beside the weights of the losses.
_SCORED = {
    "dataset_path", "vgg", "validation", "size", "identity", "lr_identity", "critic", "sface", "landmarks", "tone",
    "mask_wider", "mask_higher", "rim_contrast",
}
_DAMAGE = (RuntimeError, EOFError, ValueError, KeyError, OSError, pickle.UnpicklingError, zipfile.BadZipFile,
           zlib.error)


def random_states() -> dict[str, Any]:
    """The states of all random generators of this process, as tensors and plain values."""
    version, words, gauss_next = random.getstate()
    kind, keys, place, has_gauss, gauss = np.random.get_state()
    return {
        "python": [version, list(words), gauss_next],
        "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), int(place), int(has_gauss), float(gauss)],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_states(states: dict[str, Any]) -> None:
    """Take such states back."""
    version, words, gauss_next = states["python"]
    random.setstate((version, tuple(words), gauss_next))
    kind, keys, place, has_gauss, gauss = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), place, has_gauss, gauss))
    torch.set_rng_state(states["torch"])
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"][: torch.cuda.device_count()])


class Checkpoints:
    """The states of one run, in a folder of their own."""

    def __init__(self, folder: Path, keep: int) -> None:
        """keep: newest states that stay, 0 for all; the best one stays in any case."""
        self.folder, self._keep = folder, keep

    @property
    def best(self) -> Path:
        """The second name of the best state."""
        return self.folder / "best.pt"

    def states(self) -> list[Path]:
        """Whole states, oldest first."""
        return sorted(self.folder.glob("state_*.pt"))

    @property
    def latest(self) -> Path | None:
        """The newest state."""
        return next(iter(reversed(self.states())), None)

    def holding(self, step: int) -> Path:
        """The file from which a run went on at this step."""
        own = self.path_of(step)
        return own if is_file(own) else self.best

    def path_of(self, step: int) -> Path:
        """The state of a step."""
        return self.folder / f"state_{step:09d}.pt"

    def save(self, state: dict[str, Any], best: bool) -> Path:
        """Write a state, sync it to the disk, and only then let older ones go; raises OutputError."""
        path = self.path_of(state["step"])
        save(path, {"format": FORMAT, **state})
        if best:
            self._link(path, self.best)
        for old in self.states()[: -self._keep] if self._keep else []:
            old.unlink(missing_ok=True)
        return path

    def _link(self, path: Path, name: Path) -> None:
        """Give a state a second name, which costs no disk where the file system can do it."""
        with atomic_path(name) as temporary:
            temporary.unlink()
            try:
                os.link(path, temporary)
            except OSError:  # this file system knows no second names
                shutil.copyfile(path, temporary)

    def abandon_after(self, step: int) -> None:
        """Rename states later than this step: the run goes on from here, and they must not be taken for its newest."""
        for path in self.states():
            if int(path.stem.removeprefix("state_")) > step:
                path.replace(path.with_name(f"abandoned_{path.name}"))

    def newest_usable(self) -> dict[str, Any] | None:
        """The newest state that can be read, or else the best one; None where there is none at all.

        Raises InputError where there are states but all are damaged.
        """
        paths = [*self.states()[::-1], *([self.best] if is_file(self.best) else [])]
        for path in paths:
            try:
                return read_state(path)
            except InputError as error:
                log.warning("%s; trying another one", error)
        if paths:
            raise InputError(
                f"{self.folder}: none of its {len(paths)} checkpoints can be read; start again with another --run_name"
            )
        return None


def named_state(config: TrainConfig) -> Path | None:
    """The checkpoint that --resume names; None for `auto` and `none`. Raises InputError where it is not there."""
    if config.resume in ("auto", "none"):
        return None
    if not is_file(Path(config.resume)):
        raise InputError(f"--resume {config.resume}: no such checkpoint; give --resume auto or a file "
                         "saved_models_<run>/checkpoints/state_*.pt")
    return Path(config.resume)


def read_state(path: Path) -> dict[str, Any]:
    """A state from its file, onto the CPU; nothing in it is executed. Raises InputError that names the file."""
    try:
        with zipfile.ZipFile(path) as parts:  # PyTorch writes checksums, but does not look at them
            wrong = parts.testzip()
        if wrong is not None:
            raise InputError(f"{path} is damaged: {wrong} in it has another checksum than when it was written")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGE as error:
        raise InputError(f"{path} is not a whole checkpoint ({type(error).__name__})") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise InputError(f"{path} is not a checkpoint of train.py in format {FORMAT}, such as "
                         "saved_models_<run>/checkpoints/state_*.pt; weights alone are for --G_path and --D_path")
    return state


def refuse_to_replace(config: TrainConfig, checkpoints: Checkpoints) -> None:
    """Raises OptionError where a run that begins would replace files of an earlier one."""
    if checkpoints.latest is not None:
        raise OptionError(f"{config.saved_models} holds checkpoints of an earlier run: --resume auto goes on with it; "
                          "a new run needs another --run_name")
    folders = (config.saved_models, config.current_models)
    found = [path for folder in folders for kind in ("*.pth", "*.safetensors") for path in folder.glob(kind)]
    weights = [path for path in found if not path.name.startswith(".")]  # these were never whole
    if weights:
        raise OptionError(f"{weights[0]} is of an earlier run, which would lose it, without checkpoints to go on from: "
                          "give another --run_name, and --G_path and --D_path to start from its weights")


def remove_unfinished(config: TrainConfig) -> None:
    """Remove what processes that were killed while writing left; the caller keeps other runs of the name away, but no
    program that writes into the folders by itself."""
    for folder in (config.saved_models, config.current_models):
        for path in folder.rglob(".*.partial.*"):
            path.unlink(missing_ok=True)


def check_same_run(state: dict[str, Any], config: TrainConfig, world: int, inputs: dict[str, str]) -> set[str]:
    """`--resume auto` goes on with the options that the run began with; a checkpoint named by its file may get others.

    inputs: digests of what is in the files of some options, for which their names then do not matter.
    Returns the names of options that are others now. Raises OptionError that names the first difference; another --task
    and networks of another architecture are always refused.
    """
    task = state["config"].get("task", TrainConfig.task)
    if task != config.task:
        raise OptionError(f"--task {config.task} differs from the {task} that this run began with; train it under "
                          "another --run_name, without --resume")
    _refuse_other_networks(state, config)
    if state["world"] != world:
        _refuse_or_warn(config, f"the run began with {state['world']} processes, not {world}")
    known = state.get("inputs", {})  # which an older version of the program did not write
    # Of photos, older versions knew the names alone, with which their digests begin.
    changed = {name for name in known if not inputs[name].startswith(known[name])}
    for name in sorted(changed):
        why = _other_photos(state, config, inputs[name]) if name == "dataset_path" else ""
        _refuse_or_warn(config, f"--{name} {getattr(config, name)} does not hold what this run began with{why}")
    free = (FREE | known.keys()) - ({"max_steps", "max_epoch"} if config.cosine else set())
    for option in fields(config):
        name, now = option.name, getattr(config, option.name)
        value = state["config"].get(name, option.default)  # which an older version of the program did not know
        if name in free or now == value:
            continue
        _refuse_or_warn(config, f"--{name} {now} differs from the {value} that this run began with")
        changed.add(name)
    return changed


def _other_photos(state: dict[str, Any], config: TrainConfig, now: str) -> str:
    """What is known of how photos differ; broken ones are left out of sets in memory. now: digest of those in use."""
    if state["inputs"]["dataset_path"].split("-")[0] == now.split("-")[0]:
        return " (the names are the same, but not the sizes of all files, or keypoints or margin in index.csv)"
    before = state["config"].get("cache_gb", TrainConfig.cache_gb)
    return f" (broken pictures count otherwise with --cache_gb {before})" if before != config.cache_gb else ""


def _refuse_other_networks(state: dict[str, Any], config: TrainConfig) -> None:
    """Raises OptionError that names all options by which the networks would be others than those of the state."""
    began = {name: state["config"].get(name, getattr(TrainConfig, name)) for name in _BUILT_BY[config.task]}
    other = {name: value for name, value in began.items() if value != getattr(config, name)}
    if other:
        now = " ".join(f"--{name} {getattr(config, name)}" for name in other)
        before = " ".join(f"--{name} {value}" for name, value in other.items())
        raise OptionError(f"{now} would make other networks than those of this run, which began with {before}: restore "
                          "that, or start a new run under another --run_name, without --resume")


def _refuse_or_warn(config: TrainConfig, what: str) -> None:
    """Raises OptionError for a change, which is only reported where the user named a checkpoint."""
    if config.resume == "auto":
        raise OptionError(f"{what}. Restore it, start a new run from G_latest.pth under another --run_name, or pass "
                          "the checkpoint file to --resume")
    log.warning("%s; going on with the change", what)


def score_means_the_same(changed: set[str], validates: bool) -> bool:
    """Whether the score can be compared with earlier ones after these options have changed.

    validates: by photos that are held out; else by the training's own loss, which many options change.
    """
    return not any(name in _SCORED or name.startswith("weight_") or not validates for name in changed)
