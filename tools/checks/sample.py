"""Checks of the last records of the input topic: they can be scored and have the right keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import cast

import pyarrow as pa

from base.errors import RecordError
from features.compute.bind import bind
from features.compute.enrich import enrich
from features.definition import FeatureSet
from features.store.protocol import OnlineStore
from models.policy import Rules
from schemas.avro.text import as_text
from schemas.batch import Decoded, EventBatch, Records
from schemas.registry.framing import looks_like_json
from tools.checks import event_time
from tools.checks.finding import Finding, failed, ok, skipped, warning
from tools.topics.topic_log import TopicLog
from worker.consume.micro_batch import records_of
from worker.schema_sources import event_decoder
from worker.settings import WorkerSettings

RECORDS, KEYS = "last records", "record key"
_PER_PARTITION = 50
_MOST_PARTITIONS = 20


def checks(feature_set: FeatureSet | None) -> list[str]:
    """Names of the checks in this module that apply to the feature set."""
    lookups = feature_set.lookups if feature_set else ()
    return [RECORDS, KEYS, *event_time.checks(feature_set), *(f"lookup {name}" for name in lookups)]


def read_sample(settings: WorkerSettings) -> Records:
    """Read the last records of some partitions, outside the group.

    Raises:
        ConfigurationError: The brokers have no such topic.
        DependencyUnavailableError: The brokers do not answer.
    """
    kafka, timeout_s = settings.kafka, settings.delivery.broker_timeout_s
    with TopicLog(
        kafka,
        "kafka.input_topic",
        kafka.input_topic,
        timeout_s,
        last=_PER_PARTITION,
        most_partitions=_MOST_PARTITIONS,
    ) as log:
        return records_of(kafka.input_topic, [*chain.from_iterable(log.messages())])


def check_sample(
    settings: WorkerSettings,
    feature_set: FeatureSet,
    rules: Rules | None,
    topic: Mapping[str, str],
    records: Records,
    store: OnlineStore | None,
) -> list[Finding]:
    """Run the records through the stages before the model.

    Args:
        settings: The settings of the worker.
        feature_set: The feature set.
        rules: The policy; None if it is invalid.
        topic: Settings of the input topic.
        records: The last records of the input topic.
        store: The online store; None if it could not be reached.

    Raises:
        DependencyUnavailableError: The store does not answer.
    """
    if not len(records):
        why = f"{settings.kafka.input_topic} holds no records"
        return [skipped(check, why) for check in checks(feature_set)]
    decoder = event_decoder(settings, feature_set, rules)
    decoded = decoder.decode(records.values, records.headers)
    batch, errors = bind(feature_set, records, decoded)
    json = sum(looks_like_json(records.values[row]) for row in errors)
    findings = [
        judge_errors(len(records), errors, json),
        *_keys(feature_set, records, decoded, errors),
        *event_time.check_times(feature_set, batch, topic),
    ]
    if not len(batch) or store is None:
        why = "no record is a valid event" if store else "a check of the online store failed"
        return [*findings, *(skipped(f"lookup {name}", why) for name in feature_set.lookups)]
    return [*findings, *_lookups(feature_set, batch, store)]


def judge_errors(records: int, errors: dict[int, RecordError], json: int = 0) -> Finding:
    """Check that the records can be scored.

    Args:
        records: Number of records.
        errors: Error of each invalid record, by row.
        json: Number of invalid records that look like JSON.
    """
    if not errors:
        return ok(RECORDS, f"all of the last {records} can be scored")
    counts = Counter(error.code.value for error in errors.values())
    codes = ", ".join(f"{code} {count}" for code, count in counts.most_common())
    example = next(iter(errors.values())).message
    found = f"{len(errors)} of the last {records} would be dead letters: {codes} ({example})"
    remedy = "check these records, the sections wire and registry, and events in features.yaml"
    if json:
        found = f"{found}; {json} of them look like JSON"
        remedy = "let producers write Avro"
    return (failed if len(errors) == records else warning)(RECORDS, found, remedy)


def _keys(
    feature_set: FeatureSet, records: Records, decoded: Decoded, errors: dict[int, RecordError]
) -> list[Finding]:
    binding = feature_set.bindings.partition_key
    if binding is None:
        return [skipped(KEYS, "features.yaml has no events.partition_key")]
    rows = [row for row in range(len(records)) if row not in errors]
    if not rows:
        return [skipped(KEYS, "no record is a valid event")]
    fields = cast("pa.StringArray", as_text(decoded.columns[binding.path]).values).to_pylist()
    return [
        judge_keys(
            binding.path,
            [(records.keys[row], fields[row], int(records.partitions[row])) for row in rows],
        )
    ]


def judge_keys(path: str, seen: Sequence[tuple[bytes | None, str, int]]) -> Finding:
    """Check that the record key determines the field at ``path``.

    Args:
        path: Path of the field.
        seen: Record key, field value and partition of each event.
    """
    homes: dict[str, set[int]] = {}
    for _, field, partition in seen:
        homes.setdefault(field, set()).add(partition)
    split = sum(len(partitions) > 1 for partitions in homes.values())
    remedy = f"let producers use the text of {path} as key, with Kafka's default partitioner"
    if split:
        found = f"{split} of {len(homes)} values of {path} are in more than one partition"
        return warning(KEYS, found, remedy)
    without = sum(key is None for key, _, _ in seen)
    if without:
        return warning(KEYS, f"{without} of {len(seen)} records have no key", remedy)
    other = sum(key != field.encode() for key, field, _ in seen)
    if other:
        found = f"the key of {other} of {len(seen)} records is not the text of {path}"
        return warning(KEYS, found, remedy)
    return ok(KEYS, f"the key of all {len(seen)} records is the text of {path}")


def _lookups(feature_set: FeatureSet, batch: EventBatch, store: OnlineStore) -> list[Finding]:
    by_flag = feature_set.flags.count(enrich(feature_set, batch, store).flags)
    return [judge_lookup(name, len(batch), by_flag) for name in feature_set.lookups]


def judge_lookup(name: str, events: int, flags: dict[str, int]) -> Finding:
    """Check that events find values in the lookup ``name``.

    Args:
        name: Name of the lookup.
        events: Number of events.
        flags: Number of events by flag.
    """
    check = f"lookup {name}"
    states = {
        state: flags.get(f"lookup_{state}:{name}", 0) for state in ("missing", "stale", "invalid")
    }
    good = events - sum(states.values())
    words = ", ".join(f"{count} {state}" for state, count in states.items() if count)
    found = f"{good} of the last {events} events find a value" + (f" ({words})" if words else "")
    if good:
        return ok(check, found)
    return warning(check, found, f"load it: fraud-worker features load {name} FILE.parquet")
