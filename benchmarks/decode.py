"""Measure the time to decode transactions by batch size, with this project's decoder and fastavro.

Run it from the root of the repository: ``python -m benchmarks.decode``.
"""

from __future__ import annotations

import io
import json
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import fastavro

import schemas
from schemas.avro.decoder import Decoder
from schemas.avro.types import parse_record_schema
from schemas.registry.source import FileSchemaSource, FixedSchemaSource

PATH = Path(schemas.__file__).with_name("transaction.avsc")
SCHEMA: dict[str, Any] = json.loads(PATH.read_text())
WITH_TAGS = {
    **SCHEMA,
    "name": "Tagged",
    "fields": [
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        *SCHEMA["fields"],
    ],
}
SIZES = (1, 10, 100, 1_000, 4_000)


def transactions(count: int) -> list[dict[str, Any]]:
    """Random events, the same in every run."""
    rng = random.Random(1)
    return [
        {
            "transaction_id": f"{rng.getrandbits(64):016x}",
            "tx_time": 1_522_627_200_000 + 370 * number,
            "customer_id": str(rng.randrange(5_000)),
            "terminal_id": str(rng.randrange(10_000)),
            "amount": rng.randrange(1, 20_000) / 100,
            "currency": "EUR",
            "channel": rng.choice(["pos", "ecom", "atm"]),
            "merchant_id": f"m-{rng.randrange(900)}" if rng.random() < 0.7 else None,
            "country": rng.choice([None, "BE", "DE", "FR"]),
            "tags": ["x" * rng.randrange(9) for _ in range(rng.randrange(4))],
        }
        for number in range(count)
    ]


def written(schema: Any, events: list[dict[str, Any]], schema_id: int) -> list[bytes]:
    """Encode the events with Confluent's framing."""
    parsed = fastavro.parse_schema(schema)
    values = []
    for event in events:
        buffer = io.BytesIO()
        buffer.write(b"\0" + schema_id.to_bytes(4, "big"))
        fastavro.schemaless_writer(buffer, parsed, event)
        values.append(buffer.getvalue())
    return values


def best(work: Callable[[], object], events: int) -> float:
    """Microseconds per event: the minimum of the runs within one second, after one that compiles."""
    work()
    lowest = float("inf")
    stop = time.perf_counter() + 1.0
    while time.perf_counter() < stop:
        began = time.perf_counter()
        work()
        lowest = min(lowest, time.perf_counter() - began)
    return lowest / events * 1e6


def by_fastavro(schema: Any, values: list[bytes]) -> list[Any]:
    """Decode to one dict per record, without columns and without a check for trailing bytes."""
    return [fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None) for value in values]


def main() -> None:
    """Print the table."""
    events = transactions(max(SIZES))
    source = FileSchemaSource({1: PATH, 2: PATH})
    paths = [item["name"] for item in SCHEMA["fields"]]
    decoder = Decoder(source, SCHEMA, paths, 1_000_000, 10_000)
    few = Decoder(source, SCHEMA, paths[:5], 1_000_000, 10_000)
    values, others = written(SCHEMA, events, 1), written(SCHEMA, events, 2)
    parsed = fastavro.parse_schema(SCHEMA)
    print(f"transaction.avsc, {sum(map(len, values)) / len(values):.0f} bytes a record")
    print(f"{'events':>8} {'all 9 paths':>12} {'5 paths':>12} {'fastavro':>12}   us per event")
    for size in SIZES:
        batch = values[:size]
        columns = best(partial(decoder.decode, batch), size)
        narrow = best(partial(few.decode, batch), size)
        rows = best(partial(by_fastavro, parsed, batch), size)
        print(f"{size:>8} {columns:>12.3f} {narrow:>12.3f} {rows:>12.3f}")
    size = max(SIZES)
    mixed = [one if n % 2 else two for n, (one, two) in enumerate(zip(values, others, strict=True))]
    traced = [[("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-01")]] * size
    flipped = [value[:-1] if n % 100 == 0 else value for n, value in enumerate(values)]
    print(f"of {size}, all 9 paths, us per event:")
    print(f"  two schema ids in turn  {best(partial(decoder.decode, mixed), size):.3f}")
    print(f"  a header on each        {best(partial(decoder.decode, values, traced), size):.3f}")
    print(f"  one in 100 truncated    {best(partial(decoder.decode, flipped), size):.3f}")
    tagged = FixedSchemaSource(parse_record_schema(WITH_TAGS), framed=True)
    decoder = Decoder(tagged, SCHEMA, paths, 1_000_000, 10_000)
    with_tags = written(WITH_TAGS, events, 1)
    print(f"  an array skipped        {best(partial(decoder.decode, with_tags), size):.3f}")


if __name__ == "__main__":
    main()
