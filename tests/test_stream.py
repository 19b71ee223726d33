"""Threads between the stages: bounded, in order, honest about failures, gone at the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from utils.inference.stream import prefetch


def workers() -> int:
    return sum(thread.name.startswith("prefetch") for thread in threading.enumerate())


def numbers(count: int, made: list[int], closed: list[bool]) -> Iterator[int]:
    try:
        for number in range(count):
            made.append(number)
            yield number
    finally:
        closed.append(True)


def test_everything_comes_through_in_order_and_the_thread_ends() -> None:
    made: list[int] = []
    closed: list[bool] = []
    assert list(prefetch(numbers(100, made, closed), 3)) == list(range(100)) == made
    assert closed == [True] and workers() == 0


def test_no_more_than_size_items_wait() -> None:
    made: list[int] = []
    stream = prefetch(numbers(100, made, []), 3)
    for expected in range(5):
        assert next(stream) == expected
        time.sleep(0.02)
        assert len(made) <= expected + 1 + 3
    stream.close()


def test_without_a_thread_nothing_is_made_in_advance() -> None:
    made: list[int] = []
    closed: list[bool] = []
    stream = prefetch(numbers(100, made, closed), 0)
    assert [next(stream), next(stream)] == made == [0, 1] and workers() == 0
    stream.close()
    assert closed == [True]


def test_failures_come_out_where_they_happened() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    stream = prefetch(broken(), 4)
    assert next(stream) == 1
    with pytest.raises(ValueError, match="broken"):
        next(stream)
    assert workers() == 0


def test_closing_stops_the_whole_chain() -> None:
    made: list[int] = []
    closed: list[bool] = []
    chain = prefetch((2 * n for n in prefetch(numbers(10**9, made, closed), 2)), 2)
    assert next(chain) == 0
    chain.close()
    assert closed == [True] and workers() == 0 and len(made) < 10


def test_stages_work_at_the_same_time() -> None:
    begun = threading.Event()

    def items() -> Iterator[int]:
        yield 0
        begun.set()
        yield 1

    stream = prefetch(items(), 1)
    assert next(stream) == 0
    assert begun.wait(10)  # nobody has asked for the second one yet
    assert list(stream) == [1]
