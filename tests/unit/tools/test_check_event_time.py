"""What ``check`` says of event times and of the timestamps of records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from schemas.batch import EventBatch, Kind
from tests.support import making
from tools.checks import sample
from tools.checks.event_time import ARRIVAL, RECORD_TIMES, TIMES, check_times, checks
from tools.checks.finding import Finding, State

HOUR_MS = 3_600_000
HEAD = making.EVENTS.replace("  time: at\n", "  time: at\n  partition_key: card\n")
COUNT = "entities: {card: card}\nfeatures:\n  - {name: N, window: count, by: card, over: 1d}\n"
ARRIVING = f"""\
{making.EVENTS}entities: {{card: card}}
history: {{arrival: record_timestamp}}
features:
  - {{name: N, window: count, by: card, over: 1d, delay: 1h, across: aligned}}
"""
JUDGED = f"{HEAD}history: {{max_ahead: 1h}}\n{COUNT}"
STRICT = {"message.timestamp.type": "CreateTime", "message.timestamp.after.max.ms": str(HOUR_MS)}


def events(made: Any, minutes: list[int], *recorded: int) -> EventBatch:
    """Events at these minutes; recorded: how many minutes later than its event each record is."""
    times = [making.T0 + minute * 60_000_000 for minute in minutes]
    batch = making.events(made, len(times), at=making.longs(times, Kind.TIME))
    for row, later in enumerate(recorded):
        batch.records.timestamps[row] = times[row] // 1000 + later * 60_000
    return batch


def found(folder: Path, text: str, topic: dict[str, str], *given: Any) -> list[Finding]:
    made = making.feature_set(folder, text)
    return check_times(made, events(made, *given), topic)


def test_sets_without_windows_have_no_event_times_to_look_at(tmp_path: Path) -> None:
    plain = making.feature_set(tmp_path, making.EVENTS + "features:\n  - {name: X, field: x}\n")
    assert checks(plain) == checks(None) == []
    assert check_times(plain, events(plain, [0, 1]), {}) == []
    assert checks(making.feature_set(tmp_path, HEAD + COUNT)) == [TIMES]
    judged = making.feature_set(tmp_path, JUDGED)
    assert checks(judged) == [TIMES, RECORD_TIMES]
    assert sample.checks(judged) == [sample.RECORDS, sample.KEYS, TIMES, RECORD_TIMES]


@pytest.mark.parametrize(
    ("minutes", "state", "says", "remedy"),
    [
        (list(range(200)), State.OK, "of the last 200 events 0 are late (0.0%), 0 ahead", ""),
        (
            [100, 101, 102, *[5] * 2, *range(103, 150)],
            State.WARNING,
            "of the last 52 events 2 are late (3.8%), 0 ahead",
            "raise history.allowed_lateness (1h)",
        ),
        (
            [1, 2, 3, 10_000, 4, 5, 6],
            State.WARNING,
            "0 are late (0.0%), 1 ahead of time",
            "find the producer whose clock is wrong",
        ),
    ],
)
def test_the_shares_of_late_events_and_of_those_ahead_are_told(
    minutes: list[int], state: State, says: str, remedy: str, tmp_path: Path
) -> None:
    (finding,) = found(tmp_path, HEAD + COUNT, {}, minutes)
    assert (finding.check, finding.state) == (TIMES, state)
    assert says in finding.found
    assert finding.remedy.startswith(remedy)


def test_honest_timestamps_hold(tmp_path: Path) -> None:
    for topic in (STRICT, {"message.timestamp.type": "LogAppendTime"}):
        _, finding = found(tmp_path, JUDGED, topic, [0, 1, 2], 1, 2, 1)
        assert (finding.check, finding.state) == (RECORD_TIMES, State.OK)
        assert "more than 1h later than its record" in finding.found


@pytest.mark.parametrize(
    ("topic", "recorded", "says", "remedy"),
    [
        (
            STRICT | {"message.timestamp.after.max.ms": str(2**63 - 1)},
            (1, 1, 1),
            "CreateTime), however far in the future",
            "set message.timestamp.after.max.ms to 3600000 or less",
        ),
        (
            STRICT | {"message.timestamp.after.max.ms": str(36 * HOUR_MS)},
            (1, 1, 1),
            "up to 36 h in the future",
            "set message.timestamp.after.max.ms",
        ),
        (
            {"message.timestamp.type": "CreateTime"},
            (1, 1, 1),
            "however far in the future (message.timestamp.after.max.ms is not set)",
            "set message.timestamp.after.max.ms to 3600000 or less",
        ),
        (STRICT, (1, 1), "1 of the last 3 records have none", "let producers set timestamps"),
        (STRICT, (0, 0, 1), "2 of the last 3 records equal the times of the events", "let the"),
        (STRICT, (3000, 3000, 1), "2 of the last 3 records are more than a day after", "keep"),
    ],
)
def test_check_says_where_record_timestamps_cannot_bound_event_times(
    topic: dict[str, str], recorded: tuple[int, ...], says: str, remedy: str, tmp_path: Path
) -> None:
    _, finding = found(tmp_path, JUDGED, topic, [0, 1, 2], *recorded)
    assert (finding.check, finding.state) == (RECORD_TIMES, State.WARNING)
    assert says in finding.found
    assert finding.remedy.startswith(remedy)


def test_check_of_event_times_claims_nothing_where_topic_settings_are_unreadable(
    tmp_path: Path,
) -> None:
    _, finding = found(tmp_path, JUDGED, {}, [0, 1, 2], 1, 2, 1)
    assert (finding.check, finding.state) == (RECORD_TIMES, State.SKIPPED)
    assert "DescribeConfigs" in finding.found
    _, finding = found(tmp_path, JUDGED, {}, [0, 1, 2], 0, 0, 1)
    assert finding.state is State.WARNING, "what records show does not depend on settings"


def test_check_of_event_times_is_silent_without_events(tmp_path: Path) -> None:
    findings = found(tmp_path, JUDGED, STRICT, [])
    assert [finding.state for finding in findings] == [State.SKIPPED, State.SKIPPED]


@pytest.mark.parametrize(
    ("topic", "late", "state", "says"),
    [
        ({"message.timestamp.type": "LogAppendTime"}, 60, State.OK, "0 of the last 3 events"),
        ({"message.timestamp.type": "LogAppendTime"}, 61, State.WARNING, "1 of the last 3 events"),
        ({"message.timestamp.type": "CreateTime"}, 0, State.WARNING, "producers set record"),
        ({}, 0, State.SKIPPED, "cannot be read"),
    ],
)
def test_arrival_times_are_those_of_the_brokers_and_soon_enough(
    topic: dict[str, str], late: int, state: State, says: str, tmp_path: Path
) -> None:
    _, finding = found(tmp_path, ARRIVING, topic, [0, 1, 2], 0, late, 0)
    assert (finding.check, finding.state) == (ARRIVAL, state)
    assert says in finding.found
