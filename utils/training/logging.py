"""Where numbers and pictures of a run go: metrics.jsonl always, TensorBoard and Weights & Biases on demand."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from utils.errors import ResourceError
from utils.io.atomic import atomic_path, output_error
from utils.io.crops import write_png
from utils.paths import is_file
from utils.training.config import TrainConfig

log = logging.getLogger("ghost")


class Sink(Protocol):
    """One place for numbers and pictures."""

    def numbers(self, step: int, values: dict[str, float]) -> None:
        """Named values of one step."""

    def picture(self, step: int, image: np.ndarray) -> None:
        """The sample grid, (H, W, 3) uint8 BGR."""

    def close(self) -> None:
        """Write out what is pending."""


class Files:
    """metrics.jsonl, one object a line, and samples/<step>.png."""

    def __init__(self, folder: Path, first_step: int) -> None:
        """first_step: lines after this step are of a session that did not get to save them; they will be written
        anew."""
        self._folder, path = folder, folder / "metrics.jsonl"
        kept = _lines_up_to(path, first_step)
        with atomic_path(path) as temporary:
            temporary.write_text("".join(kept), encoding="utf-8")
        self._file = path.open("a", encoding="utf-8")

    def numbers(self, step: int, values: dict[str, float]) -> None:
        """See Sink; JSON knows no NaN, so such values are null. Raises OutputError."""
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        try:
            self._file.write(json.dumps({"step": step, **finite}) + "\n")
            self._file.flush()
        except OSError as error:
            raise output_error(Path(self._file.name), error) from error

    def picture(self, step: int, image: np.ndarray) -> None:
        """See Sink."""
        write_png(self._folder / "samples" / f"{step:09d}.png", image)

    def close(self) -> None:
        """See Sink."""
        with suppress(OSError):  # of a disk that is full, which was said when the line did not fit
            self._file.close()


def _lines_up_to(path: Path, step: int) -> list[str]:
    if not path.is_file():
        return []
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError):
            continue  # cut short when the process was killed
    return kept


class TensorBoard:
    """Event files for TensorBoard."""

    def __init__(self, folder: Path, first_step: int) -> None:
        """Raises ResourceError where the package is missing."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ResourceError("--tensorboard True needs the package tensorboard: pip install tensorboard") from error
        self._writer: Any = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step + 1)

    def numbers(self, step: int, values: dict[str, float]) -> None:
        """See Sink."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def picture(self, step: int, image: np.ndarray) -> None:
        """See Sink."""
        self._writer.add_image("swaps", image[:, :, ::-1].copy(), step, dataformats="HWC")

    def close(self) -> None:
        """See Sink."""
        self._writer.close()


class Wandb:
    """Weights & Biases; offline it writes to the disk only."""

    def __init__(self, folder: Path, config: TrainConfig, first_step: int) -> None:
        """A session of --resume auto continues the service's run of the session before, whose id lies in the folder.
        Raises ResourceError where the package is missing, or the service cannot be used."""
        try:
            import wandb
        except ImportError as error:
            raise ResourceError("--use_wandb True needs the package wandb: pip install wandb") from error
        self._image = wandb.Image
        mode: Any = config.wandb_mode
        known = folder / "wandb_run.txt"
        goes_on = first_step > 0 and config.resume == "auto" and is_file(known)
        continued = known.read_text(encoding="utf-8") if goes_on else None
        if mode == "online":
            log.info("connecting to Weights & Biases; without a network it gives up after a minute or two")
        try:
            self._run: Any = wandb.init(
                project=config.wandb_project, entity=config.wandb_entity, name=config.run_name, dir=str(folder),
                mode=mode, config=json.loads(config.to_json()), settings=wandb.Settings(silent=True),
                id=continued, resume="allow" if continued else None,
            )
        except wandb.Error as error:
            raise ResourceError(f"Weights & Biases cannot be used ({error}): {_remedy(error)}") from error
        with atomic_path(known) as temporary:
            temporary.write_text(self._run.id, encoding="utf-8")

    def numbers(self, step: int, values: dict[str, float]) -> None:
        """See Sink."""
        self._run.log(values, step=step)

    def picture(self, step: int, image: np.ndarray) -> None:
        """See Sink."""
        self._run.log({"swaps": self._image(image[:, :, ::-1])}, step=step)

    def close(self) -> None:
        """See Sink."""
        self._run.finish()


def _remedy(error: Exception) -> str:
    """What to do about a service that refuses a login, or cannot be reached."""
    if "api key" in str(error).lower().replace("_", " "):
        return "run `wandb login`, or give --wandb_mode offline"
    return "give --wandb_mode offline, and send the run later with `wandb sync`; or restore the connection"


def time_left(training: float | None, running: float | None, most_minutes: float) -> str:
    """How long this session goes on, as h:mm:ss.

    training, running: seconds to the end of the training, and since the session began; None where unknown.
    """
    ends = [training] if training is not None else []
    if most_minutes:
        ends.append(max(60 * most_minutes - (running or 0.0), 0.0))
    return str(timedelta(seconds=int(min(ends)))) if ends else "-:--:--"


class Console:
    """Time left and numbers on a terminal; in a pipe, a plain line at every sample picture. Errors come elsewhere."""

    def __init__(self, config: TrainConfig, total: int, first_step: int) -> None:
        self._every, self._last = config.show_step, first_step
        self._progress: Any = None
        if not config.quiet and sys.stderr.isatty():
            from rich.console import Console as Terminal
            from rich.progress import Progress, ProgressColumn, Task, TextColumn
            from rich.table import Column
            from rich.text import Text

            class TimeLeft(ProgressColumn):
                """Never cut, whatever the numbers need."""

                def render(self, task: Task) -> Text:
                    return Text(time_left(task.time_remaining, task.elapsed, config.max_minutes))

            numbers = TextColumn("{task.description}", markup=False, table_column=Column())  # on several lines if long
            self._progress = Progress(TimeLeft(table_column=Column(no_wrap=True)), numbers,
                                      console=Terminal(stderr=True))
            self._task = self._progress.add_task("", total=total, completed=first_step)
            self._progress.start()

    def numbers(self, step: int, values: dict[str, float]) -> None:
        """See Sink."""
        text = f"step {step} " + " ".join(f"{name} {value:.4g}" for name, value in values.items())
        if self._progress is not None:
            self._progress.update(self._task, completed=step, description=text)
        elif step // self._every > self._last // self._every or any(name.startswith("val_") for name in values):
            log.info("%s", text)
            self._last = step

    def picture(self, step: int, image: np.ndarray) -> None:
        """See Sink; a line of text shows no pictures."""

    def close(self) -> None:
        """See Sink."""
        if self._progress is not None:
            self._progress.stop()


def open_sinks(stack: ExitStack, config: TrainConfig, total: int, first_step: int) -> list[Sink]:
    """All places that the options ask for; `stack` closes them. Raises OutputError, ResourceError."""
    folder = config.saved_models
    kinds: list[Callable[[], Sink]] = [partial(Files, folder, first_step)]
    if config.tensorboard:
        kinds.append(partial(TensorBoard, folder, first_step))
    if config.use_wandb:
        kinds.append(partial(Wandb, folder, config, first_step))
    kinds.append(partial(Console, config, total, first_step))  # last, since it takes the terminal
    sinks = []
    for make in kinds:
        sinks.append(make())
        stack.callback(sinks[-1].close)
    return sinks
