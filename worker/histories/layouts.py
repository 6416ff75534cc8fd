"""Histories of earlier windows: found in the store, and removed in bounded steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from features.history.namespace import Namespace, history_keys
from features.store.protocol import OnlineStore
from worker.histories.record import HistoryStart, StateRecord, change_record, or_new, read_record

KEEP_S = 24 * 3600
"""Time since a worker has had histories, in seconds, after which they may be removed."""


class Place(NamedTuple):
    """Histories of an entity in the store: its name, and the digest in their keys."""

    entity: str
    digest: str

    def __str__(self) -> str:
        return f"{self.entity}:{self.digest}"


def recorded(record: StateRecord, feature_set: str, state: str) -> dict[Place, HistoryStart]:
    """All histories in the record of a state, by their places."""
    namespace = record.namespace(feature_set, state)
    return {
        Place(entity, _of(namespace, entity, begun).history_digest(entity, begun.layout)): begun
        for entity in record.histories
        for begun in record.all_of(entity)
    }


def scanned(store: OnlineStore, prefix: bytes) -> Iterator[Sequence[bytes]]:
    """Keys that begin with a prefix, in steps; errors are those of `OnlineStore.scan`."""
    cursor, keys = store.scan(prefix)
    yield keys
    while cursor:
        cursor, keys = store.scan(prefix, cursor)
        yield keys


def remove(
    store: OnlineStore, namespace: Namespace, place: Place, seen_until: int
) -> Iterator[int]:
    """Remove histories in bounded steps, and yield the number of keys of each step.

    Their entry leaves the record last, so that an interrupted removal can be repeated. Their marks
    go first, and again behind the keys: a worker that takes them meanwhile fills them again.

    Args:
        store: Online store.
        namespace: Namespace of the state.
        place: The histories.
        seen_until: They stay if a worker has had them later, in seconds since 1970-01-01 UTC.

    Raises:
        DependencyUnavailableError: The store does not answer.
        ConfigurationError: A permission is missing.
    """
    names = namespace.feature_set, namespace.state

    def without(record: StateRecord | None) -> StateRecord:
        known = or_new(record)
        begun = recorded(known, *names).get(place)
        if begun is None or begun.seen > seen_until:
            return known
        return known.without(place.entity, begun.mark)

    record = read_record(store, *names)
    if record is not None and place in recorded(without(record), *names):
        return
    marks = [history_keys(*names, "marks") + f"{place}".encode()]
    store.remove(marks)
    for keys in scanned(store, history_keys(*names) + f"{place}:".encode()):
        store.remove(keys)
        yield len(keys)
    store.remove(marks)
    if record is not None:
        change_record(store, *names, without)


def _of(namespace: Namespace, entity: str, begun: HistoryStart) -> Namespace:
    return replace(namespace, generations={entity: begun.mark})
