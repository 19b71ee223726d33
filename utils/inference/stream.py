"""Let the stages of a stream work at the same time, a bounded number of items apart."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")
_END: Any = object()


def prefetch(items: Iterable[Item], size: int) -> Generator[Item, None, None]:
    """Yield `items` in order while a thread of their own makes up to `size` of them in advance.

    Exceptions of the items come out where the failing item would have. Closing stops the thread, after the item that it
    is at, and closes `items` if they can be closed. size: 0 for no thread.
    """
    iterator = iter(items)
    if not size:
        yield from iterator
        return
    pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
    waiting = deque(pool.submit(next, iterator, _END) for _ in range(size))
    try:
        while (item := waiting.popleft().result()) is not _END:
            waiting.append(pool.submit(next, iterator, _END))
            yield item
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        _close(iterator)


def _close(iterator: Iterator[Any]) -> None:
    if isinstance(iterator, Generator):
        iterator.close()
