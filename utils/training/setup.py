"""From options to a task that is ready for its first step."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from utils.device import seed_everything, why_not_cuda
from utils.errors import OptionError
from utils.io.atomic import check_writable
from utils.training.checkpoints import named_state
from utils.training.config import TrainConfig
from utils.training.distributed import can_compile, rank, world_size
from utils.training.faces import Faces, decoded, digest, find_faces, hold_out, leave_out
from utils.training.generator import GeneratorTask
from utils.training.occlusion import GlassesTask, OcclusionTask
from utils.training.pairs import Share
from utils.training.students import IdentityTask, LandmarkTask
from utils.training.task import Task

log = logging.getLogger("ghost")
_COMPILERS = {"darwin": "clang++", "win32": "cl"}
_PLENTY = 8  # times a set's size: networks need memory, too


def missing_for_compile(device: torch.device) -> str | None:
    """What torch.compile calls and this machine lacks; None where all is there."""
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        return "package triton"
    host = ["gcc", "clang"] if device.type == "cuda" else [_COMPILERS.get(sys.platform, "g++")]
    named = os.environ.get("CC" if device.type == "cuda" else "CXX")
    tools = [named] if named else host
    return None if any(shutil.which(tool) for tool in tools) else f"compiler {' or '.join(tools)}"


def build_task(config: TrainConfig, device: torch.device) -> Task[Any]:
    """Read the set, build the networks; raises OptionError, InputError, WeightsError, OutputError."""
    named_state(config)  # missing, it is to be said before the work
    if device.type == "mps" and config.needs_float64:
        raise OptionError("losses by landmarks, such as --weight_pose, and --source_novel need float64, which mps does "
                          "not have: give --device cpu")
    if idle_card := why_not_cuda(config.device, device):
        log.warning("%s", idle_card)
    if config.compile and (missing := missing_for_compile(device)):
        log.warning("--compile is left out: this machine has no %s", missing)
        config = replace(config, compile=False)
    seed_everything(config.seed)
    torch.backends.cudnn.benchmark = True  # pictures have one size
    if rank():
        log.setLevel(logging.ERROR)  # one voice is enough
    train, held = (_placed(faces, device) for faces in load_set(config))
    if (config.task != "generator" or config.weight_transplant or config.weight_distill) and train.images is None:
        what = f"--task {config.task}" if config.task != "generator" else "--weight_transplant or --weight_distill"
        raise OptionError(
            f"{what} keeps its faces in memory: {train.bytes / 2**30:.1f} GB; raise --cache_gb"
        )
    share = Share(config.batch_size, config.accumulate, rank(), world_size())
    tasks: dict[str, type[Any]] = {"generator": GeneratorTask, "identity": IdentityTask, "landmarks": LandmarkTask,
                                   "occlusion": OcclusionTask, "glasses": GlassesTask}
    if config.compile and can_compile(device):
        log.info("compiling: the first step takes minutes")
    task: Task[Any] = tasks[config.task](config, train, held, share, device)
    task.inputs = {"dataset_path": digest(config.dataset_path, train, held)}
    if isinstance(task, GeneratorTask):
        task.inputs["identity"] = task.encoder_digest()
    for line in task.describe():
        log.info("%s", line)
    return task


def _placed(faces: Faces, device: torch.device) -> Faces:
    """A set in memory goes to a graphics card that has plenty of it."""
    if device.type != "cuda" or faces.bytes * _PLENTY > torch.cuda.mem_get_info(device)[0]:
        return faces
    return faces.on(device)


def load_set(config: TrainConfig) -> tuple[Faces, Faces]:
    """Training and validation faces; small sets decoded once, after a look whether the run's folder can be written."""
    faces = find_faces(Path(config.dataset_path), config.vgg)
    train, held = hold_out(faces, config.validation)
    if config.without:
        train, held = leave_out(faces, config.without, train, held)
    if config.task == "generator" and config.same_person < 1 and len(set(train.identities)) < 2:
        raise OptionError(
            f"{config.dataset_path} shows one person ({len(train)} photos to train on), and swaps need two: give a "
            "folder with a sub-folder for each person, --vgg False --same_identity False for a flat folder of "
            "different people, or --same_person 1"
        )
    if config.task == "generator" and config.same_identity and config.same_person > 0 and _single(train):
        log.warning("nobody in %s has a second photo, so --same_identity True shows the same one twice: give a folder "
                    "with several photos of a person, or --same_identity False", config.dataset_path)
    if config.task == "generator" and (face := train.framing.face) < config.size:
        log.warning("crops in %s show faces of %d pixels, which --size %d enlarges: cut larger ones with "
                    "preprocess_vgg.py --size %d, or give a smaller --size", config.dataset_path, face, config.size,
                    config.size)
    if not config.dry_run and not rank():
        check_writable(config.saved_models / "config.json")
    if train.bytes <= config.cache_gb * 2**30:
        train = decoded(train)
    return train, held


def _single(faces: Faces) -> bool:
    """Whether there is one photo of everybody."""
    return len(set(faces.identities)) == len(faces)


def rehearse(config: TrainConfig, task: Task[Any]) -> int:
    """Take one step and say how it went, without writing anything; returns the exit code."""
    print(config.to_json())
    start = time.monotonic()
    values = task.step(list(task.batches(range(1))), 0)
    print(
        f"one step in {time.monotonic() - start:.1f} s: "
        + ", ".join(f"{name} {float(value):.4g}" for name, value in values.items())
    )
    return 0
