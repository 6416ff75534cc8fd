"""Requests of workers for states in the online store; another worker's state is refused."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

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
    read_record,
)

log = structlog.get_logger(__name__)

SEEN_EVERY_S = 3600
"""Time after which a worker records again that it has its histories, in seconds."""
_MARK_BYTES = 4


@dataclass(frozen=True, slots=True)
class StateRequest:
    """A worker's request for a state.

    Attributes:
        source: Topic and group of the worker.
        layouts: By entity, the digest of what members are to keep.
        accept_topic: True if the topic may replace an earlier topic of the same name.
        accept_group: Group whose histories this worker's group may take over.
        backs: By entity, how far before the watermark members are to be kept, in microseconds.
        cap: Number of members that are to be kept of each history.
        expire_ms: TTL of a history, in milliseconds after its last write; None: it never expires.
        labelled: Names of the labels of entities whose windows count frauds.
        at: Time of the request, in seconds since 1970-01-01 UTC.
        moves: True if the topic may have another number of partitions than before: histories are
            filled from all of them before any worker starts.
    """

    source: StateSource
    layouts: Mapping[str, str]
    accept_topic: bool = False
    accept_group: str | None = None
    backs: Mapping[str, int] = field(default_factory=dict)
    cap: int = 0
    expire_ms: int | None = None
    labelled: frozenset[str] = frozenset()
    at: int = 0
    moves: bool = False

    def begun(self, record: StateRecord) -> list[str]:
        """Entities whose histories in the state are no use to this worker, and begin anew.

        Histories that were kept with another layout, for a shorter time or with a lower cap lack
        values or members that this worker needs.
        """
        return [entity for entity in self.layouts if self.of(record, entity) is None]

    def of(self, record: StateRecord, entity: str) -> HistoryStart | None:
        """The histories of an entity in the state that serve this worker; None if they begin anew.

        Workers with other windows may run beside it. So those that keep just what this worker keeps
        come first, and others that keep more are taken over only without them.
        """
        if record.source is not None and not record.source.has_positions_of(self.source):
            return None
        serving = [kept for kept in record.all_of(entity) if self._serves(entity, kept)]
        wanted = self.layouts[entity], self.backs.get(entity, 0), self.cap
        same = [kept for kept in serving if kept.kept == wanted]
        return next(iter(same or serving), None)

    def _serves(self, entity: str, kept: HistoryStart) -> bool:
        if kept.layout != self.layouts[entity]:
            return False
        back = self.backs.get(entity, 0)
        # Keys may have expired that a longer window needs, although no member was removed.
        expired = kept.expire_ms is not None and 1000 * kept.expire_ms < back
        return kept.back >= back and kept.cap >= self.cap and not expired

    def without_labels(self, record: StateRecord) -> list[str]:
        """Entities whose windows count frauds, but for which no labels were loaded."""
        return sorted(name.partition(":")[0] for name in self.labelled - record.labelled)

    def begin(self, entity: str, before: HistoryStart | None) -> HistoryStart:
        """Make the record of an entity's histories from now on.

        Args:
            entity: Entity of the histories.
            before: Record of the histories so far; None if they begin anew.
        """
        back, cap, expire_ms = self.backs.get(entity, 0), self.cap, self.expire_ms
        if before is None:
            mark = secrets.token_hex(_MARK_BYTES)
            return HistoryStart(self.layouts[entity], mark, back, cap, expire_ms, self.at)
        # Keys that were written before keep their earlier expiry.
        known = [ms for ms in (before.expire_ms, expire_ms) if ms is not None]
        seen = self.at if self.at - before.seen >= SEEN_EVERY_S else before.seen
        expire_ms = min(known, default=None)
        return replace(before, back=back, cap=cap, expire_ms=expire_ms, seen=seen)


def source_of(topic: InputTopic, group: str) -> StateSource:
    """Source of the histories of a worker of ``group`` that reads ``topic``."""
    return StateSource(topic.name, topic.topic_id, topic.partitions, group)


def claim(store: OnlineStore, feature_set: str, state: str, wanted: StateRequest) -> Namespace:
    """Claim a state for a worker in the store's record, and return the namespace of the state.

    Raises:
        DependencyUnavailableError: The store does not answer.
        ConfigurationError: The state is another worker's.
    """
    before: StateRecord | None = None

    def accepted(record: StateRecord | None) -> StateRecord:
        nonlocal before
        before = record
        return accept_state(state, record, wanted)

    record = change_record(store, feature_set, state, accepted)
    if before is not None and before.source is not None:
        _report(state, before, wanted)
    return record.namespace(feature_set, state)


def accept_state(state: str, record: StateRecord | None, wanted: StateRequest) -> StateRecord:
    """Check a request against the record of a state, and return the record of the claimed state.

    Args:
        state: Name of the state.
        record: Record before the claim; None for a new state.
        wanted: Request of the worker.

    Raises:
        ConfigurationError: The state is another worker's.
    """
    known = or_new(record)
    if known.source is not None:
        _refuse_other(state, known.source, wanted)
    begun = {entity: wanted.begin(entity, wanted.of(known, entity)) for entity in wanted.layouts}
    if known.source is not None and not known.source.has_positions_of(wanted.source):
        # Their members are of no use to anybody.
        known = replace(known, beside={}, histories={})
    return replace(known, source=wanted.source).with_histories(begun)


def note_seen(store: OnlineStore, namespace: Namespace, entities: Iterable[str], at: int) -> None:
    """Record that a worker still has its histories. Errors are those of `read_record`.

    Args:
        store: Online store.
        namespace: Namespace of the histories.
        entities: Their entities.
        at: Time in seconds since 1970-01-01 UTC.
    """
    names = namespace.feature_set, namespace.state
    marks = {namespace.generations.get(entity) for entity in entities}

    def noted(one: HistoryStart) -> HistoryStart:
        is_due = one.mark in marks and at - one.seen >= SEEN_EVERY_S
        return replace(one, seen=at) if is_due else one

    def change(record: StateRecord | None) -> StateRecord:
        known = or_new(record)
        histories = {entity: noted(one) for entity, one in known.histories.items()}
        beside = {entity: tuple(map(noted, others)) for entity, others in known.beside.items()}
        return replace(known, histories=histories, beside=beside)

    # A record that is lost is made by the next claim.
    if read_record(store, *names) is not None:
        change_record(store, *names, change)


def begin_anew(state: str, record: StateRecord | None, wanted: StateRequest) -> StateRecord:
    """Accept a request as `accept_state` does, with histories that all begin anew."""
    accepted = accept_state(state, record, wanted)
    anew = {entity: wanted.begin(entity, None) for entity in wanted.layouts}
    return accepted.with_histories(anew)


def _report(state: str, before: StateRecord, wanted: StateRequest) -> None:
    """Log which histories begin anew in a state that a worker has claimed, and missing labels."""
    if begun := wanted.begun(before):
        log.info(
            "histories_begin_anew",
            state=state,
            entities=begun,
            meaning="the windows need values or members that the histories so far do not keep",
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
    of_both = f"store.state: {state} holds histories of {known}, the input is {own}"
    if known.topic_id == own.topic_id and known.partitions != own.partitions and not wanted.moves:
        raise ConfigurationError(
            f"{of_both}: its partitions changed, and with them the keys in each partition; stop "
            "all workers and run fraud-worker features fill --from-topic"
        )
    if known.topic_id != own.topic_id and known.topic != own.topic:
        raise ConfigurationError(
            f"{of_both}: another topic; {ANEW}, or set kafka.input_topic to {known.topic}"
        )
    if known.topic_id != own.topic_id and not wanted.accept_topic:
        raise ConfigurationError(
            f"{of_both}: the topic was created again; {ANEW}, or set kafka.accept_topic: "
            f"{own.topic_id} to read it from its beginning"
        )
    if known.group not in (own.group, wanted.accept_group):
        raise ConfigurationError(
            f"store.state: {state} holds histories of group {known.group}, kafka.group is "
            f"{own.group}: if two groups shared one state, each would delete members that the other needs; "
            f"{ANEW}, set kafka.group to {known.group}, or, when that group has stopped permanently, "
            f"store.accept_group: {known.group}"
        )
