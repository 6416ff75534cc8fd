"""Fixed inputs of the compiled loops over texts, with known results."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from base.arrays import text_parts
from base.compiled import prove
from features.values.grouping import grouped
from features.values.kernel.siphash import siphash

_EXPECTED = "8d2c984bf2c2982f19b0d344b8d5b054f9d71ac0d62182cdb627b076ffaccb7b"


def prove_hashes() -> None:
    """Compare compiled hashes with known ones.

    Raises:
        ConfigurationError: They differ.
    """
    prove("hashes", golden_results(), _EXPECTED)


def golden_results() -> bytes:
    """Hashes of 65 texts of 0 to 64 bytes, and the groups of shorter ones."""
    texts = pa.array([bytes(range(size)).decode() for size in range(65)], pa.string())
    hashes = np.empty(len(texts), np.int64)
    siphash(*text_parts(texts), np.frombuffer(bytes(range(16)), "<i8"), hashes)
    keys, codes = grouped(pa.array(["a", "ab", "", "ab", "", "b", "ä", "a"], pa.string()))
    return b"".join([hashes.tobytes(), codes.tobytes(), *keys.to_list()])
