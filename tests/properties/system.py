"""The real thing as the property tests drive it, at seams where a test may put a bug."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from features.compute.bind import bind
from features.compute.enrich import enrich
from features.compute.matrix import Enriched
from features.compute.trace import trace
from features.definition import FeatureSet
from features.history.labels import LabelBatch, label_appends
from features.history.namespace import Namespace
from features.history.watermarks import LogState
from features.store.memory import MemoryStore
from features.store.protocol import OnlineStore, Writes
from features.values.hash64 import PROCESS_KEY
from features.windows.trace import Traced
from schemas.batch import Decoded, EventBatch, Kind, Records
from tests.oracles.windows import Event, Label
from tests.properties import rich_set
from tests.properties.rich_set import NAME, PRICE_DIGITS
from tests.support.making import booleans, doubles, longs, strings


class System:
    """One run of the engine over one store, in a namespace of its own.

    waits: whether workers wait until other partitions are applied, in scenarios where they should.
    """

    waits = True

    def __init__(
        self,
        rules: rich_set.Numbers,
        partitions: int,
        make_store: Callable[[], OnlineStore] = MemoryStore,
    ) -> None:
        self.feature_set = self.load(rules)
        self.store = make_store()
        self.namespace = Namespace(NAME, uuid.uuid4().hex, "topic", partitions, PROCESS_KEY)

    def load(self, rules: rich_set.Numbers) -> FeatureSet:
        return rich_set.load(rules)

    def bind(self, events: Sequence[Event]) -> tuple[EventBatch, set[int]]:
        """The good ones as a batch, and the rows of the others."""
        decoded = Decoded(columns_of(events), {})
        batch, errors = bind(self.feature_set, _records(events), decoded)
        return batch, set(errors)

    def enrich(self, batch: EventBatch, log: LogState) -> Enriched:
        return enrich(self.feature_set, batch, self.store, log, self.namespace)

    def trace(self, feature: str, row: int, batch: EventBatch, log: LogState) -> Traced:
        return trace(self.feature_set, feature, row, batch, (self.store, log, self.namespace))

    def append(self, writes: Writes) -> None:
        self.store.append(writes.appends, writes.compactions)

    def append_labels(self, labels: Sequence[Label]) -> None:
        batch = _label_batch(labels)
        entities = self.feature_set.labelled_entities
        self.append(Writes(label_appends(batch, entities, self.namespace)))

    def read(self, key: bytes) -> bytes:
        """What the store holds."""
        return self.store.read([key])[0] or b""

    def of_key(self, key: bytes) -> tuple[str, tuple[str, str]]:
        """What a key of the store is of, ``history`` or ``labels``, and the entity and its key."""
        _, kind, entity, _, name = key.decode().rsplit(":", 4)
        return kind, (entity, name)


def _records(events: Sequence[Event]) -> Records:
    return Records(
        "topic",
        [event.keys["card"].encode() for event in events],
        [b""] * len(events),
        np.array([event.partition for event in events], np.int32),
        np.array([event.offset for event in events], np.int64),
        np.array([event.recorded for event in events], np.int64),
    )


def columns_of(events: Sequence[Event]) -> dict[str, Any]:
    def of(name: str) -> list[Any]:
        return [event.values[name] for event in events]

    prices = [int(price.scaleb(PRICE_DIGITS)) for price in of("price")]
    return {
        "id": strings([event.id for event in events]),
        "at": longs([event.time for event in events], Kind.TIME),
        "card": strings(of("card")),
        "shop": longs(of("shop")),
        "amount": doubles(of("amount")),
        "cents": longs(of("cents")),
        "price": longs(prices, Kind.DECIMAL, PRICE_DIGITS),
        "x": doubles(of("x")),
        "z": doubles(of("z")),
        "online": booleans(of("online")),
        "channel": strings(of("channel")),
        "country": strings(of("country")),
        "merchant.code": strings(of("merchant.code")),
    }


def _label_batch(labels: Sequence[Label]) -> LabelBatch:
    return LabelBatch(
        event_id=pa.array([label.event_id for label in labels], pa.string()),
        event_time=np.array([label.event_time for label in labels], np.int64),
        entity_keys={
            entity: pa.array([label.keys[entity] for label in labels], pa.string())
            for entity in rich_set.ENTITIES
        },
        fraud=np.array([label.fraud for label in labels], np.bool_),
        label_time=np.array([label.time for label in labels], np.int64),
        partitions=np.array([label.partition for label in labels], np.int32),
        offsets=np.array([label.offset for label in labels], np.int64),
    )
