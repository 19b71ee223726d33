"""Signals that ask a long work to end, taken note of until it can be ended well."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


def ending_signals() -> list[int]:
    """The signals, but for Ctrl-C, by which the system ends a program: SIGTERM, and the one that says that its terminal
    was closed, unless the program was started to outlive that (nohup)."""
    closed = [getattr(signal, name) for name in ("SIGHUP", "SIGBREAK") if hasattr(signal, name)]  # POSIX, Windows
    return [signal.SIGTERM, *(number for number in closed if signal.getsignal(number) != signal.SIG_IGN)]


def leave_to_parent() -> None:
    """Ignore what a terminal sends to all processes of a command; the main one answers it."""
    for name in ("SIGINT", "SIGHUP", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


class StopSignals:
    """Remembers that a signal to end or Ctrl-C came, so that what is in progress can be finished and saved."""

    def __init__(self) -> None:
        self.came = False

    def _remember(self, number: int, frame: object) -> None:
        if self.came and number == signal.SIGINT:
            raise KeyboardInterrupt  # a second Ctrl-C means now
        self.came = True

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Replace the handlers for a while; does nothing outside of the main thread, which alone gets signals."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._remember) for number in (*ending_signals(), signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
