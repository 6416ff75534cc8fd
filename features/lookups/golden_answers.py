"""Fixed inputs of the compiled loops over lookups, from the request to the values of events."""

from __future__ import annotations

import math
import struct

import numpy as np

from base.arrays import Longs
from base.compiled import prove
from features.lookups.decoded import Vector, blank, blank_elements, decode
from features.lookups.kernel.decode import spread_elements, spread_values
from features.store.kernel.resp import ITEM, NEEDED, read_answers
from features.store.redis_protocol import packed_mgets
from features.store.stored_values import StoredValues
from features.values.keys import Keys

_EXPECTED = "71a6477cde4c65f071827971b211162bd8e8df3b2bb70d84b8cc03f854d2afba"
_EXPECTED_VECTORS = "673e9f793cd920bb4f16edc8f4b4029213783d75087ad51728457ec124c7a53c"
_DEFAULTS = (0.5, -1.0)
_VECTORS = (Vector("half", 3, "float16", 0.25), Vector("single", 2, "float32", math.nan))


def prove_lookups() -> None:
    """Compare the results of the compiled loops with known ones.

    Raises:
        ConfigurationError: They differ.
    """
    prove("lookups", golden_results(), _EXPECTED)
    prove("vectors", golden_vectors(), _EXPECTED_VECTORS)


def golden_results() -> bytes:
    """A request for three keys; values of six events from answers with good and bad values."""
    keys = Keys.of([b"", b"a", b"key"]).behind(b"lookup:")
    decoded = decode(_answers(), _DEFAULTS)
    rows = np.array([0, 1, 1, 2, 3, 4])
    times = np.array([100, 100, 99, 100, 100, 100])
    table = np.empty((len(_DEFAULTS), len(rows)), np.int64)
    stale = np.empty(len(rows), np.bool_)
    spread_values(
        decoded.values, decoded.updated_at, rows, times, 50, blank(_DEFAULTS), table, stale
    )
    results = (packed_mgets(keys, 2), *decoded, table, stale)
    return b"".join(result.tobytes() for result in results)


def golden_vectors() -> bytes:
    """Elements of six events from values with normal, subnormal, infinite and missing ones."""
    halves = [(1.5, -6e-8, math.nan), (65504.0, -0.0, 3e-5), (1.0, math.inf, 0.0)]
    singles = [(0.1, 1e-45), (-0.0, math.nan), (1.0, 2.0)]
    packed = [
        struct.pack("<qd3e2f", at, at / 8, *half, *single)
        for at, half, single in zip((49, 50, 100), halves, singles, strict=True)
    ]
    stored = StoredValues.of([*packed, None, packed[0][:-1]])
    decoded = decode(stored, _DEFAULTS[:1], _VECTORS)
    rows, stale = np.array([0, 1, 1, 2, 3, 4]), np.array([False] * 2 + [True] + [False] * 3)
    blanks = blank_elements(_VECTORS)
    elements = np.empty((len(rows), len(blanks)), np.int32)
    spread_elements(decoded.elements, rows, stale, blanks, elements)
    return b"".join(result.tobytes() for result in (*decoded, elements))


def _answers() -> StoredValues:
    """Answers to two commands; the first bytes of a value come before the others."""
    stored = [(49, 1.0, 2.0), (50, 3.0, float("nan")), (100, float("inf"), 4.0)]
    whole = [struct.pack("<q2d", *value) for value in stored] + [b"short"]
    lines = [b"$%d\r\n%b\r\n" % (len(value), value) for value in whole]
    text = b"".join([b"*2\r\n", *lines[:2], b"*3\r\n", lines[2], b"$-1\r\n", lines[3]])
    data = np.array(list(text), np.uint8)
    begins, lengths = np.empty((2, 5), np.int64)
    progress: Longs = np.zeros(NEEDED + 1, np.int64)
    progress[ITEM] = -1
    for filled in (len(lines[0]), len(data)):
        read_answers(data, filled, np.array([2, 3]), progress, begins, lengths)
    data.flags.writeable = False
    return StoredValues(data, begins, lengths)
