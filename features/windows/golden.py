"""Fixed inputs of the compiled windows, with known results."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from base.arrays import Longs
from base.compiled import prove
from features.history.labels import LABEL
from features.windows.kernel import rows
from features.windows.kernel.aggregates import DECAYED, PERCENTILE
from features.windows.kernel.loop import compute
from features.windows.kernel.structs import (
    MISSING,
    NOWHERE,
    CompiledWindows,
    Events,
    Results,
    Stored,
    Trace,
)

_EXPECTED = "331c4b20b2ec550f0b711a1d8bdc040c1aa407793d7a883e77f0cf9cb9ccd814"
_MEMBER = np.dtype(
    [
        ("partition", "<i4"),
        ("offset", "<i8"),
        ("time", "<i8"),
        ("event_id", "<i8"),
        ("value", "<i8"),
        ("where", "?"),
    ]
)
_MEMBERS, _LABELS, _EVENTS = 60, 40, 24


def prove_windows() -> None:
    """Compare the results of the compiled windows with known ones.

    Raises:
        ConfigurationError: They differ.
    """
    prove("windows", golden_results(), _EXPECTED)


def golden_results() -> bytes:
    """Results for histories with late, repeated and unsorted members, and all aggregates.

    They are histories of one partition, and shared ones with and without members ahead.
    """
    own, shared = _plan(shared=False), _plan(shared=True)
    oldest, ahead = np.array([700, 600]), np.array([40, 45])
    return b"".join(
        [
            _results(own, oldest, ahead),
            _results(shared, np.array([560, 580]), ahead),
            _results(shared, np.array([560, 580]), np.array([60, 61])),
        ]
    )


def _results(plan: CompiledWindows, oldest: Longs, first: Longs) -> bytes:
    """Results for two histories."""
    stored = np.zeros(_MEMBERS, _MEMBER)
    stored["partition"] = _spread(_MEMBERS, 7, 2)
    stored["offset"] = _spread(_MEMBERS, 11, 50)
    stored["time"] = _spread(_MEMBERS, 13, 900)
    stored["event_id"] = _spread(_MEMBERS, 17, 40)
    stored["value"] = _spread(_MEMBERS, 19, 1000) - 300
    stored["value"][::9] = MISSING
    stored["where"] = _spread(_MEMBERS, 23, 3) > 0
    labels = np.zeros(_LABELS, LABEL)
    labels["partition"] = -1
    labels["offset"] = np.arange(_LABELS)
    labels["time"] = _spread(_LABELS, 29, 900)
    labels["event_id"] = _spread(_LABELS, 31, 40)
    labels["label_time"] = _spread(_LABELS, 37, 900)
    labels["fraud"] = _spread(_LABELS, 41, 2) > 0
    half, zero = np.array([0, 1, 2]), np.zeros(1, np.int64)
    results = Results(
        np.zeros((plan.windows.shape[1], _EVENTS)),
        np.zeros(_EVENTS, np.bool_),
        np.zeros(_EVENTS, np.bool_),
        np.zeros(_EVENTS * plan.size, np.uint8),
        np.zeros(stored.nbytes, np.uint8),
        np.zeros(labels.nbytes, np.uint8),
        np.zeros((3, 2), np.int64),
        np.zeros((3, 2), np.int64),
    )
    compute(
        plan,
        _stored(stored, half, oldest),
        _stored(labels, half, np.array([500, 0])),
        _events(half, first),
        results,
        Trace(NOWHERE, 0, np.empty((6, 0), np.int64), zero),
        0,
        2,
    )
    return b"".join(array.tobytes() for array in results)


def _spread(count: int, step: int, below: int) -> Longs:
    """Whole numbers from 0 to below ``below``, in no order."""
    return np.arange(1, count + 1) ** 3 * step % 10_007 % below


def _plan(*, shared: bool) -> CompiledWindows:
    """All aggregates without a filter and without the event, with both, and by the own value."""
    kinds = np.arange(DECAYED + 1).repeat(3)
    pairs = np.arange(len(kinds)) % 3
    current = (pairs > 0).astype(np.int64)
    computed = rows.KEPT + 3 if shared else rows.KEPT + 2
    wheres = [computed, computed + 1] if shared else [NOWHERE, rows.KEPT + 1]
    own = computed + 2 if shared else computed
    return CompiledWindows(
        np.stack([kinds, 300 + 100 * current, 20 * (1 - current), current, pairs]),
        np.stack(
            [
                np.full(len(kinds), -1.0),
                np.full(len(kinds), 100.0),
                np.where(kinds == PERCENTILE, 90.0, 50.0),
            ]
        ),
        np.array(
            [
                [rows.KEPT, rows.KEPT, rows.KEPT],
                [*wheres, wheres[0]],
                [NOWHERE, rows.KEPT + 1, NOWHERE],
                [NOWHERE, NOWHERE, rows.KEPT + 1],
                [*wheres, own],
            ]
        ),
        np.array([[28, 36], [0, 1]]),
        own + 1,
        _MEMBER.itemsize,
        400,
        200,
        20,
        4,
        shared,
        20,
    )


def _stored(items: npt.NDArray[np.void], half: Longs, oldest: Longs) -> Stored:
    """Stored values of two histories with half of the items each."""
    size = len(items) // 2 * items.dtype.itemsize
    begins = half[:-1] * size
    data = np.frombuffer(items.tobytes(), np.uint8)
    return Stored(data, begins, begins * 0 + size, oldest)


def _events(half: Longs, first: Longs) -> Events:
    members = np.zeros((rows.KEPT + 2, _EVENTS), np.int64)
    times = 500 + _spread(_EVENTS, 43, 500)
    known = times, np.arange(_EVENTS) % 2, 60 + np.arange(_EVENTS), _spread(_EVENTS, 47, 40)
    members[: len(known)] = np.stack(known)
    members[rows.KEPT] = _spread(_EVENTS, 53, 1000) - 300
    members[rows.KEPT + 1] = _spread(_EVENTS, 59, 2)
    late, order = times < 600, _spread(_EVENTS, 61, 997).argsort(kind="stable")
    return Events(
        order,
        half * (_EVENTS // 2),
        np.ascontiguousarray(members[:, order]),
        np.maximum(times, 600)[order],
        late[order],
        first,
    )
