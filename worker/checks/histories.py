"""Histories: whether the windows fit the input topic, and whether the store holds those of it."""

from __future__ import annotations

from contextlib import closing

from features.definition import FeatureSet
from schemas.errors import ConfigurationError
from worker.app import open_store
from worker.checks.finding import Finding, many, ok, refused, skipped, warning
from worker.checks.topics import days
from worker.histories.place import expiry_ms, refuse_split
from worker.histories.state import read_record, refuse_other
from worker.settings import WorkerSettings
from worker.topics import InputTopic

WINDOWS, REBUILD, STATE = "windows", "window horizons", "history state"


def checks(feature_set: FeatureSet | None) -> list[str]:
    """The names of what is looked at here."""
    return [WINDOWS, REBUILD, STATE] if feature_set and feature_set.has_histories else []


def judge_windows(
    feature_set: FeatureSet, topic: InputTopic, *, retention_known: bool = True
) -> list[Finding]:
    """Whether the windows can be computed from the topic, and again from its records.

    retention_known: whether a topic without retention is known to keep its records for ever.
    """
    try:
        refuse_split(feature_set.windows, topic)
    except ConfigurationError as error:
        findings = refused(WINDOWS, error)
    else:
        count, parts = len(feature_set.windows), topic.partitions
        findings = [ok(WINDOWS, f"{many(count, 'window')} over {many(parts, 'partition')}")]
    if not retention_known:
        why = "the input topic's retention could not be read: it takes the right DescribeConfigs"
        return [*findings, skipped(REBUILD, why)]
    return [*findings, _judge_retention(feature_set, topic.retention_ms)]


def _judge_retention(feature_set: FeatureSet, retention_ms: int | None) -> Finding:
    longest_ms = max(window.reach for window in feature_set.windows) // 1000
    if retention_ms is None:
        return ok(REBUILD, f"up to {days(longest_ms)}; the topic is kept for ever")
    beyond = [window for window in feature_set.windows if window.reach > 1000 * retention_ms]
    if not beyond:
        return ok(REBUILD, f"up to {days(longest_ms)}, within the topic's {days(retention_ms)}")
    names = ", ".join(f"{window.name} ({days(window.reach // 1000)})" for window in beyond)
    return warning(
        REBUILD,
        f"the topic keeps events for {days(retention_ms)}, less than {names} look back: they could "
        "not be rebuilt from it if the store lost its histories",
        "raise retention.ms of the input topic, or keep the store's data safe (appendonly yes)",
    )


def check_state(
    settings: WorkerSettings,
    feature_set: FeatureSet,
    topic: InputTopic,
    *,
    retention_known: bool = True,
) -> list[Finding]:
    """That the state in the store, if there is one, is of this topic.

    Raises ConfigurationError where it is not, DependencyUnavailableError.
    """
    state = settings.state_name
    with closing(open_store(settings)) as store:
        record = read_record(store, feature_set.name, state)
    refuse_other(state, record, topic)
    kept_ms = expiry_ms(feature_set, topic.retention_ms, settings.max_lag_s)
    known = "new" if record is None else f"of {topic.name} as it is"
    if kept_ms is None and retention_known:
        found = f"{state}: {known}; histories are kept for ever, as the topic's events are"
        return [ok(STATE, f"{found} (store.max_lag_s bounds them)")]
    if kept_ms is None:
        found = f"{state}: {known}; the topic's retention may not be read, so that histories "
        remedy = "set store.max_lag_s, or the store keeps those of keys that never come again"
        return [warning(STATE, found + "are kept for ever", remedy)]
    kept = f"histories are kept for {days(kept_ms)} after their last event"
    return [ok(STATE, f"{state}: {known}; {kept}")]
