"""The decoder and fastavro agree on random schemas, on good bodies and on damaged ones."""

from __future__ import annotations

import random
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from base.errors import ErrorCode
from schemas.avro import program
from schemas.avro.decoder import Decoder
from schemas.avro.types import parse_writer_schema
from schemas.batch import Decoded
from schemas.registry.source import FixedSchemaSource
from tests.support.interpreted import interpreted
from tests.unit.schemas import avro_cases as avro

MAX_ITEMS = 50
BATCH = 72
INTERPRETED = interpreted("schemas.avro")
# Behind such a fault fastavro reads on: it checks no range, takes negative numbers as Python
# indexes, and would fill the memory with the items of an absurd array.
READ_ON = {
    ErrorCode.BOOLEAN_INVALID,
    ErrorCode.COLLECTION_TOO_LONG,
    ErrorCode.ENUM_SYMBOL_INVALID,
    ErrorCode.LENGTH_NEGATIVE,
    ErrorCode.UNION_BRANCH_INVALID,
    ErrorCode.UTF8_INVALID,
    ErrorCode.VALUE_OUT_OF_RANGE,
    ErrorCode.VARINT_TOO_LONG,
}
relaxed = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def one_schema(schema: Any) -> FixedSchemaSource:
    return FixedSchemaSource(parse_writer_schema(schema), framed=False)


def decoder(schema: Any, paths: list[str]) -> Decoder:
    return Decoder(one_schema(schema), avro.finite(schema), paths, 10_000, MAX_ITEMS)


@given(avro.schemas(), st.integers(0, 2**32))
@relaxed
def test_columns_hold_what_fastavro_reads(schema: Any, seed: int) -> None:
    rng = random.Random(seed)
    records = [avro.value_of(schema, rng) for _ in range(BATCH)]
    bodies = [avro.encode(schema, record) for record in records]
    paths = list(avro.leaves(schema))
    decoded = decoder(schema, paths).decode(bodies)
    for number, body in enumerate(bodies):
        wanted = avro.expected(schema, avro.fastavro_reads(schema, body), paths)
        fits = all(not isinstance(v, int) or -(2**63) <= v < 2**63 for v in wanted.values())
        if fits and number not in decoded.errors:
            assert avro.same(avro.row(decoded, number), wanted)
        else:
            assert not fits, decoded.errors[number]
            assert decoded.errors[number].code is ErrorCode.VALUE_OUT_OF_RANGE


@given(avro.schemas(), st.data(), st.integers(0, 2**32))
@relaxed
def test_damaged_bodies_are_judged_alike_alone_and_in_company(
    schema: Any, data: st.DataObject, seed: int
) -> None:
    rng = random.Random(seed)
    all_paths = list(avro.leaves(schema))
    paths = [path for path in all_paths if data.draw(st.booleans())]
    reader = decoder(schema, paths)
    bodies = [avro.encode(schema, avro.value_of(schema, rng)) for _ in range(BATCH)]
    bodies = [avro.mutated(body, rng) if rng.random() < 0.6 else body for body in bodies]
    together = reader.decode(bodies)
    for number, body in enumerate(bodies):
        alone = reader.decode([body])
        assert together.errors.get(number) == alone.errors.get(0)
        assert avro.same(avro.row(together, number), avro.row(alone, 0))
        _compare_with_fastavro(schema, body, alone, paths)


def _compare_with_fastavro(schema: Any, body: bytes, alone: Decoded, paths: list[str]) -> None:
    error = alone.errors.get(0)
    if error is not None and error.code in READ_ON:
        return
    read = avro.fastavro_reads(schema, body)
    if error is None:
        assert read is not None
        assert avro.same(avro.row(alone, 0), avro.expected(schema, read, paths))
    else:
        assert read is None, error


@given(avro.schemas(), st.integers(0, 2**32))
@settings(relaxed, max_examples=30)
def test_compiled_and_interpreted_decoding_agree(schema: Any, seed: int) -> None:
    rng = random.Random(seed)
    reader = decoder(schema, list(avro.leaves(schema)))
    bodies = [avro.encode(schema, avro.value_of(schema, rng)) for _ in range(8)]
    bodies += [avro.mutated(body, rng) for body in bodies]
    compiled = reader.decode(bodies)
    with mock.patch.object(program, "decode", INTERPRETED["decode"].decode):
        decoded = reader.decode(bodies)
        # Alone, a read behind the end of the body is one behind the buffer.
        alone = [reader.decode([body]) for body in bodies]
    assert decoded.errors == compiled.errors
    for number, single in enumerate(alone):
        assert single.errors.get(0) == compiled.errors.get(number)
        assert avro.same(avro.row(decoded, number), avro.row(compiled, number))
        assert avro.same(avro.row(single, 0), avro.row(compiled, number))


@given(avro.schemas(), st.integers(0, 2**32))
@relaxed
def test_faults_of_a_writer_schema_that_reading_does_not_need_change_nothing(
    schema: Any, seed: int
) -> None:
    rng = random.Random(seed)
    bodies = [avro.encode(schema, avro.value_of(schema, rng)) for _ in range(BATCH)]
    reader, leaves = avro.finite(schema), avro.leaves(schema)
    paths = [path for path, leaf in leaves.items() if "symbols" not in leaf]
    wanted = decoder(schema, paths).decode(bodies)
    careless = Decoder(one_schema(avro.careless(schema)), reader, paths, 10_000, MAX_ITEMS)
    found = careless.decode(bodies)
    assert found.errors == wanted.errors
    for number in range(len(bodies)):
        assert avro.same(avro.row(found, number), avro.row(wanted, number))
