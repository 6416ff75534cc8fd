"""The loop with a schema registry over HTTP that answers oddly."""

from __future__ import annotations

import json

from base.errors import ErrorCode
from schemas.avro.decoder import Decoder
from schemas.batch import Decoded
from schemas.registry.client import RegistryClient
from schemas.registry.registry_source import RegistrySchemaSource
from tests.support.fake_registry import answer, serving
from tests.support.loop_harness import LoopHarness


def test_a_registry_that_answers_oddly_makes_it_unready_until_it_answers_as_a_registry() -> None:
    bench = LoopHarness({0: 2})
    schema = {"type": "record", "name": "E", "fields": [{"name": "id", "type": "string"}]}
    records = [b"\x00\x00\x00\x00" + bytes([n]) + b"\x02a" for n in (1, 2)]
    oddities = [answer(404, "<html>"), answer(200, "<html>"), answer(200, {}), answer(503, "")]
    ready: list[list[str]] = []
    decoded: list[Decoded] = []
    with serving() as registry:
        source = RegistrySchemaSource(RegistryClient(registry.url), settle_s=0.0)
        decoder = Decoder(source, schema, ["id"], 1_000, 10)

        def decode() -> None:
            ready.append(bench.health.ready())
            registry.odd.clear()
            if oddities:
                registry.odd["schemas/ids/1"] = oddities.pop()
            decoded.append(decoder.decode(records))

        registry.answers["schemas/ids/1"] = {"schema": json.dumps(schema)}
        bench.process.then.extend([decode] * 5)
        bench.run()
    assert ready[0] == []
    assert all("asked for schemas/ids/1: HTTP status" in reasons[0] for reasons in ready[1:])
    (batch,) = decoded
    assert [error.code for error in batch.errors.values()] == [ErrorCode.SCHEMA_UNKNOWN]
    assert bench.answered == ["0/0", "0/1"]
    assert not [reason for reason in bench.health.ready() if "away" in reason]
