"""The training loop: steps, measures, checkpoints, and an orderly end, whatever ends it."""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from utils.errors import INTERRUPTED, GhostError, InputError, OptionError, OutputError, ResourceError
from utils.io.atomic import atomic_path, output_error
from utils.stop import StopSignals
from utils.training import export
from utils.training.checkpoints import (
    Checkpoints,
    check_same_run,
    named_state,
    random_states,
    read_state,
    refuse_to_replace,
    remove_unfinished,
    score_means_the_same,
    set_random_states,
)
from utils.training.config import TrainConfig
from utils.training.distributed import any_of, gather_objects, mean_over_processes, rank, world_size
from utils.training.logging import Sink, open_sinks
from utils.training.task import Task
from utils.training.watch import Watch
from utils.weights_file import write_card

log = logging.getLogger("ghost")
_MEMORY = 0.98  # of the running means


@dataclass
class Progress:
    """Where a run is."""

    step: int = 0
    seconds: float = 0.0  # of training, over all sessions
    best: float = float("inf")  # lowest val_score, or running loss where nothing is held out


class Metrics:
    """Running means of the steps' scalars; they stay on the device until somebody reads them."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._last: Tensor | None = None
        self.means: Tensor | None = None

    def add(self, values: dict[str, Tensor]) -> None:
        """Take one step's scalars."""
        if self.names != list(values):  # at the first steps of G and D, and where a resumed run has got other terms
            self.names, self.means = list(values), None
        self._last = torch.stack([value.detach().float() for value in values.values()])
        self.means = self._last.clone() if self.means is None else torch.lerp(self._last, self.means, _MEMORY)

    def last(self) -> dict[str, float]:
        """The newest scalars, averaged over processes."""
        assert self._last is not None
        return dict(zip(self.names, mean_over_processes(self._last).tolist(), strict=True))

    def running(self) -> dict[str, float]:
        """The running means, averaged over processes."""
        assert self.means is not None
        return dict(zip(self.names, mean_over_processes(self.means).tolist(), strict=True))


class Training:
    """One session of a run."""

    def __init__(self, config: TrainConfig, task: Task[Any], device: torch.device) -> None:
        """Finds out where to go on; raises OptionError, InputError."""
        self.config, self.task, self._device = config, task, device
        self.progress, self.metrics = Progress(), Metrics()
        self.checkpoints = Checkpoints(config.saved_models / "checkpoints", config.keep)
        self._watch = Watch(config.collapse_steps, task.scaled)
        self._signals = StopSignals()
        self._sinks: list[Sink] = []
        self._last_good: Path | None = None
        self._measured = -1, math.inf  # step of the newest validation, and its score
        self._saved = -1  # step of the newest state; each process remembers, since only one of them writes
        self._resume()

    def _resume(self) -> None:
        named = named_state(self.config)
        auto = self.config.resume == "auto"
        state = self.checkpoints.newest_usable() if auto else None if named is None else read_state(named)
        own = state is not None and (named is None or named.resolve().parent == self.checkpoints.folder.resolve())
        if not own and not self.config.dry_run:
            refuse_to_replace(self.config, self.checkpoints)
        if state is None:
            return
        changed = check_same_run(state, self.config, world_size(), self.task.inputs)
        try:
            self.task.load_state_dict(state["task"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise InputError(
                f"--resume {self.config.resume}: the checkpoint is of another training: {error}"
            ) from error
        self.progress = Progress(**state["progress"])
        if not (score_means_the_same(changed, bool(self.config.validation)) and self.checkpoints.best.exists()):
            self.progress.best = float("inf")
        self.metrics.names, self.metrics.means = state["metrics"]["names"], state["metrics"]["means"].to(self._device)
        if rank() < len(state["random"]):
            set_random_states(state["random"][rank()])
        self._last_good = named or self.checkpoints.holding(self.progress.step)
        # Where a stop came at the very end, that is still to be measured, and saved as such.
        if auto and (state.get("measured", True) or self.progress.step < self.total):
            self._saved = self.progress.step
        log.info("going on at step %d", self.progress.step)

    @property
    def total(self) -> int:
        """Steps of the whole training."""
        return self.config.total_steps(self.task.epoch_steps)

    def run(self) -> int:
        """Train to the end or to a signal; returns the exit code. Raises DivergedError, OutputError, and InputError and
        ResourceError once the state is saved."""
        with ExitStack() as stack:
            stack.enter_context(self._alone())
            self._open(stack)
            with self._signals.listening():
                saved = self._saved
                ended = self._steps()
                self._save()
                if self.progress.step == saved and not rank():
                    # The run was finished before, but names and limits in its files may be others now.
                    self._export(self.config.saved_models)
        log.info("%s after step %d; %s", "finished" if ended else "stopped", self.progress.step, self._files())
        return INTERRUPTED if self._signals.came else 0

    def _files(self) -> str:
        folder = self.config.saved_models
        return f"weights in {folder}" + ("" if self.progress.step >= self.total else "; --resume auto goes on")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other runs of the same name away; raises OptionError where there is one."""
        if rank():
            yield
            return
        lock = FileLock(self.config.saved_models / ".lock")
        try:
            self.config.saved_models.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout as error:
            raise OptionError(f"{self.config.saved_models} is in use by another training: wait for its end, or give "
                              "another --run_name") from error
        except OSError as error:
            raise output_error(self.config.saved_models, error) from error
        try:
            yield
        finally:
            lock.release()

    def _open(self, stack: ExitStack) -> None:
        if rank():
            return
        for line in () if self.progress.step else self.task.origins():
            log.info("%s", line)
        remove_unfinished(self.config)
        self.checkpoints.abandon_after(self.progress.step)
        with atomic_path(self.config.saved_models / "config.json") as temporary:
            temporary.write_text(self.config.to_json() + "\n", encoding="utf-8")
        self._sinks = open_sinks(stack, self.config, self.total, self.progress.step)

    def _steps(self) -> bool:
        """Returns whether the training came to its end."""
        start = saved = time.monotonic()
        before = self.progress.seconds
        batches = self.task.batches(range(self.progress.step, self.total))
        clock = _Clock()
        while self.progress.step < self.total:
            try:
                parts = self._next(batches, clock)
            except ResourceError:
                if self._signals.came:  # and ended the processes that read, too
                    return False
                raise
            self.metrics.add(self.task.step(parts, self.progress.step))
            self.progress.step += 1
            clock.steps += 1
            now = time.monotonic()
            self.progress.seconds = before + now - start
            self._report(clock)
            late = bool(self.config.max_minutes) and now - start > 60 * self.config.max_minutes
            stop, save = any_of(self._signals.came or late, now - saved > 60 * self.config.checkpoint_minutes)
            if stop:
                return False
            if save:
                self._save()
                saved = time.monotonic()
        return True

    def _next(self, batches: Iterator[Any], clock: _Clock) -> list[Any]:
        """The parts of the next step; where a process has none, since photos or who reads them are gone, all save what
        was learned so far. Raises InputError, ResourceError."""
        parts: list[Any] = []
        failure = None
        try:
            with clock.waiting():
                parts = list(itertools.islice(batches, self.config.accumulate))
        except GhostError as error:
            failure = error
        (failed,) = any_of(failure is not None)
        if failed:
            self._save()
            raise failure or ResourceError("another process cannot go on, and says why")
        return parts

    def _report(self, clock: _Clock) -> None:
        """What is due after this step."""
        step, config = self.progress.step, self.config
        if step % config.log_step == 0:
            values = self.metrics.last()
            self._watch.look(step, values, self._last_good)
            self._numbers(
                values
                | self.task.rates()
                | clock.speeds(config.batch_size * config.accumulate * world_size(), self._device)
            )
        if config.validate_step and step % config.validate_step == 0 and not self._hurries():
            self._validate()
        if step % config.show_step == 0:
            self._show()
        if config.save_epoch and step % (config.save_epoch * self.task.epoch_steps) == 0:
            if self._saved < 0:  # numbered files alone would look like a run that cannot go on
                self._save()
            self._numbered_files()

    def _numbers(self, values: dict[str, float]) -> None:
        for sink in self._sinks:
            sink.numbers(self.progress.step, values)

    def _validate(self) -> float:
        """Measure, once at each step; returns the score, which is lower for better networks."""
        if self._measured[0] != self.progress.step:
            values = self.task.validate() if rank() == 0 else {}
            if values:
                self._numbers(values)
            self._measured = self.progress.step, values.get("val_score", self._running_loss())
        return self._measured[1]

    def _hurries(self) -> bool:
        """Whether a process was asked to end: whoever asked may soon kill it, so saving comes before measuring."""
        return any_of(self._signals.came)[0]

    def _score(self) -> float:
        """What the best state is chosen by, lower is better; NaN would keep all later ones from being the best."""
        if self.config.validation and self._measured[0] != self.progress.step and self._hurries():
            log.info("step %d is saved without validation, since the run is to end", self.progress.step)
            return float("inf")
        score = self._validate()
        if math.isfinite(score):
            return score
        log.warning("step %d: the score is %s, so this state cannot be the best one", self.progress.step, score)
        return float("inf")

    def _running_loss(self) -> float:
        running = self.metrics.running()
        return running.get("G", running.get("loss", float("inf")))

    def _show(self) -> None:
        image = self.task.picture() if rank() == 0 else None
        if image is not None:
            for sink in self._sinks:
                sink.picture(self.progress.step, image)

    def _numbered_files(self) -> None:
        """current_models_<run>/{G,D,E}_<epoch>_<iteration>.pth, as published; older ones go."""
        if rank():
            return
        folder, step = self.config.current_models, self.progress.step
        epoch, iteration = divmod(step, self.task.epoch_steps)
        for letter, state in self.task.networks().items():
            path = folder / f"{letter}_{epoch}_{iteration:06d}.pth"
            export.write_weights(path, state)
            if letter == "G":
                write_card(path.with_suffix(".json"), self.task.card(self._origin()))
            files = sorted(folder.glob(f"{letter}_*.pth"), key=lambda path: path.stat().st_mtime_ns)
            for old in files[: -self.config.keep] if self.config.keep else []:
                old.unlink(missing_ok=True)
                old.with_suffix(".json").unlink(missing_ok=True)

    def _save(self) -> None:
        """Write the complete state and the users' files, unless the numbers have gone wrong."""
        if self.metrics.means is None or self._saved == self.progress.step:
            return
        self._watch.look(self.progress.step, self.metrics.running(), self._last_good)
        self._watch.look_at(self.progress.step, self.task.networks(), self._last_good)
        score, self._saved = self._score(), self.progress.step
        best = score < self.progress.best
        self.progress.best = min(score, self.progress.best)
        states = gather_objects(random_states())
        failure = None
        try:
            if not rank():
                self._write(states, best)
        except GhostError as error:
            failure = error
        (failed,) = any_of(failure is not None)  # and all wait: torchrun ends all processes once one has ended
        if failed:
            raise failure or OutputError("another process cannot save, and says why")

    def _write(self, states: list[dict[str, Any]], best: bool) -> None:
        """The state and the users' files. states: of the processes' random generators."""
        assert self.metrics.means is not None
        state = {
            "step": self.progress.step, "progress": asdict(self.progress), "task": self.task.state_dict(),
            "metrics": {"names": self.metrics.names, "means": self.metrics.means.cpu()}, "random": states,
            "config": asdict(self.config), "world": world_size(), "inputs": self.task.inputs,
            "measured": self._measured[0] == self.progress.step,
        }
        self._last_good = self._written(state, best)
        self._export(self.config.saved_models)
        if best and self.config.validation:
            self._export(self.config.saved_models / "best")

    def _written(self, state: dict[str, Any], best: bool) -> Path:
        """The file of a state; raises OutputError that says what there is instead."""
        try:
            return self.checkpoints.save(state, best)
        except OutputError as error:
            if self._last_good is None:
                raise
            raise OutputError(f"{error}. The last checkpoint is {self._last_good}; --resume auto goes on from it once "
                              "there is room") from error

    def _export(self, folder: Path) -> None:
        self.task.export(folder, self._origin())

    def _origin(self) -> str:
        images = self.progress.step * self.config.batch_size * self.config.accumulate * world_size()
        return f"train.py, {images} images in {self.progress.seconds / 60:.0f} minutes"


class _Clock:
    """How fast steps go, and how long they wait for data."""

    def __init__(self) -> None:
        self.steps, self._waited, self._start = 0, 0.0, time.monotonic()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time inside as waiting."""
        start = time.monotonic()
        yield
        self._waited += time.monotonic() - start

    def speeds(self, samples: int, device: torch.device) -> dict[str, float]:
        """Since the last call: images per second, share of the time that went into waiting, memory of the device."""
        now = time.monotonic()
        passed = max(now - self._start, 1e-9)
        values = {"images_per_second": self.steps * samples / passed, "waiting": self._waited / passed}
        if device.type == "cuda":
            values["memory_gb"] = torch.cuda.max_memory_allocated(device) / 2**30
        self.steps, self._waited, self._start = 0, 0.0, now
        return values
