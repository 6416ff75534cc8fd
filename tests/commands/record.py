"""Update the golden replay: `make record` scores the recorded log again and shows the changes.

With --stretch it first records a new log on an embedded broker: simulated transactions and invalid
records, as a consumer receives them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka import Message
from rich.console import Console
from rich.table import Table

from features.compute.bind import bind
from features.compute.enrich import enrich
from features.definition import FeatureSet, load_feature_set
from features.store.memory import MemoryStore
from models.bundle import write_bundle
from models.training.fit import fit
from schemas.avro.decoder import Decoder
from schemas.avro.encode.encoder import RecordEncoder
from schemas.batch import Column, Kind, Records
from schemas.registry.source import FileSchemaSource
from tests.support import replay
from tests.support.worker_process import read_until
from tools.demo.simulator import Simulated, simulate
from tools.embedded.kafka import Kafka
from tools.embedded.topic_admin import create_topics
from worker.schema_sources import framed

EVENTS = 600
SHOWN = 40
_SEED = 7


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stretch", action="store_true", help="record a new log first")
    if parser.parse_args().stretch:
        _record_stretch()
    before = replay.load_expected() if replay.EXPECTED.exists() else {}
    after = replay.play_stages(replay.load_records())
    changes = list(replay.differences(before, after))
    _show(changes)
    _write(replay.EXPECTED, ({"position": p, **outcome} for p, outcome in after.items()))
    return 0


def _show(changes: Sequence[tuple[str, str, Any, Any]]) -> None:
    console = Console(stderr=True)
    if not changes:
        console.print("nothing changed")
        return
    table = Table("position", "field", "before", "after", title=f"{len(changes)} values changed")
    for position, name, old, new in changes[:SHOWN]:
        table.add_row(position, name, str(old), str(new))
    console.print(table)
    if len(changes) > SHOWN:
        console.print(f"and {len(changes) - SHOWN} more; see git diff")


def _record_stretch() -> None:
    feature_set = load_feature_set(replay.PIPELINE / "features.yaml")
    events = simulate(60, 80, 20, datetime(2026, 3, 1, tzinfo=UTC), _SEED)[:EVENTS]
    values = _encoded(feature_set, events)
    _write_lookups(feature_set, events)
    _write_model(feature_set, events)
    keys = [str(customer).encode() for customer in events.customer_id.tolist()]
    with tempfile.TemporaryDirectory() as folder, Kafka(Path(folder) / "kafka") as kafka:
        create_topics(kafka.bootstrap, {replay.TOPIC: replay.PARTITIONS})
        _produce(kafka.bootstrap, keys, values)
        messages = read_until(kafka.bootstrap, [replay.TOPIC], EVENTS + len(_bad(values)))
    _write(replay.RECORDS, map(_line, messages))


def _encoded(feature_set: FeatureSet, events: Simulated) -> list[bytes]:
    def column(kind: Kind, values: Any) -> Column:
        return Column(kind, values, np.ones(len(values), np.bool_))

    def names(ids: Any) -> pa.StringArray:
        return pa.array([str(i) for i in ids.tolist()], pa.string())

    return RecordEncoder(feature_set.reader_schema, framed(1)).encode(
        len(events),
        {
            "transaction_id": column(Kind.STRING, names(events.transaction_id)),
            "tx_time": column(Kind.TIME, events.tx_time),
            "customer_id": column(Kind.STRING, names(events.customer_id)),
            "terminal_id": column(Kind.STRING, names(events.terminal_id)),
            "amount": column(Kind.DOUBLE, events.amount),
        },
    )


def _bad(values: Sequence[bytes]) -> list[bytes | None]:
    good = values[0]
    return [None, b"", good[:4], b"\x09" + good[1:], framed(99) + good[5:], good[:-3], good + b"!"]


def _produce(bootstrap: str, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
    bad = _bad(values)
    place = {int(at): value for at, value in zip(np.linspace(3, 590, len(bad)), bad, strict=True)}
    rows: list[tuple[bytes, bytes | None]] = []
    for number, (key, value) in enumerate(zip(keys, values, strict=True)):
        rows.append((key, value))
        if number in place:
            rows.append((key, place[number]))
    n = len(rows)
    partition = [sum(key) % replay.PARTITIONS for key, _ in rows]
    records = Records(
        replay.TOPIC,
        [key for key, _ in rows],
        [value for _, value in rows],
        np.array(partition, np.int32),
        np.zeros(n, np.int64),
        1_772_323_200_000 + np.arange(n, dtype=np.int64) * 250,
        [
            [("traceparent", f"00-{i:032x}-{i:016x}-01".encode())] if i % 5 == 0 else None
            for i in range(n)
        ],
    )
    replay.produce(records, bootstrap, replay.TOPIC)


def _write_lookups(feature_set: FeatureSet, events: Simulated) -> None:
    """Write lookup values: some customers have none, some have old ones."""
    random = np.random.default_rng(_SEED)
    lookup = feature_set.lookups[replay.LOOKUP]
    customers = np.unique(events.customer_id)
    customers = customers[customers % 7 != 0]
    age_days = np.where(customers % 5 == 0, 90, 1)
    updated_at = events.tx_time[0] - age_days * 86_400_000_000
    numbers = random.uniform(1, 100, (len(lookup.names), len(customers))).round(2)
    table = pa.table(
        {
            "customer_id": customers,
            **dict(zip(lookup.names, numbers, strict=True)),
            "updated_at": pa.array(updated_at, pa.timestamp("us", "UTC")),
        }
    )
    pq.write_table(table, replay.LOOKUPS)


def _write_model(feature_set: FeatureSet, events: Simulated) -> None:
    decoder = Decoder(
        FileSchemaSource({1: feature_set.schema_path}),
        feature_set.reader_schema,
        feature_set.paths,
        max_record_bytes=10_000,
        max_collection_items=10,
    )
    values = _encoded(feature_set, events)
    n = len(values)
    zeros = np.zeros(n, np.int64)
    records = Records(replay.TOPIC, [None] * n, values, zeros.astype(np.int32), zeros, zeros)
    batch, _ = bind(feature_set, records, decoder.decode(values))
    store = MemoryStore()
    replay.fill(store)
    matrix = enrich(feature_set, batch, store).matrix
    labels = (events.is_fraud | (events.amount > 120)).astype(np.int64)
    booster = fit(matrix, labels, threads=1, rounds=20, params={"max_depth": 3})
    shutil.rmtree(replay.PIPELINE / "model", ignore_errors=True)
    write_bundle(
        replay.PIPELINE / "model",
        booster,
        name="golden",
        version="1",
        features=feature_set.features,
        created_at=datetime(2026, 11, 23, tzinfo=UTC),
    )


def _line(message: Message) -> dict[str, Any]:
    headers: Any = message.headers() or []
    return {
        "partition": message.partition(),
        "offset": message.offset(),
        "timestamp": message.timestamp()[1],
        "key": _hex(message.key()),
        "value": _hex(message.value()),
        "headers": [[name, _hex(value)] for name, value in headers],
    }


def _hex(value: Any) -> str | None:
    return None if value is None else value.hex()


def _write(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    sys.exit(main())
