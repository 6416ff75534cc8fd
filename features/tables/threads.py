"""Work in other threads, ahead of the main thread and behind it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self, TypeVar, cast

T = TypeVar("T")

_END = object()


def ahead(items: Iterable[T], most: int) -> Generator[T]:
    """Generate the items in another thread, at most ``most`` before they are requested.

    An exception of ``items`` is raised in its place.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1, "ahead") as pool:
        made = deque(pool.submit(next, iterator, _END) for _ in range(most))
        while (item := made.popleft().result()) is not _END:
            made.append(pool.submit(next, iterator, _END))
            yield cast("T", item)


class Behind:
    """Calls that run one after the other in another thread; at most ``most`` wait."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._pool = ThreadPoolExecutor(1, "behind")
        self._calls: deque[Future[Any]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def call(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Queue a call. Raises the exception of an earlier call."""
        while len(self._calls) > self._most:
            self._calls.popleft().result()
        self._calls.append(self._pool.submit(function, *arguments))

    def finish(self) -> None:
        """Wait for all calls. Raises the exception of one of them."""
        while self._calls:
            self._calls.popleft().result()
