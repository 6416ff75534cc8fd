"""In-memory online store for replay, ``score`` and tests."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from operator import add

from features.store.protocol import (
    Compaction,
    Hashes,
    MarkWrite,
    ReadResult,
    Row,
    ServerRun,
    lost_marks,
)
from features.store.stored_values import StoredValues
from features.values.keys import Keys


class MemoryStore:
    """Store that keeps its values until the process ends.

    Keys do not expire: expiry only bounds the memory of a server, and readers never rely on it. A
    compaction that keeps no member frees memory.
    """

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._hashes: dict[bytes, dict[bytes, bytes]] = {}
        self._writing = threading.Lock()
        self._run_id = uuid.uuid4().hex

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return list(map(self._values.get, keys))

    def read_all(
        self, keys: Sequence[Keys], hashes: Sequence[Hashes] = (), marks: Sequence[bytes] = ()
    ) -> ReadResult:
        rows = [[self._row(key, fields) for key in asked] for asked, fields in hashes]
        values = self.read([key for some in keys for key in some.to_list()])
        server = ServerRun(self._run_id, 0) if marks else None
        return ReadResult(StoredValues.of(values), rows, self.read(marks) if marks else (), server)

    def write(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        with self._writing:
            self._values.update(pairs)

    def replace(self, key: bytes, expected: bytes | None, value: bytes) -> bool:
        with self._writing:
            same = (self._values.get(key) or None) == (expected or None)
            if same:
                self._values[key] = value
            return same

    def append(
        self,
        appends: Sequence[tuple[bytes, bytes]],
        compactions: Sequence[Compaction] = (),
        expire_ms: int | None = None,  # noqa: ARG002 - see the class
    ) -> None:
        values = self._values
        with self._writing:
            for key, prefix, kept in compactions:
                value = values.get(key, b"")
                if prefix and value.startswith(prefix):
                    values[key] = kept + value[len(prefix) :]
                    if not values[key]:
                        del values[key]
            added = dict(appends)
            if len(added) == len(appends):
                # A table appends millions of keys: avoid a Python step for each.
                grown = map(add, map(values.get, added, repeat(b"")), added.values())
                values.update(zip(added, grown, strict=True))
                return
            for key, more in appends:
                values[key] = values.get(key, b"") + more

    def write_marks(
        self,
        marks: Sequence[MarkWrite],
        expire_ms: int | None = None,  # noqa: ARG002 - see the class
    ) -> None:
        with self._writing:
            for mark in marks:
                if mark.at_least is not None and self._reached(mark) < mark.at_least:
                    raise lost_marks(mark)
            for mark in marks:
                if mark.at_least is None or self._reached(mark) <= _number(mark.mark):
                    begin, value = mark.place * len(mark.mark), self._values.get(mark.key, b"")
                    behind = value[begin + len(mark.mark) :]
                    self._values[mark.key] = value[:begin].ljust(begin, b"\0") + mark.mark + behind

    def require_no_eviction(self) -> None:
        pass

    def write_hash(self, key: bytes, fields: Mapping[bytes, bytes]) -> None:
        """Set fields of a hash, as a program other than this worker does on a server."""
        with self._writing:
            self._hashes.setdefault(key, {}).update(fields)

    def ping(self) -> None:
        pass

    def close(self) -> None:
        pass

    def _reached(self, mark: MarkWrite) -> int:
        begin = mark.place * len(mark.mark)
        return _number(self._values.get(mark.key, b"")[begin : begin + len(mark.mark)])

    def _row(self, key: bytes, fields: Sequence[bytes]) -> Row | None:
        if key in self._values:
            return None
        return list(map(self._hashes.get(key, {}).get, fields))


def _number(mark: bytes) -> int:
    """Number that a mark has reached, 0 without a mark."""
    return int.from_bytes(mark[:8], "little")
