"""Bugs to be put into the engine, the store or the worker, each as what a test drives instead."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import numpy as np

from features.compute.matrix import Enriched
from features.definition import FeatureSet
from features.history.watermarks import LogState
from features.store.memory import MemoryStore
from features.store.protocol import Compaction, OnlineStore
from features.windows import coverage, engine, plan, position
from features.windows.kernel import loop, rows
from features.windows.kernel.structs import CompiledWindows, Events
from features.windows.window import Window
from schemas.batch import EventBatch
from tests.properties.rich_set import Numbers
from tests.properties.simulation import Make
from tests.properties.system import System
from tests.support.interpreted import interpreted

_REAL_SHORT = coverage.find_short
# Kernels into which a bug is put run without compilation.
_KERNEL = interpreted("features.windows")
_REAL_COMPACT = _KERNEL["loop"].compact_members
_REAL_IS_FRAUD = _KERNEL["aggregates"].is_fraud
_NEVER = np.iinfo(np.int64).max


class CompactsByLength(MemoryStore):
    """Replaces as many bytes as the prefix had, whatever they are."""

    def append(
        self,
        appends: Collection[tuple[bytes, bytes]],
        compactions: Collection[Compaction] = (),
        expire_ms: int | None = None,
    ) -> None:
        for key, prefix, kept in compactions:
            (found,) = self.read([key])
            if found is not None and len(found) >= len(prefix):
                self.write([(key, kept + found[len(prefix) :])])
        super().append(appends, (), expire_ms)


class ReadsNotItsWrites(MemoryStore):
    """Members are read one write later."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[tuple[bytes, bytes]] = []

    def append(
        self,
        appends: Collection[tuple[bytes, bytes]],
        compactions: Collection[Compaction] = (),
        expire_ms: int | None = None,
    ) -> None:
        members = [pair for pair in appends if b":history:" in pair[0]]
        others = [pair for pair in appends if b":history:" not in pair[0]]
        super().append([*self._waiting, *others], compactions, expire_ms)
        self._waiting = members


class OneMore(System):
    """An event sees one member more than the cap."""

    def load(self, rules: Numbers, across: str) -> FeatureSet:
        return super().load((*rules[:2], rules[2] + 1, *rules[3:]), across)


class HighestIsWatermark(System):
    """One wild event moves the watermark."""

    def load(self, rules: Numbers, across: str) -> FeatureSet:
        return super().load((*rules[:3], 1, rules[4]), across)


class RecordsAreNotLookedAt(System):
    """However early an event is for its record, it supports the watermark."""

    def load(self, rules: Numbers, across: str) -> FeatureSet:
        return super().load((*rules[:4], None), across)


class AnyPartition(System):
    """Late is what is behind the watermark of any partition."""

    def enrich(self, batch: EventBatch, log: LogState) -> Enriched:
        every = max(log.highest.values(), default=())
        known = dict.fromkeys(range(self.namespace.partitions), every) if every else {}
        return super().enrich(batch, replace(log, highest=known))


class NeverFull(System):
    """How far back histories reach is not read from the offsets' notes."""

    def enrich(self, batch: EventBatch, log: LogState) -> Enriched:
        return super().enrich(batch, replace(log, lowest={}))


class Uncounted(System):
    """How many events histories have is not read from the offsets' notes."""

    def enrich(self, batch: EventBatch, log: LogState) -> Enriched:
        return super().enrich(batch, replace(log, counted={}))


class Forgetful(System):
    """What the offsets' notes say is not read."""

    def enrich(self, batch: EventBatch, log: LogState) -> Enriched:
        return super().enrich(batch, LogState())


def _offset_off_by_one(plan: CompiledWindows, events: Events) -> tuple[CompiledWindows, Events]:
    first = events.first
    return plan, events._replace(first=np.where(first == _NEVER, first, first + 1))


def _ignores_nothing(plan: CompiledWindows, events: Events) -> tuple[CompiledWindows, Events]:
    return plan, events._replace(first=np.full_like(events.first, _NEVER))


def _late_ones_join(plan: CompiledWindows, events: Events) -> tuple[CompiledWindows, Events]:
    return plan, events._replace(late=np.zeros_like(events.late))


def _no_duplicates(plan: CompiledWindows, events: Events) -> tuple[CompiledWindows, Events]:
    return plan._replace(duplicates=-(10**15)), events


def _ids_for_ever(plan: CompiledWindows, events: Events) -> tuple[CompiledWindows, Events]:
    return plan._replace(duplicates=10**15), events


def _end_is_open(plan: CompiledWindows, events: Events) -> tuple[CompiledWindows, Events]:
    windows = plan.windows.copy()
    windows[rows.DELAY] += 1
    return plan._replace(windows=windows), events


def _sort_all(members: Any, count: int) -> int:
    """Sort members; every copy of a member is another member."""
    _KERNEL["columns"].sort(members, 3, count)
    return count


def _copies_fill_the_cap(data: Any, begin: int, end: int, size: int, *rest: Any) -> Any:
    """Compact as if the cap counted every copy of a member."""
    first, oldest, cap, worth, members, count, out = rest
    stored = _members_of(data, begin, end, size)
    copies = sum(stored.count(place) - 1 for place in set(stored))
    cap = max(0, cap - copies)
    return _REAL_COMPACT(data, begin, end, size, first, oldest, cap, worth, members, count, out)


def _members_of(data: Any, begin: int, end: int, size: int) -> list[bytes]:
    """Partition and offset of each stored member."""
    return [data[at : at + 12].tobytes() for at in range(begin, end, size)]


def _uncommitted_fill_the_cap(data: Any, begin: int, end: int, size: int, *rest: Any) -> Any:
    """Compact as if all stored members were from before the batch."""
    first, oldest, cap, worth, members, _, out = rest
    members, none = np.empty_like(members), np.empty((2, 0), np.int64)
    count = _KERNEL["members"].read(data, begin, end, size, none, none[0], members)
    return _REAL_COMPACT(data, begin, end, size, first, oldest, cap, worth, members, count, out)


def _known_at_once(labels: Any, first: int, _: int, after: int) -> Any:
    return _REAL_IS_FRAUD(labels, first, _NEVER, after)


def _never_reversed(labels: Any, first: int, time: int, after: int) -> int:
    of_event = labels[:, labels[rows.ID] == labels[rows.ID, first]]
    known = (of_event[rows.LABEL_TIME] <= time) & (of_event[rows.EVENT_TIME] > after)
    return int((of_event[rows.FRAUD] * known).any())


def _judges_all(batch: EventBatch, rules: Any) -> Any:
    if rules.max_ahead is None:
        return None
    return batch.event_time - rules.max_ahead > batch.records.timestamps * 1000


def _late_ones_fill(plans: Any, namespace: Any, batch: Any, at: Any, *log: Any) -> Any:
    return _REAL_SHORT(plans, namespace, batch, replace(at, late=np.zeros_like(at.late)), *log)


def _cut_unseen(plans: Any, namespace: Any, batch: Any, at: Any, log: Any, after: Any) -> Any:
    blind = replace(after, highest={})
    short, behind = _REAL_SHORT(plans, namespace, batch, at, log, blind)
    return short, replace(behind, highest=after.highest)


@dataclass(frozen=True)
class Bug:
    """A system to drive, and what is patched while it is."""

    make: Make = System
    patch: Callable[[], AbstractContextManager[Any]] = nullcontext


def _patched(target: Any, name: str, bug: Any) -> Bug:
    return Bug(patch=lambda: mock.patch.object(target, name, bug))


def _altered(alter: Callable[[CompiledWindows, Events], tuple[CompiledWindows, Events]]) -> Bug:
    """A bug that the kernel shows if it is given other arguments."""

    def compute(
        plan: CompiledWindows, stored: Any, labels: Any, events: Events, *rest: Any
    ) -> None:
        plan, events = alter(plan, events)
        loop.compute(plan, stored, labels, events, *rest)

    return _patched(engine, "compute", compute)


def _in_kernel(module: str, name: str, bug: Any) -> Bug:
    """A bug in a function of the kernel, which runs without compilation."""

    @contextmanager
    def patch() -> Iterator[None]:
        with (
            mock.patch.object(engine, "compute", _KERNEL["loop"].compute),
            mock.patch.object(_KERNEL[module], name, bug),
        ):
            yield

    return Bug(patch=patch)


def _over(store: Callable[[], OnlineStore]) -> Bug:
    return Bug(lambda rules, partitions: System(rules, partitions, store))


BUGS: Mapping[str, Bug] = {
    "the first offset that is ignored is off by one": _altered(_offset_off_by_one),
    "what comes again is not ignored": _altered(_ignores_nothing),
    "a counter instead of a set": _in_kernel("members", "_sort_once", _sort_all),
    "compaction by length": _over(CompactsByLength),
    "compaction takes copies for members": _in_kernel(
        "loop", "compact_members", _copies_fill_the_cap
    ),
    "compaction takes what comes again for members": _in_kernel(
        "loop", "compact_members", _uncommitted_fill_the_cap
    ),
    "no read-your-writes": _over(ReadsNotItsWrites),
    "the cap is off by one": Bug(OneMore),
    "lateness by any partition": Bug(AnyPartition),
    "lateness by the batch alone": Bug(Forgetful),
    "histories begin anew with each batch": Bug(NeverFull),
    "histories begin with late events": _patched(plan, "find_short", _late_ones_fill),
    "histories begin with one event of the past": _patched(
        coverage, "enough_to_begin", lambda support: support
    ),
    "how many events histories have is forgotten": Bug(Uncounted),
    "compaction does not show in how far back histories reach": _patched(
        plan, "find_short", _cut_unseen
    ),
    "a wild event moves the watermark": Bug(HighestIsWatermark),
    "timestamps of records are not looked at": Bug(RecordsAreNotLookedAt),
    "records without a timestamp are judged": _patched(position, "early_for_records", _judges_all),
    "an event a day above the watermark is ahead": _patched(position, "AHEAD", position.AHEAD - 1),
    "late events join": _altered(_late_ones_join),
    "a window is closed at its begin": _patched(
        Window, "reach", property(lambda window: window.over + window.delay + 1)
    ),
    "a window is open at its end": _altered(_end_is_open),
    "duplicates are counted twice": _altered(_no_duplicates),
    "ids are remembered for ever": _altered(_ids_for_ever),
    "labels are known at once": _in_kernel("aggregates", "is_fraud", _known_at_once),
    "labels are never reversed": _in_kernel("aggregates", "is_fraud", _never_reversed),
}
