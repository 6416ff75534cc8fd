"""Executors, futures and events whose waits are pauses of the scheduler."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from tests.search.scheduler import Scheduler

T = TypeVar("T")


class SimulatedFuture(Future[T]):
    """Future whose waits are pauses of the scheduler."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__()
        self._scheduler = scheduler

    def exception(self, timeout: float | None = None) -> BaseException | None:
        if not self._scheduler.wait(self.done, math.inf if timeout is None else timeout):
            raise TimeoutError
        return super().exception(0)


class SimulatedExecutor(Executor):
    """Executor of one thread, which is a task of the scheduler."""

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        self._scheduler = scheduler
        self._work: list[tuple[SimulatedFuture[Any], Callable[[], Any]]] = []
        self._closed = False
        self._ended = False
        self.task = scheduler.start(name, self._run)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: SimulatedFuture[T] = SimulatedFuture(self._scheduler)
        self._work.append((future, lambda: fn(*args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        assert wait
        assert not cancel_futures
        self._closed = True
        self._scheduler.wait(lambda: self._ended)

    def _run(self) -> None:
        while True:
            self._scheduler.wait(lambda: bool(self._work) or self._closed)
            if not self._work:
                self._ended = True
                return
            future, call = self._work.pop(0)
            try:
                result = call()
            except Exception as error:  # noqa: BLE001 - as a real executor does
                future.set_exception(error)
            else:
                future.set_result(result)


class SimulatedEvent:
    """An event of `threading`, whose waits are pauses of the scheduler."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._set = True

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True

    def clear(self) -> None:
        self._set = False

    def wait(self) -> bool:
        return self._scheduler.wait(self.is_set)
