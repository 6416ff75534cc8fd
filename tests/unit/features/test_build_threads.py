"""Work before and behind the main thread: in order, and with its errors in their places."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from features.tables.builder import Behind, ahead


class BrokenError(Exception):
    pass


def test_items_come_in_order_from_another_thread() -> None:
    def make() -> Iterator[tuple[int, str]]:
        for number in range(50):
            yield number, threading.current_thread().name

    found = list(ahead(make(), 3))
    assert [number for number, _ in found] == list(range(50))
    assert {name for _, name in found} != {threading.current_thread().name}
    assert list(ahead([], 2)) == []


def test_an_error_of_a_thread_is_raised_after_the_items_before_it() -> None:
    def make() -> Iterator[int]:
        yield 1
        yield 2
        raise BrokenError

    items = ahead(make(), 2)
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(BrokenError):
        next(items)


def test_a_reading_thread_makes_a_bounded_number_of_items_ahead() -> None:
    made = []

    def make() -> Iterator[int]:
        for number in range(1_000):
            made.append(number)
            yield number

    with closing(ahead(make(), 2)) as items:
        assert next(items) == 0
    assert len(made) <= 4


def test_calls_happen_one_after_the_other() -> None:
    done: list[int] = []
    with Behind(2) as behind:
        for number in range(20):
            behind.call(done.append, number)
        behind.finish()
        assert done == list(range(20))


def test_an_error_of_a_writing_thread_is_raised_by_a_later_call_or_the_end() -> None:
    def fail() -> None:
        raise BrokenError

    with Behind(0) as behind:
        behind.call(fail)
        with pytest.raises(BrokenError):
            behind.call(int)
    with Behind(5) as behind:
        behind.call(fail)
        with pytest.raises(BrokenError):
            behind.finish()
