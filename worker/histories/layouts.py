"""Histories of earlier windows: found in the store, and removed in bounded steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import NamedTuple

import structlog

from base.errors import ConfigurationError
from features.history.namespace import Namespace, history_keys
from features.store.protocol import OnlineStore
from worker.histories.record import HistoryStart, StateRecord, change_record, or_new, read_record

log = structlog.get_logger(__name__)

KEEP_S = 24 * 3600
"""Time after which histories go that no worker has had since, in seconds."""


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


def remove(
    store: OnlineStore, namespace: Namespace, place: Place, seen_until: int
) -> Iterator[int]:
    """Remove histories in bounded steps, and yield the number of keys of each step.

    They leave the record first, so that no worker begins with them.

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

    if read_record(store, *names) is not None:
        left = change_record(store, *names, without)
        if place in recorded(left, *names):
            return
    for kind in ("marks", "history"):
        prefix, cursor = history_keys(*names, kind) + f"{place}".encode(), 0
        while True:
            cursor, keys = store.scan(prefix, cursor)
            store.remove(keys)
            yield len(keys)
            if not cursor:
                break


class OldLayouts:
    """Removal of histories that no worker has had for a day.

    Args:
        store: Online store.
    """

    def __init__(self, store: OnlineStore) -> None:
        self._store = store
        self._steps: Iterator[int] = iter(())

    def look(self, namespace: Namespace, now: int) -> None:
        """Look for such histories in the record of the state.

        Args:
            namespace: Namespace of this worker's histories, which stay.
            now: Time in seconds since 1970-01-01 UTC.
        """
        names = namespace.feature_set, namespace.state
        record = read_record(self._store, *names)
        if record is None:
            return
        old = [
            place
            for place, begun in recorded(record, *names).items()
            if begun.mark != namespace.generations.get(place.entity)
            and 0 < begun.seen <= now - KEEP_S
        ]
        if old:
            log.info("removing_old_histories", state=namespace.state, histories=[*map(str, old)])
            self._steps = chain.from_iterable(
                remove(self._store, namespace, place, now - KEEP_S) for place in old
            )

    def step(self) -> None:
        """Remove some keys.

        Raises:
            DependencyUnavailableError: The store does not answer.
        """
        try:
            next(self._steps, None)
        except ConfigurationError as error:
            self._steps = iter(())
            log.warning("old_histories_stay", reason=str(error))


def _of(namespace: Namespace, entity: str, begun: HistoryStart) -> Namespace:
    return replace(namespace, generations={entity: begun.mark})
