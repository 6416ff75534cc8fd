"""Records of waiting partitions: their order, their bound, and the poller that keeps them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.errors import ErrorCode, RecordError
from schemas.batch import Records
from tests.support.loop_harness import LoopHarness
from worker.consume import held_records
from worker.consume.held_records import HeldRecords
from worker.histories import NotAlignedError, Wait

Place = tuple[int, int]
FAULT = RecordError(ErrorCode.HEADER_INVALID, "unreadable")


def records_at(*places: Place) -> Records:
    """Records whose value says where they are; every third has headers, every fourth a fault."""
    partitions, offsets = np.array(places, np.int64).reshape(-1, 2).T
    headers = [[("h", b"%d" % offset)] if offset % 3 == 0 else None for _, offset in places]
    return Records(
        "in",
        [b"%d" % partition for partition, _ in places],
        [b"%d/%d" % place for place in places],
        partitions.astype(np.int32),
        offsets,
        offsets,
        headers if any(headers) else None,
        {row: FAULT for row, (_, offset) in enumerate(places) if offset % 4 == 0},
    )


def places_of(records: Records) -> list[Place]:
    for row, (partition, offset) in enumerate(
        zip(records.partitions.tolist(), records.offsets.tolist(), strict=True)
    ):
        assert records.values[row] == b"%d/%d" % (partition, offset)
        assert records.keys[row] == b"%d" % partition
        headers = records.headers and records.headers[row]
        assert bool(headers) == (offset % 3 == 0)
        assert (row in records.faults) == (offset % 4 == 0)
    return list(zip(records.partitions.tolist(), records.offsets.tolist(), strict=True))


def range_of(partition: int, begin: int, end: int) -> list[Place]:
    return [(partition, offset) for offset in range(begin, end)]


NOTHING = records_at()


def exchanged(held: HeldRecords, records: Records, most: int, **times: int) -> list[Place]:
    """Places of the next records; event times of the partitions are given as ``p0`` and so on."""
    highest = {int(name[1:]): (time,) for name, time in times.items()}
    return places_of(held.exchange(records, most, highest))


def taken(held: HeldRecords, most: int, **times: int) -> list[Place]:
    return exchanged(held, NOTHING, most, **times)


def test_nothing_is_touched_while_nothing_waits() -> None:
    records = records_at(*range_of(0, 0, 4))
    assert HeldRecords().exchange(records, 2, {}) is records


def test_what_waits_is_kept_and_the_rest_goes_on() -> None:
    held = HeldRecords()
    held.hold({0: 2}, records_at(*range_of(0, 0, 4), *range_of(1, 0, 2)))
    polled = records_at((0, 4), (1, 2), (0, 5), (2, 0))
    assert exchanged(held, polled, 10) == [(1, 2), (2, 0)]
    assert not held.has_ready
    assert taken(held, 10) == []
    held.release([0])
    assert taken(held, 10) == range_of(0, 2, 6)
    assert held.partitions == set()


def test_what_waits_again_comes_before_what_is_kept() -> None:
    held = HeldRecords()
    held.hold({0: 0}, records_at(*range_of(0, 0, 6)))
    held.release([0])
    first = held.exchange(NOTHING, 4, {})
    held.hold({0: 2}, first)
    held.release([0])
    assert taken(held, 10) == range_of(0, 2, 6)


def test_partitions_share_a_micro_batch_with_those_that_were_held() -> None:
    held = HeldRecords()
    held.hold(dict.fromkeys(range(2), 0), records_at(*range_of(0, 0, 5), *range_of(1, 0, 5)))
    held.release([0])
    polled = records_at(*range_of(2, 0, 5))
    assert exchanged(held, polled, 4) == [*range_of(0, 0, 2), *range_of(2, 0, 2)]
    assert taken(held, 10) == [*range_of(0, 2, 5), *range_of(2, 2, 5)]


def test_the_partition_with_the_earliest_event_time_goes_first() -> None:
    held = HeldRecords()
    polled = [*range_of(0, 0, 6), *range_of(1, 0, 6), *range_of(2, 0, 6)]
    held.hold({0: 0, 1: 0, 2: 0}, records_at(*polled))
    held.release([0, 1, 2])
    # One without an event comes before all others.
    assert taken(held, 3, p0=70, p1=50) == [(2, 0), (1, 0), (0, 0)]
    assert taken(held, 3, p0=70, p1=50, p2=60) == [(1, 1), (2, 1), (0, 1)]


def test_partitions_take_turns_again_some_batches_after_the_last_wait() -> None:
    held = HeldRecords()
    records = [*range_of(0, 0, 200), *range_of(1, 0, 200)]
    held.hold({0: 0, 1: 0}, records_at(*records))
    held.release([0, 1])
    for number in range(held_records._CALM_BATCHES):
        assert taken(held, 4, p0=2, p1=1) == [
            *range_of(1, 2 * number, 2 * number + 2),
            *range_of(0, 2 * number, 2 * number + 2),
        ]
    at = 2 * held_records._CALM_BATCHES
    assert taken(held, 4, p0=2, p1=1) == range_of(1, at, at + 4)
    assert taken(held, 4, p0=2, p1=3) == range_of(0, at, at + 4)
    held.hold({1: at + 4}, NOTHING)
    held.release([1])
    assert taken(held, 2, p0=2, p1=1) == [(1, at + 4), (0, at + 4)]


def test_one_record_at_a_time_is_of_each_partition_in_the_end() -> None:
    held = HeldRecords()
    held.hold({0: 0, 1: 0}, records_at((0, 0), (1, 0)))
    held.release([0, 1])
    assert [taken(held, 1) for _ in range(3)] == [[(0, 0)], [(1, 0)], []]


@pytest.mark.parametrize("value", [b"", b"x" * 400], ids=["empty", "long"])
def test_the_partitions_with_most_records_are_full_until_half_of_them_are_taken(
    value: bytes,
) -> None:
    held = HeldRecords()
    n = 100
    offsets = np.arange(n)
    one = Records("in", [None] * n, [value] * n, offsets.astype(np.int32) * 0, offsets, offsets)
    other = Records("in", [None], [value], np.array([1], np.int32), offsets[:1], offsets[:1])
    size = held_records._memory(one)
    with mock.patch.object(held_records, "MOST_BYTES", 2 * size):
        held.hold({0: 0, 1: 0}, one.behind([other]))
        held.exchange(NOTHING, 1, {})
        assert held.full == {0}
        held.release([0])
        held.exchange(NOTHING, 20, {})
        assert held.full == {0}
        held.exchange(NOTHING, 40, {})
        assert held.full == set()
    held.clear()
    assert (held.partitions, held.full) == (set(), set())


def refusing(bench: LoopHarness, partitions: set[int]) -> Callable[[], None]:
    """Stages that cannot score the last event of each of these partitions in the micro-batch."""

    def refuse() -> None:
        last = dict(bench.process.seen[-1])
        if waits := {p: Wait(last[p], 50, "shop", 1) for p in partitions & last.keys()}:
            raise NotAlignedError(waits)

    return refuse


MOST = st.integers(1, 3_000)
COUNTS = st.fixed_dictionaries({p: st.integers(1, 12) for p in range(3)})
WAITS = st.lists(st.sets(st.integers(0, 2)), max_size=12)


@given(COUNTS, WAITS, st.integers(1, 5), MOST)
def test_partitions_are_scored_in_order_without_gaps_however_they_wait(
    counts: dict[int, int], waits: list[set[int]], batch: int, most_bytes: int
) -> None:
    bench = LoopHarness(counts, batch)
    bench.consumer.next.clear()
    bench.consumer.will_assign(*counts)
    bench.consumer.controls = {1: 2}
    bench.process.then.extend(refusing(bench, some) for some in waits)
    with mock.patch.object(held_records, "MOST_BYTES", most_bytes):
        bench.run()
    for partition, count in counts.items():
        mine = [value for value in bench.answered if value.startswith(f"{partition}/")]
        assert mine == [f"{partition}/{offset}" for offset in range(count)]
    assert bench.consumer.checkpoints == {**counts, 1: counts[1] + 2}
    assert sorted(bench.consumer.starts) == [(p, 0) for p in sorted(counts)]
    assert bench.consumer.paused == set()


def test_an_end_that_comes_with_the_last_kept_record_is_committed() -> None:
    """Behind the kept records come another one and control records, in the poll that ends them."""
    bench = LoopHarness({0: 3}, 10)
    bench.process.then.append(refusing(bench, {0}))

    def more(waits: Mapping[int, Wait]) -> Mapping[int, Wait]:
        bench.consumer.ends[0] = 4
        bench.consumer.controls[0] = 2
        return {}

    bench.histories.waiting.append(more)
    bench.run()
    assert bench.answered == [f"0/{offset}" for offset in range(4)]
    assert bench.consumer.checkpoints == {0: 6}
