"""Deterministic scheduler: real threads, of which exactly one runs at a time.

A task runs until it calls `Scheduler.pause` or `Scheduler.wait`, which every simulated call to the
brokers and the store does. There the seeded generator chooses who runs next. So a run is a function
of its seed alone, and the code under test is ordinary blocking code.
"""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")

_HUNG_S = 60.0


class Killed(BaseException):
    """Raised in a task whose process was killed; nothing that it does has an effect any more."""


class HungError(AssertionError):
    """Nothing can run, or the schedule takes too many steps."""


class _Threads:
    """Daemon threads, kept for the next schedule: starting one takes longer than handing it work."""

    def __init__(self) -> None:
        self._idle: list[SimpleQueue[Callable[[], object]]] = []

    def run(self, call: Callable[[], object]) -> None:
        work = self._idle.pop() if self._idle else self._new()
        work.put(call)

    def _new(self) -> SimpleQueue[Callable[[], object]]:
        work: SimpleQueue[Callable[[], object]] = SimpleQueue()

        def serve() -> None:
            while True:
                work.get()()
                self._idle.append(work)

        threading.Thread(target=serve, name="search", daemon=True).start()
        return work


_THREADS = _Threads()


class Task:
    """A thread of a simulated process.

    Attributes:
        condition: Condition that the task waits for; None while it can run.
        deadline: Time at which it stops waiting.
        stopped: True while its process is stopped.
        killed: True when its process has been killed.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.baton = threading.Lock()
        self.baton.acquire()
        self.condition: Callable[[], bool] | None = None
        self.deadline = math.inf
        self.stopped = False
        self.killed = False

    def can_run(self, now: float) -> bool:
        if self.killed:
            return True
        if self.stopped:
            return False
        return self.condition is None or now >= self.deadline or self.condition()


class Scheduler:
    """Tasks, the baton that one of them has, and the clock.

    Args:
        rng: Generator of all choices.
        stay: Probability that the running task goes on at a pause.
        tick_s: Time that passes at each pause, in seconds.
        act: Lets something happen outside of the tasks, such as the arrival of a late request;
            returns False if there is nothing.
        most_steps: Number of pauses after which the schedule has failed to finish.

    Attributes:
        now: Time in seconds.
        steps: Number of pauses so far.
        failure: First exception that ended the schedule.
    """

    def __init__(
        self,
        rng: random.Random,
        stay: float,
        tick_s: float,
        act: Callable[[], bool],
        most_steps: int,
    ) -> None:
        self.now = 1000.0
        self.steps = 0
        self.failure: BaseException | None = None
        self._rng = rng
        self._stay = stay
        self._tick_s = tick_s
        self._act = act
        self._most_steps = most_steps
        self._tasks: list[Task] = []
        self._main = Task("main")
        self.current = self._main
        self._over = False

    def clock(self) -> float:
        return self.now

    def start(self, name: str, run: Callable[[], object]) -> Task:
        """Start a task; it begins to run when it is chosen."""
        task = Task(name)
        self._tasks.append(task)
        _THREADS.run(lambda: self._run(task, run))
        return task

    def run(self) -> None:
        """Let the tasks run until `end` is called or something fails."""
        self._hand_over(self._main, self._choose(self._main))
        self._over = True
        # What is left is killed, so that its threads serve the next schedule.
        for task in [*self._tasks]:
            task.killed = True
            self._hand_over(self._main, task)
        if self.failure is not None:
            raise self.failure

    def end(self) -> None:
        """End the schedule at the next pause."""
        self._over = True

    def pause(self) -> None:
        """Let anything happen here."""
        me = self.current
        if me.killed:
            raise Killed
        following = self._choose(me)
        if following is not me:
            self._hand_over(me, following)
        if me.killed:
            raise Killed

    def wait(self, condition: Callable[[], bool], timeout_s: float = math.inf) -> bool:
        """Wait for a condition; return False if the timeout has passed."""
        me = self.current
        me.condition, me.deadline = condition, self.now + timeout_s
        try:
            self.pause()
        finally:
            me.condition = None
        return condition()

    def sleep(self, seconds: float) -> None:
        self.wait(_never, seconds)

    def jump(self) -> bool:
        """Advance the clock to the next deadline; return False if there is none."""
        deadline = min((t.deadline for t in self._tasks if _sleeps(t)), default=math.inf)
        if deadline == math.inf:
            return False
        self.now = max(self.now, deadline)
        return True

    def _choose(self, me: Task) -> Task:
        """Choose the task that runs next; other things may happen before."""
        try:
            self.steps += 1
            self.now += self._tick_s
            if self.steps > self._most_steps:
                raise HungError(f"not finished after {self.steps} steps: {self._states()}")
            stays = me is not self._main and self._rng.random() < self._stay
            return me if stays and not self._over and me.can_run(self.now) else self._other()
        except BaseException as error:  # noqa: BLE001 - it ends the schedule, in whatever thread it is
            self.failure = self.failure or error
            self._over = True
            return self._main

    def _other(self) -> Task:
        acts = self._rng.random() < 0.5
        while not self._over:
            if acts and self._act():
                acts = False
                continue
            ready = [task for task in self._tasks if task.can_run(self.now)]
            if ready:
                return self._rng.choice(ready)
            if not acts:
                acts = True
            elif not self.jump():
                raise HungError(f"nothing can run: {self._states()}")
        return self._main

    def _hand_over(self, me: Task, following: Task) -> None:
        self.current = following
        following.baton.release()
        # The thread of a schedule that hangs stays where it is.
        if not me.baton.acquire(timeout=_HUNG_S if me is self._main else -1):
            raise HungError(f"{self.current.name} runs without a pause")

    def _run(self, task: Task, run: Callable[[], object]) -> None:
        task.baton.acquire()
        try:
            if not task.killed:
                run()
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - it fails the schedule
            self.failure = self.failure or error
            self._over = True
        self._tasks.remove(task)
        following = self._main if self._over else self._choose(self._main)
        self.current = following
        following.baton.release()

    def _states(self) -> str:
        return ", ".join(
            f"{t.name}: {'stopped' if t.stopped else 'waits' if t.condition else 'runs'}"
            for t in self._tasks
        )


def _never() -> bool:
    return False


def _sleeps(task: Task) -> bool:
    return task.condition is not None and not task.stopped


def pick(rng: random.Random, items: Sequence[T]) -> T:
    """Choose one of the items; faster than ``rng.choice`` for the few that there are."""
    return items[int(rng.random() * len(items))]
