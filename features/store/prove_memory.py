"""Fixed writes to the in-memory store, with known results."""

from __future__ import annotations

from base.compiled import prove
from features.store.memory import MemoryStore
from features.store.protocol import Compaction

_EXPECTED = "aa09b1536530c8fe1f781f546658f031359d34eda9db2fc5c94146f0e205a575"


def prove_memory() -> None:
    """Compare the values of the compiled store with known ones.

    Raises:
        ConfigurationError: They differ.
    """
    prove("memory", golden_results(), _EXPECTED)


def golden_results() -> bytes:
    """Values of 100 keys after appends and compactions, more than the buffer holds at first."""
    store, keys = MemoryStore(), [b"%d" % number for number in range(100)]
    for turn in range(12):
        added = [bytes([turn, number]) * (number * turn % 37) for number in range(len(keys))]
        values = store.read(keys)
        halves = [
            Compaction(key, value[: len(value) // 2], value[: number % 5])
            for number, (key, value) in enumerate(zip(keys, values, strict=True))
            if value and (number + turn) % 3 == 0
        ]
        store.append([*zip(keys, added, strict=True)], halves)
    return b"".join(b"%d:%b" % (len(value or b""), value) for value in store.read(keys) if value)
