"""Let the stages of a stream work at the same time, a bounded number of items apart."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

Item = TypeVar("Item")
_END: Any = object()


def prefetch(items: Iterable[Item], size: int) -> Generator[Item, None, None]:
    """Yield `items` in order while a thread of their own makes up to `size` of them in advance.

    Exceptions of the items come out where the failing item would have. Closing stops the thread, after the item that it
    is at, and closes `items` if they can be closed; Ctrl-C meanwhile is raised after that. size: 0 for no thread.
    """
    iterator = iter(items)
    if not size:
        yield from iterator
        return
    pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
    waiting = deque(pool.submit(next, iterator, _END) for _ in range(size))
    try:
        while (item := waiting[0].result()) is not _END:
            waiting.append(pool.submit(next, iterator, _END))
            waiting.popleft()
            yield item
    finally:
        impatience = _end(pool, waiting)
        _close(iterator)
        if impatience is not None:
            raise impatience


def _end(pool: ThreadPoolExecutor, waiting: Iterable[Future[Any]]) -> KeyboardInterrupt | None:
    """Wait for the item that a thread is at, however often Ctrl-C is pressed, since what items are made of must not be
    closed before; returns the last Ctrl-C."""
    impatience = None
    while True:
        try:
            pool.shutdown(wait=False, cancel_futures=True)
            # Not for the thread alone: before Python 3.13 it passes for ended once Ctrl-C comes while it is waited for.
            wait(item for item in waiting if not item.cancelled())
            pool.shutdown(wait=True)
            return impatience
        except KeyboardInterrupt as stop:
            impatience = stop


def _close(iterator: Iterator[Any]) -> None:
    if isinstance(iterator, Generator):
        iterator.close()
