"""The line on a terminal that says how far a run is."""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

T = TypeVar("T")
log = logging.getLogger("ghost")


class Advance(Protocol):
    """Counts what is done."""

    def __call__(self, done: int = 1, note: str = "") -> None:
        """done: things more. note: to show at the line's end from now on."""


@contextmanager
def progress(count: int | None, quiet: bool, things: str) -> Iterator[Advance]:
    """Show rate and time left of so many things on a terminal; nothing in a pipe."""
    if quiet or not sys.stderr.isatty():
        yield lambda done=1, note="": None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        """Things per second."""

        def render(self, task: Task) -> Text:
            return Text(f"{task.speed or 0.0:.1f} {things}/s")

    columns = (BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn(), "{task.description}")
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=count)
        yield lambda done=1, note="": bar.update(task, advance=done, description=note)


def counted(items: Collection[T], things: str, quiet: bool) -> Iterator[T]:
    """The items one by one, with that line while they are taken."""
    with progress(len(items), quiet, things) as advance:
        for item in items:
            yield item
            advance()


def silenced() -> bool:
    """Whether the program's log reports nothing but errors: with --quiet, and in all but one of several processes."""
    return not log.isEnabledFor(logging.INFO)
