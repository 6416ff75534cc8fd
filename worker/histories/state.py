"""Records of states: whose histories the online store holds, as the store itself remembers it.

A member is named by its position in the log, so that histories of another topic, or of another
number of partitions, mean nothing. Two groups on one state compact what the other needs. The record
makes a worker refuse both. It also holds the key of the hashes in the state, so that without it
nothing of the state can be found.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import structlog

from features.history.identity import KEY_BYTES
from features.history.namespace import Namespace, record_key
from features.store.protocol import OnlineStore
from schemas.errors import ConfigurationError
from worker.topics import InputTopic

log = structlog.get_logger(__name__)

_ANEW = "name another store.state, whose histories start empty"
_MARK_BYTES = 4


@dataclass(frozen=True, slots=True)
class Source:
    """The topic that the histories of a state come from, and the group that reads it for them."""

    topic: str
    topic_id: str
    partitions: int
    group: str

    def __str__(self) -> str:
        return f"topic {self.topic} (id {self.topic_id}, partitions {self.partitions})"


@dataclass(frozen=True, slots=True)
class Begun:
    """The histories of an entity.

    layout: the digest of what members keep. mark: tells them from those before that were emptied.
    """

    layout: str
    mark: str


@dataclass(frozen=True, slots=True)
class StateRecord:
    """A state. key: of its hashes. source: None while there are labels only. histories: by entity."""

    key: bytes = field(repr=False)
    source: Source | None = None
    histories: Mapping[str, Begun] = field(default_factory=dict)

    def encode(self) -> bytes:
        histories = {entity: asdict(begun) for entity, begun in self.histories.items()}
        source = {} if self.source is None else asdict(self.source)
        return json.dumps({"key": self.key.hex(), "histories": histories, **source}).encode()

    @classmethod
    def decode(cls, text: bytes) -> StateRecord:
        """Raises ValueError, TypeError, KeyError or AttributeError for what `encode` never wrote."""
        values: dict[str, Any] = dict(json.loads(text))
        key = bytes.fromhex(values.pop("key"))
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key of {len(key)} bytes")
        histories = {entity: Begun(**begun) for entity, begun in values.pop("histories").items()}
        return cls(key, Source(**values) if values else None, histories)


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker's demand for a state.

    Attributes:
        source: of the worker.
        layouts: by entity, the digest of what members are to keep.
        used: entities whose windows the model or the policy uses.
        accept_topic: the topic may take the place of an earlier one of its name.
        accept_empty: entities whose histories may begin empty although they are used.
        accept_group: a group whose place this worker's may take.
    """

    source: Source
    layouts: Mapping[str, str]
    used: frozenset[str] = frozenset()
    accept_topic: bool = False
    accept_empty: frozenset[str] = frozenset()
    accept_group: str | None = None

    def emptied(self, record: StateRecord) -> list[str]:
        """The entities whose histories in the record's state are of no use to this worker."""
        anew = record.source is not None and record.source.topic_id != self.source.topic_id
        return [
            entity
            for entity, layout in self.layouts.items()
            if anew or entity not in record.histories or record.histories[entity].layout != layout
        ]


def source_of(topic: InputTopic, group: str) -> Source:
    """The source of a worker of ``group`` on ``topic``."""
    return Source(topic.name, topic.topic_id, topic.partitions, group)


def find_namespace(store: OnlineStore, feature_set: str, state: str) -> Namespace | None:
    """Where the store keeps a state's histories; None where no worker has begun any.

    Raises DependencyUnavailableError, and ConfigurationError where the record is damaged.
    """
    record = read_record(store, feature_set, state)
    if record is None or record.source is None:
        return None
    return _namespace(feature_set, state, record)


def label_namespace(store: OnlineStore, feature_set: str, state: str) -> Namespace:
    """Where the store keeps a state's labels, which may come before any worker.

    Raises as `find_namespace` does.
    """
    return _namespace(feature_set, state, _change(store, feature_set, state, _or_new))


def claim(store: OnlineStore, feature_set: str, state: str, wanted: Claim) -> Namespace:
    """The namespace of a state for a worker, which the store remembers from now on.

    Raises ConfigurationError where the state is another's, or where histories would begin empty
    that are used; DependencyUnavailableError.
    """
    before: StateRecord | None = None

    def admitted(record: StateRecord | None) -> StateRecord:
        nonlocal before
        before = record
        return admit(state, record, wanted)

    record = _change(store, feature_set, state, admitted)
    if before is not None and before.source is not None and (empty := wanted.emptied(before)):
        log.warning(
            "histories_begin_empty",
            state=state,
            entities=empty,
            meaning="events are flagged history_short until these reach back far enough",
        )
    return _namespace(feature_set, state, record)


def admit(state: str, record: StateRecord | None, wanted: Claim) -> StateRecord:
    """The record of a state that a worker has claimed; ``record``: before, None for a new state.

    Raises ConfigurationError as `claim` does.
    """
    found = _or_new(record)
    emptied = wanted.emptied(found)
    if found.source is not None:
        _refuse_other(state, found.source, wanted)
        if found.source.topic_id == wanted.source.topic_id:
            _refuse_empty(state, wanted, emptied)
    marks = {e: Begun(wanted.layouts[e], secrets.token_hex(_MARK_BYTES)) for e in emptied}
    return replace(found, source=wanted.source, histories={**found.histories, **marks})


def read_record(store: OnlineStore, feature_set: str, state: str) -> StateRecord | None:
    """What the store remembers of a state. Raises as `find_namespace` does."""
    return _read(store, feature_set, state)[1]


def _change(
    store: OnlineStore,
    feature_set: str,
    state: str,
    change: Callable[[StateRecord | None], StateRecord],
) -> StateRecord:
    """The record of a state after ``change``; repeated where another process was first."""
    while True:
        value, record = _read(store, feature_set, state)
        changed = change(record)
        if changed == record:
            return changed
        if store.replace(record_key(feature_set, state), value, changed.encode()):
            return changed


def _read(
    store: OnlineStore, feature_set: str, state: str
) -> tuple[bytes | None, StateRecord | None]:
    key = record_key(feature_set, state)
    (value,) = store.read([key])
    if value is None:
        return None, None
    try:
        return value, StateRecord.decode(value)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ConfigurationError(
            f"store.state: the value at {key.decode()} is no record of a state, or one of an "
            f"earlier version; {_ANEW}, or delete the key if no worker uses this one"
        ) from None


def _or_new(record: StateRecord | None) -> StateRecord:
    return record or StateRecord(secrets.token_bytes(KEY_BYTES))


def _namespace(feature_set: str, state: str, record: StateRecord) -> Namespace:
    topic_id, partitions = ("", 0)
    if record.source is not None:
        topic_id, partitions = record.source.topic_id, record.source.partitions
    marks = {entity: begun.mark for entity, begun in record.histories.items()}
    return Namespace(feature_set, state, topic_id, partitions, record.key, marks)


def _refuse_other(state: str, known: Source, wanted: Claim) -> None:
    """Raises ConfigurationError where a state is of another topic, another size of it or a group."""
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
            f"{_ANEW}, set kafka.group to {known.group}, or, when that group has stopped for good, "
            f"store.accept_group: {known.group}"
        )
    else:
        return
    raise ConfigurationError(
        f"store.state: {state} holds histories of {known}, the input is {own}: {why}; {_ANEW}, "
        f"or {remedy}"
    )


def _refuse_empty(state: str, wanted: Claim, emptied: list[str]) -> None:
    """Raises ConfigurationError where a model or policy would see histories begin empty."""
    refused = [e for e in emptied if e in wanted.used and e not in wanted.accept_empty]
    if refused:
        named = ", ".join(refused)
        raise ConfigurationError(
            f"store.state: the windows in features.yaml keep other values of {named} than "
            f"{state} does, so that histories begin empty under a model or policy that uses "
            "them; restore these windows, fill histories for the new ones in a second pipeline "
            "with its own kafka.group (docs/challenger.md), or accept empty ones with "
            f"history.accept_empty: [{named}] in features.yaml"
        )
