"""Threads between the stages: bounded, in order, honest about failures, gone at the end."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from inference import what_is_kept
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


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
def test_ctrl_c_while_the_thread_ends_waits_for_it() -> None:
    main, came, closed, at_work, stopping = threading.get_ident(), [0], [False], [False], [False]

    def interrupt(number: int, frame: object) -> None:
        came[0] += 1
        raise KeyboardInterrupt

    def items() -> Iterator[int]:
        try:
            yield 0
            at_work[0] = True
            until(lambda: stopping[0])
            for count in (1, 2):
                until(lambda: sys._current_frames()[main].f_code.co_filename == threading.__file__)  # it waits
                signal.pthread_kill(main, signal.SIGINT)
                until(lambda count=count: came[0] == count)  # type: ignore[misc]
            yield 1
        finally:
            closed[0] = True

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt) as caught, closing(prefetch(items(), 1)) as stream:
            assert next(stream) == 0
            until(lambda: at_work[0])
            stopping[0] = True
            raise KeyboardInterrupt("what is done is in o.partial1.mp4")
    finally:
        signal.signal(signal.SIGINT, before)
    assert came == [2] and closed[0] and workers() == 0
    assert what_is_kept(caught.value) == "what is done is in o.partial1.mp4"


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
