"""Arrays with items of their own in every record: the bytes that fastavro gives."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from itertools import chain
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.errors import ConfigurationError
from schemas.avro.encode.encoder import Field, ListOf, RecordEncoder
from schemas.batch import Column, Kind

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.text("é", max_size=300)
FLOATS = st.floats(width=32)
# A name, a number, and inner items: a name and a number each.
REASONS = st.lists(
    st.tuples(
        st.sampled_from(["R01", "R02", "a longer code"]),
        FLOATS,
        st.lists(st.tuples(TEXTS, st.none() | FLOATS), max_size=4),
    ),
    max_size=3,
)
FEATURE = {
    "type": "record",
    "name": "Feature",
    "fields": [
        {"name": "name", "type": "string"},
        {"name": "value", "type": ["null", "float"]},
        {"name": "unit", "type": "string", "default": "EUR"},
    ],
}
REASON = {
    "type": "record",
    "name": "Reason",
    "fields": [
        {"name": "code", "type": "string"},
        {"name": "by", "type": "float"},
        {"name": "features", "type": {"type": "array", "items": FEATURE}},
    ],
}
SCHEMA = {
    "type": "record",
    "name": "Score",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "reasons", "type": {"type": "array", "items": REASON}, "default": []},
        {"name": "flags", "type": ["null", {"type": "array", "items": "string"}]},
        {"name": "most", "type": ["null", "Feature"], "default": None},
    ],
}
ENCODER = RecordEncoder(SCHEMA)


def reference(schema: Mapping[str, Any], rows: list[dict[str, Any]]) -> list[bytes]:
    parsed = fastavro.parse_schema(dict(schema))
    bodies = []
    for row in rows:
        out = BytesIO()
        fastavro.schemaless_writer(out, parsed, row)
        bodies.append(out.getvalue())
    return bodies


def strings(values: list[str]) -> Column:
    return Column(Kind.STRING, pa.array(values, pa.string()), np.ones(len(values), np.bool_))


def doubles(values: list[float | None]) -> Column:
    valid = np.array([value is not None for value in values], np.bool_)
    return Column(
        Kind.DOUBLE, np.array([0.0 if v is None else v for v in values], np.float32), valid
    )


def counts(lists: list[Any]) -> np.ndarray:
    return np.array([len(items) for items in lists], np.int64)


@given(st.lists(st.tuples(REASONS, st.lists(TEXTS, max_size=3)), min_size=1, max_size=8))
def test_lists_of_records_with_lists_inside_equal_fastavro(
    events: list[tuple[list[Any], list[str]]],
) -> None:
    reasons = list(chain.from_iterable(own for own, _ in events))
    features = list(chain.from_iterable(own for _, _, own in reasons))
    codes = ENCODER.options("reasons.*.code", ["R01", "R02", "a longer code"])
    places = {"R01": 0, "R02": 1, "a longer code": 2}
    inner = {
        "reasons.*.features.*.name": strings([name for name, _ in features]),
        "reasons.*.features.*.value": doubles([value for _, value in features]),
    }
    items: dict[str, Field] = {
        "reasons.*.code": codes.at(np.array([places[code] for code, _, _ in reasons], np.int64)),
        "reasons.*.by": doubles([by for _, by, _ in reasons]),
        "reasons.*.features": ListOf(counts([own for _, _, own in reasons]), inner),
    }
    flags = [own for _, own in events]

    got = ENCODER.encode(
        len(events),
        {
            "id": Column(Kind.LONG, np.arange(len(events)), np.ones(len(events), np.bool_)),
            "reasons": ListOf(counts([own for own, _ in events]), items),
            "flags": ListOf(counts(flags), {"flags.*": strings(list(chain(*flags)))}),
        },
    )

    plain = [
        {
            "id": i,
            "reasons": [
                {"code": code, "by": by, "features": [{"name": n, "value": v} for n, v in inside]}
                for code, by, inside in own
            ],
            "flags": flags[i],
        }
        for i, (own, _) in enumerate(events)
    ]
    assert got == reference(SCHEMA, plain)


NULLABLE = {
    "type": "record",
    "name": "Event",
    "fields": [
        {
            "name": "basket",
            "type": ["null", {"type": "record", "name": "Basket", "fields": [
                {"name": "shop", "type": "string"},
                {"name": "prices", "type": {"type": "array", "items": {
                    "type": "array", "items": "double"}}}]}],
        }
    ],
}  # fmt: skip


def test_a_list_of_lists_in_a_record_that_may_be_null() -> None:
    shops = Column(Kind.STRING, pa.array(["a", "", "b"]), np.array([True, False, True]))
    rows = [{"shop": "a", "prices": [[1.0], []]}, None, {"shop": "b", "prices": []}]
    prices = ListOf(
        np.array([2, 0, 0]), {"basket.prices.*": ListOf(
            np.array([1, 0]), {"basket.prices.*.*": doubles([1.0])})}
    )  # fmt: skip

    got = RecordEncoder(NULLABLE).encode(3, {"basket.shop": shops, "basket.prices": prices})

    assert got == reference(NULLABLE, [{"basket": row} for row in rows])


def test_many_items_take_a_longer_count() -> None:
    schema = {
        "type": "record",
        "name": "E",
        "fields": [{"name": "flags", "type": {"type": "array", "items": "string"}}],
    }
    lists = [["x"] * 100, [], ["y" * 70] * 3]

    got = RecordEncoder(schema).encode(
        3, {"flags": ListOf(counts(lists), {"flags.*": strings(list(chain(*lists)))})}
    )

    assert got == reference(schema, [{"flags": own} for own in lists])


def test_columns_that_do_not_fit_a_list_are_refused_by_name() -> None:
    good = {"id": Column(Kind.LONG, np.arange(2), np.ones(2, np.bool_))}
    nothing = ListOf(np.zeros(2, np.int64), {})
    with pytest.raises(ConfigurationError, match=r"'reasons.\*.code' is not in the schema"):
        ENCODER.encode(2, {**good, "reasons.*.code": strings(["a", "b"])})
    with pytest.raises(ConfigurationError, match=r"'flags' takes flags.\*, not 'flags.\*.x'"):
        ENCODER.encode(2, {**good, "flags": ListOf(np.ones(2, int), {"flags.*.x": strings(["a"])})})
    with pytest.raises(ValueError, match="'flags' of 2 records: 3 counts"):
        ENCODER.encode(2, {**good, "flags": ListOf(np.zeros(3, int), {})})
    with pytest.raises(ConfigurationError, match=r"'reasons.\*.code' has no default"):
        ENCODER.encode(2, {**good, "flags": nothing, "reasons": ListOf(np.ones(2, int), {})})
    with pytest.raises(ConfigurationError, match="'id' is of type long"):
        ENCODER.encode(2, {"id": nothing, "flags": nothing})
