"""Fixed writes to the in-memory store, and the bytes of one to a server, with known results."""

from __future__ import annotations

from base.compiled import prove
from features.store.memory import MemoryStore
from features.store.protocol import Compaction
from features.store.redis_protocol import packed_append
from features.store.stored_values import StoredValues
from features.store.writes import AppendColumns
from features.values.keys import Keys

_EXPECTED = "457bfa7e3bd9d36741944ca29df9fbd58eb9750cf64ed4b3462bebf20b62ed11"


def prove_memory() -> None:
    """Compare the values of the compiled store, and the bytes of a write, with known ones.

    Raises:
        ConfigurationError: They differ.
    """
    prove("memory", golden_results(), _EXPECTED)


def golden_results() -> bytes:
    """Values of 100 keys after appends and compactions, more than the buffer holds at first.

    Then a call that appends the values to the keys.
    """
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
    values = store.read(keys)
    held = [b"%d:%b" % (len(value), value) for value in values if value]
    appends = AppendColumns(Keys.of(keys).behind(b"history:"), StoredValues.of(values))
    return b"".join([*held, packed_append("0" * 40, appends, b"1000").data])
