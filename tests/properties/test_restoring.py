"""Histories that are filled again: how far back they reach where the log or files end."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from features.history.watermarks import LogState
from tests.oracles.windows import Event
from tests.properties.logs import is_event, make_events
from tests.properties.rich_set import OWN, SECOND
from tests.properties.system import System
from tests.properties.test_file_fill import fill
from tests.properties.test_fill import EventDecoder, consumer_of
from tests.support.making import T0
from worker.fill.fill import Fill, FilledHistories
from worker.fill.ranges import RangeReader
from worker.histories.filling import HistoryTarget, Restoring
from worker.histories.marks import Marks


def log_of(count: int, first: int) -> list[Event]:
    """Events a second apart, from the time and offset ``first`` on."""
    (one,) = [
        e for e in make_events(lambda all_: all_[0], 1, 1, 1000, [1]) if is_event(e.values, 1)
    ]
    return [
        replace(one, offset=first + n, id=f"e{first + n}", time=T0 + (first + n) * SECOND)
        for n in range(count)
    ]


def restored(system: System, log: list[Event], state: LogState) -> dict[str, int]:
    """Time that the histories of each entity reach back to, after they were filled."""
    plan, namespace = system.feature_set.histories, system.namespace

    def begin(
        _: object, append: Any, ranges: Any, at: LogState, present: Any, records: int
    ) -> Fill:
        histories = FilledHistories(
            system.feature_set, cast("Any", EventDecoder(log)), namespace, append, present
        )
        consumer = cast("Any", consumer_of(log, 0))
        return Fill(histories, RangeReader(consumer, "in", ranges, 1.0), at, records=records)

    low = log[0].offset if log else 0
    source = SimpleNamespace(bounds=lambda _: (low, 0), begin=begin, checkpoints=lambda _: state)
    target = HistoryTarget(system.store, plan, namespace, Marks(plan, namespace), None)
    target.read_marks()
    restoring = Restoring(target, cast("Any", source), state)
    deque(restoring.run(), 0)
    target.read_marks()
    reached = target.marks.reaching(restoring.state).lowest.get(0, {})
    return {
        e: reached[namespace.history_digest(e, plan.layouts[e])] for e in plan.layouts if reached
    }


@pytest.fixture
def system() -> System:
    return System((SECOND, SECOND, 1000, 3, None, False), 1)


def test_histories_reach_back_to_the_first_events_of_the_log_or_of_the_files_before(
    system: System,
) -> None:
    log, state = log_of(8, 10), LogState(offsets={0: 18})
    with capture_logs() as logs:
        assert restored(system, log, state)[OWN] == log[2].time
    (short,) = (line for line in logs if line["event"] == "histories_short")
    assert short["entities"] == sorted(system.feature_set.histories.reaches)
    again = System((SECOND, SECOND, 1000, 3, None, False), 1)
    rows = [replace(e, partition=-1, offset=n) for n, e in enumerate(log_of(10, 0))]
    fill(again, rows, [len(rows)])
    assert restored(again, log, state)[OWN] == rows[2].time


def test_files_that_end_long_before_the_log_do_not_count(system: System) -> None:
    rows = [replace(e, partition=-1, offset=n) for n, e in enumerate(log_of(10, 0))]
    fill(system, rows, [len(rows)])
    log = [replace(e, time=e.time + 86_400 * SECOND) for e in log_of(8, 10)]
    assert restored(system, log, LogState(offsets={0: 18}))[OWN] == log[2].time


def test_files_let_histories_reach_back_where_the_topic_has_no_events(system: System) -> None:
    assert (
        restored(System((SECOND, SECOND, 1000, 3, None, False), 1), [], LogState(offsets={0: 0}))
        == {}
    )
    rows = [replace(e, partition=-1, offset=n) for n, e in enumerate(log_of(10, 0))]
    fill(system, rows, [len(rows)])
    assert restored(system, [], LogState(offsets={0: 0}))[OWN] == rows[2].time


@pytest.mark.parametrize("left", [10, 3], ids=["some records", "few records"])
def test_a_log_that_retention_has_cut_lets_histories_reach_back_to_what_is_left(
    system: System, left: int
) -> None:
    log, state = log_of(60, 0), LogState()
    batch, _ = system.bind(log)
    state = replace(system.enrich(batch, state).after, offsets={0: 60})
    # All that is needed is there.
    needed = restored(System((SECOND, SECOND, 1000, 3, None, False), 1), log, state)
    assert needed[OWN] < log[-left].time
    cut = restored(system, log[-left:], state)
    # The third of the first five; of three, the watermark.
    assert cut[OWN] == log[2 - left if left > 3 else -left].time
