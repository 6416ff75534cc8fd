"""A fill from real Kafka into a real store: the histories that scoring makes of the same log."""

from __future__ import annotations

import struct
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import redis
from confluent_kafka import Consumer, Producer, TopicPartition

from features.compute.bind import bind
from features.compute.enrich import enrich
from features.definition import load_feature_set
from features.history.namespace import Namespace
from features.history.watermarks import LogState
from features.store.memory import MemoryStore
from features.store.redis import RedisStore
from features.values.hash64 import PROCESS_KEY
from schemas.avro.decoder import Decoder
from schemas.batch import Records
from schemas.registry.source import FileSchemaSource
from tests.conftest import MakeTopic, SharedKafka
from tests.support.payments import SCHEMA_ID, TIME_MS, body, framed, some, text, varint
from tests.support.windowed import windowed_pipeline
from worker.consume.micro_batch import records_of
from worker.fill.fill import Fill, FilledHistories
from worker.fill.ranges import FillRange, RangeReader
from worker.kafka import make_fill_consumer
from worker.settings import KafkaSettings

PARTITIONS, RECORDS, APART_MS = 2, 200_000, 1080
"""Two and a half days of events; a fill must know two days and some minutes."""
_BOUND_S = 60.0
_PER_TRANSACTION = 10_000
Place = tuple[int, int]


def payments(count: int) -> Iterator[tuple[int, bytes]]:
    """Partitions and values of payments, among them late ones, duplicates and invalid records."""
    draw = np.random.default_rng(7)
    customers = draw.integers(0, 500, count).tolist()
    behind_s = (draw.integers(0, 300, count) + 900 * (draw.random(count) < 0.01)).tolist()
    kinds = draw.random(count).tolist()
    for number, (customer, seconds, kind) in enumerate(
        zip(customers, behind_s, kinds, strict=True)
    ):
        if kind < 0.01:
            yield number % PARTITIONS, b"\x05"
            continue
        again = number - 1000 if kind < 0.05 and number > 1000 else number
        payment = framed(
            body(
                id=some(text(f"p-{again}")),
                at=some(varint(TIME_MS + number * APART_MS - seconds * 1000)),
                customer=some(text(f"c-{customers[again]}")),
                amount=some(struct.pack("<d", customer + 0.25)),
            )
        )
        yield customers[again] % PARTITIONS, payment


def play(bootstrap: str, topic: str) -> None:
    """Produce the payments in transactions, of which one is aborted."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "transactional.id": topic,
            "queue.buffering.max.messages": 2 * _PER_TRANSACTION,
            "linger.ms": 20,
        }
    )
    producer.init_transactions(_BOUND_S)
    for number, (partition, payment) in enumerate(payments(RECORDS)):
        if number % _PER_TRANSACTION == 0:
            producer.begin_transaction()
        producer.produce(topic, payment, partition=partition)
        if number % _PER_TRANSACTION == _PER_TRANSACTION - 1:
            if number // _PER_TRANSACTION == 15:
                producer.abort_transaction(_BOUND_S)
            else:
                producer.commit_transaction(_BOUND_S)
    producer.close()


def read_log(bootstrap: str, topic: str) -> Iterator[Records]:
    """All committed records, as a worker would poll them."""
    options: dict[str, Any] = {"bootstrap.servers": bootstrap, "group.id": "reference"}
    consumer = Consumer({**options, "enable.partition.eof": True, "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    ends, until = 0, time.monotonic() + _BOUND_S
    while ends < PARTITIONS:
        assert time.monotonic() < until
        messages = consumer.consume(2000, 0.5)
        ends += sum(message.error() is not None for message in messages)
        yield records_of(topic, [message for message in messages if message.error() is None])
    consumer.close()


def members_of(data: bytes, dtype: np.dtype[np.void]) -> dict[Place, tuple[int, bytes]]:
    """Time and bytes of each member, by its position."""
    return {
        (int(member["partition"]), int(member["offset"])): (int(member["time"]), member.tobytes())
        for member in np.frombuffer(data, dtype)
    }


def test_a_fill_that_is_interrupted_makes_the_histories_that_scoring_makes(
    kafka: SharedKafka, redis_url: str, make_topic: MakeTopic, tmp_path: Path
) -> None:
    topic = make_topic("in", PARTITIONS)
    play(kafka.bootstrap, topic)
    feature_set = load_feature_set(windowed_pipeline(tmp_path / "pipeline") / "features.yaml")
    (entity,) = feature_set.histories.entities
    namespace = Namespace("payments", "filled", "topic", PARTITIONS, PROCESS_KEY)
    decoder = Decoder(
        FileSchemaSource({SCHEMA_ID: feature_set.schema_path}),
        feature_set.reader_schema,
        feature_set.paths,
        max_record_bytes=1_000_000,
        max_collection_items=100,
    )
    expected: dict[bytes, dict[Place, tuple[int, bytes]]] = defaultdict(dict)
    local, state = MemoryStore(), LogState()
    for records in read_log(kafka.bootstrap, topic):
        batch, _ = bind(feature_set, records, decoder.decode(records.values, records.headers))
        enriched = enrich(feature_set, batch, local, state, namespace)
        local.append(enriched.writes.appends, enriched.writes.compactions)
        state = enriched.after
        for key, data in enriched.writes.appends:
            expected[key] |= members_of(data, entity.layout.dtype)

    settings = KafkaSettings(
        bootstrap_servers=kafka.bootstrap,
        group=topic,
        input_topic=topic,
        output_topic="out",
        dead_letter_topic="dead",
        start_from="earliest",
    )
    plan, store, reached = feature_set.histories, RedisStore(redis_url), dict[int, int]()
    needed = min(state.watermarks(plan.rules.watermark_support).values()) - plan.span

    def append(
        appends: Collection[tuple[bytes, bytes]], done: Mapping[int, int], _: LogState
    ) -> None:
        store.append(appends)
        reached.update(done)

    def begin() -> Fill:
        consumer = make_fill_consumer(settings, lambda _: None)
        ranges, log = dict[int, FillRange](), LogState()
        for partition in range(PARTITIONS):
            at = TopicPartition(topic, partition)
            _, end = consumer.get_watermark_offsets(at, timeout=_BOUND_S)
            found = state.replay_from(partition, needed)
            assert found is not None
            ranges[partition] = FillRange(found[0], end)
            log = replace(log, highest={**log.highest, **found[1].highest})
        reader = RangeReader(consumer, topic, ranges, _BOUND_S)
        histories = FilledHistories(feature_set, decoder, namespace, append, dict(reached))
        return Fill(histories, reader, log)

    first, done = begin(), False
    while not reached:
        done = first.step().done
    first.close()
    assert not done
    second, started = begin(), time.monotonic()
    while not (progress := second.step()).done:
        assert time.monotonic() < started + _BOUND_S
    took_s = time.monotonic() - started
    second.close()
    print(f"{progress.events:,} events in {took_s:.2f} s")  # noqa: T201 - shown by pytest -s

    assert progress.events > 100_000
    assert second.log_state.highest == state.highest
    filled = dict[bytes, dict[Place, tuple[int, bytes]]]()
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter():
            filled[key] = members_of(client.get(key) or b"", entity.layout.dtype)
    since = needed + plan.rules.duplicates
    assert later(filled, since) == later(expected, since)
    assert sum(map(len, later(filled, since).values())) > 60_000
    store.close()


def later(
    histories: Mapping[bytes, Mapping[Place, tuple[int, bytes]]], since: int
) -> dict[bytes, dict[Place, tuple[int, bytes]]]:
    """The members behind a time: all that an event behind the log may see."""
    chosen = {
        key: {place: member for place, member in members.items() if member[0] > since}
        for key, members in histories.items()
    }
    return {key: members for key, members in chosen.items() if members}
