"""Encode: every field of a score, from the column that it belongs to."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import fastavro
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.compute.matrix import Enriched
from features.values.flags import Flags
from models.reasons import Explained
from schemas.batch import Column, EventBatch, Headers, Kind, Records
from worker.schema_sources import framed, score_schema
from worker.stages.encode import Encode, Extras, Provenance
from worker.stages.serving import Decided, Model, Scored

SCHEMA = fastavro.parse_schema(score_schema())
PREFIX = framed(2)
TIME = 1_530_000_000_123_456
SCORED_AT = 1_600_000_000_000_001
MODEL = Model("cards", "7", "cpu")
FLAGS = Flags(("missing:profile", "stale:profile", "late"))


def encoder(
    *,
    vector: dict[str, int] | None = None,
    carry: tuple[str, ...] = (),
    headers: tuple[str, ...] = (),
    prefix: bytes = PREFIX,
) -> Encode:
    return Encode(
        score_schema(),
        prefix,
        Provenance("ab" * 32, "transactions"),
        Extras(vector or {}, carry, headers),
        FLAGS,
        lambda: SCORED_AT,
    )


def events(n: int = 3, headers: list[Headers | None] | None = None) -> EventBatch:
    records = Records(
        "transactions",
        [b"k"] * n,
        [b"v"] * n,
        np.arange(n, dtype=np.int32) + 4,
        np.arange(n, dtype=np.int64) + 2**40,
        np.zeros(n, np.int64),
        headers,
    )
    columns = {
        "amount": Column(Kind.DECIMAL, np.arange(n) * 5 - 5, np.arange(n) != 1, 2),
        "channel": Column(Kind.STRING, pa.array([f"c{i}" for i in range(n)]), np.ones(n, np.bool_)),
    }
    return EventBatch(
        records,
        columns,
        pa.array([f"tx-{i}" for i in range(n)]),
        TIME + np.arange(n, dtype=np.int64),
        None,
    )


def enriched(n: int = 3, flags: list[int] | None = None) -> Enriched:
    matrix = np.arange(2 * n, dtype=np.float32).reshape(n, 2)
    matrix[:1, 1] = np.nan
    return Enriched(matrix, np.array(flags or [0] * n, np.uint64))


def scored(n: int = 3, model: Model = MODEL) -> Scored:
    margins = np.linspace(-2, 2, n).astype(np.float32)
    return Scored(margins, np.linspace(0.1, 0.9, n), enriched(n).matrix, model)


def decided(
    *codes: int, version: str = "v1", segments: tuple[str, ...] = ("default",), at: int = 0
) -> Decided:
    """Decisions by code, all in the segment ``at``."""
    places = np.full(len(codes), at, np.int8)
    names = ("approve", "review", "decline")
    return Decided(np.array(codes, np.int8), places, names, segments, version)


def read(values: list[bytes], prefix: bytes = PREFIX) -> list[Any]:
    records = []
    for value in values:
        assert value.startswith(prefix)
        body = io.BytesIO(value[len(prefix) :])
        records.append(fastavro.schemaless_reader(body, SCHEMA, None))
        assert body.read() == b""
    return records


def test_an_encoded_score_has_every_field() -> None:
    first, _, third = read(encoder()(events(), enriched(), scored(), decided(0, 1, 2)))
    assert first == {
        "event_id": "tx-0",
        "event_time": datetime(2018, 6, 26, 8, 0, 0, 123_456, UTC),
        "decision": "approve",
        "score": 0.1,
        "margin": -2.0,
        "reasons": [],
        "segment": "default",
        "model": {"name": "cards", "version": "7"},
        "policy_version": "v1",
        "feature_set": "ab" * 32,
        "device": "cpu",
        "flags": [],
        "source": {"topic": "transactions", "partition": 4, "offset": 2**40},
        "scored_at": datetime(2020, 9, 13, 12, 26, 40, 1, UTC),
        "carried": {},
        "vector": {},
    }
    assert (third["event_id"], third["decision"], third["margin"]) == ("tx-2", "decline", 2.0)
    assert third["source"] == {"topic": "transactions", "partition": 6, "offset": 2**40 + 2}
    assert third["scored_at"] == first["scored_at"]


def test_an_empty_batch_gives_no_record() -> None:
    encode = encoder(vector={"A": 0}, carry=("amount",), headers=("h",))
    assert encode(events(0), enriched(0), scored(0), decided()) == []
    assert encode.headers(events(0)) is None


def test_an_unframed_score_is_its_body_alone() -> None:
    (value,) = encoder(prefix=b"")(events(1), enriched(1), scored(1), decided(0))
    assert read([value], b"")[0]["event_id"] == "tx-0"


def test_flags_by_name_from_bits() -> None:
    marked = enriched(4, [0b101, 0, 0b010, 0b101])
    records = read(encoder()(events(4), marked, scored(4), decided(0, 0, 0, 0)))
    assert [record["flags"] for record in records] == [
        ["missing:profile", "late"],
        [],
        ["stale:profile"],
        ["missing:profile", "late"],
    ]


def test_carried_fields_as_text_and_nulls_left_out() -> None:
    encode = encoder(carry=("amount", "channel"))
    records = read(encode(events(), enriched(), scored(), decided(0, 0, 0)))
    assert [record["carried"] for record in records] == [
        {"amount": "-0.05", "channel": "c0"},
        {"channel": "c1"},
        {"amount": "0.05", "channel": "c2"},
    ]


def test_the_vector_is_the_columns_that_were_asked_for() -> None:
    encode = encoder(vector={"SECOND": 1, "FIRST": 0})
    records = read(encode(events(), enriched(), scored(), decided(0, 0, 0)))
    assert math.isnan(records[0]["vector"]["SECOND"])
    assert records[0]["vector"]["FIRST"] == 0.0
    assert records[2]["vector"] == {"FIRST": 4.0, "SECOND": 5.0}
    (record, *_) = read(
        encoder(vector={"SECOND": 1})(events(), enriched(), scored(), decided(0, 0, 0))
    )
    assert set(record["vector"]) == {"SECOND"}


def test_a_new_policy_shows_on_the_scores_that_it_decided() -> None:
    encode = encoder()

    def policy_of(given: Decided) -> tuple[str, str, str]:
        (record,) = read(encode(events(1), enriched(1), scored(1), given))
        return record["policy_version"], record["segment"], record["decision"]

    assert policy_of(decided(1)) == ("v1", "default", "review")
    assert policy_of(decided(1, version="v2")) == ("v2", "default", "review")
    assert policy_of(decided(1, segments=("ecom",))) == ("v1", "ecom", "review")
    assert policy_of(decided(1, segments=("ecom", "pos"), at=1)) == ("v1", "pos", "review")
    renamed = replace(decided(1), names=("ok", "look", "stop"))
    assert policy_of(renamed) == ("v1", "default", "look")
    assert policy_of(decided(1)) == ("v1", "default", "review")


def test_segments_are_those_of_the_rows() -> None:
    mixed = replace(
        decided(0, 1, 2, segments=("ecom", "pos")), segments=np.array([1, 0, 1], np.int8)
    )
    records = read(encoder()(events(), enriched(), scored(), mixed))
    assert [record["segment"] for record in records] == ["pos", "ecom", "pos"]


def test_a_score_names_the_model_that_made_it_whatever_was_before() -> None:
    encode = encoder()
    for model in (MODEL, Model("cards", "8", "cuda"), Model("x", "8", "cuda"), MODEL):
        (record,) = read(encode(events(1), enriched(1), scored(1, model), decided(0)))
        assert record["model"] == {"name": model.name, "version": model.version}
        assert record["device"] == model.device


@st.composite
def explanations(draw: st.DrawFn) -> tuple[int, Explained, list[list[dict[str, Any]]]]:
    """A number of events, reasons for some of them, and the same as plain records."""
    n = draw(st.integers(1, 12))
    rows = draw(st.lists(st.integers(0, n - 1), unique=True, max_size=n).map(sorted))
    codes, names = ("R01", "R02", "a long code of its own " * 4), ("AMOUNT", "ñ", "N" * 80)
    number = st.floats(width=32)
    feature = st.fixed_dictionaries({"name": st.sampled_from(names), "value": number})
    reason = st.fixed_dictionaries(
        {
            "code": st.sampled_from(codes),
            "contribution": number,
            "features": st.lists(feature, max_size=4),
        }
    )
    plain: list[list[dict[str, Any]]] = [[] for _ in range(n)]
    for row in rows:
        plain[row] = draw(st.lists(reason, max_size=4))
    reasons = [reason for own in plain for reason in own]
    features = [feature for reason in reasons for feature in reason["features"]]
    explained = Explained(
        rows=np.array(rows, np.intp),
        counts=np.array([len(plain[row]) for row in rows], np.intp),
        codes=np.array([codes.index(reason["code"]) for reason in reasons], np.intp),
        contributions=np.array([reason["contribution"] for reason in reasons], np.float32),
        sizes=np.array([len(reason["features"]) for reason in reasons], np.intp),
        features=np.array([names.index(feature["name"]) for feature in features], np.intp),
        values=np.array([feature["value"] for feature in features], np.float32),
        code_names=codes,
        feature_names=names,
        not_additive=0,
        farthest=0.0,
    )
    return n, explained, plain


@given(explanations())
def test_reasons_are_the_bytes_that_fastavro_writes(
    case: tuple[int, Explained, list[list[dict[str, Any]]]],
) -> None:
    n, explained, plain = case
    encode = encoder(vector={"A": 0})
    found = encode(events(n), enriched(n), scored(n), decided(*[1] * n), explained)
    # Everything else of the scores is as it is without reasons.
    records = read(encode(events(n), enriched(n), scored(n), decided(*[1] * n)))
    for value, record, reasons in zip(found, records, plain, strict=True):
        out = io.BytesIO()
        fastavro.schemaless_writer(out, SCHEMA, record | {"reasons": reasons})
        assert value == PREFIX + out.getvalue()


@pytest.mark.parametrize("n", [2, 257])
def test_a_record_is_the_same_alone_and_in_company(n: int) -> None:
    encode = encoder(vector={"A": 0, "B": 1}, carry=("amount", "channel"))
    together = encode(events(n), enriched(n, [1] * n), scored(n), decided(*([1] * n)))
    (alone,) = encode(events(1), enriched(1, [1]), scored(1), decided(1))
    assert len(together) == n
    assert together[0] == alone


def test_headers_that_are_asked_for_are_copied_in_their_order() -> None:
    own: list[Headers | None] = [
        [("traceparent", b"1"), ("secret", b"x"), ("tag", None), ("traceparent", b"2")],
        None,
        [("other", b"y")],
    ]
    encode = encoder(headers=("traceparent", "tag"))
    assert encode.headers(events(3, own)) == [
        [("traceparent", b"1"), ("tag", None), ("traceparent", b"2")],
        [],
        [],
    ]


def test_no_headers_are_copied_unless_asked_for_or_where_there_are_none() -> None:
    own: list[Headers | None] = [[("traceparent", b"1")]] * 3
    assert encoder().headers(events(3, own)) is None
    assert encoder(headers=("traceparent",)).headers(events(3)) is None
