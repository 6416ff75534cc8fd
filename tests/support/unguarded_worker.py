"""Run a worker that lacks one of the guards that make features exact.

``python -m tests.support.unguarded_worker --without NAME --pipeline DIR``. Each call to the store
begins with a pause, so that faults come between two calls.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from base.times import DAY
from features.history.layout import Layout
from features.store import redis, scripts
from features.store.protocol import Compaction, Hashes, MarkWrite, ReadResult, ServerRun
from features.store.redis import RedisStore
from features.values.keys import Keys
from features.windows import engine
from features.windows.entity_windows import EntityWindows
from features.windows.position import WindowPosition
from worker import app
from worker.delivery.delivery import Delivery
from worker.delivery.publish import Outbox
from worker.histories import HistoryWrites, StoredHistories, marks
from worker.histories.alignment import Alignment, Wait
from worker.histories.filling import Ahead
from worker.process.logs import configure_logs

_PAUSE_S = 0.05
_TERMINAL = b":history:terminal:"
"""Part of the key of a shared history of the Handbook's features."""

_read_all = RedisStore.read_all
_append = RedisStore.append
_write_marks = RedisStore.write_marks
_write = StoredHistories._write
_oldest = engine._oldest
_make_alignment = Alignment.__init__


@dataclass(frozen=True, slots=True)
class Guard:
    """Guard that a worker can lack.

    Attributes:
        meaning: Behaviour of a worker without it.
        faults: Kinds of the faults that show it; empty for all kinds.
        remove: Patches the worker's classes.
    """

    meaning: str
    faults: tuple[str, ...]
    remove: Callable[[], None]


def _keep() -> None:
    pass


def _read_marks_first() -> None:
    def read_all(
        store: RedisStore,
        keys: Sequence[Keys],
        hashes: Sequence[Hashes] = (),
        marks: Sequence[bytes] = (),
    ) -> ReadResult:
        before = _slow_read_all(store, [], [], marks)
        return _slow_read_all(store, keys, hashes)._replace(
            marks=before.marks, server=before.server
        )

    RedisStore.read_all = read_all  # type: ignore[method-assign]


def _write_marks_first() -> None:
    def write(histories: StoredHistories, writes: HistoryWrites) -> None:
        histories._store.write_marks(writes.marks, histories._location.expire_ms)
        _write(histories, replace(writes, marks=()))

    StoredHistories._write = write  # type: ignore[method-assign]


def _accept_holes() -> None:
    def write_marks(
        store: RedisStore, marks: Sequence[MarkWrite], expire_ms: int | None = None
    ) -> None:
        accepting = [one if one.at_least is None else one._replace(at_least=0) for one in marks]
        _slow_write_marks(store, accepting, expire_ms)

    RedisStore.write_marks = write_marks  # type: ignore[method-assign]


def _commit_first() -> None:
    def deliver(
        delivery: Delivery, outbox: Outbox, writes: HistoryWrites, consumed_at: float
    ) -> None:
        try:
            delivery._topics.verify(consumed_at)
            delivery._checkpoint.deliver(outbox)
        finally:
            delivery.histories.write(writes)

    Delivery._deliver = deliver  # type: ignore[method-assign]


def _compact_by_length() -> None:
    check = " and redis.sha1hex(prefix) == digest"
    assert check in scripts.COMPACT.text
    unchecked = scripts.Script(scripts.COMPACT.text.replace(check, ""))
    scripts.COMPACT = unchecked  # type: ignore[misc]
    redis._LOADS.append(("SCRIPT LOAD", unchecked.text))


def _compact_by_own_time() -> None:
    def oldest(plan: EntityWindows, at: WindowPosition) -> npt.NDArray[np.int64]:
        return _oldest(plan, replace(at, least=max(at.reached.values(), default=None)))

    engine._oldest = oldest


def _never_wait() -> None:
    def waits(*_: object) -> dict[int, Wait]:
        return {}

    Alignment.waits = waits  # type: ignore[method-assign]


def _ask_for_ends_once() -> None:
    def make(alignment: Alignment, plan: Any, bounds: Callable[[int], tuple[int, int]]) -> None:
        _make_alignment(alignment, plan, lru_cache(bounds))

    Alignment.__init__ = make  # type: ignore[method-assign]


def _never_apply_ahead() -> None:
    def apply(*_: object) -> None:
        pass

    Ahead.apply = apply  # type: ignore[method-assign]


def _ignore_evictions() -> None:
    def valid_marks(read: npt.NDArray[Any], _: ServerRun) -> npt.NDArray[Any]:
        return read

    marks.valid_marks = valid_marks


def _refuse_known_ids() -> None:
    """Drop a shared member whose id is in its history already, whichever of the two is older."""
    dtype = Layout.of(()).dtype

    def unknown(stored: bytes | None, added: bytes) -> bytes:
        known = [*np.frombuffer(stored or b"", dtype)[["event_id", "time"]].tolist()]
        kept = b""
        for index, member in enumerate(np.frombuffer(added, dtype)):
            event_id, time_ = int(member["event_id"]), int(member["time"])
            if not any(event_id == other and abs(time_ - at) < DAY for other, at in known):
                known.append((event_id, time_))
                kept += added[index * dtype.itemsize : (index + 1) * dtype.itemsize]
        return kept

    def append(
        store: RedisStore,
        appends: Collection[tuple[bytes, bytes]],
        compactions: Collection[Compaction] = (),
        expire_ms: int | None = None,
    ) -> None:
        shared = [pair for pair in appends if _TERMINAL in pair[0]]
        stored = store.read([key for key, _ in shared])
        judged = [
            (key, unknown(value, added)) for (key, added), value in zip(shared, stored, strict=True)
        ]
        others = [pair for pair in appends if _TERMINAL not in pair[0]]
        kept = [*others, *(pair for pair in judged if pair[1])]
        _slow_append(store, kept, compactions, expire_ms)

    RedisStore.append = append  # type: ignore[method-assign]


GUARDS: Mapping[str, Guard] = {
    "none": Guard("no guard is removed, store calls are slow", (), _keep),
    "marks_after_members_read": Guard(
        "marks are read before the members", ("evictions",), _read_marks_first
    ),
    "marks_after_members_written": Guard(
        "marks are written before the members", ("kills",), _write_marks_first
    ),
    "no_holes": Guard(
        "a mark may be written where the one before is lost", ("flushes",), _accept_holes
    ),
    "acknowledged_writes": Guard(
        "offsets are committed before the members are written", ("kills", "flushes"), _commit_first
    ),
    "compaction_by_hash": Guard(
        "a compaction replaces a prefix of the same length", ("freezes",), _compact_by_length
    ),
    "compaction_by_all": Guard(
        "shared histories are compacted by the time of the own partition",
        ("kills", "comings_and_goings"),
        _compact_by_own_time,
    ),
    "alignment": Guard("no event waits for other partitions", ("kills",), _never_wait),
    "ends_after_polls": Guard(
        "the end of each partition is asked for once", ("kills",), _ask_for_ends_once
    ),
    "applying_ahead": Guard(
        "a partition that waits is not applied ahead", ("kills",), _never_apply_ahead
    ),
    "evictions": Guard("evictions are ignored", ("evictions",), _ignore_evictions),
    "repeats_by_order": Guard(
        "of two members with an id, the one that comes first counts", ("kills",), _refuse_known_ids
    ),
}


def _slow_read_all(
    store: RedisStore,
    keys: Sequence[Keys],
    hashes: Sequence[Hashes] = (),
    marks: Sequence[bytes] = (),
) -> ReadResult:
    time.sleep(_PAUSE_S)
    return _read_all(store, keys, hashes, marks)


def _slow_append(
    store: RedisStore,
    appends: Collection[tuple[bytes, bytes]],
    compactions: Collection[Compaction] = (),
    expire_ms: int | None = None,
) -> None:
    time.sleep(_PAUSE_S)
    _append(store, appends, compactions, expire_ms)


def _slow_write_marks(
    store: RedisStore, marks: Sequence[MarkWrite], expire_ms: int | None = None
) -> None:
    time.sleep(_PAUSE_S)
    _write_marks(store, marks, expire_ms)


def main() -> None:
    """Run until SIGTERM, like ``fraud-worker run``."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--without", choices=GUARDS, required=True)
    parser.add_argument("--pipeline", type=Path, required=True)
    arguments = parser.parse_args()
    RedisStore.read_all = _slow_read_all  # type: ignore[method-assign]
    RedisStore.append = _slow_append  # type: ignore[method-assign]
    RedisStore.write_marks = _slow_write_marks  # type: ignore[method-assign]
    GUARDS[arguments.without].remove()
    configure_logs("info", "json")
    app.run(app.load_pipeline(arguments.pipeline))


if __name__ == "__main__":
    main()
