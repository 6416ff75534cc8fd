"""Checks of the last records' event times: late, ahead of time, and against record timestamps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from features.definition import FeatureSet
from features.history.watermarks import LogState
from features.inspect.describe import duration
from features.windows.position import arrived_after, locate
from schemas.batch import EventBatch
from tools.checks.finding import Finding, ok, skipped, warning
from tools.checks.topics import days
from worker.kafka import whole_number

TIMES, RECORD_TIMES, ARRIVAL = "event times", "record timestamps", "arrival times"
_TYPE, _BOUND = "message.timestamp.type", "message.timestamp.after.max.ms"
_DAY_MS = 86_400_000
_UNREADABLE = "the input topic's settings, which say who sets them, cannot be read: grant DescribeConfigs on it"


def checks(feature_set: FeatureSet | None) -> list[str]:
    """Names of the checks in this module that apply to the feature set."""
    if feature_set is None or not feature_set.histories.windows:
        return []
    rules = feature_set.histories.rules
    applies = {TIMES: True, RECORD_TIMES: rules.max_ahead is not None, ARRIVAL: rules.arrival}
    return [check for check, does_apply in applies.items() if does_apply]


def check_times(
    feature_set: FeatureSet, batch: EventBatch, topic: Mapping[str, str]
) -> list[Finding]:
    """Compare event times with each other, and with the timestamps of their records.

    Args:
        feature_set: The feature set.
        batch: The events among the last records of some partitions.
        topic: Settings of the input topic; empty if they may not be read.
    """
    if not len(batch):
        return [skipped(check, "no record is a valid event") for check in checks(feature_set)]
    findings = []
    if feature_set.histories.windows:
        findings.append(_judge_times(feature_set, batch))
    if RECORD_TIMES in checks(feature_set):
        maximum = feature_set.histories.rules.max_ahead or 0
        found = [*_of_settings(topic, maximum), *_of_records(batch)]
        findings += found or [_holds(topic, maximum)]
    if ARRIVAL in checks(feature_set):
        findings.append(_judge_arrival(batch, topic, feature_set.histories.aligned_delay or 0))
    return findings


def _judge_arrival(batch: EventBatch, topic: Mapping[str, str], delay: int) -> Finding:
    """Warn where timestamps are not those of arrival, or many events arrive too late."""
    if topic.get(_TYPE) == "CreateTime":
        return warning(
            ARRIVAL,
            f"producers set record timestamps ({_TYPE} is CreateTime): they do not say when events "
            "arrived, as history.arrival has it",
            f"set {_TYPE} to LogAppendTime, or remove history.arrival",
        )
    events, missed = len(batch), int(np.count_nonzero(arrived_after(batch, delay)))
    found = f"{missed} of the last {events} events arrived more than {duration(delay)} late"
    if missed * 100 > events:
        return warning(
            ARRIVAL,
            f"{found}: no window over several partitions counts them",
            "remove history.arrival if the topic is a replay; else find their producer, or give "
            "aligned windows a longer delay",
        )
    return ok(ARRIVAL, found) if _TYPE in topic else skipped(ARRIVAL, _UNREADABLE)


def _holds(topic: Mapping[str, str], max_ahead: int) -> Finding:
    """Finding for record timestamps in which nothing wrong was found."""
    if _TYPE not in topic:
        return skipped(RECORD_TIMES, _UNREADABLE)
    return ok(
        RECORD_TIMES,
        f"an event more than {duration(max_ahead)} later than its record is ahead of time",
    )


def _judge_times(feature_set: FeatureSet, batch: EventBatch) -> Finding:
    """Warn of large shares of late events or of events ahead of time.

    The first few events of a partition have no watermark to be late against.
    """
    at, _ = locate(batch, LogState(), feature_set.histories.rules, 1)
    events = len(batch)
    late, ahead = int(np.count_nonzero(at.late)), int(np.count_nonzero(at.ahead))
    found = (
        f"of the last {events} events {late} are late ({late / events:.1%}), {ahead} ahead of time"
    )
    if ahead * 100 > events:
        remedy = "find the producer whose clock is wrong; history.max_ahead limits the harm of such events"
        return warning(TIMES, found, remedy)
    if late * 100 > events:
        lateness = duration(feature_set.histories.rules.allowed_lateness)
        return warning(
            TIMES, found, f"raise history.allowed_lateness ({lateness}): no window counts them"
        )
    return ok(TIMES, found)


def _of_settings(topic: Mapping[str, str], max_ahead: int) -> Iterator[Finding]:
    """Warn where the topic's settings let a producer's wrong clock set the timestamp as well."""
    # None for a broker before Kafka 3.6, which does not have the setting.
    after_ms = whole_number(topic.get(_BOUND))
    if topic.get(_TYPE) != "CreateTime":
        return
    if after_ms is not None and after_ms * 1000 <= max_ahead:
        return
    bound = "however far"
    if after_ms is not None and after_ms < 36_525 * _DAY_MS:
        bound = f"up to {days(after_ms)}"
    yield warning(
        RECORD_TIMES,
        f"producers set them ({_TYPE} is CreateTime), {bound} in the future "
        f"({_BOUND}{' is not set' if after_ms is None else ''}): history.max_ahead cannot find a "
        "device that sets both times by one wrong clock",
        f"set {_BOUND} to {max_ahead // 1000} or less, or {_TYPE} to LogAppendTime",
    )


def _of_records(batch: EventBatch) -> Iterator[Finding]:
    """Warn where timestamps of the last records cannot be compared with their events' times."""
    recorded, events = batch.records.timestamps, len(batch)
    without = int(np.count_nonzero(recorded <= 0))
    if without:
        yield warning(
            RECORD_TIMES,
            f"{without} of the last {events} records have none: history.max_ahead does not apply",
            "let producers set timestamps, or set message.timestamp.type to LogAppendTime",
        )
    of_event = batch.event_time // 1000
    same = int(np.count_nonzero(recorded == of_event))
    if 2 * same > events:
        yield warning(
            RECORD_TIMES,
            f"those of {same} of the last {events} records equal the times of the events: "
            "history.max_ahead cannot find a wrong clock",
            "let the producer's client set the timestamp, or set message.timestamp.type to "
            "LogAppendTime",
        )
    played = int(np.count_nonzero((recorded > 0) & (recorded - _DAY_MS > of_event)))
    if 2 * played > events:
        yield warning(
            RECORD_TIMES,
            f"those of {played} of the last {events} records are more than a day after their events, "
            "as in a replay: history.max_ahead finds only events later than the replay",
            "keep the original timestamps when records are replayed",
        )
