"""A recorded stretch of an input topic, played through the stages alone and through real Kafka.

`records.jsonl` holds what a broker gave: positions, keys, values, headers, timestamps.
`expected.jsonl` holds, for each position, the score or the dead letter's code, numbers as the
hexadecimal of their bits' value (`float.hex`): equality is to the last bit.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
from confluent_kafka import Message, Producer

from features.definition import load_feature_set
from features.loading.lookup_files import load_lookup
from features.store.memory import MemoryStore
from features.store.protocol import OnlineStore
from schemas.batch import Records
from tests.support.worker_process import read_until, worker
from worker.delivery.publish import SizeLimits
from worker.pipeline import load_pipeline, make_stages
from worker.schema_sources import score_schema
from worker.stages.dead_letter import HEADER_PREFIX

HERE = Path(__file__).parents[1] / "golden"
PIPELINE = HERE / "pipeline"
RECORDS = HERE / "records.jsonl"
EXPECTED = HERE / "expected.jsonl"
LOOKUPS = HERE / "customer_profile.parquet"
LOOKUP = "customer_profile"
TOPIC = "transactions"
PARTITIONS = 3
BATCH = 97

Outcome = dict[str, Any]
Outcomes = dict[str, Outcome]
_SCHEMA = fastavro.parse_schema(score_schema())


def load_records() -> Records:
    """The recorded stretch, in the order in which it was consumed."""
    lines = [json.loads(line) for line in RECORDS.read_text().splitlines()]
    return Records(
        TOPIC,
        [_bytes(line["key"]) for line in lines],
        [_bytes(line["value"]) for line in lines],
        np.array([line["partition"] for line in lines], np.int32),
        np.array([line["offset"] for line in lines], np.int64),
        np.array([line["timestamp"] for line in lines], np.int64),
        [[(name, _bytes(value)) for name, value in line["headers"]] for line in lines],
    )


def load_expected() -> Outcomes:
    """The expected outcome of each position."""
    lines = [json.loads(line) for line in EXPECTED.read_text().splitlines()]
    return {line.pop("position"): line for line in lines}


def fill(store: OnlineStore) -> None:
    """The lookups as they were when the stretch was scored."""
    load_lookup(load_feature_set(PIPELINE / "features.yaml"), LOOKUP, LOOKUPS, store)


def play_stages(records: Records, batch: int = BATCH) -> Outcomes:
    """Through the stages without I/O, in micro-batches of ``batch``."""
    pipeline = load_pipeline(PIPELINE)
    store = MemoryStore()
    fill(store)
    limits = SizeLimits(2**20, 2**20)
    stages = make_stages(pipeline, pipeline.decoder(), store, b"", lambda: limits)
    outcomes: Outcomes = {}
    for first in range(0, len(records), batch):
        rows = np.arange(first, min(first + batch, len(records)))
        processed = stages(records.take(rows))
        outcomes |= dict(_scored(value) for value in processed.values)
        outcomes |= {
            f"{letter.position.partition}/{letter.position.offset}": {"dead_letter": letter.code}
            for letter in processed.dead_letters
        }
    return _sorted(outcomes)


def play_kafka(
    records: Records, bootstrap: str, topics: tuple[str, str, str], run: Path
) -> Outcomes:
    """Through real Kafka and ``fraud-worker run`` on the pipeline folder ``run``."""
    produce(records, bootstrap, topics[0])
    with worker(run):
        answers = read_until(bootstrap, list(topics[1:]), len(records))
    outcomes = dict(_answer(message, topics[1]) for message in answers)
    assert len(outcomes) == len(answers), "a position was answered twice"
    return _sorted(outcomes)


def produce(records: Records, bootstrap: str, topic: str) -> None:
    """Each record into the partition that it was recorded in."""
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    for row in range(len(records)):
        headers = records.headers[row] if records.headers else None
        producer.produce(
            topic,
            records.values[row],
            records.keys[row],
            partition=int(records.partitions[row]),
            headers=list(headers or []),
            timestamp=int(records.timestamps[row]),
        )
    assert producer.flush(30) == 0


def _answer(message: Message, score_topic: str) -> tuple[str, Outcome]:
    if message.topic() == score_topic:
        value = message.value()
        assert value is not None
        return _scored(value[5:])
    headers: dict[str, Any] = dict(message.headers() or [])
    partition, offset, code = (
        headers[HEADER_PREFIX + name].decode() for name in ("partition", "offset", "code")
    )
    return f"{partition}/{offset}", {"dead_letter": code}


def _scored(value: bytes) -> tuple[str, Outcome]:
    score: Any = fastavro.schemaless_reader(io.BytesIO(value), _SCHEMA, None)
    source = score["source"]
    return f"{source['partition']}/{source['offset']}", {
        "event_id": score["event_id"],
        "event_time": score["event_time"].isoformat(),
        "decision": score["decision"],
        "score": score["score"].hex(),
        "margin": score["margin"].hex(),
        "flags": score["flags"],
        "carried": score["carried"],
        "vector": {name: number.hex() for name, number in score["vector"].items()},
        "model": score["model"],
        "policy_version": score["policy_version"],
        "feature_set": score["feature_set"],
    }


def _sorted(outcomes: Outcomes) -> Outcomes:
    def place(position: str) -> list[int]:
        return [int(part) for part in position.split("/")]

    return {position: outcomes[position] for position in sorted(outcomes, key=place)}


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)


def differences(before: Outcomes, after: Outcomes) -> Iterable[tuple[str, str, Any, Any]]:
    """(position, field, before, after) for everything that is not the same."""
    for position in before | after:
        old, new = before.get(position, {}), after.get(position, {})
        for name in old | new:
            if old.get(name) != new.get(name):
                yield position, name, old.get(name), new.get(name)
