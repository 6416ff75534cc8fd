"""Claims of workers on states in the online store; the state of another worker is refused."""

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
from worker.histories.record import ANEW, Begun, StateRecord, StateSource, change_record, or_new

log = structlog.get_logger(__name__)

_MARK_BYTES = 4


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's demand for a state.

    Attributes:
        source: Topic and group of the worker.
        layouts: By entity, the digest of what members are to keep.
        used: Entities whose windows the model or the policy uses.
        accept_topic: The topic may take the place of an earlier one of its name.
        accept_empty: Entities whose histories may begin empty, or be too short, although they are
            used.
        accept_group: A group whose place this worker's may take.
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
        """The entities whose histories in the record's state are of no use to this worker."""
        anew = record.source is not None and record.source.topic_id != self.source.topic_id
        return [
            entity
            for entity, layout in self.layouts.items()
            if anew or entity not in record.histories or record.histories[entity].layout != layout
        ]

    def shortened(self, record: StateRecord) -> dict[str, str]:
        """The other entities whose histories were compacted to less than this worker needs.

        Returns:
            By entity, what is kept and what is needed, in words.
        """
        found = {}
        for entity in self.layouts.keys() - self.emptied(record):
            begun, back = record.histories[entity], self.backs.get(entity, 0)
            words = []
            if begun.back is not None and begun.back < back:
                words.append(f"{_span(begun.back)} of {_span(back)}")
            if begun.cap is not None and begun.cap < self.cap:
                words.append(f"{begun.cap} of {self.cap} members")
            if words:
                found[entity] = ", ".join(words)
        return dict(sorted(found.items()))

    def without_labels(self, record: StateRecord) -> list[str]:
        """The entities whose windows count frauds and that no labels were loaded for."""
        return sorted(self.labelled - record.labelled)

    def begin(self, entity: str, before: Begun | None) -> Begun:
        """The record of an entity's histories from now on; ``before``: None where they are empty.

        Histories that were kept for less time than they are needed now reach back to the bound that
        compaction has left, which the offsets' notes tell. Beyond that, members are missing of all
        times before now: those beyond a lower cap, and those that no write will save from an
        expiry that comes too early. How far back the others reach is then counted from now on.
        """
        back, cap, expire_ms = self.backs.get(entity, 0), self.cap, self.expire_ms
        if before is None:
            mark = secrets.token_hex(_MARK_BYTES)
            return Begun(self.layouts[entity], mark, back, cap, expire_ms)
        capped = before.cap is not None and before.cap < cap
        if capped or (before.expire_ms is not None and 1000 * before.expire_ms < back):
            recounted = before.recounted + 1
        else:
            # Some keys may still end when those before them did.
            recounted = before.recounted
            known = [ms for ms in (before.expire_ms, expire_ms) if ms is not None]
            expire_ms = min(known, default=None)
        return replace(before, back=back, cap=cap, expire_ms=expire_ms, recounted=recounted)


def _span(microseconds: int) -> str:
    """``20 days, 1:00:00``: to the second, as a longer lateness may be all that differs."""
    return str(timedelta(microseconds=microseconds))


def source_of(topic: InputTopic, group: str) -> StateSource:
    """The source of a worker of ``group`` on ``topic``."""
    return StateSource(topic.name, topic.topic_id, topic.partitions, group)


def claim(store: OnlineStore, feature_set: str, state: str, wanted: Claim) -> Namespace:
    """The namespace of a state for a worker, which the store remembers from now on.

    Raises ConfigurationError where the state is another's, or where histories that are used would
    begin empty or be too short; DependencyUnavailableError.
    """
    before: StateRecord | None = None

    def admitted(record: StateRecord | None) -> StateRecord:
        nonlocal before
        before = record
        return admit(state, record, wanted)

    record = change_record(store, feature_set, state, admitted)
    if before is not None and before.source is not None:
        _warn(state, before, wanted)
    return record.namespace(feature_set, state)


def admit(state: str, record: StateRecord | None, wanted: Claim) -> StateRecord:
    """The record of a state that a worker has claimed; ``record``: before, None for a new state.

    Raises ConfigurationError as `claim` does.
    """
    found = or_new(record)
    emptied = wanted.emptied(found)
    if found.source is not None:
        _refuse_other(state, found.source, wanted)
        if found.source.topic_id == wanted.source.topic_id:
            _refuse_empty(state, wanted, emptied)
            _refuse_short(state, wanted, wanted.shortened(found))
    begun = {
        entity: wanted.begin(entity, None if entity in emptied else found.histories[entity])
        for entity in wanted.layouts
    }
    return replace(found, source=wanted.source, histories={**found.histories, **begun})


def _warn(state: str, before: StateRecord, wanted: Claim) -> None:
    """Log what a worker does not find in a state that it has claimed."""
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
            meaning="older members were cut; where a window looks back further than the others "
            "reach, events are flagged history_short",
        )
    if unknown := wanted.without_labels(before):
        log.warning(
            "labels_not_loaded",
            state=state,
            entities=unknown,
            meaning="fraud_share counts no frauds of these until labels are loaded: run "
            "fraud-worker features load-labels with all labels so far",
        )


def _refuse_other(state: str, known: StateSource, wanted: Claim) -> None:
    """Raise ConfigurationError where a state has another topic, number of partitions or group."""
    own = wanted.source
    if known.topic_id == own.topic_id and known.partitions != own.partitions:
        why = "its partitions changed, and with them the keys in each"
        remedy = f"restore a topic of {known.partitions}"
    elif known.topic_id != own.topic_id and known.topic != own.topic:
        why, remedy = "another topic", f"set kafka.input_topic to {known.topic}"
    elif known.topic_id != own.topic_id and not wanted.accept_topic:
        why = "the topic was made anew"
        remedy = f"set kafka.accept_topic: {own.topic_id} to read it from its beginning"
    elif known.group not in (own.group, wanted.accept_group):
        raise ConfigurationError(
            f"store.state: {state} holds histories of group {known.group}, kafka.group is "
            f"{own.group}: of two groups on one state each compacts what the other still needs; "
            f"{ANEW}, set kafka.group to {known.group}, or, when that group has stopped for good, "
            f"store.accept_group: {known.group}"
        )
    else:
        return
    raise ConfigurationError(
        f"store.state: {state} holds histories of {known}, the input is {own}: {why}; {ANEW}, "
        f"or {remedy}"
    )


def _refuse_empty(state: str, wanted: Claim, emptied: Iterable[str]) -> None:
    """Raise ConfigurationError where a model or policy would see histories begin empty."""
    refused = _not_accepted(wanted, emptied)
    if refused:
        named = ", ".join(refused)
        raise ConfigurationError(
            f"store.state: the windows in features.yaml keep other values of {named} than "
            f"{state} does, so that histories begin empty under a model or policy that uses "
            "them; restore these windows, fill histories for the new ones in a second pipeline "
            "with its own kafka.group (docs/how-to/upgrade.md), or accept empty ones with "
            f"history.accept_empty: [{named}] in features.yaml"
        )


def _refuse_short(state: str, wanted: Claim, shortened: Mapping[str, str]) -> None:
    """Raise ConfigurationError where a model or policy would see histories that were cut."""
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


def _not_accepted(wanted: Claim, entities: Iterable[str]) -> list[str]:
    return [e for e in entities if e in wanted.used and e not in wanted.accept_empty]
