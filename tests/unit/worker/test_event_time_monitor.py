"""Readiness while many events of a partition are ahead of time."""

from __future__ import annotations

import numpy as np
from structlog.testing import capture_logs

from tests.support.loop_harness import LoopHarness
from worker.process.event_time_monitor import MAX_AHEAD, RECENT, EventTimeMonitor
from worker.process.health import Health


def events(ahead: int, size: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.arange(size) < ahead


def joined() -> Health:
    health = Health(60.0)
    health.joined()
    return health


def test_readiness_allows_one_event_ahead_in_a_hundred() -> None:
    health = joined()
    share = EventTimeMonitor(health)
    with capture_logs() as logs:
        share.observe({0: events(MAX_AHEAD, 100), 1: events(0, 3)})
        assert health.ready() == []
        share.observe({0: events(1, 1)})
        (reason,) = health.ready()
        assert "partition 0: 11" in reason
        share.observe({1: events(MAX_AHEAD + 2, 20)})
        assert "partition 0: 11, partition 1: 12" in health.ready()[0]
    told = [line for line in logs if line["event"] == "events_ahead"]
    assert [(line["partition"], line["ahead"], line["log_level"]) for line in told] == [
        (0, 11, "error"),
        (1, 12, "error"),
    ]


def test_readiness_looks_at_the_last_thousand_events() -> None:
    health = joined()
    share = EventTimeMonitor(health)
    share.observe({0: events(MAX_AHEAD + 1, MAX_AHEAD + 1)})
    share.observe({0: events(0, RECENT - MAX_AHEAD - 1)})
    assert health.ready() != []
    with capture_logs() as logs:
        share.observe({0: events(0, 1)})
    assert health.ready() == []
    assert [line["event"] for line in logs] == ["events_ahead_no_more"]


def test_partitions_that_others_read_now_are_forgotten() -> None:
    health = joined()
    share = EventTimeMonitor(health)
    share.observe({0: events(50, 50), 1: events(0, 50)})
    share.assigned([1])
    assert health.ready() == []


def test_the_loop_tells_of_what_it_has_committed() -> None:
    bench = LoopHarness({0: 20})
    bench.process.ahead = {(0, offset) for offset in range(11)}
    bench.run()
    assert any("ahead of time (partition 0: 11)" in reason for reason in bench.health.ready())
    bench = LoopHarness({0: 20})
    bench.process.ahead = {(0, offset) for offset in range(10)}
    bench.run()
    assert not any("ahead" in reason for reason in bench.health.ready())
