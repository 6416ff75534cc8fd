"""Answers of a Redis or Valkey server, received as columns: no Python object for each value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import redis
from redis.connection import DefaultParser

from features.store.kernel.resp import (
    COMMAND,
    DONE,
    ITEM,
    MORE,
    NEEDED,
    POSITION,
    REFUSED,
    read_answers,
)
from features.store.protocol import Hashes, Row
from features.store.stored_values import StoredValues

LEAST_ROOM = 1 << 16
_LONGEST_ERROR = 1_000


def receive(connection: Any, counts: Sequence[int], room: int = LEAST_ROOM) -> StoredValues:
    """Receive the answers to commands that were sent, past the parser of redis-py.

    Args:
        connection: Connection of redis-py.
        counts: Number of values of each answer, or SINGLE.
        room: Bytes that the answers may have; more room is made if they have more.

    Returns:
        All values, end to end; REFUSED is the length of each value of an answer that is an error,
        whose text begins there.

    Raises:
        redis.ConnectionError: The connection is broken.
        redis.InvalidResponse: An answer has another form.
        redis.TimeoutError: No bytes came in time.
    """
    of_commands = np.array(counts, np.int64)
    begins, lengths = np.empty((2, int(np.abs(of_commands).sum())), np.int64)
    progress = np.zeros(NEEDED + 1, np.int64)
    progress[ITEM] = -1
    data, filled = np.empty(room, np.uint8), 0
    while progress[COMMAND] < len(counts):
        if max(filled + 1, progress[NEEDED]) > len(data):
            data = _grown(data, filled, max(2 * len(data), int(progress[NEEDED])))
        filled += _receive_some(connection, data.data[filled:])
        state = read_answers(data, filled, of_commands, progress, begins, lengths)
        if state not in (DONE, MORE):
            begin = progress[POSITION]
            raise redis.InvalidResponse(f"Protocol error: {bytes(data[begin : begin + 40])!r}")
    data.flags.writeable = False
    return StoredValues(data[:filled], begins, lengths)


def values_of(answers: StoredValues) -> StoredValues:
    """The values; raise the first error."""
    refused = np.flatnonzero(answers.lengths == REFUSED)
    if len(refused):
        raise _error(answers, int(refused[0]))
    return answers


def rows_of(answers: StoredValues, hashes: Sequence[Hashes]) -> list[list[Row | None]]:
    """The rows of each hash, None for a key that holds something other than a hash."""
    rows: list[list[Row | None]] = []
    place = 0
    for asked in hashes:
        of_keys, fields = list[Row | None](), len(asked.fields)
        for _ in asked.keys:
            of_keys.append(_row(answers, place, fields))
            place += fields
        rows.append(of_keys)
    return rows


def _row(answers: StoredValues, place: int, fields: int) -> Row | None:
    if answers.lengths[place] == REFUSED:
        error = _error(answers, place)
        if str(error).startswith("WRONGTYPE"):
            return None
        raise error
    return answers[place : place + fields].to_list()


def _error(answers: StoredValues, index: int) -> Exception:
    begin = int(answers.begins[index])
    text = answers.data[begin : begin + _LONGEST_ERROR].tobytes().partition(b"\r")[0]
    parse: Any = DefaultParser.parse_error
    error: Exception = parse(text.decode(errors="replace"))
    return error


def _receive_some(connection: Any, space: memoryview) -> int:
    try:
        size: int = connection._sock.recv_into(space)  # noqa: SLF001 - redis-py has no public name for it
    except TimeoutError as error:
        raise redis.TimeoutError("Timeout reading from socket") from error
    except OSError as error:
        raise redis.ConnectionError(f"Error while reading from socket: {error}") from error
    if size == 0:
        raise redis.ConnectionError("Connection closed by server.")
    return size


def _grown(data: Any, filled: int, size: int) -> Any:
    grown = np.empty(size, np.uint8)
    grown[:filled] = data[:filled]
    return grown
