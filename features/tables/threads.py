"""Work in threads of its own, before and behind the main one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self, TypeVar, cast

T = TypeVar("T")

_END = object()


def ahead(items: Iterable[T], most: int) -> Generator[T]:
    """The items, made in another thread, at most ``most`` of them before they are asked for.

    Raises what making them raises, in its place.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1, "ahead") as pool:
        made = deque(pool.submit(next, iterator, _END) for _ in range(most))
        while (item := made.popleft().result()) is not _END:
            made.append(pool.submit(next, iterator, _END))
            yield cast("T", item)


class Behind:
    """Calls one after the other in another thread; at most ``most`` wait for their turn."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._pool = ThreadPoolExecutor(1, "behind")
        self._calls: deque[Future[Any]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def call(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Raises what an earlier call raised."""
        while len(self._calls) > self._most:
            self._calls.popleft().result()
        self._calls.append(self._pool.submit(function, *arguments))

    def finish(self) -> None:
        """Waits for all calls. Raises what one of them raised."""
        while self._calls:
            self._calls.popleft().result()
