"""Stored values of this worker's own layout, decoded by the column."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest

from features.lookups.decoded import AGELESS, NEVER, decode, decode_feast
from features.store.stored_values import StoredValues

OLD = 1_000_000
DEFAULTS = (-1.0, -2.0)


def stored(updated_at: int, *values: float) -> bytes:
    return struct.pack(f"<q{len(values)}d", updated_at, *values)


@pytest.mark.parametrize(
    ("found", "values", "updated_at", "missing", "invalid"),
    [
        (stored(OLD, 1, math.nan), [1, math.nan], OLD, False, False),
        (None, DEFAULTS, AGELESS, True, False),
        (stored(OLD, 1), DEFAULTS, AGELESS, False, True),
        (stored(OLD, 1, 2, 3), DEFAULTS, AGELESS, False, True),
        (stored(OLD, 1, math.inf), DEFAULTS, AGELESS, False, True),
        (b"", DEFAULTS, AGELESS, False, True),
    ],
)
def test_defaults_have_no_age(
    found: bytes | None, values: tuple[float, ...], updated_at: int, *, missing: bool, invalid: bool
) -> None:
    """Of what is missing or invalid nothing is stale: one reason is enough."""
    decoded = decode(StoredValues.of([stored(7, 3, 4), found]), DEFAULTS)
    np.testing.assert_array_equal(decoded.values.view(np.float64).T, [[3, 4], values])
    assert decoded.updated_at.tolist() == [7, updated_at]
    assert decoded.missing.tolist() == [False, missing]
    assert decoded.invalid.tolist() == [False, invalid]


def test_a_hash_without_a_time_is_older_than_any_age() -> None:
    decoded = decode_feast([[b"\x20\x01", None], [b"\x20\x02", b""]], (0.0,))
    assert decoded.updated_at.tolist() == [NEVER, 0]
    np.testing.assert_array_equal(decoded.values.view(np.float64), [[1, 2]])
