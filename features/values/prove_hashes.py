"""Fixed inputs of the compiled loops over texts, with known results."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from base.arrays import text_parts
from base.compiled import prove
from features.values.grouping import grouped
from features.values.kernel.siphash import siphash
from features.values.key_texts import encode

_EXPECTED = "7d80676cc4a676a2aaff83ac4767d7b880eeabc7c7d13cbbd904883481da4db5"


def prove_hashes() -> None:
    """Compare compiled hashes with known ones.

    Raises:
        ConfigurationError: They differ.
    """
    prove("hashes", golden_results(), _EXPECTED)


def golden_results() -> bytes:
    """Hashes of 65 texts of 0 to 64 bytes, groups of shorter ones, and keys made of such parts."""
    texts = pa.array([bytes(range(size)).decode() for size in range(65)], pa.string())
    hashes = np.empty(len(texts), np.int64)
    siphash(*text_parts(texts), np.frombuffer(bytes(range(16)), "<i8"), hashes)
    keys, codes = grouped(pa.array(["a", "ab", "", "ab", "", "b", "ä", "a"], pa.string()))
    parts = pa.array(["", "|", "\\N", "ä\\|", "x" * 1023, "N"], pa.string())
    ends, data = text_parts(encode([parts, parts[::-1], parts])[0])
    made = [hashes.tobytes(), codes.tobytes(), *keys.to_list(), ends.tobytes(), data.tobytes()]
    return b"".join(made)
