"""Partitions as one stream: in the order in which event time goes on in each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from features.tables.merge import Merge, concat
from features.windows.position import AHEAD
from features.windows.window import HistoryRules
from schemas.batch import Column, EventBatch, Kind, Records

RULES = HistoryRules(10, 10, 10, watermark_support=1, max_ahead=None)
Part = list[int]
"""Event times of one partition, by offset."""


def batch(partition: int, first: int, times: Part) -> EventBatch:
    size = len(times)
    ids = pa.array([f"{partition}@{first + i}" for i in range(size)], pa.string())
    offsets = first + np.arange(size, dtype=np.int64)
    nothing = [None] * size
    number = Column(Kind.LONG, np.asarray(times, np.int64) * 2, np.ones(size, np.bool_))
    text = Column(Kind.STRING, ids, offsets % 2 == 0)
    return EventBatch(
        Records(
            "log",
            nothing,
            nothing,
            np.full(size, partition, np.int32),
            offsets,
            np.full(size, -1, np.int64),
        ),
        {"number": number, "text": text},
        ids,
        np.asarray(times, np.int64),
        np.asarray(times, np.int64) * 3,
        {"card": ids},
    )


def expected(parts: list[Part]) -> list[str]:
    """By the highest event time of the partition up to each event, then partition and offset."""
    places = [
        (max(times[: offset + 1]), partition, offset)
        for partition, times in enumerate(parts)
        for offset in range(len(times))
    ]
    return [f"{partition}@{offset}" for _, partition, offset in sorted(places)]


def names(events: EventBatch) -> list[str]:
    return list(events.event_id.to_pylist())


def times_by_partition() -> st.SearchStrategy[list[Part]]:
    return st.lists(st.lists(st.integers(0, 30), max_size=12), min_size=1, max_size=4)


@given(parts=times_by_partition(), rows=st.integers(1, 40), data=st.data())
def test_whatever_comes_when_the_order_is_the_same(
    parts: list[Part], rows: int, data: st.DataObject
) -> None:
    merge, got = Merge(rows, RULES), []
    done = dict.fromkeys(range(len(parts)), 0)
    unfinished = {p for p, times in enumerate(parts) if times}
    while unfinished:
        waiting = unfinished - merge.full(unfinished)
        # Who is full need not be read on; somebody always has to be.
        partition = data.draw(st.sampled_from(sorted(waiting)))
        first = done[partition]
        until = data.draw(st.integers(first + 1, len(parts[partition])))
        merge.add(batch(partition, first, parts[partition][first:until]))
        done[partition] = until
        if until == len(parts[partition]):
            unfinished.discard(partition)
        while (taken := merge.take(unfinished)) is not None:
            got.append(taken)
    # What stands at one time may come one after the other, as it is read.
    found = [name for taken in got for name in names(taken)]
    reached = {
        f"{p}@{o}": max(times[: o + 1]) for p, times in enumerate(parts) for o in range(len(times))
    }
    assert sorted(found) == sorted(expected(parts))
    assert [reached[name] for name in found] == sorted(reached.values())
    for partition in range(len(parts)):
        own = [name for name in found if name.startswith(f"{partition}@")]
        assert own == [f"{partition}@{o}" for o in range(len(parts[partition]))]
    for taken in got:
        assert taken.columns["number"].values.tolist() == (2 * taken.event_time).tolist()
        assert taken.columns["text"].valid.tolist() == (taken.records.offsets % 2 == 0).tolist()
        assert taken.entity_keys["card"].to_pylist() == names(taken)
        assert taken.amount_minor is not None
        assert taken.amount_minor.tolist() == (3 * taken.event_time).tolist()
        assert len(taken.records) == len(taken)


def test_merge_waits_for_a_partition_that_lags_and_reads_no_other_on() -> None:
    merge = Merge(4, RULES)
    merge.add(batch(0, 0, list(range(100, 110))))
    assert merge.take({0, 1}) is None
    assert merge.full({0, 1}) == {0}
    merge.add(batch(1, 0, [5, 7]))
    taken = merge.take({0, 1})
    assert taken is not None
    assert names(taken) == ["1@0", "1@1"]
    assert merge.take({0, 1}) is None
    last = merge.take({0})
    assert last is not None
    assert len(last) == 10


def test_events_one_after_the_other() -> None:
    joined = concat([batch(0, 0, [1, 2]), batch(1, 0, [3])])
    assert names(joined) == ["0@0", "0@1", "1@0"]
    assert joined.records.partitions.tolist() == [0, 0, 1]


WILD = 20 * 365 * AHEAD


def test_one_event_of_the_far_future_holds_back_no_other_of_its_partition() -> None:
    merge = Merge(100, replace(RULES, watermark_support=3))
    merge.add(batch(0, 0, [1, 4, 7, WILD, 10, 13]))
    merge.add(batch(1, 0, [2, 5, 8, 11]))
    taken = merge.take(set())
    assert taken is not None
    assert [name for name in names(taken) if name[0] == "1"] == ["1@0", "1@1", "1@2", "1@3"]
    assert names(taken)[:6] == ["0@0", "1@0", "0@1", "1@1", "0@2", "1@2"]
    assert taken.event_time.max() == WILD


def test_nor_where_it_is_the_first() -> None:
    merge = Merge(100, replace(RULES, watermark_support=3))
    merge.add(batch(0, 0, [WILD]))
    merge.add(batch(0, 1, [4, 7]))
    merge.add(batch(0, 3, [10, 13]))
    merge.add(batch(1, 0, [AHEAD + 20, AHEAD + 21, AHEAD + 22]))
    taken = merge.take(set())
    assert taken is not None
    assert [name[0] for name in names(taken)] == ["0"] * 5 + ["1"] * 3


def test_events_that_are_early_for_their_records_hold_back_none() -> None:
    early = batch(0, 0, [1_000_000, 90_000_000, 91_000_000, 92_000_000, 2_000_000])
    early.records.timestamps[:] = 1_000
    merge = Merge(100, replace(RULES, max_ahead=5_000_000))
    merge.add(early)
    merge.add(batch(1, 0, [1_500_000, 2_500_000]))
    taken = merge.take(set())
    assert taken is not None
    assert names(taken) == ["0@0", "0@1", "0@2", "0@3", "1@0", "0@4", "1@1"]
