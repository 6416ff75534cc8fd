from __future__ import annotations

import struct
from collections.abc import Sequence
from unittest import mock
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.errors import ErrorCode, RecordError
from schemas.batch import Headers
from schemas.registry import framing
from schemas.registry.framing import (
    VALUE_SCHEMA_HEADER,
    Frames,
    RecordFrame,
    read_frames,
    unframe,
)
from tests.support.interpreted import interpreted

GUID = UUID("89791762-2336-4186-9674-299b90a802e2")
MAX_BYTES = 100
INTERPRETED = interpreted("schemas.avro")


def of_id(number: int, body: bytes = b"body") -> bytes:
    return b"\0" + struct.pack(">I", number) + body


def of_guid(guid: UUID, body: bytes = b"body") -> bytes:
    return b"\1" + guid.bytes + body


def frames_of(
    values: Sequence[bytes | None],
    headers: Sequence[Headers | None] | None = None,
    *,
    framed: bool = True,
) -> Frames:
    return read_frames(values, headers, framed=framed, max_bytes=MAX_BYTES)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, ErrorCode.NULL_VALUE),
        (b"", ErrorCode.EMPTY_VALUE),
        (b"\0", ErrorCode.FRAME_TRUNCATED),
        (b"\0\0\0\1", ErrorCode.FRAME_TRUNCATED),
        (b"\1" + GUID.bytes[:15], ErrorCode.FRAME_TRUNCATED),
        (b"\2\0\0\0\1", ErrorCode.MAGIC_UNKNOWN),
        (b"{}", ErrorCode.MAGIC_UNKNOWN),
        (of_id(1, bytes(MAX_BYTES)), ErrorCode.RECORD_TOO_LARGE),
    ],
)
def test_a_value_without_a_schema_id_is_an_error_of_its_record(
    value: bytes | None, code: ErrorCode
) -> None:
    error = unframe(value, None, framed=True, max_bytes=MAX_BYTES)
    assert isinstance(error, RecordError)
    assert error.code is code


def test_the_header_names_the_schema_of_a_value_that_is_all_body() -> None:
    for header, schema_id in ((of_id(7, b""), 7), (of_guid(GUID, b""), GUID)):
        headers = [("traceparent", b"00-1"), (VALUE_SCHEMA_HEADER, header)]
        for framed in (True, False):
            frame = unframe(b"\0body", headers, framed=framed, max_bytes=MAX_BYTES)
            assert frame == RecordFrame(schema_id, 0)


def test_the_last_of_several_schema_headers_counts() -> None:
    headers = [(VALUE_SCHEMA_HEADER, of_id(1, b"")), (VALUE_SCHEMA_HEADER, of_id(2, b""))]
    assert unframe(b"body", headers, framed=True, max_bytes=MAX_BYTES) == RecordFrame(2, 0)


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, ErrorCode.FRAME_TRUNCATED),
        (b"", ErrorCode.FRAME_TRUNCATED),
        (b"\0\0\0\7", ErrorCode.FRAME_TRUNCATED),
        (b"\1" + GUID.bytes[:3], ErrorCode.FRAME_TRUNCATED),
        (b"7", ErrorCode.MAGIC_UNKNOWN),
        (of_id(7, b"x"), ErrorCode.TRAILING_BYTES),
    ],
)
def test_a_broken_schema_header_is_not_passed_over(header: bytes | None, code: ErrorCode) -> None:
    error = unframe(of_id(7), [(VALUE_SCHEMA_HEADER, header)], framed=True, max_bytes=MAX_BYTES)
    assert isinstance(error, RecordError)
    assert error.code is code
    assert VALUE_SCHEMA_HEADER in error.message


def test_without_framing_the_whole_value_is_the_body() -> None:
    assert unframe(b"\0\0", None, framed=False, max_bytes=MAX_BYTES) == RecordFrame(None, 0)
    frames = frames_of([b"ab", b"c"], framed=False)
    assert not frames.errors
    assert frames.schema_ids == [None]
    assert frames.starts.tolist() == [0, 2]


def test_records_of_one_id_have_one_schema() -> None:
    frames = frames_of([of_id(258, b"ab"), of_id(258, b"")])
    assert not frames.errors
    assert frames.schema_ids == [258]
    assert frames.schemas.tolist() == [0, 0]
    assert frames.starts.tolist() == [5, 12]


VALUES = st.one_of(
    st.none(),
    st.binary(max_size=20),
    st.builds(of_id, st.sampled_from([0, 1, 2**32 - 1]), st.binary(max_size=3)),
    st.builds(of_guid, st.sampled_from([GUID, UUID(int=0)]), st.binary(max_size=3)),
    st.just(of_id(1, bytes(MAX_BYTES))),
)
HEADERS = st.one_of(
    st.none(),
    st.just([("traceparent", b"x")]),
    st.builds(lambda n: [(VALUE_SCHEMA_HEADER, of_id(n, b""))], st.integers(0, 2)),
)


@given(st.lists(st.tuples(VALUES, HEADERS), min_size=1, max_size=12), st.booleans())
def test_frames_of_a_micro_batch_are_those_of_its_records(
    records: list[tuple[bytes | None, Headers | None]], framed: bool
) -> None:
    values, headers = [value for value, _ in records], [own for _, own in records]
    frames = frames_of(values, headers, framed=framed)
    begins = np.cumsum([0, *(len(value or b"") for value in values)]).tolist()
    assert frames.ends.tolist() == begins[1:]
    assert len(set(frames.schema_ids)) == len(frames.schema_ids)
    together: dict[int, RecordFrame | RecordError] = dict(frames.errors)
    assert frames.errors.keys() == set(np.flatnonzero(frames.schemas < 0).tolist())
    for row in np.flatnonzero(frames.schemas >= 0).tolist():
        schema_id = frames.schema_ids[frames.schemas[row]]
        together[row] = RecordFrame(schema_id, int(frames.starts[row]) - begins[row])
    with mock.patch.object(framing, "read_ids", INTERPRETED["frames"].read_ids):
        again = frames_of(values, headers, framed=framed)
    assert repr(again) == repr(frames)
    alone = [unframe(value, own, framed=framed, max_bytes=MAX_BYTES) for value, own in records]
    assert together == dict(enumerate(alone))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            b'{"transaction_id": "1"}',
            "the first byte is 123; 0 (id) and 1 (GUID) are known; it looks",
        ),
        (b'\n [{"a": 1}]', "it looks like JSON; only Avro is supported"),
        (b"\x03\x00" + GUID.bytes + b"body", "AWS Glue framing is not supported"),
        (b"\x03\x05" + GUID.bytes + b"body", "AWS Glue framing is not supported"),
        (b"\xc3\x01" + bytes(8), "single-object encoding is not supported"),
        (b"Obj\x01" + bytes(8), "looks like an Avro file"),
    ],
)
def test_a_known_other_framing_is_named(value: bytes, said: str) -> None:
    errors = frames_of([of_id(1), value]).errors
    assert errors[1].code is ErrorCode.MAGIC_UNKNOWN
    assert said in errors[1].message


@pytest.mark.parametrize("value", [b"not an event", b"{not json", b"\x03", b"\x03\x07ab", b"[1]"])
def test_an_unknown_framing_is_not_guessed(value: bytes) -> None:
    errors = frames_of([value]).errors
    assert errors[0].message.endswith("0 (id) and 1 (GUID) are known")
