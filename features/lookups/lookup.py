"""Lookups: values that other programs wrote to the online store, by entity key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from base.arrays import Floats, Floats32, Longs, Mask
from features.lookups.decoded import (
    NEVER,
    DecodedLookups,
    Vector,
    blank,
    blank_elements,
    decode,
    decode_feast,
    layout,
    split_vectors,
)
from features.lookups.history import LookupHistory
from features.lookups.kernel.decode import ANY_AGE, spread_elements, spread_values
from features.store.feast import FeastView
from features.store.protocol import Hashes, ReadResult, Row
from features.values.grouping import grouped
from features.values.keys import Keys
from schemas.batch import EventBatch

__all__ = ["NEVER", "LookedUp", "Lookup", "LookupRequest", "Vector"]


_STATES = ("missing", "stale", "invalid")
"""Reasons for a lookup's defaults: no value, a value that is too old, a value not in the layout."""


@dataclass(frozen=True)
class Lookup:
    """A lookup of a feature set.

    Attributes:
        name: Name of the lookup.
        feature_set: Name of the feature set.
        entity: Entity whose keys it reads.
        names: Names of the numbers, in the order of the layout.
        defaults: One default for each number.
        max_age: Maximum age of a value at the event time, in microseconds, or None.
        vectors: Values that are vectors; in the layout they follow the numbers.
        feast: Feature view that holds the values, if Feast has written them.
        parts: Fields of a key of several, in their order; empty for a key of one field.
        prefix: Prefix of the keys of the values, if this worker has written them.
    """

    name: str
    feature_set: str
    entity: str
    names: tuple[str, ...]
    defaults: tuple[float, ...]
    max_age: int | None
    vectors: tuple[Vector, ...] = ()
    feast: FeastView | None = None
    parts: tuple[str, ...] = ()
    prefix: bytes = field(init=False)

    def __post_init__(self) -> None:
        vectors = (f"{vector.name}:{vector.dtype}[{vector.width}]" for vector in self.vectors)
        # The text of a key does not tell of which fields it is made: of others, it is another key.
        key = (f"key:{'|'.join(self.parts)}",) if self.parts else ()
        named = "\n".join((*self.names, *vectors, *key))
        digest = hashlib.sha256(named.encode()).hexdigest()[:8]
        prefix = f"fw:{self.feature_set}:lookup:{self.name}:{digest}:"
        object.__setattr__(self, "prefix", prefix.encode())

    @cached_property
    def flags(self) -> tuple[str, ...]:
        """Names of the flags that the lookup gives to events."""
        return tuple(f"lookup_{state}:{self.name}" for state in _STATES)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of the numbers as "lookup.value", in the order of the layout."""
        return tuple(f"{self.name}.{name}" for name in self.names)

    @cached_property
    def vectors_by_name(self) -> dict[str, Vector]:
        """The vectors by "lookup.value", in the order of the layout."""
        return {f"{self.name}.{vector.name}": vector for vector in self.vectors}

    def default(self, column: str) -> float:
        """Default of the value "lookup.value", or of each of its elements."""
        vector = self.vectors_by_name.get(column)
        return self.defaults[self.columns.index(column)] if vector is None else vector.default

    @cached_property
    def value_names(self) -> tuple[str, ...]:
        """Names of all values, in the order of the layout."""
        return (*self.names, *(vector.name for vector in self.vectors))

    @cached_property
    def layout(self) -> np.dtype[np.void]:
        """The dtype of one stored value: int64 updated_at in microseconds, float64s, vectors."""
        return layout(len(self.names), self.vectors)

    def keys(self, entity_keys: pa.StringArray) -> list[bytes]:
        """Keys in the store for the entity keys."""
        return [self.prefix + key for key in entity_keys.cast(pa.binary()).to_pylist()]


class LookedUp(NamedTuple):
    """Looked-up values of N events.

    Attributes:
        values: float64[N] by "lookup.value".
        vectors: float32[N, width] by "lookup.value".
        flags: bool[N] by flag.
    """

    values: dict[str, Floats]
    vectors: dict[str, Floats32]
    flags: dict[str, Mask]


class LookupRequest:
    """Reads of all lookups for N events, each key once, and the decoding of their answers.

    A lookup in ``histories`` has the values of its history at the time of each event, and is not
    read from the store.

    Attributes:
        keys: Keys to read, in one round trip with ``hashes``; a caller may read other keys behind
            them.
        count: Number of these keys.
        hashes: Hashes to read; likewise.
    """

    def __init__(
        self,
        lookups: Sequence[Lookup],
        batch: EventBatch,
        histories: Mapping[str, LookupHistory],
    ) -> None:
        self.keys: list[Keys] = []
        self.count = 0
        self.hashes: list[Hashes] = []
        self._event_time = batch.event_time
        self._requested: list[_LookupKeys] = []
        by_entity: dict[str, tuple[Keys, Longs]] = {}
        for lookup in lookups if len(batch) else ():
            entity = lookup.entity
            if lookup.name in histories:
                past = histories[lookup.name].at(batch.entity_keys[entity], batch.event_time)
                self._requested.append(_LookupKeys(lookup, np.arange(len(batch)), past))
                continue
            if entity not in by_entity:
                by_entity[entity] = grouped(batch.entity_keys[entity])
            self._requested.append(self._request(lookup, *by_entity[entity]))
        self._names = [column for lookup in lookups for column in lookup.columns]
        self._vectors = [named for lookup in lookups for named in lookup.vectors_by_name.items()]

    def _request(self, lookup: Lookup, unique: Keys, rows: Longs) -> _LookupKeys:
        if lookup.feast is None:
            start, self.count = self.count, self.count + len(unique)
            self.keys.append(unique.behind(lookup.prefix))
            return _LookupKeys(lookup, rows, slice(start, self.count))
        keys = lookup.feast.keys(unique.to_list())
        known = [key for key in keys if key is not None]
        self.hashes.append(Hashes(known, lookup.feast.fields(lookup.value_names)))
        asked = None if len(known) == len(keys) else [key is not None for key in keys]
        return _LookupKeys(lookup, rows, len(self.hashes) - 1, asked)

    def looked_up(self, answers: ReadResult) -> LookedUp:
        """Decode the answers to ``keys`` and ``hashes``; answers to other keys are ignored.

        A value gets its default and a flag if it is missing, older than ``max_age`` at the event's
        own time, or not in the layout.
        """
        flags: dict[str, Mask] = {}
        values = dict.fromkeys(self._names, np.empty(0))
        vectors = {name: np.empty((0, v.width), np.float32) for name, v in self._vectors}
        for lookup, rows, where, asked in self._requested:
            if isinstance(where, DecodedLookups):
                decoded = where
            elif isinstance(where, slice):
                decoded = decode(answers.values[where], lookup.defaults, lookup.vectors)
            else:
                hashes = _for_all_keys(answers.hashes[where], asked, lookup)
                decoded = decode_feast(hashes, lookup.defaults, lookup.vectors)
            table = np.empty((len(lookup.names), len(rows)), np.int64)
            stale = np.empty(len(rows), np.bool_)
            spread_values(
                decoded.values,
                decoded.updated_at,
                rows,
                self._event_time,
                ANY_AGE if lookup.max_age is None else lookup.max_age,
                blank(lookup.defaults),
                table,
                stale,
            )
            values |= zip(lookup.columns, table.view(np.float64), strict=True)
            if lookup.vectors:
                spread = _spread(lookup, decoded, rows, stale)
                vectors |= zip(lookup.vectors_by_name, spread, strict=True)
            masks = (decoded.missing[rows], stale, decoded.invalid[rows])
            flags |= zip(lookup.flags, masks, strict=True)
        return LookedUp(values, vectors, flags)


class _LookupKeys(NamedTuple):
    """Place of one lookup's keys in a request.

    Attributes:
        lookup: The lookup.
        rows: int64[N], the index of each event's unique key, or of its past values.
        where: Slice of the values read, or index in the hashes read, or past values of N events.
        asked: True for each unique key that was read; None if all were.
    """

    lookup: Lookup
    rows: Longs
    where: slice | int | DecodedLookups
    asked: list[bool] | None = None


def _spread(lookup: Lookup, decoded: DecodedLookups, rows: Longs, stale: Mask) -> list[Floats32]:
    """float32[N, width] of each vector, with its default for a stale value."""
    default = blank_elements(lookup.vectors)
    elements = np.empty((len(rows), len(default)), np.int32)
    spread_elements(decoded.elements, rows, stale, default, elements)
    return split_vectors(elements, lookup.vectors)


def _for_all_keys(
    answered: list[Row | None], asked: list[bool] | None, lookup: Lookup
) -> list[Row | None]:
    """Rows for all keys, with an empty row for each key that Feast cannot have written."""
    if asked is None:
        return answered
    rows = iter(answered)
    return [next(rows) if was else [None] * (len(lookup.value_names) + 1) for was in asked]
