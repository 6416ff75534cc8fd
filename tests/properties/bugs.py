"""Bugs to be put into the engine, the store or the worker, each as what a test drives instead."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import numpy as np

from features.compute.matrix import Enriched
from features.definition import FeatureSet
from features.history import compact, merge
from features.history.watermarks import LogState
from features.store.memory import MemoryStore
from features.store.protocol import Compaction, OnlineStore
from features.windows import coverage, duplicates, engine, plan
from features.windows.frauds import Labels
from features.windows.ragged import Pairs
from features.windows.view import Search
from features.windows.window import Window
from schemas.batch import EventBatch
from tests.properties.rich_set import Numbers
from tests.properties.simulation import Make
from tests.properties.system import System

_APPLY_CAP = "_apply_cap"
_IN_ORDER = "_in_member_order"
_REAL_IN_ORDER = getattr(merge, _IN_ORDER)
_REAL_DUPLICATES = duplicates.find_duplicates
_REAL_BEHIND = Search.behind
_REAL_SHORT = coverage.find_short


class CompactsByLength(MemoryStore):
    """Replaces as many bytes as the prefix had, whatever they are."""

    def append(
        self,
        appends: Sequence[tuple[bytes, bytes]],
        compactions: Sequence[Compaction] = (),
        expire_ms: int | None = None,
    ) -> None:
        for key, prefix, kept in compactions:
            found = self._values.get(key, b"")
            if len(found) >= len(prefix):
                self._values[key] = kept + found[len(prefix) :]
        super().append(appends, (), expire_ms)


class ReadsNotItsWrites(MemoryStore):
    """Members are read one write later."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[tuple[bytes, bytes]] = []

    def append(
        self,
        appends: Sequence[tuple[bytes, bytes]],
        compactions: Sequence[Compaction] = (),
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


def _offset_off_by_one(stored: Any, first: Any) -> Any:
    return merge.before_batch(stored, {partition: at + 1 for partition, at in first.items()})


def _counter(owner: Any, row: Any, members: Any) -> Any:
    """Every copy of a member is another member."""
    members = members.copy()
    places = np.stack([owner, members["partition"], members["offset"]], axis=1)
    copies = np.ones(len(owner), np.bool_)
    copies[np.unique(places, axis=0, return_index=True)[1]] = False
    members["offset"][copies] = -1 - np.arange(np.count_nonzero(copies))
    return _REAL_IN_ORDER(owner, row, members)


def _copies_fill_the_cap(needed: Any, stored: Any, history: int, committed: Any, most: int) -> None:
    places = np.flatnonzero(needed & (stored.owner == history))
    if committed is not None:
        places = places[committed[places]]
    order = np.argsort(stored.members["time"][places], kind="stable")
    needed[places[order][:-most]] = False


def _uncommitted_fill_the_cap(
    keys: Any, stored: Any, needed: Any, _: Any = None, cap: int | None = None
) -> list[Compaction]:
    return compact.compactions(keys, stored, needed, None, cap)


def _no_duplicates(merged: Any, codes: Any, events: Any, _: Any) -> Any:
    alive = np.ones(len(merged.row), np.bool_)
    alive[merged.place[events.late]] = False
    return np.zeros(len(codes), np.bool_), alive


def _ids_for_ever(merged: Any, codes: Any, events: Any, rules: Any) -> Any:
    return _REAL_DUPLICATES(merged, codes, events, replace(rules, duplicates=10**15))


def _judges_all(batch: EventBatch, rules: Any) -> Any:
    if rules.max_ahead is None:
        return None
    return batch.event_time - rules.max_ahead > batch.records.timestamps * 1000


def _late_ones_join(merged: Any, codes: Any, events: Any, rules: Any) -> Any:
    none_late = replace(events, late=np.zeros_like(events.late))
    return _REAL_DUPLICATES(merged, codes, none_late, rules)


def _late_ones_fill(plans: Any, namespace: Any, batch: Any, at: Any, *log: Any) -> Any:
    events = replace(at.events, late=np.zeros_like(at.events.late))
    return _REAL_SHORT(plans, namespace, batch, replace(at, events=events), *log)


def _cut_unseen(plans: Any, namespace: Any, batch: Any, at: Any, log: Any, after: Any) -> Any:
    blind = replace(after, highest={})
    short, behind = _REAL_SHORT(plans, namespace, batch, at, log, blind)
    return short, replace(behind, highest=after.highest)


def _known_at_once(labels: Labels, pairs: Pairs, _: Any, after: Any) -> Any:
    return labels.event_time[pairs.item] > after[pairs.query]


def _never_reversed(labels: Labels, pairs: Pairs) -> Pairs:
    return Pairs(pairs.query, labels.item[pairs.item]).where(labels.fraud[pairs.item])


def _end_is_open(search: Search, owner: Any, time: Any) -> Any:
    return _REAL_BEHIND(search, owner, time - 1)


@dataclass(frozen=True)
class Bug:
    """A system to drive, and what is patched while it is."""

    make: Make = System
    patch: Callable[[], AbstractContextManager[Any]] = nullcontext


def _patched(target: Any, name: str, bug: Any) -> Bug:
    return Bug(patch=lambda: mock.patch.object(target, name, bug))


def _over(store: Callable[[], OnlineStore]) -> Bug:
    return Bug(lambda rules, partitions: System(rules, partitions, store))


BUGS: Mapping[str, Bug] = {
    "the first offset that is ignored is off by one": _patched(
        engine, "before_batch", _offset_off_by_one
    ),
    "what comes again is not ignored": _patched(engine, "before_batch", lambda *_: None),
    "a counter instead of a set": _patched(merge, _IN_ORDER, _counter),
    "compaction by length": _over(CompactsByLength),
    "compaction takes copies for members": _patched(compact, _APPLY_CAP, _copies_fill_the_cap),
    "compaction takes what comes again for members": _patched(
        engine, "compactions", _uncommitted_fill_the_cap
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
    "records without a timestamp are judged": _patched(engine, "early_for_records", _judges_all),
    "an event a day above the watermark is ahead": _patched(engine, "AHEAD", engine.AHEAD - 1),
    "late events join": _patched(engine, "find_duplicates", _late_ones_join),
    "a window is closed at its begin": _patched(
        Window, "reach", property(lambda window: window.over + window.delay + 1)
    ),
    "a window is open at its end": _patched(Search, "behind", _end_is_open),
    "duplicates are counted twice": _patched(engine, "find_duplicates", _no_duplicates),
    "ids are remembered for ever": _patched(engine, "find_duplicates", _ids_for_ever),
    "labels are known at once": _patched(Labels, "known", _known_at_once),
    "labels are never reversed": _patched(Labels, "frauds", _never_reversed),
}
