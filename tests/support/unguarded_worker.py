"""Run a worker that lacks one of the guards that make features exact.

``python -m tests.support.unguarded_worker --without NAME --pipeline DIR``. Each call to the store
begins with a pause, so that faults come between two calls.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from base.arrays import Longs
from base.times import DAY
from features.history.labels import LabelBatch, label_appends
from features.history.layout import Layout
from features.history.namespace import Namespace
from features.store.protocol import Compaction, Hashes, MarkWrite, ReadResult
from features.store.redis import RedisStore
from features.values.keys import Keys
from features.windows import engine
from features.windows.entity_windows import EntityWindows
from features.windows.plan import WindowPlan
from features.windows.position import WindowPosition
from worker import app
from worker.histories import HistoryWrites, StoredHistories, marks
from worker.histories.ahead import Ahead
from worker.histories.alignment import Alignment
from worker.labels import label_applier
from worker.pipeline import load_pipeline
from worker.process.logs import configure_logs

_PAUSE_S = 0.1
# Where the guard is about faults between two calls.
_LONG_PAUSE_S = 1.0
_TERMINAL = b":history:terminal:"
"""Part of the keys of the shared histories of the Handbook's features."""

_read_all = RedisStore.read_all
_append = RedisStore.append
_write_marks = RedisStore.write_marks
_write = StoredHistories._write
_oldest = engine._oldest
_make_alignment = Alignment.__init__
_label_appends = label_appends


@dataclass(frozen=True, slots=True)
class Guard:
    """Guard that a worker can lack.

    Attributes:
        meaning: Behaviour of a worker without it.
        faults: Kinds of the faults that show it; empty for all kinds.
        owner: Class or module whose function is replaced; None for no change.
        name: Name of that function.
        replacement: Function without the guard.
    """

    meaning: str
    faults: tuple[str, ...]
    owner: Any = None
    name: str = ""
    replacement: Callable[..., Any] | None = None


def _read_slowly(
    store: RedisStore,
    keys: Sequence[Keys],
    hashes: Sequence[Hashes] = (),
    marks: Sequence[bytes] = (),
) -> ReadResult:
    time.sleep(_PAUSE_S)
    return _read_all(store, keys, hashes, marks)


def _append_slowly(
    store: RedisStore,
    appends: Collection[tuple[bytes, bytes]],
    compactions: Collection[Compaction] = (),
    expire_ms: int | None = None,
    marks: Sequence[MarkWrite] = (),
) -> None:
    time.sleep(_PAUSE_S)
    _append(store, appends, compactions, expire_ms)
    if marks:
        store.write_marks(marks, expire_ms)


def _write_marks_slowly(
    store: RedisStore, marks: Sequence[MarkWrite], expire_ms: int | None = None
) -> None:
    time.sleep(_PAUSE_S)
    _write_marks(store, marks, expire_ms)


SETTINGS = {
    # Micro-batches do not become small where the pauses take more time than their events.
    "FRAUD_WORKER_DELIVERY__LATENCY_BUDGET_S": "10",
    # One that is read again after a crash is often no longer than it was.
    "FRAUD_WORKER_DELIVERY__MAX_BATCH_EVENTS": "500",
}

SLOW: Mapping[str, Callable[..., Any]] = {
    "read_all": _read_slowly,
    "append": _append_slowly,
    "write_marks": _write_marks_slowly,
}


def _read_marks_first(
    store: RedisStore,
    keys: Sequence[Keys],
    hashes: Sequence[Hashes] = (),
    marks: Sequence[bytes] = (),
) -> ReadResult:
    if not keys:
        return _read_slowly(store, keys, hashes, marks)
    before = _read_slowly(store, [], [], marks)
    time.sleep(_LONG_PAUSE_S)
    read = _read_slowly(store, keys, hashes)
    return read._replace(marks=before.marks, server=before.server)


def _write_marks_first(histories: StoredHistories, writes: HistoryWrites) -> None:
    histories._store.write_marks(writes.marks, histories._location.expire_ms)
    time.sleep(_LONG_PAUSE_S)
    _write(histories, replace(writes, marks=()))


def _accept_holes(
    store: RedisStore, marks: Sequence[MarkWrite], expire_ms: int | None = None
) -> None:
    time.sleep(_LONG_PAUSE_S)
    accepting = [one if one.at_least is None else one._replace(at_least=0) for one in marks]
    _write_marks_slowly(store, accepting, expire_ms)


def _compact_by_own_time(plan: EntityWindows, at: WindowPosition) -> Longs:
    return _oldest(plan, replace(at, least=max(at.reached.values(), default=None)))


def _ask_for_ends_once(
    alignment: Alignment, plan: WindowPlan, bounds: Callable[[int], tuple[int, int]]
) -> None:
    _make_alignment(alignment, plan, lru_cache(bounds))


def _refuse_known_ids(
    store: RedisStore,
    appends: Collection[tuple[bytes, bytes]],
    compactions: Collection[Compaction] = (),
    expire_ms: int | None = None,
    marks: Sequence[MarkWrite] = (),
) -> None:
    """Drop a shared member whose id is in its history, whichever of the two is older."""
    shared = [pair for pair in appends if _TERMINAL in pair[0]]
    stored = store.read([key for key, _ in shared])
    others = [pair for pair in appends if _TERMINAL not in pair[0]]
    unknown = [
        (key, _unknown(held, added)) for (key, added), held in zip(shared, stored, strict=True)
    ]
    kept = [*others, *(pair for pair in unknown if pair[1])]
    _append_slowly(store, kept, compactions, expire_ms, marks)


def _unknown(stored: bytes | None, added: bytes) -> bytes:
    dtype = Layout.of(()).dtype
    known: list[tuple[int, int]] = np.frombuffer(stored or b"", dtype)[
        ["event_id", "time"]
    ].tolist()
    kept = b""
    for member in np.frombuffer(added, dtype):
        event_id, at = int(member["event_id"]), int(member["time"])
        if not any(event_id == other and abs(at - time_) < DAY for other, time_ in known):
            known.append((event_id, at))
            kept += member.tobytes()
    return kept


def _known_at_once(
    labels: LabelBatch, entities: Iterable[str], namespace: Namespace
) -> list[tuple[bytes, bytes]]:
    known = replace(labels, label_time=labels.event_time)
    return _label_appends(known, entities, namespace)


GUARDS: Mapping[str, Guard] = {
    "none": Guard("no guard is removed", ()),
    "marks_read_last": Guard(
        "marks are read before the members",
        ("evictions",),
        RedisStore,
        "read_all",
        _read_marks_first,
    ),
    "marks_written_last": Guard(
        "marks are written before the members",
        ("kills",),
        StoredHistories,
        "_write",
        _write_marks_first,
    ),
    "no_holes": Guard(
        "a mark is written where the one before it is lost",
        ("flushes",),
        RedisStore,
        "write_marks",
        _accept_holes,
    ),
    "compaction_by_all": Guard(
        "shared histories are compacted by the watermark of one partition",
        ("kills", "comings_and_goings"),
        engine,
        "_oldest",
        _compact_by_own_time,
    ),
    "alignment": Guard(
        "no event waits for other partitions", ("kills",), Alignment, "waits", lambda *_: {}
    ),
    "ends_asked_again": Guard(
        "the end of a partition is asked for once",
        ("kills",),
        Alignment,
        "__init__",
        _ask_for_ends_once,
    ),
    "applied_ahead": Guard(
        "partitions that wait are not applied ahead", ("kills",), Ahead, "apply", lambda *_: None
    ),
    "evictions": Guard(
        "evicted keys are not noticed",
        ("evictions",),
        marks,
        "valid_marks",
        lambda read, _: read,
    ),
    "repeats_by_order": Guard(
        "of two members with one id, the one that came first counts",
        ("kills",),
        RedisStore,
        "append",
        _refuse_known_ids,
    ),
    "label_times": Guard(
        "a label counts from its arrival",
        ("kills",),
        label_applier,
        "label_appends",
        _known_at_once,
    ),
}


def main() -> None:
    """Run until SIGTERM, like ``fraud-worker run``."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--without", choices=GUARDS, required=True)
    parser.add_argument("--pipeline", type=Path, required=True)
    arguments = parser.parse_args()
    os.environ |= SETTINGS
    for name, function in SLOW.items():
        setattr(RedisStore, name, function)
    guard = GUARDS[arguments.without]
    if guard.owner is not None:
        setattr(guard.owner, guard.name, guard.replacement)
    configure_logs("info", "json")
    app.run(load_pipeline(arguments.pipeline))


if __name__ == "__main__":
    main()
