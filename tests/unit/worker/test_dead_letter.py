"""Dead letters: the record untouched, and headers that say why."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.errors import ErrorCode, RecordError
from features.values.tokens import TokenKey
from schemas.batch import Headers, Position, Records
from worker.stages.dead_letter import (
    FORMER_PREFIX,
    HEADER_PREFIX,
    LARGEST_OVERSIZE_BYTES,
    Stage,
    dead_letter,
    record_size,
)

ERROR = RecordError(ErrorCode.BODY_TRUNCATED, "ends within field amount")


def records(value: bytes | None = b"body", key: bytes | None = b"key") -> Records:
    return Records(
        "in",
        [None, key],
        [b"other", value],
        np.array([0, 3], np.int32),
        np.array([11, 42], np.int64),
        np.array([-1, 1_600_000_000_000], np.int64),
        [None, [("trace", b"\x00\xff"), ("empty", None), ("trace", b"again")]],
    )


def test_the_record_is_untouched_and_its_headers_come_first() -> None:
    letter = dead_letter(records(), 1, ERROR, Stage.DECODE, "17")
    assert (letter.key, letter.value) == (b"key", b"body")
    assert letter.position == Position("in", 3, 42)
    assert letter.code is ErrorCode.BODY_TRUNCATED
    assert letter.headers == [
        ("trace", b"\x00\xff"),
        ("empty", None),
        ("trace", b"again"),
        ("__worker.errors.topic", b"in"),
        ("__worker.errors.partition", b"3"),
        ("__worker.errors.offset", b"42"),
        ("__worker.errors.timestamp", b"1600000000000"),
        ("__worker.errors.stage", b"decode"),
        ("__worker.errors.code", b"body_truncated"),
        ("__worker.errors.message", b"ends within field amount"),
        ("__worker.errors.schema.id", b"17"),
    ]


def test_a_dead_letter_of_a_bare_record_has_the_reason_headers_alone() -> None:
    letter = dead_letter(records(), 0, ERROR, Stage.PUBLISH, None)
    assert [name for name, _ in letter.headers] == [
        HEADER_PREFIX + name
        for name in ("topic", "partition", "offset", "timestamp", "stage", "code", "message")
    ]
    assert (letter.key, letter.value) == (None, b"other")
    assert dict(letter.headers)["__worker.errors.timestamp"] == b"-1"


def with_headers(headers: Headers) -> Records:
    return replace(records(), headers=[None, headers])


def test_headers_that_pass_themselves_off_as_the_workers_are_renamed() -> None:
    forged: Headers = [
        ("__worker.errors.code", b"forged"),
        ("a", b"1"),
        ("__worker.errors.", None),
        ("__worker.errors.code", b"twice"),
        ("__WORKER.errors.code", b"another name"),
    ]
    letter = dead_letter(with_headers(forged), 1, ERROR, Stage.DECODE, None)
    assert letter.headers[:5] == [
        ("__worker.former.code", b"forged"),
        ("a", b"1"),
        ("__worker.former.", None),
        ("__worker.former.code", b"twice"),
        ("__WORKER.errors.code", b"another name"),
    ]
    assert [v for n, v in letter.headers if n == "__worker.errors.code"] == [b"body_truncated"]


def test_a_dead_letter_that_is_sent_to_the_input_again_does_not_grow_with_each_round() -> None:
    own: Headers = [("trace", b"1")]
    sizes, letters = [], []
    for code in (ErrorCode.EVENT_ID_MISSING, ErrorCode.AMOUNT_MISSING, ErrorCode.NULL_VALUE):
        letter = dead_letter(with_headers(own), 1, RecordError(code, "why"), Stage.DECODE, None)
        letters.append(dict(letter.headers))
        sizes.append(letter.size() - len(code.value))
        own = letter.headers
    assert [told["__worker.errors.code"] for told in letters] == [
        b"event_id_missing",
        b"amount_missing",
        b"null_value",
    ]
    assert letters[2]["__worker.former.code"] == b"amount_missing"
    assert letters[2]["trace"] == b"1"
    assert sizes[2] == sizes[1] + len("amount_missing") - len("event_id_missing")


def test_headers_of_a_dead_letter_before_are_kept_where_there_are_no_newer_ones() -> None:
    kept: Headers = [("__worker.former.code", b"null_value")]
    letter = dead_letter(with_headers(kept), 1, ERROR, Stage.DECODE, None)
    assert letter.headers[:1] == kept


@pytest.mark.parametrize("value", [b"x" * 5000, b"", None], ids=["large", "empty", "null"])
def test_the_oversize_form_keeps_the_reasons_the_sum_and_the_size(value: bytes | None) -> None:
    letter = dead_letter(records(value), 1, ERROR, Stage.DECODE, None)
    small = letter.oversize()
    headers = dict(small.headers)
    assert small.value is None
    assert small.key == b"key"
    assert small.oversize() == small
    assert headers["__worker.errors.timestamp"] == b"1600000000000"
    assert (small.position, small.code) == (letter.position, letter.code)
    assert headers["__worker.errors.code"] == b"body_truncated"
    assert headers["__worker.errors.offset"] == b"42"
    assert headers["__worker.errors.value.bytes"] == str(len(value or b"")).encode()
    expected = hashlib.sha256(value or b"").hexdigest().encode()
    assert headers["__worker.errors.value.sha256"] == expected
    assert "trace" not in headers


def test_the_oversize_form_keeps_no_header_of_the_record_whatever_its_name() -> None:
    forged: Headers = [(f"{HEADER_PREFIX}x", b"v" * 10**6), (f"{FORMER_PREFIX}x", b"v" * 10**6)]
    small = dead_letter(with_headers(forged), 1, ERROR, Stage.DECODE, None).oversize()
    assert small.size() < LARGEST_OVERSIZE_BYTES
    assert small.headers == list(small.reasons)


@pytest.mark.parametrize("key", [b"key", b"k" * 2000, None])
def test_a_record_with_a_token_leaves_its_hash_and_size_alone(key: bytes | None) -> None:
    tokens = TokenKey(b"x" * 32)
    forged = replace(records(key=key), headers=[None, [("card", b"4111")]])
    hidden = replace(forged, key_token=tokens.token)
    for some in (hidden, hidden.take(np.array([0, 1])), hidden[0:2], hidden.behind([])):
        letter = dead_letter(some, 1, ERROR, Stage.DECODE, "17")
        expected = dead_letter(forged, 1, ERROR, Stage.DECODE, "17").oversize()
        assert letter == replace(expected, key=key and tokens.token(key).encode())
        assert (letter.value, letter.own, letter.is_oversize) == (None, (), True)
        assert letter.size() < LARGEST_OVERSIZE_BYTES
        assert letter.oversize() is letter


@pytest.mark.parametrize("code", [ErrorCode.SCHEMA_UNKNOWN, ErrorCode.SCHEMA_UNANSWERED])
def test_what_is_taken_for_the_id_of_a_schema_may_be_a_card_number(code: ErrorCode) -> None:
    value = b"\x01 4111111111111111 of a record without framing"
    guid = f"{UUID(bytes=value[1:17])}"
    hidden = replace(records(value), key_token=TokenKey(b"x" * 32).token)
    error = RecordError(code, f"the registry does not have schema {guid}")
    letter = dead_letter(hidden, 1, error, Stage.DECODE, guid)
    assert guid not in f"{letter.headers}"
    assert guid in f"{dead_letter(records(value), 1, error, Stage.DECODE, guid).headers}"


RECORDS = st.builds(
    lambda key, value, headers, topic, place: Records(
        topic,
        [key],
        [value],
        np.array([place[0]], np.int32),
        np.array([place[1]], np.int64),
        np.array([place[2]], np.int64),
        [headers],
    ),
    st.none() | st.integers(0, 1500).map(bytes),
    st.none() | st.integers(0, 3000).map(bytes),
    st.lists(st.tuples(st.text(max_size=300), st.none() | st.binary(max_size=2000))),
    st.text("abc._-", min_size=249, max_size=249),
    st.tuples(
        st.integers(0, 2**31 - 1), st.integers(0, 2**63 - 1), st.integers(-(2**63), 2**63 - 1)
    ),
)
SCHEMA_IDS = st.none() | st.integers(0, 2**32 - 1).map(str) | st.uuids().map(str)


@given(RECORDS, st.sampled_from(list(ErrorCode)), st.text(max_size=2000), SCHEMA_IDS)
def test_the_oversize_form_is_bounded_whatever_the_record_was(
    record: Records, code: ErrorCode, message: str, schema_id: str | None
) -> None:
    letter = dead_letter(record, 0, RecordError(code, message), Stage.PUBLISH, schema_id)
    small = letter.oversize()
    assert small.size() <= LARGEST_OVERSIZE_BYTES
    told = dict(small.headers)["__worker.errors.message"] or b""
    assert message.startswith(told.decode())
    assert len(message.encode()) < 500 or len(told) > 496


def test_the_bound_of_the_oversize_form_is_met_by_the_largest() -> None:
    """A bound far above what there can be would make `check` refuse topics that serve."""
    record = Records(
        "t" * 249,
        [b"k" * 1024],
        [bytes(10**6)],
        np.array([2**31 - 1], np.int32),
        np.array([2**63 - 1], np.int64),
        np.array([-(2**63)], np.int64),
    )
    longest = max(ErrorCode, key=len)
    error = RecordError(longest, "m" * 1000)
    small = dead_letter(record, 0, error, Stage.PUBLISH, str(UUID(int=1))).oversize()
    assert LARGEST_OVERSIZE_BYTES - 200 < small.size() <= LARGEST_OVERSIZE_BYTES


def test_the_longest_key_that_is_kept() -> None:
    for length, kept in ((1024, True), (1025, False)):
        letter = dead_letter(records(b"", b"k" * length), 1, ERROR, Stage.DECODE, None).oversize()
        assert (letter.key is not None) == kept


def test_the_size_counts_every_byte() -> None:
    bare = record_size(None, None, [])
    assert record_size(b"12", b"345", []) == bare + 5
    # A header has its name, its value and two lengths of one to five bytes each.
    assert record_size(None, None, [("é" * 100, b"123")]) >= bare + 200 + 3 + 2
    assert record_size(None, None, [("", None)] * 100) >= bare + 200
    letter = dead_letter(records(), 1, ERROR, Stage.DECODE, None)
    assert letter.size() == record_size(letter.key, letter.value, letter.headers)
