"""Requests of workers for states in the online store; another worker's state is refused."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

import structlog

from base.errors import ConfigurationError
from features.history.namespace import Namespace
from features.store.protocol import OnlineStore
from worker.consume.topics import InputTopic
from worker.histories.record import (
    ANEW,
    HistoryStart,
    StateRecord,
    StateSource,
    change_record,
    or_new,
)

log = structlog.get_logger(__name__)

_MARK_BYTES = 4


@dataclass(frozen=True, slots=True)
class StateRequest:
    """A worker's request for a state.

    Attributes:
        source: Topic and group of the worker.
        layouts: By entity, the digest of what members are to keep.
        used: Entities whose windows the model or the policy uses.
        accept_topic: True if the topic may replace an earlier topic of the same name.
        accept_empty: Entities whose histories may begin empty, or be too short, although the model
            or the policy uses them.
        accept_group: Group whose histories this worker's group may take over.
        backs: By entity, how far before the watermark members are to be kept, in microseconds.
        cap: Number of members that are to be kept of each history.
        expire_ms: TTL of a history, in milliseconds after its last write; None: it never expires.
        labelled: Entities whose windows count frauds.
    """

    source: StateSource
    layouts: Mapping[str, str]
    used: frozenset[str] = frozenset()
    accept_topic: bool = False
    accept_empty: frozenset[str] = frozenset()
    accept_group: str | None = None
    backs: Mapping[str, int] = field(default_factory=dict)
    cap: int = 0
    expire_ms: int | None = None
    labelled: frozenset[str] = frozenset()

    def emptied(self, record: StateRecord) -> list[str]:
        """Entities whose histories in the state are useless to this worker, and begin empty."""
        anew = record.source is not None and record.source.topic_id != self.source.topic_id
        return [
            entity
            for entity, layout in self.layouts.items()
            if anew or entity not in record.histories or record.histories[entity].layout != layout
        ]

    def shortened(self, record: StateRecord) -> dict[str, str]:
        """Entities whose histories were compacted to less than this worker needs.

        Returns:
            What is kept and what is needed, in words, by entity; emptied ones are left out.
        """
        shortages = {}
        for entity in self.layouts.keys() - self.emptied(record):
            begun, back = record.histories[entity], self.backs.get(entity, 0)
            words = []
            if begun.back is not None and begun.back < back:
                words.append(f"{_span(begun.back)} of {_span(back)}")
            if begun.cap is not None and begun.cap < self.cap:
                words.append(f"{begun.cap} of {self.cap} members")
            if words:
                shortages[entity] = ", ".join(words)
        return dict(sorted(shortages.items()))

    def without_labels(self, record: StateRecord) -> list[str]:
        """Entities whose windows count frauds, but for which no labels were loaded."""
        return sorted(self.labelled - record.labelled)

    def begin(self, entity: str, before: HistoryStart | None) -> HistoryStart:
        """Make the record of an entity's histories from now on.

        Histories that were kept for a shorter time than is needed now reach back to the bound of
        their last compaction, which the metadata of the offsets holds. A lower cap before, or an
        expiry that came too early, is worse: members of any earlier time may be missing. How far
        back such histories reach is counted anew from now on.

        Args:
            entity: Entity of the histories.
            before: Record of the histories so far; None if they are empty.
        """
        back, cap, expire_ms = self.backs.get(entity, 0), self.cap, self.expire_ms
        if before is None:
            mark = secrets.token_hex(_MARK_BYTES)
            return HistoryStart(self.layouts[entity], mark, back, cap, expire_ms)
        capped = before.cap is not None and before.cap < cap
        if capped or (before.expire_ms is not None and 1000 * before.expire_ms < back):
            recounted = before.recounted + 1
        else:
            # Keys that were written before keep their earlier expiry.
            recounted = before.recounted
            known = [ms for ms in (before.expire_ms, expire_ms) if ms is not None]
            expire_ms = min(known, default=None)
        return replace(before, back=back, cap=cap, expire_ms=expire_ms, recounted=recounted)


def _span(microseconds: int) -> str:
    """Format a time as ``20 days, 1:00:00``, as small a difference as one of lateness included."""
    return str(timedelta(microseconds=microseconds))


def source_of(topic: InputTopic, group: str) -> StateSource:
    """Source of the histories of a worker of ``group`` that reads ``topic``."""
    return StateSource(topic.name, topic.topic_id, topic.partitions, group)


def claim(store: OnlineStore, feature_set: str, state: str, wanted: StateRequest) -> Namespace:
    """Claim a state for a worker in the store's record, and return the namespace of the state.

    Raises:
        DependencyUnavailableError: The store does not answer.
        ConfigurationError: The state is another worker's, or histories that are used would begin
            empty or be too short.
    """
    before: StateRecord | None = None

    def accepted(record: StateRecord | None) -> StateRecord:
        nonlocal before
        before = record
        return accept_state(state, record, wanted)

    record = change_record(store, feature_set, state, accepted)
    if before is not None and before.source is not None:
        _warn(state, before, wanted)
    return record.namespace(feature_set, state)


def accept_state(state: str, record: StateRecord | None, wanted: StateRequest) -> StateRecord:
    """Check a request against the record of a state, and return the record of the claimed state.

    Args:
        state: Name of the state.
        record: Record before the claim; None for a new state.
        wanted: Request of the worker.

    Raises:
        ConfigurationError: The request is refused, as by `claim`.
    """
    known = or_new(record)
    emptied = wanted.emptied(known)
    if known.source is not None:
        _refuse_other(state, known.source, wanted)
        if known.source.topic_id == wanted.source.topic_id:
            _refuse_empty(state, wanted, emptied)
            _refuse_short(state, wanted, wanted.shortened(known))
    begun = {
        entity: wanted.begin(entity, None if entity in emptied else known.histories[entity])
        for entity in wanted.layouts
    }
    return replace(known, source=wanted.source, histories={**known.histories, **begun})


def _warn(state: str, before: StateRecord, wanted: StateRequest) -> None:
    """Warn of histories and labels that are missing in a state that a worker has claimed."""
    if empty := wanted.emptied(before):
        log.warning(
            "histories_begin_empty",
            state=state,
            entities=empty,
            meaning="events are flagged history_short until these reach back far enough",
        )
    if short := wanted.shortened(before):
        log.warning(
            "histories_too_short",
            state=state,
            entities=short,
            meaning="older members were removed; where a window looks back further than the rest "
            "reach, events are flagged history_short",
        )
    if unknown := wanted.without_labels(before):
        log.warning(
            "labels_not_loaded",
            state=state,
            entities=unknown,
            meaning="fraud_share counts no frauds of these entities until labels are loaded: run "
            "fraud-worker features load-labels with all labels so far",
        )


def _refuse_other(state: str, known: StateSource, wanted: StateRequest) -> None:
    """Raise ConfigurationError if a state has another topic, number of partitions or group."""
    own = wanted.source
    if known.topic_id == own.topic_id and known.partitions != own.partitions:
        why = "its partitions changed, and with them the keys in each partition"
        remedy = f"restore a topic of {known.partitions}"
    elif known.topic_id != own.topic_id and known.topic != own.topic:
        why, remedy = "another topic", f"set kafka.input_topic to {known.topic}"
    elif known.topic_id != own.topic_id and not wanted.accept_topic:
        why = "the topic was created again"
        remedy = f"set kafka.accept_topic: {own.topic_id} to read it from its beginning"
    elif known.group not in (own.group, wanted.accept_group):
        raise ConfigurationError(
            f"store.state: {state} holds histories of group {known.group}, kafka.group is "
            f"{own.group}: if two groups shared one state, each would delete members that the other needs; "
            f"{ANEW}, set kafka.group to {known.group}, or, when that group has stopped permanently, "
            f"store.accept_group: {known.group}"
        )
    else:
        return
    raise ConfigurationError(
        f"store.state: {state} holds histories of {known}, the input is {own}: {why}; {ANEW}, "
        f"or {remedy}"
    )


def _refuse_empty(state: str, wanted: StateRequest, emptied: Iterable[str]) -> None:
    """Raise ConfigurationError if a model or policy would see histories begin empty."""
    refused = _not_accepted(wanted, emptied)
    if refused:
        named = ", ".join(refused)
        raise ConfigurationError(
            f"store.state: the windows in features.yaml keep other values of {named} than "
            f"{state} does, so that histories begin empty under a model or policy that uses "
            "them; restore these windows, or fill histories for the new ones in a second pipeline "
            "with its own kafka.group (docs/how-to/upgrade.md), or accept empty ones with "
            f"history.accept_empty: [{named}] in features.yaml"
        )


def _refuse_short(state: str, wanted: StateRequest, shortened: Mapping[str, str]) -> None:
    """Raise ConfigurationError if a model or policy would see histories that were cut."""
    refused = _not_accepted(wanted, shortened)
    if refused:
        named = ", ".join(refused)
        kept = "; ".join(f"{entity}: {shortened[entity]}" for entity in refused)
        raise ConfigurationError(
            f"store.state: the windows or the history rules in features.yaml look back further "
            f"than {state} has kept histories ({kept}), which are too short at first under a model "
            "or policy that uses them; restore these windows and rules, fill histories for the new "
            "ones in a second pipeline with its own kafka.group (docs/how-to/upgrade.md), or accept "
            f"short ones with history.accept_empty: [{named}] in features.yaml"
        )


def _not_accepted(wanted: StateRequest, entities: Iterable[str]) -> list[str]:
    return [e for e in entities if e in wanted.used and e not in wanted.accept_empty]
