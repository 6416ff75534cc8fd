"""How much one call of a script does."""

from __future__ import annotations

from typing import Any

import hiredis
import numpy as np
import pytest

from features.store.protocol import Compaction
from features.store.redis_protocol import PackedCall, packed_append
from features.store.scripts import (
    APPEND,
    MAX_BYTES_PER_CALL,
    MAX_KEYS_PER_CALL,
    append_calls,
    compact_calls,
)
from features.store.stored_values import StoredValues
from features.store.writes import AppendColumns, Appends
from features.values.keys import Keys

HALF = MAX_BYTES_PER_CALL // 2


def _packed(words: Any) -> bytes:
    """Bytes of a command, by another encoder."""
    packed: bytes = hiredis.pack_command(words)
    return packed


@pytest.mark.parametrize(
    ("sizes", "keys_of_calls"),
    [
        ([1] * (2 * MAX_KEYS_PER_CALL + 1), [MAX_KEYS_PER_CALL, MAX_KEYS_PER_CALL, 1]),
        ([HALF, HALF, 1, HALF], [2, 2]),
        ([1, 3 * HALF, 3 * HALF, 1, 1], [1, 1, 1, 2]),
        ([0], [1]),
        ([], []),
    ],
)
def test_a_call_has_a_bound_on_its_keys_and_bytes(
    sizes: list[int], keys_of_calls: list[int]
) -> None:
    appends = [(b"%d" % i, bytes(size)) for i, size in enumerate(sizes)]
    compactions = [Compaction(key, b"p", value[1:]) for key, value in appends]
    keys = [key for key, _ in appends]
    both: tuple[Any, Any] = append_calls(appends, None), compact_calls(compactions, None)
    for calls in both:
        assert [call[2] for call in calls] == keys_of_calls
        assert [key for call in calls for key in call[3 : 3 + call[2]]] == keys


@pytest.mark.parametrize(
    ("sizes", "keys_of_calls"),
    [
        ([1] * (2 * MAX_KEYS_PER_CALL + 1), [MAX_KEYS_PER_CALL, MAX_KEYS_PER_CALL, 1]),
        ([*[1] * 100, MAX_BYTES_PER_CALL, 1], [100, 1, 1]),
    ],
)
def test_columns_of_many_keys_are_encoded_with_the_same_bounds(
    sizes: list[int], keys_of_calls: list[int]
) -> None:
    appends = [(b"%d" % i, bytes(size)) for i, size in enumerate(sizes)]
    calls = append_calls(Appends.of(appends), 5)
    packed = [call.appends.present_keys() for call in calls if isinstance(call, PackedCall)]
    assert [len(of_call) for of_call in packed] == keys_of_calls
    assert [key for of_call in packed for key in of_call] == [key for key, _ in appends]
    words = append_calls(appends, 5)
    assert [bytes(call.data) for call in calls if isinstance(call, PackedCall)] == [
        _packed(call) for call in words
    ]


def test_compaction_calls_are_bounded_by_the_bytes_hashed_on_the_server() -> None:
    compactions = [Compaction(b"%d" % i, bytes(HALF), b"") for i in range(4)]
    assert [call[2] for call in compact_calls(compactions, None)] == [2, 2]


def test_an_encoded_call_has_the_bytes_of_its_words() -> None:
    keys = Keys.of([b"", b"key", b"absent", b"long" * 300]).behind(b"prefix:")
    values = StoredValues.of([b"value", b"", None, bytes(range(256)) * 40])
    call = packed_append(APPEND.sha, AppendColumns(keys, values), b"1234")
    present = [b"prefix:", b"prefix:key", b"prefix:" + b"long" * 300]
    words = APPEND.call(present, [b"1234", b"value", b"", bytes(range(256)) * 40])
    assert bytes(call.data) == _packed(words)
    assert call.appends.present_keys() == present


def test_some_of_the_columns_are_some_of_the_keys() -> None:
    appends = [(b"%d" % i, b"%d" % (i * i)) for i in range(5)]
    columns = AppendColumns(
        Keys.of([key for key, _ in appends]), StoredValues.of([value for _, value in appends])
    )
    some = AppendColumns(columns.keys[slice(1, 3)], columns.values[1:3])
    assert bytes(packed_append(APPEND.sha, some, b"").data) == _packed(
        APPEND.call([b"1", b"2"], [b"", b"1", b"4"])
    )


def test_keys_without_bytes_to_append_make_no_call() -> None:
    many = Appends.of([(b"%d" % i, b"") for i in range(100)]).parts
    nothing = StoredValues(np.empty(0, np.uint8), np.zeros(2, np.int64), np.full(2, -1))
    calls = append_calls(Appends([*many, AppendColumns(Keys.of([b"a", b"b"]), nothing)]), None)
    assert len(calls) == 1
    assert append_calls(Appends([AppendColumns(Keys.of([b"a", b"b"]), nothing)]), None) == []


def test_a_key_that_occurs_twice_is_in_one_call_once() -> None:
    (call,) = append_calls([(b"a", b"1"), (b"b", b"2"), (b"a", b"3")], None)
    assert call == APPEND.call([b"a", b"b"], [b"", b"13", b"2"])
