"""How much one call of a script does."""

from __future__ import annotations

import pytest

from features.store.protocol import Compaction
from features.store.scripts import (
    MAX_BYTES_PER_CALL,
    MAX_KEYS_PER_CALL,
    append_calls,
    compact_calls,
)

HALF = MAX_BYTES_PER_CALL // 2


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
    for calls in (append_calls(appends, None), compact_calls(compactions, None)):
        assert [call[2] for call in calls] == keys_of_calls
        assert [key for call in calls for key in call[3 : 3 + int(call[2])]] == [
            key for key, _ in appends
        ]


def test_compaction_calls_are_bounded_by_the_bytes_hashed_on_the_server() -> None:
    compactions = [Compaction(b"%d" % i, bytes(HALF), b"") for i in range(4)]
    assert [call[2] for call in compact_calls(compactions, None)] == [2, 2]
