"""Events that are short of history: which, by what, and what is remembered of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from features.compute.enrich import enrich
from features.definition import FeatureSet
from features.history.namespace import Namespace
from features.history.watermarks import LogState
from features.store.memory import MemoryStore
from schemas.batch import Kind
from tests.support import making

SECOND = 1_000_000
FEATURES = f"""{making.EVENTS}entities: {{card: card, shop: shop}}
history: {{allowed_lateness: 10s, duplicates: 1d, watermark_support: 1}}
features:
  - {{name: N, window: count, by: card, over: 20s, across: best_effort}}
  - {{name: WIDE, window: count, by: card, over: 60s, delay: 40s, across: best_effort}}
  - {{name: SHOP, window: count, by: shop, over: 30s, across: best_effort}}
"""
LOCAL = Namespace.local("test")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> FeatureSet:
    return making.feature_set(tmp_path_factory.mktemp("set"), FEATURES)


@pytest.fixture(scope="module")
def made_of_three(tmp_path_factory: pytest.TempPathFactory) -> FeatureSet:
    """Three events support the watermark."""
    return making.feature_set(
        tmp_path_factory.mktemp("set"), FEATURES.replace("support: 1", "support: 3")
    )


def short(
    made: FeatureSet,
    seconds: Sequence[int],
    log: LogState | None = None,
    namespace: Namespace = LOCAL,
    partitions: Sequence[int] | None = None,
) -> tuple[Mapping[str, list[bool]], LogState]:
    """By entity which events at these seconds are short of history, and the log's state behind."""
    batch = making.events(
        made,
        len(seconds),
        at=making.longs([making.T0 + second * SECOND for second in seconds], Kind.TIME),
        shop=making.longs([1] * len(seconds)),
    )
    if partitions is not None:
        batch.records.partitions[:] = partitions
    enriched = enrich(made, batch, MemoryStore(), log or LogState(), namespace)
    flagged = {
        entity: made.flags.carries(f"history_short:{entity}", enriched.flags).tolist()
        for entity in ("card", "shop")
    }
    return flagged, enriched.after


def test_short_are_events_whose_longest_window_begins_before_the_first_event(
    made: FeatureSet,
) -> None:
    found, after = short(made, [0, 29, 30, 31, 99, 100])
    assert found["shop"] == [True, True, False, False, False, False]
    assert found["card"] == [True, True, True, True, True, False]
    assert set(after.lowest[0].values()) == {making.T0}
    assert len(after.lowest[0]) == 2


def test_coverage_continues_with_the_state_of_the_log_batch_by_batch(made: FeatureSet) -> None:
    seconds, log, found = [0, 20, 35, 31, 99, 100, 90, 120], LogState(), list[bool]()
    for second in seconds:
        flagged, log = short(made, [second], log)
        found += flagged["card"]
    whole, after = short(made, seconds)
    # Pairs depend on where batches begin.
    assert (found, replace(log, pairs={})) == (whole["card"], replace(after, pairs={}))


@pytest.mark.parametrize(
    "wild",
    [
        {},
        {0: -500},
        {1: -500},
        {0: -500, 3: -10},
        {3: -(10**7), 2: -(10**7)},
        {0: 10**7, 1: -(10**7)},
    ],
    ids=str,
)
def test_histories_begin_in_the_middle_of_the_first_events_and_a_few_wild_ones_move_nothing(
    made_of_three: FeatureSet, wild: Mapping[int, int]
) -> None:
    seconds = [wild.get(place, 30 + place) for place in range(5)]
    found, after = short(made_of_three, [*seconds, 59, 66])
    assert found["shop"] == [True] * 6 + [False]
    # Of the five times the third, whoever is wild on either side.
    begin = sorted(seconds)[2]
    assert 30 <= begin <= 34
    assert set(after.lowest[0].values()) == {making.T0 + begin * SECOND}
    _, log = short(made_of_three, seconds[:4])
    assert (log.lowest, [*log.counted[0].values()]) == ({0: {}}, [4, 4])
    assert made_of_three.histories.coverage(log, LOCAL) == {"card": 0.0, "shop": 0.0}
    assert short(made_of_three, seconds[4:], log)[1].lowest[0] == dict.fromkeys(
        after.lowest[0], making.T0 + begin * SECOND
    )


def test_an_event_that_is_early_for_its_record_begins_no_histories(tmp_path: Path) -> None:
    made = making.feature_set(
        tmp_path, FEATURES.replace("support: 1}", "support: 2, max_ahead: 1s}")
    )
    batch = making.events(
        made,
        4,
        at=making.longs([making.T0 + s * SECOND for s in (0, 500, 2, 3)], Kind.TIME),
        shop=making.longs([1] * 4),
    )
    batch.records.timestamps[:] = making.T0 // 1000 + 5000
    after = enrich(made, batch, MemoryStore()).after
    assert set(after.lowest[0].values()) == {making.T0 + 2 * SECOND}


def test_histories_that_are_new_in_the_middle_of_a_log_begin_behind_their_own_events(
    made_of_three: FeatureSet,
) -> None:
    # The watermark of before is from before a gap: histories have nothing since.
    log = LogState({0: tuple(making.T0 + s * SECOND for s in (500, 20, 10))})
    found, after = short(made_of_three, [540, 541, 542, 543, 544, 571, 572], log)
    assert found["shop"] == [True] * 6 + [False]
    assert set(after.lowest[0].values()) == {making.T0 + 542 * SECOND}
    # Late ones are in none.
    _, log = short(made_of_three, [540, 541, 542, 543, 3], log)
    assert [*log.counted[0].values()] == [4, 4]


def test_behind_a_batch_histories_reach_no_further_back_than_compaction_leaves_them(
    made: FeatureSet, tmp_path: Path
) -> None:
    day = 86_400
    _, log = short(made, [0, 2 * day, 3 * day])
    # Three days less the longest window, the one that ids are remembered for, and the lateness.
    assert set(log.lowest[0].values()) == {
        making.T0 + (2 * day - reach - 10) * SECOND for reach in (30, 100)
    }
    wider = making.feature_set(tmp_path, FEATURES.replace("over: 60s", "over: 3d"))
    assert wider.histories.layouts == made.histories.layouts
    assert wider.histories.coverage(log, LOCAL) == pytest.approx(
        {"card": 1 / 3, "shop": 1}, abs=1e-3
    )
    found, _ = short(wider, [3 * day, 5 * day - 71, 5 * day - 69], log)
    assert found == {"card": [True, True, False], "shop": [False] * 3}


def test_a_late_event_sees_no_further_back_than_one_just_in_time(made: FeatureSet) -> None:
    found, _ = short(made, [0, 41, 20, 29])
    assert found["shop"] == [True, False, False, False]


def test_late_events_alone_are_no_history(made: FeatureSet) -> None:
    log = LogState({0: (making.T0 + 1000 * SECOND,)})
    found, after = short(made, [0], log)
    assert (found["shop"], after.lowest[0]) == ([True], {})
    assert made.histories.coverage(after, LOCAL) == {"card": 0.0, "shop": 0.0}


def test_partitions_are_apart(made: FeatureSet) -> None:
    two = replace(LOCAL, partitions=2)
    found, after = short(made, [0, 50, 50, 80], None, two, [0, 1, 0, 1])
    assert found["shop"] == [True, True, False, False]
    assert made.histories.coverage(after, two)["shop"] == 1.0
    found, after = short(made, [60], replace(after, lowest={1: after.lowest[1]}), two, [0])
    assert found["shop"] == [True]
    assert made.histories.coverage(after, two)["shop"] == 0.0


@pytest.mark.parametrize(
    "other",
    [
        replace(LOCAL, key=bytes(16)),
        replace(LOCAL, topic_id="another"),
        replace(LOCAL, partitions=2),
        replace(LOCAL, generations={"shop": "anew"}),
    ],
    ids=["a lost key", "another topic", "more partitions", "emptied"],
)
def test_histories_that_began_anew_are_empty_whatever_the_log_had(
    made: FeatureSet, other: Namespace
) -> None:
    _, log = short(made, [0, 50, 100])
    assert made.histories.coverage(log, LOCAL) == {"card": 1.0, "shop": 1.0}
    found, after = short(made, [101], log, other)
    assert found["shop"] == [True]
    # Of the entity alone whose histories were emptied.
    assert found["card"] == [not other.generations]
    assert made.histories.coverage(log, other)["shop"] == 0.0
    assert len(after.lowest[0]) == 2


def test_coverage_is_a_share_of_the_longest_window(made: FeatureSet) -> None:
    assert made.histories.coverage(LogState(), LOCAL) == {"card": 0.0, "shop": 0.0}
    _, after = short(made, [0, 15])
    assert made.histories.coverage(after, LOCAL) == {"card": 0.15, "shop": 0.5}


def test_events_that_join_no_history_end_those_of_their_partition(
    made: FeatureSet, tmp_path: Path
) -> None:
    """As with a worker without windows that reads for a while in the place of one with them."""
    without = making.feature_set(tmp_path, making.EVENTS + "features: [{name: A, field: amount}]\n")
    _, log = short(made, [0, 100, 200], partitions=[0, 1, 0])
    assert log.lowest.keys() == {0, 1}
    batch = making.events(without, 1, at=making.longs([making.T0 + 210 * SECOND], Kind.TIME))
    gap = enrich(without, batch, MemoryStore(), log, LOCAL).after
    assert gap.lowest.keys() == {1}
    found, after = short(made, [220, 290], gap)
    assert found["card"] == [True, True]
    assert min(after.lowest[0].values()) >= making.T0 + 200 * SECOND


def test_histories_begin_anew_where_they_reach_back_to_a_time_above_the_watermark(
    made: FeatureSet, made_of_three: FeatureSet
) -> None:
    """As with a larger support after a wild event: the watermark is sound again, and so are they."""
    wild = 400_000_000
    _, log = short(made, [0, 30, 60, 90, 120, 150, wild])
    seconds = [160 + 30 * i for i in range(10)]
    found, after = short(made_of_three, seconds, log)
    assert found["card"][-1] is False
    assert max(after.lowest[0].values()) < making.T0 + wild * SECOND // 2
