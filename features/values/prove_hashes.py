"""Fixed inputs of the compiled hashes, with known results."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from base.arrays import text_parts
from base.compiled import prove
from features.values.kernel.siphash import siphash

_EXPECTED = "d43a922ddf761fb070964a0a46f2e06edc02202424b7e9592e72847e23d1199d"


def prove_hashes() -> None:
    """Compare compiled hashes with known ones.

    Raises:
        ConfigurationError: They differ.
    """
    prove("hashes", golden_results(), _EXPECTED)


def golden_results() -> bytes:
    """Hashes of 65 texts of 0 to 64 bytes."""
    texts = pa.array([bytes(range(size)).decode() for size in range(65)], pa.string())
    hashes = np.empty(len(texts), np.int64)
    siphash(*text_parts(texts), np.frombuffer(bytes(range(16)), "<i8"), hashes)
    return hashes.tobytes()
