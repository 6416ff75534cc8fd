"""Content of the store at the start of a run: labels, and for the rivals their history."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import redis
from confluent_kafka import KafkaException, TopicPartition

from base.arrays import Longs
from benchmarks.features.source import Source, times_us
from benchmarks.programs import Run
from benchmarks.rivals import sorted_sets
from benchmarks.testbed import Testbed
from benchmarks.throughput import group_reader
from features.definition import FeatureSet
from features.history.labels import LabelBatch, label_appends
from features.store.redis import RedisStore
from worker.histories.record import label_namespace

_APPENDS_AT_ONCE = 5_000


def empty(url: str) -> None:
    """Delete all keys of the store."""
    with redis.Redis.from_url(url, socket_timeout=60) as client:
        client.execute_command("FLUSHALL", "SYNC")


def apply_labels(testbed: Testbed, run: Run, source: Source) -> None:
    """Store all labels in the namespace of this run's worker."""
    store = RedisStore(testbed.valkey.url, timeout_s=30.0)
    namespace = label_namespace(store, testbed.feature_set.name, run.group)
    labels = labels_of(source, testbed.feature_set)
    appends = label_appends(labels, testbed.feature_set.labelled_entities, namespace)
    for first in range(0, len(appends), _APPENDS_AT_ONCE):
        store.append(appends[first : first + _APPENDS_AT_ONCE])
    store.close()


def labels_of(source: Source, feature_set: FeatureSet) -> LabelBatch:
    """Labels of the frauds among the events, with the label delay of features.yaml."""
    binding = feature_set.bindings.label
    if binding is None:
        raise ValueError(f"features.yaml of {feature_set.name}: events.label is missing")
    frauds = source.table.filter(pc.equal(source.table["TX_FRAUD"], 1))
    at = times_us(frauds)
    n = len(at)
    return LabelBatch(
        event_id=_text(frauds, "TRANSACTION_ID"),
        event_time=at,
        entity_keys={
            "customer": _text(frauds, "CUSTOMER_ID"),
            "terminal": _text(frauds, "TERMINAL_ID"),
        },
        fraud=np.ones(n, np.bool_),
        label_time=at + binding.delay,
        partitions=np.zeros(n, np.int32),
        offsets=np.arange(n, dtype=np.int64),
    )


def begin_at(testbed: Testbed, run: Run, offsets: Mapping[int, int]) -> None:
    """Commit offsets, by partition, for a run's group, as if all earlier events were processed.

    Raises:
        KafkaException: The broker refuses an offset.
    """
    places = [TopicPartition(run.input_topic, *at) for at in offsets.items()]
    with closing(group_reader(testbed, run)) as consumer:
        # A broker's first group has no coordinator yet, which the consumer waits for.
        for at in consumer.commit(offsets=places, asynchronous=False) or ():
            if at.error is not None:
                raise KafkaException(at.error)


def load_sorted_sets(url: str, source: Source) -> None:
    """Load the sorted sets that the rivals would have after the history, and all frauds."""
    played = source.table.slice(0, source.history)
    frauds = source.table.filter(pc.equal(source.table["TX_FRAUD"], 1))
    ids = played["TRANSACTION_ID"].cast(pa.string()).to_pylist()
    cents = np.rint(played["TX_AMOUNT"].to_numpy() * 100).astype(np.int64).tolist()
    payments = list(map(sorted_sets.payment, ids, cents))
    customer_kept, terminal_kept = sorted_sets.CUSTOMER_KEPT, sorted_sets.TERMINAL_KEPT
    with redis.Redis.from_url(url, socket_timeout=60) as client:
        _load(client, sorted_sets.customer_key, played, "CUSTOMER_ID", payments, customer_kept)
        _load(client, sorted_sets.terminal_key, played, "TERMINAL_ID", ids, terminal_kept)
        known = frauds["TRANSACTION_ID"].cast(pa.string()).to_pylist()
        _load(client, sorted_sets.fraud_key, frauds, "TERMINAL_ID", known, None)


def _load(
    client: redis.Redis,
    key: Callable[[str], str],
    table: pa.Table,
    entity: str,
    members: list[str],
    kept: int | None,
) -> None:
    times = times_us(table) // 1000
    pipeline = client.pipeline(transaction=False)
    for number, rows in by_key(table[entity].to_numpy().astype(np.int64), times, kept):
        scores = times[rows].tolist()
        pipeline.zadd(
            key(str(number)), {members[i]: at for i, at in zip(rows, scores, strict=True)}
        )
    pipeline.execute()


def by_key(keys: Longs, times: Longs, kept: int | None) -> list[tuple[int, list[int]]]:
    """Rows of each key in their order.

    Args:
        keys: int64[N], key of each row.
        times: int64[N], time of each row.
        kept: Maximum age of a row relative to the last row of its key; None for no limit.
    """
    last = np.zeros(int(keys.max(initial=0)) + 1, np.int64)
    np.maximum.at(last, keys, times)
    rows = np.arange(len(keys)) if kept is None else np.flatnonzero(times > last[keys] - kept)
    order = rows[np.argsort(keys[rows], kind="stable")]
    distinct, begins = np.unique(keys[order], return_index=True)
    parts = np.split(order, begins[1:])
    return [
        (key, part.tolist()) for key, part in zip(distinct.tolist(), parts, strict=bool(len(keys)))
    ]


def _text(table: pa.Table, column: str) -> pa.StringArray:
    return table[column].cast(pa.string()).combine_chunks()
