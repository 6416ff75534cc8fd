"""Answers of a server, received in any pieces, against the parser of hiredis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import hiredis
import numpy as np
import pytest
import redis
from hypothesis import example, given
from hypothesis import strategies as st

from features.store.kernel.resp import REFUSED
from features.store.protocol import Hashes
from features.store.redis_answers import receive, rows_of, values_of
from features.store.redis_protocol import packed_mgets
from features.store.stored_values import StoredValues
from features.values.keys import Keys
from tests.support.interpreted import interpreted

NULLS = {2: b"$-1\r\n", 3: b"_\r\n"}
VALUES = st.none() | st.binary(max_size=20)


class Connection:
    """Connection of redis-py that receives the given pieces, then its end."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._sock = self
        self._pieces = list(pieces)

    def recv_into(self, space: memoryview) -> int:
        if not self._pieces:
            return 0
        piece = self._pieces.pop(0)
        now, later = piece[: len(space)], piece[len(space) :]
        if later:
            self._pieces.insert(0, later)
        space[: len(now)] = now
        return len(now)


def array(values: Sequence[bytes | None], protocol: int) -> bytes:
    null = NULLS[protocol]
    return b"*%d\r\n" % len(values) + b"".join(
        null if value is None else b"$%d\r\n%b\r\n" % (len(value), value) for value in values
    )


def pieces_of(text: bytes, cuts: Sequence[int]) -> list[bytes]:
    ends = sorted({cut % (len(text) + 1) for cut in cuts} | {len(text)})
    return [text[begin:end] for begin, end in zip([0, *ends], ends, strict=False) if begin < end]


@given(
    st.lists(st.lists(VALUES, min_size=1, max_size=5), min_size=1, max_size=5),
    st.lists(st.integers(0, 1000), max_size=6),
    st.sampled_from([2, 3]),
)
def test_values_are_those_of_the_answers(
    commands: list[list[bytes | None]], cuts: list[int], protocol: int
) -> None:
    text = b"".join(array(values, protocol) for values in commands)
    reader = hiredis.Reader()
    reader.feed(text)
    answers = receive(Connection(pieces_of(text, cuts)), [len(values) for values in commands])
    expected = [value for _ in commands for value in reader.gets()]
    assert values_of(answers).to_list() == expected


def test_an_answer_may_be_larger_than_the_space_for_it() -> None:
    values = [b"x" * 200_000, None, b"y" * 70_000, b""]
    answers = receive(Connection([array(values, 2)]), [4])
    assert answers.to_list() == values
    assert answers[1:3].to_list() == values[1:3]
    assert StoredValues.of(values).to_list() == values


def test_the_first_error_is_raised_and_other_answers_are_read() -> None:
    text = array([b"a"], 2) + b"-NOPERM no right\r\n" + b"-ERR other\r\n" + array([b"b"], 2)
    answers = receive(Connection([text]), [1, 2, 1, 1])
    assert answers.lengths.tolist() == [1, REFUSED, REFUSED, REFUSED, 1]
    with pytest.raises(redis.exceptions.NoPermissionError, match="no right"):
        values_of(answers)


def test_a_connection_that_ends_within_an_answer_is_broken() -> None:
    text = array([b"abc", b"d"], 2)
    for length in range(len(text)):
        with pytest.raises(redis.ConnectionError, match="closed"):
            receive(Connection([text[:length]] if length else []), [2])


@pytest.mark.parametrize(
    "text",
    [b"+OK\r\n", b"*2\r\n", b"*1\r\n*1\r\n", b"*1\r\n$x\r\n", b"*1\r\n$-2\r\n", b"\x00", b"*\r\n"],
)
def test_another_answer_is_refused(text: bytes) -> None:
    with pytest.raises(redis.InvalidResponse, match="Protocol error"):
        receive(Connection([text]), [1])


@example(b"*1\r\n$4294967296000\r\n")
@example(b"*1\r\n$99999999999999999999\r\n")
@given(st.binary(max_size=60))
def test_no_byte_behind_the_received_ones_is_read(text: bytes) -> None:
    """Interpreted, so that Python checks the bounds."""
    read: Any = interpreted("features.store")["resp"].read_answers
    for first in (b"", b"*2\r\n$1\r\n"):
        data = np.frombuffer(first + text, np.uint8)
        begins, lengths = np.zeros((2, 2), np.int64)
        read(data, len(data), np.array([2]), np.array([0, 0, -1, 0, 0]), begins, lengths)
        assert (begins + np.maximum(lengths, 0) <= len(data)).all()


@given(st.binary(max_size=9), st.lists(st.binary(max_size=12), max_size=12), st.integers(1, 5))
def test_keys_are_asked_for_in_commands_of_a_bounded_size(
    prefix: bytes, keys: list[bytes], most: int
) -> None:
    column = Keys.of(keys).behind(prefix)
    whole = [prefix + key for key in keys]
    assert column.to_list() == whole
    parts = [whole[start : start + most] for start in range(0, len(whole), most)]
    expected = b"".join(hiredis.pack_command(cast("Any", (b"MGET", *part))) for part in parts)
    assert packed_mgets(column, most).tobytes() == expected


def test_a_row_is_read_for_each_hash() -> None:
    text = array([b"1", None], 2) + b"-WRONGTYPE no hash\r\n" + array([None, None], 2)
    hashes = [Hashes([b"a", b"b"], [b"x", b"y"]), Hashes([b"c"], [b"x", b"y"])]
    answers = receive(Connection([text]), [2, 2, 2])
    assert rows_of(answers, hashes) == [[[b"1", None], None], [[None, None]]]
