"""Checks of the histories: windows against the topic, state in the store, and coverage."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing

from features.definition import FeatureSet
from tools.checks.finding import Finding, ok, pluralize, skipped, warning
from tools.checks.topics import days
from worker.consume.offset_metadata import log_state_of
from worker.consume.start_offsets import Committed
from worker.consume.topics import InputTopic
from worker.histories.location import expiry_ms, find_namespace, state_request
from worker.histories.record import StateRecord, read_record
from worker.histories.state import StateRequest, accept_state
from worker.pipeline import open_store
from worker.settings import WorkerSettings

WINDOWS, REBUILD, STATE, COVERAGE = (
    "windows",
    "window horizons",
    "history state",
    "history coverage",
)


def checks(feature_set: FeatureSet | None) -> list[str]:
    """Names of the checks in this module that apply to the feature set."""
    return (
        [WINDOWS, REBUILD, STATE, COVERAGE] if feature_set and feature_set.histories.windows else []
    )


def judge_windows(
    feature_set: FeatureSet, topic: InputTopic, *, retention_known: bool = True
) -> list[Finding]:
    """Check that the windows can be computed from the topic, and rebuilt from its records.

    Args:
        feature_set: The feature set, which has windows.
        topic: The input topic.
        retention_known: False if the topic's retention could not be read; if True, a topic
            without a retention keeps its records for ever.
    """
    count, parts = len(feature_set.histories.windows), topic.partitions
    findings = [ok(WINDOWS, f"{pluralize(count, 'window')} over {pluralize(parts, 'partition')}")]
    if not retention_known:
        why = "the input topic's retention cannot be read: grant DescribeConfigs on it"
        return [*findings, skipped(REBUILD, why)]
    return [*findings, _judge_retention(feature_set, topic.retention_ms)]


def _judge_retention(feature_set: FeatureSet, retention_ms: int | None) -> Finding:
    longest_ms = max(window.reach for window in feature_set.histories.windows) // 1000
    if retention_ms is None:
        return ok(REBUILD, f"up to {days(longest_ms)}; the topic keeps events for ever")
    beyond = [
        window for window in feature_set.histories.windows if window.reach > 1000 * retention_ms
    ]
    if not beyond:
        return ok(REBUILD, f"up to {days(longest_ms)}, within the topic's {days(retention_ms)}")
    names = ", ".join(f"{window.name} ({days(window.reach // 1000)})" for window in beyond)
    return warning(
        REBUILD,
        f"the topic keeps events for {days(retention_ms)}, less than {names} reach back: a new or "
        "lost history is not filled as far, and its events are flagged history_short until it is",
        "raise retention.ms of the input topic, or fill histories from files (features fill), and "
        "keep the store's data safe (appendonly yes)",
    )


def check_state(
    settings: WorkerSettings,
    feature_set: FeatureSet,
    topic: InputTopic,
    *,
    retention_known: bool = True,
) -> list[Finding]:
    """Check that the state in the store, if there is one, belongs to this worker.

    Args:
        settings: The settings of the worker.
        feature_set: The feature set, which has windows.
        topic: The input topic.
        retention_known: False if the topic's retention could not be read.

    Raises:
        ConfigurationError: The state belongs to another worker.
        DependencyUnavailableError: The store does not answer.
    """
    state = settings.state_name
    with closing(open_store(settings)) as store:
        record = read_record(store, feature_set.name, state)
    wanted = state_request(settings, feature_set, topic)
    accept_state(state, record, wanted)
    found_in = _judge_record(wanted, record, fills=settings.fill.wait)
    kept_ms = expiry_ms(feature_set, topic.retention_ms, settings.max_lag_s)
    new = record is None or record.source is None
    known = "new" if new else f"matches {topic.name}"
    if kept_ms is None and retention_known:
        found = f"{state}: {known}; histories are kept for ever, as the topic's events are"
        return [ok(STATE, f"{found} (store.max_lag_s bounds them)"), *found_in]
    if kept_ms is None:
        found = f"{state}: {known}; the topic's retention cannot be read, so histories "
        remedy = "set store.max_lag_s; otherwise histories of unused keys are never deleted"
        return [warning(STATE, found + "are kept for ever", remedy), *found_in]
    kept = f"histories are kept for {days(kept_ms)} after their last event"
    return [ok(STATE, f"{state}: {known}; {kept}"), *found_in]


def _judge_record(
    wanted: StateRequest, record: StateRecord | None, *, fills: bool
) -> list[Finding]:
    """Tell which histories begin anew at the next start, and warn of missing labels."""
    if record is None or record.source is None:
        return []
    findings = []
    if begun := wanted.begun(record):
        found = f"histories of {', '.join(begun)} begin anew at the next start"
        if fills:
            findings.append(ok(STATE, f"{found} and are filled from the topic"))
        else:
            remedy = "set fill.wait: true, or expect the flag history_short until they are long"
            findings.append(warning(STATE, f"{found}, empty", remedy))
    if unknown := wanted.without_labels(record):
        found = f"no labels were loaded for {', '.join(unknown)}, whose fraud_share windows are 0"
        remedy = "load all labels: fraud-worker features load-labels"
        findings.append(warning(STATE, found, remedy))
    return findings


def check_coverage(
    settings: WorkerSettings, feature_set: FeatureSet, checkpoints: Mapping[int, Committed]
) -> list[Finding]:
    """Compute from the metadata of the group's checkpoints how far back the histories reach.

    Raises:
        ConfigurationError: The state's record is damaged.
        DependencyUnavailableError: The store does not answer.
    """
    with closing(open_store(settings)) as store:
        namespace = find_namespace(settings, feature_set, store)
    log = log_state_of({p: at.metadata for p, at in checkpoints.items() if at.offset is not None})
    if namespace is None or not log.highest:
        return [ok(COVERAGE, "no events yet")]
    plan = feature_set.histories
    return judge_coverage(plan.coverage(log, namespace), plan.reaches)


def judge_coverage(shares: Mapping[str, float], reaches: Mapping[str, int]) -> list[Finding]:
    """Warn where histories do not cover the longest windows yet.

    Args:
        shares: By entity, the covered share of its longest window.
        reaches: By entity, the length of its longest window in microseconds.
    """
    words = [
        f"{entity} {int(100 * share)} % of {days(reaches[entity] // 1000)}"
        for entity, share in shares.items()
    ]
    found = ", ".join(words)
    if min(shares.values()) >= 1.0:
        return [ok(COVERAGE, found)]
    remedy = (
        "wait until they are full (fraud_worker_history_coverage_ratio), or serve an older model: "
        "a model trained on full windows misjudges events with short ones"
    )
    return [warning(COVERAGE, f"{found}: such events are flagged history_short", remedy)]
