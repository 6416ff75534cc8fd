"""Every kind of bad record in one real topic."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, cast

import fastavro
from confluent_kafka import Message, Producer

from tests.conftest import MakeTopic, SharedKafka
from tests.payments import (
    MAX_OUTPUT_BYTES,
    bad_records,
    good_record,
    output_too_large,
    write_pipeline,
)
from tests.worker_process import read_until, worker
from worker.wire import score_schema


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
        assert letter.timestamp()[1] == 1_600_000_000_000 + number
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


def _headers(message: Message) -> list[tuple[str, bytes]]:
    return cast("list[tuple[str, bytes]]", message.headers())


def _score(value: Any) -> dict[str, Any]:
    record = fastavro.schemaless_reader(io.BytesIO(value[5:]), score_schema(), None)
    assert isinstance(record, dict)
    return record
