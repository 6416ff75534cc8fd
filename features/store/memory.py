"""In-memory online store for replay, ``score``, tables and tests."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import repeat
from zlib import crc32

import numpy as np

from base.arrays import Longs
from features.store.kernel import arena
from features.store.kernel.resp import ABSENT
from features.store.protocol import (
    KEYS_PER_SCAN,
    Compaction,
    Hashes,
    MarkWrite,
    ReadResult,
    Row,
    ServerRun,
    lost_marks,
)
from features.store.stored_values import StoredValues
from features.store.writes import AppendColumns, Appends, CompactionColumns, Compactions
from features.values.keys import Keys

_NO_SLOT = 0
"""Slot of keys without a value."""
_SLOTS, _BYTES = 1024, 2**16
"""Numbers of slots and bytes at first."""


class MemoryStore:
    """Store that keeps its values until the process ends.

    Keys do not expire: expiry only bounds the memory of a server, and readers never rely on it. A
    compaction that keeps no member frees memory.

    All values are in one buffer, which is read as it is: a table reads and appends to millions of
    histories, and an object for each would take as long as its windows.
    """

    def __init__(self) -> None:
        self._slots: dict[bytes, int] = {}
        self._places = np.empty((3, _SLOTS), np.int64)
        self._places[:, _NO_SLOT] = (0, ABSENT, 0)
        self._free: list[int] = []
        self._used = _NO_SLOT + 1
        self._data = np.empty(_BYTES, np.uint8)
        self._filled = 0
        self._hashes: dict[bytes, dict[bytes, bytes]] = {}
        self._lock = threading.Lock()
        self._run_id = uuid.uuid4().hex

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return self.read_all([Keys.of(keys)]).values.to_list()

    def read_all(
        self, keys: Sequence[Keys], hashes: Sequence[Hashes] = (), marks: Sequence[bytes] = ()
    ) -> ReadResult:
        names = [key for some in keys for key in some.to_list()]
        with self._lock:
            rows = [[self._row(key, fields) for key in asked] for asked, fields in hashes]
            begins, lengths = self._places[: arena.ROOM, self._slots_of(names)]
            data = self._data.view()
            held = [self._value(key) for key in marks]
        data.flags.writeable = False
        server = ServerRun(self._run_id, 0) if marks else None
        return ReadResult(StoredValues(data, begins, lengths), rows, held, server)

    def write(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        with self._lock:
            self._write(dict(pairs))

    def replace(self, key: bytes, expected: bytes | None, value: bytes) -> bool:
        with self._lock:
            same = (self._value(key) or b"") == (expected or b"")
            if same:
                self._write({key: value})
            return same

    def append(
        self,
        appends: Collection[tuple[bytes, bytes]],
        compactions: Collection[Compaction] = (),
        expire_ms: int | None = None,  # noqa: ARG002 - see the class
        marks: Sequence[MarkWrite] = (),
    ) -> None:
        with self._lock:
            for replaced in Compactions.of(compactions).parts:
                self._compact(replaced)
            for added in Appends.of(appends).parts:
                self._append(added)
            self._write_marks(marks)

    def write_marks(
        self,
        marks: Sequence[MarkWrite],
        expire_ms: int | None = None,  # noqa: ARG002 - see the class
    ) -> None:
        with self._lock:
            self._write_marks(marks)

    def scan(self, prefix: bytes, cursor: int = 0) -> tuple[int, list[bytes]]:
        # By a checksum, so that keys which come and go meanwhile move no others.
        with self._lock:
            left = sorted((crc32(key), key) for key in self._slots if key.startswith(prefix))
        left = [pair for pair in left if pair[0] >= cursor]
        end = left[KEYS_PER_SCAN][0] if len(left) > KEYS_PER_SCAN else 0
        return end, [key for number, key in left if not end or number < end]

    def remove(self, keys: Collection[bytes]) -> None:
        self.drop(keys)

    def require_no_eviction(self) -> None:
        pass

    def write_hash(self, key: bytes, fields: Mapping[bytes, bytes]) -> None:
        """Set fields of a hash, as a program other than this worker does on a server."""
        with self._lock:
            self._hashes.setdefault(key, {}).update(fields)

    def ping(self) -> None:
        pass

    def close(self) -> None:
        pass

    def drop(self, keys: Iterable[bytes]) -> None:
        """Remove keys, which the store may not have, as a server does when they expire."""
        with self._lock:
            self._drop(keys)

    def _value(self, key: bytes) -> bytes | None:
        begin, length, _ = self._places[:, self._slots.get(key, _NO_SLOT)].tolist()
        return None if length == ABSENT else self._data[begin : begin + length].tobytes()

    def _write_marks(self, marks: Sequence[MarkWrite]) -> None:
        for mark in marks:
            if mark.at_least is not None and self._reached(mark) < mark.at_least:
                raise lost_marks(mark)
        for mark in marks:
            if mark.at_least is None or self._reached(mark) <= _number(mark.mark):
                begin, value = mark.place * len(mark.mark), self._value(mark.key) or b""
                behind = value[begin + len(mark.mark) :]
                self._write({mark.key: value[:begin].ljust(begin, b"\0") + mark.mark + behind})

    def _reached(self, mark: MarkWrite) -> int:
        begin = mark.place * len(mark.mark)
        return _number((self._value(mark.key) or b"")[begin : begin + len(mark.mark)])

    def _row(self, key: bytes, fields: Sequence[bytes]) -> Row | None:
        if key in self._slots:
            return None
        return list(map(self._hashes.get(key, {}).get, fields))

    def _write(self, pairs: Mapping[bytes, bytes]) -> None:
        slots = self._slots_for([*pairs])
        self._places[:, slots] = 0
        self._fill(slots, StoredValues.of([*pairs.values()]))

    def _append(self, added: AppendColumns) -> None:
        has = np.flatnonzero(added.values.lengths >= 0)
        names = added.keys.to_list()
        if len(has) < len(names):
            names = [names[index] for index in has.tolist()]
        self._fill(self._slots_for(names), added.values.take(has))

    def _fill(self, slots: Longs, more: StoredValues) -> None:
        """Append bytes to the values of slots."""
        columns = more.data, more.begins, more.lengths
        self._run(
            lambda done: arena.append(
                self._data, self._filled, self._places, slots, *columns, done
            ),
            len(slots),
        )

    def _compact(self, replaced: CompactionColumns) -> None:
        has = np.flatnonzero(replaced.kept.lengths >= 0)
        names = [replaced.keys.key(index) for index in has.tolist()]
        slots = self._slots_of(names)
        prefixes, kept = replaced.prefixes.take(has), replaced.kept.take(has)
        columns = prefixes.data, prefixes.begins, prefixes.lengths
        others = kept.data, kept.begins, kept.lengths
        self._run(
            lambda done: arena.replace(
                self._data, self._filled, self._places, slots, *columns, *others, done
            ),
            len(slots),
        )
        gone = np.flatnonzero(self._places[arena.LENGTH, slots] == ABSENT)
        self._drop([names[index] for index in gone.tolist()])

    def _run(self, step: Callable[[int], tuple[int, int, int]], count: int) -> None:
        """Run a loop of `arena` over all of ``count`` items, in larger buffers where one is full.

        Args:
            step: Function of the number of items that are done, with the results of the loop.
            count: Number of items.
        """
        done = 0
        while done < count:
            done, self._filled, needed = step(done)
            if needed:
                self._grow(needed)

    def _grow(self, needed: int) -> None:
        """Move the values to a larger buffer, half of which is free then."""
        size = int(self._places[arena.LENGTH, : self._used].clip(0).sum())
        data = np.empty(3 * size + 2 * needed + _BYTES, np.uint8)
        self._filled = arena.move_all(self._data, self._places, self._used, data)
        self._data = data

    def _slots_of(self, names: Sequence[bytes]) -> Longs:
        """Slot of each key, _NO_SLOT where there is none."""
        return np.fromiter(map(self._slots.get, names, repeat(_NO_SLOT)), np.int64, len(names))

    def _slots_for(self, names: Sequence[bytes]) -> Longs:
        """Slot of each key, an empty one for a key that has none."""
        slots = self._slots_of(names)
        for index in np.flatnonzero(slots == _NO_SLOT).tolist():
            name = names[index]
            if name not in self._slots:
                self._slots[name] = self._empty_slot()
            slots[index] = self._slots[name]
        return slots

    def _empty_slot(self) -> int:
        if self._free:
            slot = self._free.pop()
        else:
            slot, self._used = self._used, self._used + 1
            if slot == self._places.shape[1]:
                self._places = np.concatenate([self._places, np.empty_like(self._places)], 1)
        self._places[:, slot] = 0
        return slot

    def _drop(self, keys: Iterable[bytes]) -> None:
        for key in keys:
            slot = self._slots.pop(key, _NO_SLOT)
            if slot != _NO_SLOT:
                self._places[:, slot] = (0, ABSENT, 0)
                self._free.append(slot)


def _number(mark: bytes) -> int:
    """Number that a mark has reached, 0 without a mark."""
    return int.from_bytes(mark[:8], "little")
