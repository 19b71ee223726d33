"""Signals that ask a long work to end, taken note of until it can be ended well."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class StopSignals:
    """Remembers that SIGTERM or Ctrl-C came, so that what is in progress can be finished and saved."""

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
        before = {number: signal.signal(number, self._remember) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
