"""All checks, in the order of their dependencies; a failed check does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypeVar

from confluent_kafka.admin import AdminClient

from features.definition import FeatureSet
from features.store.protocol import OnlineStore
from schemas.batch import Records
from tools.checks import brokers, group, histories, model, sample, schemas, store, topics
from tools.checks.files import Files, read_files
from tools.checks.finding import Finding, State, all_passed, run_check, skipped
from worker.kafka import captured_errors, make_admin
from worker.labels import label_group
from worker.pipeline import open_store
from worker.settings import WorkerSettings, require_folder

T = TypeVar("T")

FOLDER = "pipeline folder"
_NEEDS_SETTINGS = "worker.yaml is not valid"
_NEEDS_FEATURES = "features.yaml is not valid"
_NEEDS_INPUT = "the input topic could not be described"


def examine(folder: Path) -> Iterator[Finding]:
    """Check a pipeline folder, yielding each finding as it is made."""
    missing = run_check(FOLDER, partial(_check_folder, folder))
    if missing:
        yield from missing
        return
    files = read_files(folder)
    yield from files.findings
    settings, feature_set = files.settings, files.feature_set
    if settings is None:
        for check in (
            model.BUNDLE,
            model.REASONS,
            schemas.WRITERS,
            schemas.SCORES,
            store.STORE,
            brokers.BROKERS,
        ):
            yield skipped(check, _NEEDS_SETTINGS)
        yield from _without_brokers(None, feature_set, _NEEDS_SETTINGS)
        return
    yield from model.check_model(settings, feature_set)
    yield from model.check_reasons(settings, files.rules)
    if feature_set is None:
        yield skipped(schemas.WRITERS, _NEEDS_FEATURES)
    else:
        yield from run_check(
            schemas.WRITERS, partial(schemas.check_writers, settings, feature_set, files.rules)
        )
    yield from run_check(schemas.SCORES, partial(schemas.check_scores, settings))
    stored = _store(settings)
    yield from stored
    with captured_errors() as lines:
        admin, findings = _kept(brokers.BROKERS, lambda: (make_admin(settings.kafka), []))
        yield from findings
        if admin is None:
            yield from _without_brokers(settings, feature_set, "no Kafka client could be created")
            return
        with admin:
            yield from _kafka(admin, lines, settings, files, store_ok=all_passed(stored))


def failures_of_files(folder: Path) -> list[Finding]:
    """Failed findings of the checks that need no server: the files, the model, the schemas."""
    findings = run_check(FOLDER, partial(_check_folder, folder))
    if not findings:
        files = read_files(folder)
        findings += files.findings
        if files.settings is not None:
            findings += model.check_model(files.settings, files.feature_set)
            findings += model.check_reasons(files.settings, files.rules)
            if files.feature_set is not None and files.settings.registry is None:
                look = partial(
                    schemas.check_writers, files.settings, files.feature_set, files.rules
                )
                findings += run_check(schemas.WRITERS, look)
    return [finding for finding in findings if finding.state is State.FAILED]


def _check_folder(folder: Path) -> list[Finding]:
    require_folder(folder)
    return []


def _without_brokers(
    settings: WorkerSettings | None, feature_set: FeatureSet | None, why: str
) -> Iterator[Finding]:
    in_group = (group.GROUP, group.START, group.EXPIRY, group.TRANSACTIONS)
    of_windows = histories.checks(feature_set)
    of_topics = topics.checks(settings)
    for check in (*of_topics, *of_windows, *in_group, *sample.checks(feature_set)):
        yield skipped(check, why)


def _store(settings: WorkerSettings) -> list[Finding]:
    if settings.store is None:
        return [
            skipped(
                store.STORE, "worker.yaml names none: features.yaml can have no lookups and windows"
            )
        ]
    return run_check(store.STORE, partial(store.check_store, settings))


def _kafka(
    admin: AdminClient,
    lines: list[str],
    settings: WorkerSettings,
    files: Files,
    *,
    store_ok: bool,
) -> Iterator[Finding]:
    feature_set = files.feature_set
    cluster, findings = _kept(brokers.BROKERS, partial(brokers.reach, admin, settings, lines))
    yield from findings
    yield from run_check(brokers.BOUNDS, partial(brokers.check_bounds, settings, cluster))
    if cluster is None:
        yield from _without_brokers(settings, feature_set, "no broker answers")
        return
    found, findings = _kept(topics.TOPICS, partial(topics.look_up, admin, settings))
    yield from findings
    yield from topics.judge_topics(found or {}, cluster.brokers)
    source = (found or {}).get(topics.INPUT)
    if source is not None:
        yield from topics.judge_size(settings.kafka, source)
    labels = (found or {}).get(topics.LABELS)
    if labels is not None and feature_set is not None:
        yield from topics.judge_labels_kept(feature_set, labels)
    yield from _histories(settings, feature_set, source, store_ok=store_ok)
    yield from _group(admin, settings, files, cluster, source)
    if source is None or feature_set is None:
        why = _NEEDS_INPUT if source is None else _NEEDS_FEATURES
        for check in sample.checks(feature_set):
            yield skipped(check, why)
        return
    judge = partial(sample.check_sample, settings, feature_set, files.rules, source.settings)
    output = (found or {}).get(topics.OUTPUT)
    look = partial(_sample, settings, judge, output, store_ok=store_ok)
    yield from run_check(sample.RECORDS, look)


def _histories(
    settings: WorkerSettings,
    feature_set: FeatureSet | None,
    source: topics.Topic | None,
    *,
    store_ok: bool,
) -> Iterator[Finding]:
    if feature_set is None or not feature_set.histories.windows:
        return
    if source is None:
        for check in histories.checks(feature_set):
            yield skipped(check, _NEEDS_INPUT)
        return
    topic = source.as_input()
    known = source.number("retention.ms") is not None
    yield from histories.judge_windows(feature_set, topic, retention_known=known)
    if store_ok and settings.store is not None:
        look = partial(histories.check_state, settings, feature_set, topic, retention_known=known)
        yield from run_check(histories.STATE, look)
        yield from run_check(
            histories.COVERAGE,
            lambda: histories.check_coverage(
                settings, feature_set, group.read_checkpoints(settings, topic)
            ),
        )
    else:
        for check in (histories.STATE, histories.COVERAGE):
            yield skipped(check, "a check of the online store failed")


def _group(
    admin: AdminClient,
    settings: WorkerSettings,
    files: Files,
    cluster: brokers.Cluster,
    source: topics.Topic | None,
) -> Iterator[Finding]:
    groups = [settings.kafka.group]
    if settings.kafka.labels_topic and files.feature_set and files.feature_set.labelled_entities:
        groups.append(label_group(settings.kafka.group))
    for name in groups:
        yield from run_check(group.GROUP, partial(group.check_group, admin, settings, name))
    if source is None:
        yield skipped(group.START, _NEEDS_INPUT)
        yield skipped(group.EXPIRY, _NEEDS_INPUT)
    else:
        start = partial(group.check_start, admin, settings, source.as_input())
        yield from run_check(group.START, start)
        yield group.judge_expiry(settings, cluster.settings, source.settings)
    yield from run_check(group.TRANSACTIONS, partial(group.check_transactions, settings))


def _sample(
    settings: WorkerSettings,
    judge: Callable[[Records, OnlineStore | None], list[Finding]],
    output: topics.Topic | None,
    *,
    store_ok: bool,
) -> list[Finding]:
    records = sample.read_sample(settings)
    findings = topics.judge_keys_of_scores(output, records.keys)
    if settings.store is not None and not store_ok:
        return [*findings, *judge(records, None)]
    with closing(open_store(settings)) as opened:
        return [*findings, *judge(records, opened)]


def _kept(
    check: str, look: Callable[[], tuple[T, list[Finding]]]
) -> tuple[T | None, list[Finding]]:
    """Run a check like ``run_check``, and return the value that it found for later checks.

    Returns:
        The value, None if the check failed to get it; and the findings.
    """
    kept: list[T] = []

    def looked() -> list[Finding]:
        value, findings = look()
        kept.append(value)
        return findings

    findings = run_check(check, looked)
    return kept[0] if kept else None, findings
