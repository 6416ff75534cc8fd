"""Bugs to be put into the engine, the store or the worker, each as what a test drives instead."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import numpy as np

from base.arrays import Mask
from features.compute.matrix import Enriched
from features.definition import FeatureSet
from features.history.watermarks import LogState
from features.store.memory import MemoryStore
from features.store.protocol import Compaction, MarkWrite, OnlineStore
from features.windows import coverage, engine, plan, position
from features.windows.kernel import loop, rows
from features.windows.kernel.structs import NOWHERE, CompiledWindows, Events
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
_REAL_COMPACT_SHARED = _KERNEL["loop"].compact_shared
_REAL_FIND_ID = _KERNEL["loop"].find_id
_REAL_OLDEST = engine._oldest
_REAL_ARRIVED_AFTER = position.arrived_after
_REAL_IS_FRAUD = _KERNEL["fraud_labels"].is_fraud
_REAL_KEEP_SAME = _KERNEL["loop"].keep_same
_REAL_DECAYED = _KERNEL["aggregates"].decayed
_NEVER = np.iinfo(np.int64).max


class CompactsByLength(MemoryStore):
    """Replaces as many bytes as the prefix had, whatever they are."""

    def append(
        self,
        appends: Collection[tuple[bytes, bytes]],
        compactions: Collection[Compaction] = (),
        expire_ms: int | None = None,
        marks: Sequence[MarkWrite] = (),
    ) -> None:
        for key, prefix, kept in compactions:
            (found,) = self.read([key])
            if found is not None and len(found) >= len(prefix):
                self.write([(key, kept + found[len(prefix) :])])
        super().append(appends, (), expire_ms, marks)


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
        marks: Sequence[MarkWrite] = (),
    ) -> None:
        members = [pair for pair in appends if b":history:" in pair[0]]
        others = [pair for pair in appends if b":history:" not in pair[0]]
        super().append([*self._waiting, *others], compactions, expire_ms, marks)
        self._waiting = members


class OneMore(System):
    """An event sees one member more than the cap."""

    def load(self, rules: Numbers) -> FeatureSet:
        return super().load((*rules[:2], rules[2] + 1, *rules[3:]))


class HighestIsWatermark(System):
    """One wild event moves the watermark."""

    def load(self, rules: Numbers) -> FeatureSet:
        return super().load((*rules[:3], 1, *rules[4:]))


class RecordsAreNotLookedAt(System):
    """However early an event is for its record, it supports the watermark."""

    def load(self, rules: Numbers) -> FeatureSet:
        return super().load((*rules[:4], None, rules[5]))


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


class DoesNotWait(System):
    """Events are scored before other partitions are applied as far as their windows reach."""

    waits = False


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
    return plan, events._replace(outside=np.zeros_like(events.outside))


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
    first, own, oldest, cap, *others = rest
    stored = _members_of(data, begin, end, size)
    copies = sum(stored.count(place) - 1 for place in set(stored))
    cap = max(0, cap - copies)
    return _REAL_COMPACT(data, begin, end, size, first, own, oldest, cap, *others)


def _members_of(data: Any, begin: int, end: int, size: int) -> list[bytes]:
    """Partition and offset of each stored member."""
    return [data[at : at + 12].tobytes() for at in range(begin, end, size)]


def _uncommitted_fill_the_cap(data: Any, begin: int, end: int, size: int, *rest: Any) -> Any:
    """Compact as if all stored members were from before the batch."""
    *bounds, members, _, out, out_at = rest
    members, none = np.empty_like(members), np.empty((2, 0), np.int64)
    count = _KERNEL["members"].read(data, begin, end, size, none, none[0], members)
    return _REAL_COMPACT(data, begin, end, size, *bounds, members, count, out, out_at)


def _own_watermarks(plan: Any, at: Any) -> Any:
    """Bounds of shared histories by the watermark of a partition of the batch."""
    return _REAL_OLDEST(plan, replace(at, least=max(at.reached.values(), default=None)))


def _ids_of_windows_alone(plan: Any, at: Any) -> Any:
    """Bounds of shared histories without what decides about the repeats in the oldest window."""
    oldest = _REAL_OLDEST(plan, at)
    if not plan.own and at.least is not None:
        oldest[0] += plan.rules.duplicates
    return oldest


def _judge_arrivals(members: Any, count: int, _: int, *rest: Any) -> Any:
    """Look for the id of an event among all members that came before it."""
    return _REAL_FIND_ID(members, count, count, *rest)


def _newest_of_all(_members: Any, count: int, _until: int, cap: int) -> int:
    return max(0, count - cap)


def _keep_as_many_as_are_seen(*given: Any) -> Any:
    """Compact to the cap, without the members that decide about the repeats among these."""
    *stored, cap, worth, members, count, out, out_at = given
    return _REAL_COMPACT_SHARED(*stored, cap // 2, worth, members, count, out, out_at)


@contextmanager
def _ahead_is_hidden() -> Iterator[None]:
    """Events of no partition see what is stored of those of the batch, behind the batch."""
    module = _KERNEL["loop"]
    real, compute = module.copy_visible, module.compute

    def compute_behind(
        plan: CompiledWindows, stored: Any, labels: Any, events: Events, *rest: Any
    ) -> None:
        last = dict[int, int]()
        for partition, offset in events.members[[rows.PARTITION, rows.OFFSET]].T.tolist():
            last[partition] = max(offset, last.get(partition, offset))

        def copy_behind(source: Any, count: int, partition: int, offset: int, target: Any) -> Any:
            number = real(source, count, partition, offset, target)
            if partition == NOWHERE:
                return number
            places = target[[rows.PARTITION, rows.OFFSET], :number].T.tolist()
            left = [place for place, (p, o) in enumerate(places) if o <= last.get(p, o)]
            target[:, : len(left)] = target[:, left]
            return len(left)

        with mock.patch.object(module, "copy_visible", copy_behind):
            compute(plan, stored, labels, events, *rest)

    with mock.patch.object(engine, "compute", compute_behind):
        yield


def _known_at_once(labels: Any, first: int, _: int, after: int) -> Any:
    return _REAL_IS_FRAUD(labels, first, _NEVER, after)


def _never_reversed(labels: Any, first: int, time: int, after: int) -> int:
    of_event = labels[:, labels[rows.ID] == labels[rows.ID, first]]
    known = (of_event[rows.LABEL_TIME] <= time) & (of_event[rows.EVENT_TIME] > after)
    return int((of_event[rows.FRAUD] * known).any())


def _unknown_is_the_same(*given: Any) -> None:
    """Keep members without a value for an event without a value."""
    with mock.patch.object(_KERNEL["members"], "MISSING", _NEVER):
        _REAL_KEEP_SAME(*given)


def _decays_from_the_event(members: Any, *given: Any) -> Any:
    """Take the age of a member at the event, not at the end of the window."""
    return _REAL_DECAYED(members, *given[:-1], members[rows.TIME, -1])


def _value_at_the_rank(
    members: Any, chosen: Any, number: int, value: int, percent: float, _: Any
) -> float:
    """Take the lower of the two values between which a percentile lies."""
    rising = sorted(members[value, chosen[:number]].tolist())
    return float(rising[int((number - 1) * percent / 100)])


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


def _in_time(batch: EventBatch, _: int) -> Mask:
    return np.zeros(len(batch), np.bool_)


def _not_at_the_delay(batch: EventBatch, delay: int) -> Mask:
    return _REAL_ARRIVED_AFTER(batch, delay - 1000)


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
    return _in_kernels([module], name, bug)


def _in_kernels(modules: Sequence[str], name: str, bug: Any) -> Bug:
    """Likewise, in a function that several modules import."""

    @contextmanager
    def patch() -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(mock.patch.object(engine, "compute", _KERNEL["loop"].compute))
            for module in modules:
                stack.enter_context(mock.patch.object(_KERNEL[module], name, bug))
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
    "the cap counts members behind a window's end": _in_kernels(
        ["loop", "shared"], "first_shown", _newest_of_all
    ),
    "shared histories are compacted by a partition's own watermark": _patched(
        engine, "_oldest", _own_watermarks
    ),
    "shared histories are compacted to the windows alone": _patched(
        engine, "_oldest", _ids_of_windows_alone
    ),
    "shared histories are compacted to the cap": _in_kernel(
        "loop", "compact_shared", _keep_as_many_as_are_seen
    ),
    "repeats are judged in the order in which members come": _in_kernel(
        "loop", "find_id", _judge_arrivals
    ),
    "what is ahead is hidden from other partitions": Bug(patch=_ahead_is_hidden),
    "no alignment": Bug(DoesNotWait),
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
    "events join however late they arrive": _patched(engine, "arrived_after", _in_time),
    "events arrive in time up to the delay": _patched(engine, "arrived_after", _not_at_the_delay),
    "a window is closed at its begin": _patched(
        Window, "reach", property(lambda window: window.over + window.delay + 1)
    ),
    "a window is open at its end": _altered(_end_is_open),
    "duplicates are counted twice": _altered(_no_duplicates),
    "ids are remembered for ever": _altered(_ids_for_ever),
    "an unknown value is the same as another": _in_kernel(
        "loop", "keep_same", _unknown_is_the_same
    ),
    "weights decay from the event": _in_kernel("aggregates", "decayed", _decays_from_the_event),
    "percentiles are not interpolated": _in_kernel("aggregates", "percentile", _value_at_the_rank),
    "labels are known at once": _in_kernel("fraud_labels", "is_fraud", _known_at_once),
    "labels are never reversed": _in_kernel("fraud_labels", "is_fraud", _never_reversed),
}
