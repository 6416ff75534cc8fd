"""Every kind of bad record in one real topic."""

from __future__ import annotations

import gc
import io
import time
from pathlib import Path
from typing import Any, cast

import fastavro
from confluent_kafka import Message, Producer

from tests.conftest import MakeTopic, SharedKafka
from tests.support.payments import (
    MAX_OUTPUT_BYTES,
    bad_records,
    good_record,
    output_too_large,
    write_pipeline,
)
from tests.support.raw_produce import RawProducer, RawRecord
from tests.support.worker_process import read_until, worker
from tools.checks.sample import read_sample
from worker.consume.micro_batch import records_of
from worker.schema_sources import score_schema
from worker.settings import load_settings
from worker.stages.dead_letter import LARGEST_OVERSIZE_BYTES


def test_each_bad_record_is_its_own_dead_letter_and_neighbours_are_scored(
    tmp_path: Path, kafka: SharedKafka, make_topic: MakeTopic
) -> None:
    topics = {
        "input_topic": make_topic("payments"),
        "output_topic": make_topic("scores", settings={"max.message.bytes": str(MAX_OUTPUT_BYTES)}),
        "dead_letter_topic": make_topic("dead", settings={"max.message.bytes": "50000"}),
    }
    bad = [*bad_records(), output_too_large()]
    pipeline = write_pipeline(
        tmp_path / "p",
        {"bootstrap_servers": kafka.bootstrap, "group": topics["input_topic"], **topics},
    )
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "partitioner": "murmur2_random"})
    begun_ms = int(time.time() * 1000)
    for number, record in enumerate(bad):
        producer.produce(topics["input_topic"], good_record(number), b"key")
        producer.produce(
            topics["input_topic"],
            record.value,
            f"bad-{number}",
            headers=[("trace", b"\x00\xff"), ("empty", None)],
            timestamp=1_600_000_000_000 + number,
        )
    assert producer.flush(30) == 0

    with worker(pipeline):
        scores = read_until(kafka.bootstrap, [topics["output_topic"]], len(bad))
        letters = read_until(kafka.bootstrap, [topics["dead_letter_topic"]], len(bad))

    assert [_score(m.value())["event_id"] for m in scores] == [f"p-{i}" for i in range(len(bad))]
    for number, (letter, record) in enumerate(zip(letters, bad, strict=True)):
        given = _headers(letter)
        headers = dict(given)
        assert headers["__worker.errors.code"] == record.code.value.encode(), record.name
        assert headers["__worker.errors.offset"] == str(2 * number + 1).encode()
        assert letter.key() == f"bad-{number}".encode()
        assert letter.value() == record.value
        assert headers["__worker.errors.timestamp"] == str(1_600_000_000_000 + number).encode()
        assert letter.timestamp()[1] >= begun_ms
        assert given[:2] == [("trace", b"\x00\xff"), ("empty", None)]


def test_a_dead_letter_too_large_for_its_topic_takes_the_oversize_form(
    tmp_path: Path, kafka: SharedKafka, make_topic: MakeTopic
) -> None:
    topics = {
        "input_topic": make_topic("payments"),
        "output_topic": make_topic("scores"),
        "dead_letter_topic": make_topic("dead", settings={"max.message.bytes": "2000"}),
    }
    pipeline = write_pipeline(
        tmp_path / "p",
        {"bootstrap_servers": kafka.bootstrap, "group": topics["input_topic"], **topics},
    )
    huge = bad_records()[4]
    assert huge.value is not None
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    producer.produce(topics["input_topic"], huge.value, b"k", headers=[("big", b"h" * 3000)])
    producer.produce(topics["input_topic"], good_record(1), b"k")
    assert producer.flush(30) == 0
    with worker(pipeline):
        (score,) = read_until(kafka.bootstrap, [topics["output_topic"]], 1)
        (letter,) = read_until(kafka.bootstrap, [topics["dead_letter_topic"]], 1)
    headers = dict(_headers(letter))
    assert _score(score.value())["event_id"] == "p-1"
    assert letter.value() is None
    assert headers["__worker.errors.value.bytes"] == str(len(huge.value)).encode()
    assert len(headers["__worker.errors.value.sha256"]) == 64
    assert "big" not in headers


HOSTILE_NAMES = [b"trace\xff", b"\xc3\x28", b"\xed\xa0\x80", b"__worker.errors.code\xff"]


def test_names_of_headers_that_are_not_utf8_cost_their_records_and_nothing_else(
    tmp_path: Path, kafka: SharedKafka, make_topic: MakeTopic
) -> None:
    topics = {
        "input_topic": make_topic("payments"),
        "output_topic": make_topic("scores"),
        "dead_letter_topic": make_topic("dead"),
    }
    pipeline = write_pipeline(
        tmp_path / "p",
        {"bootstrap_servers": kafka.bootstrap, "group": topics["input_topic"], **topics},
    )
    now = int(time.time() * 1000)
    # Enough of them that Python specialises the calls that read them.
    names = HOSTILE_NAMES * 50
    records = []
    for number, name in enumerate(names):
        hostile = [(b"before", b"1"), (name, b"2"), (name, None), (b"after", b"3")]
        odd = [(b"", b"1"), (b"twice", None), (b"twice", b""), ("ü".encode(), b"\xff")]
        records.append(RawRecord(b"k", good_record(number), hostile, now))
        records.append(RawRecord(b"k", good_record(number), odd, now))
    with RawProducer(kafka.bootstrap) as producer:
        producer.produce(topics["input_topic"], 0, records)

    sample = read_sample(load_settings(pipeline))
    assert len(sample.faults) == len(sample) // 2 == 25
    with worker(pipeline):
        scores = read_until(kafka.bootstrap, [topics["output_topic"]], len(names))
        letters = read_until(kafka.bootstrap, [topics["dead_letter_topic"]], len(names))
    assert [_score(m.value())["source"]["offset"] for m in scores] == [*range(1, len(records), 2)]
    for number, letter in enumerate(letters):
        headers = dict(_headers(letter))
        assert headers["__worker.errors.offset"] == str(2 * number).encode()
        assert headers["__worker.errors.code"] == b"header_invalid"
        assert all(name.startswith("__worker.errors.") for name in headers)
        assert (letter.key(), letter.value()) == (b"k", good_record(number))


def test_headers_that_cannot_be_read_leave_no_trace_in_the_process(
    kafka: SharedKafka, make_topic: MakeTopic
) -> None:
    """The client leaves a list with a NULL behind: it must come into no hands, nor an exception."""
    topic = make_topic("hostile")
    hostile = [(name, b"1") for name in HOSTILE_NAMES]
    record = RawRecord(b"k", b"v", hostile, int(time.time() * 1000))
    with RawProducer(kafka.bootstrap) as producer:
        producer.produce(topic, 0, [record] * 1000)
    messages = read_until(kafka.bootstrap, [topic], 1000)
    for _ in range(3):
        found = records_of(topic, messages[:300])
        del messages[:300]
        gc.collect()
        assert len(found.faults) == 300
        assert found.headers is None
    del messages
    gc.collect()


def test_a_dead_letter_with_a_megabyte_of_the_workers_own_prefix_fits(
    tmp_path: Path, kafka: SharedKafka, make_topic: MakeTopic
) -> None:
    topics = {
        "input_topic": make_topic("payments", settings={"max.message.bytes": "2000000"}),
        "output_topic": make_topic("scores"),
        "dead_letter_topic": make_topic(
            "dead", settings={"max.message.bytes": str(LARGEST_OVERSIZE_BYTES)}
        ),
    }
    pipeline = write_pipeline(
        tmp_path / "p",
        {"bootstrap_servers": kafka.bootstrap, "group": topics["input_topic"], **topics},
    )
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "message.max.bytes": 2_000_000})
    forged: list[tuple[str, str | bytes | None]] = [
        ("__worker.errors.x", b"x" * 1_000_000),
        ("__worker.errors.code", b"forged"),
    ]
    producer.produce(topics["input_topic"], b"\x07bad", b"k", headers=forged)
    producer.produce(topics["input_topic"], b"\x07bad", b"k", headers=forged[1:])
    assert producer.flush(30) == 0
    with worker(pipeline):
        large, small = read_until(kafka.bootstrap, [topics["dead_letter_topic"]], 2)
    assert all(name.startswith("__worker.errors.") for name, _ in _headers(large))
    assert dict(_headers(large))["__worker.errors.code"] == b"magic_unknown"
    assert _headers(small)[0] == ("__worker.former.code", b"forged")
    assert small.value() == b"\x07bad"


def _headers(message: Message) -> list[tuple[str, bytes]]:
    return cast("list[tuple[str, bytes]]", message.headers())


def _score(value: Any) -> dict[str, Any]:
    record = fastavro.schemaless_reader(io.BytesIO(value[5:]), score_schema(), None)
    assert isinstance(record, dict)
    return record
