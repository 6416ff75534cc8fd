"""Dead letters: the record untouched, and headers that say why."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from schemas.batch import Position, Records
from schemas.errors import ErrorCode, RecordError
from worker.dead_letter import HEADER_PREFIX, Stage, dead_letter, record_size

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
    assert (letter.key, letter.value, letter.timestamp) == (b"key", b"body", 1_600_000_000_000)
    assert letter.position == Position("in", 3, 42)
    assert letter.code is ErrorCode.BODY_TRUNCATED
    assert letter.headers == [
        ("trace", b"\x00\xff"),
        ("empty", None),
        ("trace", b"again"),
        ("__worker.errors.topic", b"in"),
        ("__worker.errors.partition", b"3"),
        ("__worker.errors.offset", b"42"),
        ("__worker.errors.stage", b"decode"),
        ("__worker.errors.code", b"body_truncated"),
        ("__worker.errors.message", b"ends within field amount"),
        ("__worker.errors.schema.id", b"17"),
    ]


def test_without_headers_and_schema_id_there_are_only_the_reasons() -> None:
    letter = dead_letter(records(), 0, ERROR, Stage.PUBLISH, None)
    assert [name for name, _ in letter.headers] == [
        HEADER_PREFIX + name
        for name in ("topic", "partition", "offset", "stage", "code", "message")
    ]
    assert (letter.key, letter.value, letter.timestamp) == (None, b"other", -1)


@pytest.mark.parametrize("value", [b"x" * 5000, b"", None], ids=["large", "empty", "null"])
def test_the_oversize_form_keeps_the_reasons_the_sum_and_the_size(value: bytes | None) -> None:
    letter = dead_letter(records(value), 1, ERROR, Stage.DECODE, None)
    small = letter.oversize()
    headers = dict(small.headers)
    assert small.value is None
    assert (small.key, small.timestamp) == (b"key", letter.timestamp)
    assert (small.position, small.code) == (letter.position, letter.code)
    assert headers["__worker.errors.code"] == b"body_truncated"
    assert headers["__worker.errors.offset"] == b"42"
    assert headers["__worker.errors.value.bytes"] == str(len(value or b"")).encode()
    expected = hashlib.sha256(value or b"").hexdigest().encode()
    assert headers["__worker.errors.value.sha256"] == expected
    assert "trace" not in headers


def test_the_oversize_form_is_small_whatever_the_record_was() -> None:
    letter = dead_letter(records(b"v" * 10**6, b"k" * 10**6), 1, ERROR, Stage.DECODE, None)
    small = letter.oversize()
    assert small.key is None
    assert small.size() < 1000
    longest_kept = dead_letter(records(b"", b"k" * 1024), 1, ERROR, Stage.DECODE, None).oversize()
    assert longest_kept.key == b"k" * 1024


def test_the_size_counts_every_byte() -> None:
    bare = record_size(None, None, [])
    assert record_size(b"12", b"345", []) == bare + 5
    # A header has its name, its value and two lengths of one to five bytes each.
    assert record_size(None, None, [("é" * 100, b"123")]) >= bare + 200 + 3 + 2
    assert record_size(None, None, [("", None)] * 100) >= bare + 200
    letter = dead_letter(records(), 1, ERROR, Stage.DECODE, None)
    assert letter.size() == record_size(letter.key, letter.value, letter.headers)
