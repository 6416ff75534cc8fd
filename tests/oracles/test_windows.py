"""The oracle of windows on examples that were computed by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from tests.oracles.windows import (
    DAY,
    OF_EVENTS,
    Event,
    Label,
    PartitionState,
    Raw,
    Rules,
    VisibleHistory,
    Window,
    counted,
    float32,
    percentile,
    serial,
    shared_history,
    units,
    value,
    visible_history,
    watermark,
    watermarks_before,
)

S = 1_000_000
RULES = Rules(lateness=10, remembered=50, cap=3, horizons={"card": 100})
NEVER = -math.inf
NOTHING = PartitionState(NEVER, math.inf, 0)


def event(offset: int, time: int, **given: object) -> Event:
    """An event of card c, whose id is its offset unless ``given``."""
    values: Mapping[str, Raw] = {"v": given.pop("v", None)}  # type: ignore[dict-item]
    made = {"partition": 0, "id": f"e{offset}", "keys": {"card": "c"}, "values": values}
    return Event(offset=offset, time=time, **made | given)  # type: ignore[arg-type]


def window(kind: str, **given: object) -> Window:
    of = "" if kind in OF_EVENTS else "v"
    return Window(**{"name": "W", "kind": kind, "entity": "card", "over": 100, "of": of} | given)  # type: ignore[arg-type]


def sight(x: Event, *members: Event) -> VisibleHistory:
    return visible_history(RULES, "card", x, NOTHING, members)


# --- late events, duplicates and members


def test_late_is_more_than_the_allowed_lateness_behind_the_watermark_before() -> None:
    log = [event(0, 100), event(1, 90), event(2, 89), event(3, 95), event(4, 120), event(5, 109)]
    assert watermarks_before(RULES, log) == {
        (0, 0): NEVER,
        (0, 1): 100,
        (0, 2): 100,
        (0, 3): 100,
        (0, 4): 100,
        (0, 5): 120,
    }
    sights = serial(RULES, "card", log)
    assert [s.late for s in sights.values()] == [False, False, True, False, False, True]
    assert [s.base for s in sights.values()] == [100, 90, 90, 95, 120, 110]
    seen = [[m.offset for m in s.members] for s in sights.values()]
    assert seen == [[], [0], [1, 0], [1, 0], [1, 3, 0], [3, 0, 4]]


def test_a_watermark_is_as_low_as_the_last_of_the_events_that_support_it() -> None:
    rules = replace(RULES, support=3)
    log = [event(i, t) for i, t in enumerate((100, 9_000, 90, 110, 120, 105, 99))]
    before = [NEVER, NEVER, NEVER, 90, 100, 110, 110]
    assert [*watermarks_before(rules, log).values()] == before
    assert [s.late for s in serial(rules, "card", log).values()] == [False] * 6 + [True]
    assert watermark(rules, [7, 7, 7]) == 7
    assert watermark(rules, [7, 7]) == NEVER


def test_ahead_is_a_day_above_the_watermark_or_too_early_for_its_own_record() -> None:
    rules = replace(RULES, ahead=5000)
    log = [
        event(0, DAY),
        event(1, 2 * DAY),
        event(2, 3 * DAY + 1),
        event(3, 3 * DAY + 5000, recorded=3 * DAY // 1000),
        event(4, 3 * DAY + 5001, recorded=3 * DAY // 1000),
        event(5, 3 * DAY + 5002, recorded=0),
    ]
    ahead = [s.ahead for s in serial(rules, "card", log).values()]
    assert ahead == [False, False, True, False, True, False]
    assert watermarks_before(rules, log)[0, 5] == 3 * DAY + 5000
    assert not any(s.ahead for s in serial(RULES, "card", log[3:]).values())


def test_partitions_have_their_own_lateness() -> None:
    elsewhere = event(0, 500, partition=1, keys={"card": "d"})
    assert not serial(RULES, "card", [elsewhere, event(7, 100)])[0, 7].late


def test_a_second_event_of_an_id_is_a_duplicate_while_the_id_is_remembered() -> None:
    log = [event(0, 100, id="a"), event(1, 149, id="a"), event(2, 150, id="a"), event(3, 190)]
    sights = serial(RULES, "card", log)
    assert [s.duplicate for s in sights.values()] == [False, True, False, False]
    assert [m.offset for m in sights[0, 3].members] == [0, 2]


def test_a_duplicate_is_one_of_the_members_that_are_seen_even_of_later_ones() -> None:
    same = event(0, 109, id="a")
    newer = [event(i, 109 + i) for i in (1, 2, 3)]
    x = event(4, 105, id="a")
    assert sight(x, same).duplicate
    assert not sight(x, same, *newer).duplicate


def test_ids_are_of_a_history() -> None:
    log = [event(0, 100, id="a"), event(1, 100, id="a", keys={"card": "d"})]
    assert not serial(RULES, "card", log)[0, 1].duplicate


def test_the_newest_are_seen_and_a_hidden_one_that_a_window_could_reach_is_told() -> None:
    members = [event(i, 100 + i) for i in range(4)]
    found = sight(event(9, 120), *members)
    assert [m.offset for m in found.members] == [1, 2, 3]
    assert found.capped
    assert sight(event(9, 199), *members).capped
    assert not sight(event(9, 200), *members).capped
    assert not sight(event(9, 120), *members[1:]).capped
    far = visible_history(RULES, "card", event(9, 120), PartitionState(210, 0, 1), members)
    assert (far.base, far.late, far.capped) == (200, True, False)


def test_ties_stand_by_partition_then_offset() -> None:
    members = [
        event(5, 100),
        event(1, 100, partition=1),
        event(4, 100),
        event(9, 99, partition=1),
    ]
    found = sight(event(8, 100), *members)
    assert [m.place for m in found.members] == [(0, 4), (0, 5), (1, 1)]


# --- shared histories


SHARED = replace(RULES, shared={"card": [(0, 100), (20, 60)]})


def shared_sight(x: Event, *members: Event, past: PartitionState = NOTHING) -> VisibleHistory:
    return shared_history(SHARED, "card", x, past, members)


def test_an_event_sees_other_partitions_whole_and_its_own_before_itself() -> None:
    own = [event(3, 100), event(5, 90), event(6, 95)]
    others = [event(1, 99, partition=1), event(9, 500, partition=2)]
    found = shared_sight(event(5, 90), *own, *others)
    assert [m.place for m in found.members] == [(1, 1), (0, 3), (2, 9)]


def test_a_repeat_is_behind_a_younger_one_of_the_same_id_whichever_came_first() -> None:
    members = [event(7, 100, id="a"), event(1, 140, partition=1, id="a"), event(8, 190, id="a")]
    found = shared_sight(event(9, 200), *reversed(members))
    assert found.repeats == {(1, 1)}
    assert not found.duplicate
    assert shared_sight(event(9, 200), *members[1:]).repeats == frozenset()


def test_a_repeat_is_of_one_among_as_many_before_it_as_the_cap_shows() -> None:
    first, last = event(1, 100, id="a"), event(9, 110, partition=1, id="a")
    between = [event(2 + i, 101 + i) for i in range(3)]
    x = event(20, 120)
    assert shared_sight(x, first, *between[:2], last).repeats == {(1, 9)}
    assert shared_sight(x, first, *between, last).repeats == frozenset()


def test_an_event_is_a_duplicate_by_its_own_partition_and_a_repeat_by_all_before_it() -> None:
    here, there, later = (
        event(1, 100, id="a"),
        event(1, 100, partition=1, id="a"),
        event(1, 130, id="a"),
    )
    x = event(5, 120, id="a")
    judged = [
        (found.duplicate, found.repeat, found.joins)
        for found in (shared_sight(x, m) for m in (here, there, later))
    ]
    assert judged == [(True, True, True), (False, True, True), (True, False, True)]


def test_the_cap_of_a_window_is_that_of_the_members_at_or_before_its_end() -> None:
    members = [event(i, 100 + 10 * i) for i in range(6)]
    found = shared_sight(event(9, 150), *members)
    assert found.capped
    plain, delayed = window("count"), window("count", over=40, delay=20)
    assert [m.offset for m in counted(plain, 3, event(9, 150), found)] == [3, 4, 5]
    assert [m.offset for m in counted(delayed, 3, event(9, 150), found)] == [1, 2, 3]


def test_the_cap_of_a_late_event_is_that_of_one_in_time() -> None:
    """Older members may have been removed."""
    members = [event(i, 100 + 10 * i) for i in range(6)]
    x = event(9, 125)
    found = shared_sight(x, *members, past=PartitionState(155, 0, 1))
    assert (found.late, found.base) == (True, 145)
    assert [m.offset for m in counted(window("count"), 3, x, found)] == [2]


# --- what a window counts


@pytest.mark.parametrize(
    ("given", "offsets"),
    [
        ({"over": 20}, [81, 90, 100]),
        ({"over": 20, "current": True}, [81, 90, 100, 7]),
        ({"over": 20, "delay": 10}, [71, 80, 81, 90]),
        ({"over": 20, "where": lambda e: e.offset % 2 == 0}, [90, 100]),
    ],
)
def test_a_window_is_open_at_its_begin_and_closed_at_its_end(
    given: dict[str, object], offsets: list[int]
) -> None:
    rules = Rules(10, 50, 99, {"card": 100})
    members = [event(t, t) for t in (70, 71, 80, 81, 90, 100, 101)]
    x = event(7, 100)
    found = counted(
        window("count", **given), 99, x, visible_history(rules, "card", x, NOTHING, members)
    )
    assert sorted(m.offset for m in found) == sorted(offsets)


def test_a_late_event_sees_no_further_back_than_any_that_is_in_time() -> None:
    members = [event(0, 71), event(1, 85), event(2, 95)]
    x = event(3, 85)
    found = visible_history(RULES, "card", x, PartitionState(100, 0, 1), members)
    assert found.late
    assert found.base == 90
    names = [m.offset for m in counted(window("count", over=19, current=True), 3, x, found)]
    assert names == [1, 3]
    assert counted(window("count", over=4, delay=1), 3, x, found) == []


def test_a_duplicate_is_not_counted_again_and_the_current_one_stands_at_its_place() -> None:
    other = event(1, 100, partition=1, v=7)
    x = event(5, 100, v=2)
    assert value(window("last", current=True), 3, x, sight(x, other), []) == 7
    assert value(window("last", current=True), 3, x, sight(x, event(4, 100, v=9)), []) == 2
    twice = event(6, 100, id="e4", v=2)
    assert value(window("sum", current=True), 3, twice, sight(twice, event(4, 99, v=9)), []) == 9


def amounts(kind: str, *numbers: Raw, digits: int = 0, default: float = -1.0) -> float:
    """The value of a window over members with ``numbers``, the last first in time."""
    members = [event(i, 90 - i, v=number) for i, number in enumerate(numbers)]
    rules = Rules(10, 50, 9, {"card": 100})
    x = event(99, 100)
    made = window(kind, digits=digits, default=default)
    return value(made, 9, x, visible_history(rules, "card", x, NOTHING, members), [])


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("count", 5.0),
        ("sum", 12.0),
        ("mean", 3.0),
        ("std", math.sqrt(16.0 / 3)),
        ("min", 1.0),
        ("max", 5.0),
        ("last", 5.0),
        ("distinct", 2.0),
        ("time_since_last", 10 / S),
        ("first", 1.0),
        ("time_since_first", 14 / S),
        ("mode_share", 0.5),
        ("entropy", math.log(2)),
        ("median", 3.0),
        ("percentile", 3.0),
    ],
)
def test_the_oracle_computes_each_aggregate(kind: str, found: float) -> None:
    assert amounts(kind, None, 5, 1, 5, 1) == found


def test_values_are_kept_to_their_digits_half_to_even() -> None:
    assert amounts("sum", 0.125, 0.375, digits=2) == 0.5
    assert amounts("mean", Decimal("0.0001"), Decimal("0.0003"), digits=4) == 2 / 10_000
    assert [units(v, 0, 1) for v in (0.5, 1.5, -0.5, -2.5, True)] == [0, 2, 0, -2, 1]
    assert [units(v, 2, 1) for v in (None, math.nan, math.inf, "a")] == [None, None, None, "a"]
    most = (2**63 - 1) // 3
    assert [units(v, 0, 2) for v in (most, most + 1, -most)] == [most, None, -most]


OF_VALUES = ("sum", "mean", "std", "min", "max", "first", "last", "distinct")


@pytest.mark.parametrize("kind", [*OF_VALUES, "mode_share", "entropy", "median", "percentile"])
def test_a_window_without_values_has_its_default(kind: str) -> None:
    assert amounts(kind) == -1
    assert amounts(kind, None, math.nan) == -1
    assert math.isnan(amounts(kind, default=math.nan))


def test_the_oracle_has_no_deviation_of_one_value_and_no_time_or_share_of_none() -> None:
    assert amounts("std", 5) == -1
    assert [amounts(kind) for kind in OF_EVENTS] == [-1] * len(OF_EVENTS)


@pytest.mark.parametrize("percent", [0, 10, 25, 50, 66.6, 90, 99.9, 100])
def test_percentiles_are_those_of_numpy(percent: float) -> None:
    for values in ([7], [3, -4], [5, 1, 1, 9, 8, -2], [*range(0, 2000, 7)]):
        assert percentile(values, percent) == pytest.approx(np.percentile(values, percent))


def test_entropy_is_that_of_the_shares_in_nats() -> None:
    assert amounts("entropy", 7, 7, 7) == 0
    assert amounts("entropy", 1, 2, 3, 1) == pytest.approx(1.5 * math.log(2))


def test_weights_halve_with_each_half_life_before_the_end_of_the_window() -> None:
    members = [event(i, 100 - age, v=4) for i, age in enumerate((8, 16, 24, 28))]
    rules = Rules(10, 50, 9, {"card": 100})
    x = event(99, 100, v=4)
    seen = visible_history(rules, "card", x, NOTHING, members)
    count = window("count", half_life=8)
    assert value(count, 9, x, seen, []) == pytest.approx(0.5 + 0.25 + 0.125 + 2**-3.5)
    assert value(replace(count, current=True), 9, x, seen, []) == pytest.approx(1.875 + 2**-3.5)
    total = window("sum", half_life=8, delay=20)
    assert value(total, 9, x, seen, []) == pytest.approx(4 * (2**-0.5 + 0.5))


def test_only_members_with_the_own_value_count_where_it_is_the_same() -> None:
    members = [event(i, 90 - i, v=number) for i, number in enumerate((5, 1, 5, None, None))]
    rules = Rules(10, 50, 9, {"card": 100})
    made = window("count", same="v", current=True, default=0)
    for own, count in ((5, 3), (1, 2), (7, 1), (None, 0)):
        x = event(99, 100, v=own)
        seen = visible_history(rules, "card", x, NOTHING, members)
        assert value(made, 9, x, seen, []) == count
    cents = replace(made, same_digits=2)
    near = [event(1, 90, v=0.131), event(2, 91, v=0.129), event(3, 92, v=0.136)]
    x = event(99, 100, v=0.13)
    assert value(cents, 9, x, visible_history(rules, "card", x, NOTHING, near), []) == 3


def test_texts_are_distinct_and_empty_is_one() -> None:
    assert amounts("distinct", "a", "", "a", None) == 2


def test_whole_sums_lose_nothing_before_they_are_divided() -> None:
    assert amounts("sum", 2**53, 1, -(2**53)) == 1
    assert amounts("mean", 2**53, 3, -(2**53)) == 1


# --- labels


def label(offset: int, time: int, fraud: bool, **given: object) -> Label:
    made = {"event_id": "e1", "event_time": 50, "keys": {"card": "c"}, "partition": 0}
    return Label(offset=offset, time=time, fraud=fraud, **made | given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("labels", "share"),
    [
        ([], 0.0),
        ([label(0, 100, True)], 0.5),
        ([label(0, 101, True)], 0.0),
        ([label(1, 70, False), label(0, 60, True)], 0.0),
        ([label(0, 70, False), label(1, 60, True)], 0.0),
        ([label(1, 101, False), label(0, 60, True)], 0.5),
        ([label(0, 60, False), label(1, 60, True)], 0.5),
        ([label(0, 60, False, partition=1), label(1, 60, True)], 0.0),
        ([label(0, 60, True, keys={"card": "d"})], 0.0),
        ([label(0, 60, True, event_id="e2")], 0.5),
        ([label(0, 60, True), label(0, 60, True, event_id="e2")], 1.0),
        ([label(0, 60, True, event_id="e3")], 0.0),
        ([label(0, 60, True, event_time=0)], 0.0),
        ([label(0, 60, True, event_time=1), label(1, 70, False, event_time=0)], 0.5),
    ],
)
def test_the_latest_label_that_is_known_counts(labels: list[Label], share: float) -> None:
    x = event(3, 100)
    seen = sight(x, event(1, 50), event(2, 50))
    assert value(window("fraud_share"), 3, x, seen, labels) == share


def test_the_current_event_counts_as_fraud_where_it_is_known_already() -> None:
    x = event(1, 100)
    made = window("fraud_share", current=True)
    assert value(made, 3, x, sight(x), [label(0, 100, True)]) == 1
    assert value(made, 3, x, sight(x), [label(0, 101, True)]) == 0


def test_the_cast_is_the_last_thing() -> None:
    assert float32(0.1) == np.float32(0.1).tobytes()
    missing = np.float32(np.nan).tobytes()
    assert float32(math.nan) == float32(-math.inf) == float32(1e39) == missing
