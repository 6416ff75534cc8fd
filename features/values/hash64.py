"""Keyed 64-bit hashes of event ids and texts.

SipHash-2-4 (Aumasson and Bernstein, public domain) over the UTF-8 bytes of each string; keyed
BLAKE2b for strings of more than 128 bytes, as their hashes are stored. Without the key, an attacker
cannot construct two strings with one hash, and so cannot make another payment look like a
duplicate. By chance, one of 2**64 pairs of strings shares a hash.
"""

from __future__ import annotations

import hashlib
import secrets
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from base.arrays import text_parts
from features.values.kernel.siphash import siphash

Hashes64 = npt.NDArray[np.uint64]

KEY_BYTES = 16
PROCESS_KEY = secrets.token_bytes(KEY_BYTES)
"""Key of hashes that no other process sees."""

_LONGEST = 128
"""Maximum bytes of a string whose hash is a SipHash."""


def hash_ids(values: pa.StringArray, key: bytes) -> Hashes64:
    """uint64[N], the hash under a key of KEY_BYTES of a StringArray[N] without nulls."""
    ends, data = text_parts(values)
    hashes = np.empty(len(values), np.int64)
    siphash(ends, data, np.frombuffer(key, "<i8"), hashes)
    found = hashes.view(np.uint64)
    for row in np.flatnonzero(np.diff(ends) > _LONGEST).tolist():
        found[row] = _blake2(data[ends[row] : ends[row + 1]].tobytes(), key)
    return found


@lru_cache(16)
def fingerprint(key: bytes) -> str:
    """Digest that identifies a key without revealing it."""
    return hashlib.sha256(b"fraud-worker:" + key).hexdigest()[:16]


def _blake2(text: bytes, key: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(text, digest_size=8, key=key).digest(), "little")
