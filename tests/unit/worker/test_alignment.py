"""Alignment: which events wait for other partitions, against a comparison event by event."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from confluent_kafka import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from features.history.marks import MARK
from features.history.watermarks import UNKNOWN
from features.windows.plan import WindowPlan
from features.windows.window import Across, Aggregate, HistoryRules, Window
from tests.support.fakes import kafka_error
from worker.histories import Wait
from worker.histories.alignment import Alignment

LATENESS = 2
DELAYS = {"shop": 5, "device": 9}
RULES = HistoryRules(LATENESS, 10, 1_000, 3, None)


def window(entity: str, delay: int, across: Across) -> Window:
    name = f"{entity}{delay}"
    return Window(
        name, Aggregate.COUNT, entity, 10, delay, None, None, False, across, 0.0, frozenset()
    )


PLAN = WindowPlan(
    [
        window("card", 0, Across.OWN),
        window("shop", 5, Across.ALIGNED),
        window("shop", 7, Across.ALIGNED),
        window("shop", 0, Across.BEST_EFFORT),
        window("device", 9, Across.ALIGNED),
    ],
    RULES,
)


def marks(ends: Sequence[int | None], watermarks: Sequence[int | None]) -> npt.NDArray[Any]:
    made = np.zeros(len(ends), MARK)
    for partition, (end, watermark) in enumerate(zip(ends, watermarks, strict=True)):
        if end is not None:
            made["reached"][partition] = end + 1
            made["watermark"][partition] = UNKNOWN if watermark is None else watermark
    return made


def bounds_of(end_of: Callable[[int], int | None]) -> Callable[[int], tuple[int, int]]:
    """Bounds of partitions; without an end, the brokers do not answer."""

    def bounds(partition: int) -> tuple[int, int]:
        end = end_of(partition)
        if end is None:
            raise kafka_error(KafkaError._TRANSPORT)
        return 0, end

    return bounds


def waits(
    of_entities: Sequence[npt.NDArray[Any]],
    events: Sequence[tuple[int, int]],
    end_of: Callable[[int], int | None] = lambda _: None,
) -> dict[int, Wait]:
    """Waits of events, given by partition and time; the offset of an event is its place."""
    return Alignment(PLAN, bounds_of(end_of)).waits(
        of_entities,
        np.array([time for _, time in events], np.int64),
        np.array([partition for partition, _ in events], np.int32),
        np.arange(len(events)),
    )


numbers = st.integers(0, 40)


@st.composite
def cases(
    draw: st.DrawFn,
) -> tuple[list[npt.NDArray[Any]], list[tuple[int, int]], list[int | None]]:
    partitions = draw(st.integers(1, 4))
    some = st.lists(st.none() | numbers, min_size=partitions, max_size=partitions)
    of_entities = [marks(draw(some), draw(some)) for _ in range(3)]
    events = draw(st.lists(st.tuples(st.integers(0, partitions - 1), numbers), max_size=8))
    return of_entities, events, draw(some)


@given(cases())
def test_an_event_waits_until_no_other_partition_can_add_a_member_before_its_windows_end(
    case: tuple[list[npt.NDArray[Any]], list[tuple[int, int]], list[int | None]],
) -> None:
    of_entities, events, ends = case

    def is_complete(entity: str, partition: int, until: int) -> bool:
        mark = of_entities[["card", *DELAYS].index(entity)][partition]
        if mark["reached"] == 0:
            return False
        end = ends[partition]
        if end is not None and mark["reached"] - 1 >= end:
            return True
        # Each later event that is not late is at or above the watermark less the lateness.
        watermark = int(mark["watermark"])
        return watermark != UNKNOWN and watermark - LATENESS > until

    expected: dict[int, int] = {}
    for offset, (own, time) in enumerate(events):
        others = [p for p in range(len(ends)) if p != own]
        if not all(
            is_complete(entity, p, time - delay) for entity, delay in DELAYS.items() for p in others
        ):
            expected.setdefault(own, offset)
    answer = waits(of_entities, events, ends.__getitem__)
    assert {partition: wait.offset for partition, wait in answer.items()} == expected
    for partition, wait in answer.items():
        assert wait.time == events[wait.offset][1]
        assert wait.behind is not None
        assert wait.behind != partition
        assert not is_complete(wait.entity, wait.behind, wait.time - DELAYS[wait.entity])


def test_brokers_are_asked_only_for_ends_that_an_event_waits_for() -> None:
    asked: list[int] = []

    def end_of(partition: int) -> int:
        asked.append(partition)
        return 7

    alignment = Alignment(PLAN, bounds_of(end_of))
    own, at = marks([5] * 3, [99] * 3), np.array([0], np.int64)

    def waiting(ends: Sequence[int], watermarks: Sequence[int], time: int) -> list[int]:
        asked.clear()
        shared = marks(ends, watermarks)
        answer = alignment.waits(
            [own, shared, shared], np.array([time], np.int64), at.astype(np.int32), at
        )
        assert bool(answer) == (bool(answer) and answer[0].behind == 1)
        return sorted({*asked})

    assert waiting([5, 5, 5], [50, 50, 50], 50) == []
    assert waiting([5, 5, 5], [50, 20, 50], 50) == [1]
    # It is known to be further away than that.
    assert waiting([5, 6, 5], [50, 20, 50], 50) == []
    # It may have grown since.
    assert waiting([5, 7, 5], [50, 20, 50], 50) == [1]


@pytest.mark.parametrize("gap", [0, 3, 7, 100])
def test_of_all_waiting_partitions_one_can_go_on_when_none_lags(gap: int) -> None:
    """After a gap in time in all partitions, each applies records ahead of its own waiting event."""
    alignment = Alignment(PLAN, lambda _: (0, 10**6))
    held = {p: Wait(0, 100 + gap * p, "shop", 0) for p in range(3)}
    ahead = [int(wait.time) + LATENESS for wait in held.values()]
    shared = marks([5] * 3, ahead)
    every = [marks([5] * 3, [None] * 3), shared, shared]
    assert alignment.lagging(every, held) == []
    blocked = waits(every, [(p, wait.time) for p, wait in held.items()], lambda _: 10**6)
    assert 0 not in blocked
    less = marks([5] * 3, [ahead[0], ahead[1] - 1, ahead[2]])
    assert alignment.lagging([every[0], less, shared], held) == [1]
