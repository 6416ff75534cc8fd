"""Counts of events whose times say that their input may be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.definition import FeatureSet
from features.history.watermarks import LogState
from features.windows.order import InputTimes
from features.windows.position import locate
from schemas.batch import EventBatch, Kind
from tests.support import making
from tests.support.making import EVENTS, T0

HOUR = 3_600_000_000
DAY = 24 * HOUR
IN_2042 = 2_277_244_800_000_000
HEAD = EVENTS.replace("  time: at\n", "  time: at\n  partition_key: card\n")
COUNT = "entities: {card: card}\nfeatures:\n  - {name: N, window: count, by: card, over: 1d}\n"


@pytest.fixture
def made(tmp_path: Path) -> FeatureSet:
    return feature_set(tmp_path)


def feature_set(folder: Path, **rules: Any) -> FeatureSet:
    return making.feature_set(folder, f"{HEAD}history: {json.dumps(rules)}\n{COUNT}")


def batch(made: FeatureSet, times: list[int], partitions: list[int] | None = None) -> EventBatch:
    found = making.events(made, len(times), at=making.longs(times, Kind.TIME))
    found.records.partitions[:] = 0 if partitions is None else partitions
    return found


def count(made: FeatureSet, times: list[int], **given: Any) -> int:
    counted = InputTimes(made.histories.rules)
    counted.add(batch(made, times, **given))
    return counted.out_of_order


def test_an_event_older_than_one_before_it_in_its_partition_counts(made: FeatureSet) -> None:
    """Counted one by one, and in any batches, where no event is wild."""
    rng = np.random.default_rng(7)
    for _ in range(200):
        size = int(rng.integers(1, 40))
        times = (T0 + rng.integers(0, 24, size) * HOUR).tolist()
        partitions = rng.integers(0, 3, size).tolist()
        expected = sum(
            any(t > times[row] for t, p in zip(times[:row], partitions, strict=False) if p == of)
            for row, of in enumerate(partitions)
        )
        counted, cuts = InputTimes(made.histories.rules), np.sort(rng.integers(0, size + 1, 3))
        for begin, end in zip([0, *cuts], [*cuts, size], strict=True):
            counted.add(batch(made, times[begin:end], partitions[begin:end]))
        assert counted.out_of_order == expected


def test_events_of_one_time_are_in_order(made: FeatureSet) -> None:
    assert count(made, [T0] * 5 + [T0 + 1] * 5) == 0


@pytest.mark.parametrize("step", [1, HOUR, DAY, 40 * DAY])
def test_the_newest_first_are_all_out_of_order(made: FeatureSet, step: int) -> None:
    assert count(made, [T0 + step * row for row in reversed(range(20))]) == 19


@pytest.mark.parametrize("place", [0, 1, 2, 5, 19])
def test_an_event_of_2042_makes_no_later_event_late(made: FeatureSet, place: int) -> None:
    times = [T0 + HOUR * row for row in range(20)]
    times.insert(place, IN_2042)
    # As the very first event it is all that the second can be held against.
    assert count(made, times) == (1 if place == 0 else 0)
    assert count(made, [*times, T0]) == count(made, times) + 1


def test_events_too_far_ahead_of_their_records_are_not_held_against_others(tmp_path: Path) -> None:
    times = [T0, T0 + 1, *[T0 + 5 * HOUR] * 9, T0 + 2, T0 + 3]
    for rules, expected in (({}, 2), ({"max_ahead": "1h"}, 0)):
        made = feature_set(tmp_path, **rules)
        events = batch(made, times)
        events.records.timestamps[:] = T0 // 1000
        counted = InputTimes(made.histories.rules)
        counted.add(events)
        assert counted.out_of_order == expected


def test_records_without_a_timestamp_count_where_they_would_be_judged(tmp_path: Path) -> None:
    for rules, expected in (({}, 0), ({"max_ahead": "1h"}, 3)):
        made = feature_set(tmp_path, **rules)
        events = batch(made, [T0, T0 + 1, T0 + 2, T0 + 3])
        events.records.timestamps[:] = [-1, 0, T0 // 1000, -7]
        counted = InputTimes(made.histories.rules)
        counted.add(events)
        assert counted.without_timestamp == expected


@pytest.mark.parametrize("support", [1, 2, 3, 9])
def test_a_late_event_is_out_of_order_too(tmp_path: Path, support: int) -> None:
    made = feature_set(tmp_path, watermark_support=support, allowed_lateness="1s")
    rng = np.random.default_rng(support)
    for _ in range(100):
        times = (T0 + rng.integers(0, 5, 30) * DAY + rng.integers(0, 9, 30) * HOUR).tolist()
        at, _ = locate(batch(made, times), LogState(), made.histories.rules, 1)
        assert 0 < np.count_nonzero(at.late) <= count(made, times)
