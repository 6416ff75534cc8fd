"""Waits of events for other partitions, by their marks and ends."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from features.history.marks import MARK
from features.history.watermarks import LogState
from features.windows.plan import WindowPlan
from features.windows.window import Across
from tests.support.fakes import Clock
from worker.histories.ahead import Ahead
from worker.histories.alignment import Alignment, Wait

DELAY, LATENESS = 100, 10
FAR = 10_000


class Ends:
    """Ends of partitions, as the brokers say them."""

    def __init__(self, *ends: int) -> None:
        self.ends = [*ends]

    def __call__(self, partition: int) -> tuple[int, int]:
        return 0, self.ends[partition]


def alignment(ends: Ends) -> Alignment:
    window = SimpleNamespace(delay=DELAY, across=Across.ALIGNED)
    entity = SimpleNamespace(entity="terminal", windows=[window])
    rules = SimpleNamespace(allowed_lateness=LATENESS)
    plan = SimpleNamespace(rules=rules, entities=[entity])
    return Alignment(cast("WindowPlan", plan), ends)


def marks(*applied: int) -> list[npt.NDArray[Any]]:
    """Marks of partitions that are applied up to these offsets and the same watermarks."""
    made = np.zeros(len(applied), MARK)
    made["reached"] = np.array(applied) + 1
    made["watermark"] = applied
    return [made]


def waits(own: Alignment, of: list[npt.NDArray[Any]], time: int, offset: int) -> dict[int, Wait]:
    """Wait of an event of partition 0 that was just polled."""
    return own.waits(of, np.array([time]), np.array([0], np.int32), np.array([offset]))


def test_an_event_waits_until_the_watermark_of_another_partition_is_behind_its_windows() -> None:
    own = alignment(Ends(1_000, 1_000))
    assert waits(own, marks(0, 50), 160, 7) == {0: Wait(7, 160, "terminal", 1)}
    assert waits(own, marks(0, 71), 160, 7) == {}


def test_a_partition_that_is_applied_to_its_end_is_not_waited_for() -> None:
    own = alignment(Ends(1_000, 50))
    assert waits(own, marks(0, 50), FAR, 7) == {}


def test_an_event_does_not_wait_for_records_that_come_after_its_poll() -> None:
    ends = Ends(1_000, 50)
    own = alignment(ends)
    held = waits(own, marks(0, 40), FAR, 7)
    assert held
    # In each review more records have come than were applied.
    ends.ends[1] = 60
    assert own.still_waiting(marks(0, 50), held) == held
    ends.ends[1] = 70
    assert own.still_waiting(marks(0, 60), held) == {}


def test_an_event_waits_for_all_records_that_came_before_its_poll() -> None:
    ends = Ends(1_000, 50)
    own = alignment(ends)
    assert own.still_waiting(marks(0, 50), {0: Wait(7, FAR, "terminal", 1)}) == {}
    ends.ends[1] = 60
    # The event that has waited is polled again; one behind it has just been polled.
    assert waits(own, marks(0, 50), FAR, 7) == {}
    assert waits(own, marks(0, 50), FAR, 8)
    # After a rewind it counts as polled anew.
    own.forget()
    assert waits(own, marks(0, 50), FAR, 7)


class Fills:
    """Source of fills that take some steps each.

    Attributes:
        clock: Clock of the source.
        begun: Number of fills so far.
        open: Number of fills that are not closed.
    """

    def __init__(self, end: int, steps: int) -> None:
        self.clock = Clock()
        self.bounds = Ends(end)
        self.begun = self.open = 0
        self._steps = steps

    def begin(self, *_: object) -> Any:
        self.begun += 1
        self.open += 1
        left = iter(range(self._steps))

        def close() -> None:
            self.open -= 1

        return SimpleNamespace(
            step=lambda _: SimpleNamespace(done=next(left) == self._steps - 1),
            close=close,
            log_state=LogState({0: (9,)}),
            applied={0: 51},
        )


def ahead_of(source: Fills) -> tuple[Ahead, Callable[[], LogState]]:
    """Fills ahead, and a step for the only partition, whose mark is at 50."""
    mark = SimpleNamespace(shared=["terminal"], of=lambda _: marks(50)[0])
    rules = SimpleNamespace(watermark_support=3)
    target: Any = SimpleNamespace(marks=mark, plan=SimpleNamespace(rules=rules), namespace=None)
    ahead = Ahead(cast("Any", source), 9)
    return ahead, partial(ahead.apply, target, 0, STATE)


STATE = LogState(offsets={0: 10})


def test_a_partition_that_is_applied_to_its_end_is_not_read_again() -> None:
    source = Fills(51, 1)
    _, apply = ahead_of(source)
    assert apply() == LogState({0: (9,)}, offsets={0: 51})
    assert (source.begun, source.open) == (1, 0)
    source.bounds = Ends(50)
    assert apply() == STATE
    assert source.begun == 1


def test_a_fill_that_makes_no_steps_ends() -> None:
    source = Fills(51, 3)
    ahead, apply = ahead_of(source)
    apply()
    source.clock.sleep(4)
    ahead.close_idle()
    assert source.open == 1
    apply()
    source.clock.sleep(6)
    ahead.close_idle()
    assert (source.begun, source.open) == (1, 0)
    apply()
    assert (source.begun, source.open) == (2, 1)
