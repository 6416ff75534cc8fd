"""Events that are short of history: which, by what, and what is remembered of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from features.definition import FeatureSet
from features.history.log_state import LogState
from features.history.namespace import Namespace
from features.store.memory import MemoryStore
from schemas.batch import Kind
from tests.unit.features import making

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
    enriched = made.enrich(batch, MemoryStore(), log or LogState(), namespace)
    bits = {name: bit for bit, name in enumerate(made.flag_names)}
    flagged = {
        entity: (enriched.flags >> np.uint32(bits[f"history_short:{entity}"]) & 1 > 0).tolist()
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


def test_it_goes_on_with_the_state_of_the_log_batch_by_batch(made: FeatureSet) -> None:
    seconds, log, found = [0, 20, 35, 31, 99, 100, 90, 120], LogState(), list[bool]()
    for second in seconds:
        flagged, log = short(made, [second], log)
        found += flagged["card"]
    whole, after = short(made, seconds)
    assert (found, log) == (whole["card"], after)


def test_an_earlier_event_that_is_in_time_is_history_and_a_late_one_is_none(
    made: FeatureSet,
) -> None:
    # 10 seconds before the highest are in time; the late one joins no history.
    found, after = short(made, [10, 0, 20, 5, 30])
    assert found["shop"] == [True, True, True, True, False]
    assert set(after.lowest[0].values()) == {making.T0}
    found, after = short(made, [20, 5, 40])
    assert found["shop"] == [True, True, True]
    assert set(after.lowest[0].values()) == {making.T0 + 20 * SECOND}


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
        replace(LOCAL, marks={"shop": "anew"}),
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
    assert found["card"] == [not other.marks]
    assert made.histories.coverage(log, other)["shop"] == 0.0
    assert len(after.lowest[0]) == 2


def test_coverage_is_a_share_of_the_longest_window(made: FeatureSet) -> None:
    assert made.histories.coverage(LogState(), LOCAL) == {"card": 0.0, "shop": 0.0}
    _, after = short(made, [0, 15])
    assert made.histories.coverage(after, LOCAL) == {"card": 0.15, "shop": 0.5}
