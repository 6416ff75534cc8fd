"""Records of states in the online store: the topic and the group to which histories belong.

A member is identified by its position in the log, so histories of another topic, or of another
number of partitions, are meaningless. If two groups shared one state, each would delete members
that the other needs. The record makes a worker refuse both cases. It also holds the key of the
hashes in the state, without which nothing in the state can be read.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from base.errors import ConfigurationError
from features.history.namespace import Namespace, record_key
from features.store.protocol import OnlineStore
from features.values.hash64 import KEY_BYTES

ANEW = "name another store.state, whose histories are filled from the topic"


@dataclass(frozen=True, slots=True)
class StateSource:
    """Source of a state's histories.

    Attributes:
        topic: Name of the topic of the events.
        topic_id: Kafka's id of the topic.
        partitions: Number of its partitions.
        group: Consumer group whose workers write the histories.
    """

    topic: str
    topic_id: str
    partitions: int
    group: str

    def has_positions_of(self, other: StateSource) -> bool:
        """True if members of both are identified by positions in the same partitions."""
        return (self.topic_id, self.partitions) == (other.topic_id, other.partitions)

    def __str__(self) -> str:
        return f"topic {self.topic} (id {self.topic_id}, partitions {self.partitions})"


@dataclass(frozen=True, slots=True)
class HistoryStart:
    """Record of the histories of one entity.

    Attributes:
        layout: Digest of the fields that members keep.
        mark: Mark that distinguishes these histories from earlier ones that were emptied.
        back: How far before the watermark members are kept, in microseconds.
        cap: Number of members that are kept of each history.
        expire_ms: Shortest time after its last write after which a history may have expired, in
            milliseconds; None: never.
        seen: Time at which a worker last had them, to the hour, in seconds since 1970-01-01 UTC.
    """

    layout: str
    mark: str
    back: int
    cap: int
    expire_ms: int | None = None
    seen: int = 0

    @property
    def kept(self) -> tuple[str, int, int]:
        """Layout, reach and cap: what members are kept."""
        return self.layout, self.back, self.cap


@dataclass(frozen=True, slots=True)
class StateRecord:
    """The record of a state.

    Attributes:
        key: Key of the state's hashes.
        source: Source of the histories; None while the state holds labels only.
        histories: The histories that were claimed last, by entity.
        labelled: Entities for which labels were last loaded.
        beside: Other histories of an entity, the newest first: those of workers with another
            version of the windows, which may still run.
    """

    key: bytes = field(repr=False)
    source: StateSource | None = None
    histories: Mapping[str, HistoryStart] = field(default_factory=dict)
    labelled: frozenset[str] = frozenset()
    beside: Mapping[str, tuple[HistoryStart, ...]] = field(default_factory=dict)

    def encode(self) -> bytes:
        values = {
            "key": self.key.hex(),
            "histories": {
                entity: [asdict(begun) for begun in self.all_of(entity)]
                for entity in self.histories
            },
            "labelled": sorted(self.labelled),
            **({} if self.source is None else asdict(self.source)),
        }
        return json.dumps(values).encode()

    @classmethod
    def decode(cls, text: bytes) -> StateRecord:
        """Decode the text of `encode`.

        Raises ValueError, TypeError, LookupError or AttributeError for any other text.
        """
        values: dict[str, Any] = dict(json.loads(text))
        key = bytes.fromhex(values.pop("key"))
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key of {len(key)} bytes")
        begun = {
            entity: tuple(HistoryStart(**one) for one in every)
            for entity, every in values.pop("histories").items()
        }
        labelled = frozenset(values.pop("labelled", ()))
        source = StateSource(**values) if values else None
        histories = {entity: every[0] for entity, every in begun.items()}
        beside = {entity: every[1:] for entity, every in begun.items() if every[1:]}
        return cls(key, source, histories, labelled, beside)

    def all_of(self, entity: str) -> tuple[HistoryStart, ...]:
        """All histories of an entity, those that were claimed last first."""
        first = self.histories.get(entity)
        return () if first is None else (first, *self.beside.get(entity, ()))

    def with_histories(self, begun: Mapping[str, HistoryStart]) -> StateRecord:
        """The record with these histories as the ones that were claimed last.

        Those that they replace have the same mark, or keep the same: nobody finds them any more.
        """
        beside = dict(self.beside)
        for entity, first in begun.items():
            beside[entity] = tuple(
                one
                for one in self.all_of(entity)
                if one.mark != first.mark and one.kept != first.kept
            )
        return replace(
            self,
            histories={**self.histories, **begun},
            beside={entity: others for entity, others in beside.items() if others},
        )

    def without(self, entity: str, mark: str) -> StateRecord:
        """The record without the histories of an entity that have this mark."""
        left = tuple(one for one in self.all_of(entity) if one.mark != mark)
        histories = {e: one for e, one in self.histories.items() if e != entity}
        beside = {e: others for e, others in self.beside.items() if e != entity}
        if left:
            histories[entity] = left[0]
        if left[1:]:
            beside[entity] = left[1:]
        return replace(self, histories=histories, beside=beside)

    def namespace(self, feature_set: str, state: str) -> Namespace:
        """Namespace of the state's histories and labels in the store."""
        topic_id, partitions = ("", 0)
        if self.source is not None:
            topic_id, partitions = self.source.topic_id, self.source.partitions
        generations = {entity: begun.mark for entity, begun in self.histories.items()}
        return Namespace(feature_set, state, topic_id, partitions, self.key, generations)


def label_namespace(store: OnlineStore, feature_set: str, state: str) -> Namespace:
    """Namespace of a state's labels in the store; errors are those of `read_record`.

    Labels may be loaded before any worker runs: the record of the state is made where there is
    none.
    """
    return change_record(store, feature_set, state, or_new).namespace(feature_set, state)


def note_labelled(
    store: OnlineStore, feature_set: str, state: str, entities: Iterable[str]
) -> None:
    """Record that labels have been loaded, for these entities and no others.

    Errors are those of `read_record`.
    """
    labelled = frozenset(entities)
    change_record(
        store, feature_set, state, lambda record: replace(or_new(record), labelled=labelled)
    )


def read_record(store: OnlineStore, feature_set: str, state: str) -> StateRecord | None:
    """Read the record of a state; None if there is none.

    Raises:
        DependencyUnavailableError: The store does not answer.
        ConfigurationError: The record of the state is damaged.
    """
    return _read(store, feature_set, state)[1]


def change_record(
    store: OnlineStore,
    feature_set: str,
    state: str,
    change: Callable[[StateRecord | None], StateRecord],
) -> StateRecord:
    """Replace the record of a state by the result of ``change``, and return the new record.

    ``change`` is called again where another process has replaced the record meanwhile.
    """
    while True:
        value, record = _read(store, feature_set, state)
        changed = change(record)
        if changed == record:
            return changed
        if store.replace(record_key(feature_set, state), value, changed.encode()):
            return changed


def or_new(record: StateRecord | None) -> StateRecord:
    """The record, or a new one with a new key where there is none."""
    return record or StateRecord(secrets.token_bytes(KEY_BYTES))


def _read(
    store: OnlineStore, feature_set: str, state: str
) -> tuple[bytes | None, StateRecord | None]:
    key = record_key(feature_set, state)
    (value,) = store.read([key])
    if value is None:
        return None, None
    try:
        return value, StateRecord.decode(value)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        raise ConfigurationError(
            f"store.state: the value at {key.decode()} is not a record of a state, or is one of an "
            f"earlier version; {ANEW}, or delete the key if no worker uses this one"
        ) from None
