"""Lookups: values that others wrote to the online store, by entity key."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from features.store.protocol import OnlineStore
from schemas.batch import EventBatch

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

NEVER = np.iinfo(np.int64).min
"""updated_at of a value whose time nobody gave."""
STATES = ("missing", "stale", "invalid")
"""Why a lookup gave its defaults: no value, one too old, one that is not in the layout."""


@dataclass(frozen=True)
class Lookup:
    """A lookup of a feature set.

    names: of its values, in the order of the layout; defaults: one for each.
    max_age: microseconds of event time that a value may be older than the event, or None.
    prefix: what the keys of its values begin with.
    """

    name: str
    feature_set: str
    entity: str
    names: tuple[str, ...]
    defaults: tuple[float, ...]
    max_age: int | None
    prefix: bytes = field(init=False)

    def __post_init__(self) -> None:
        layout = hashlib.sha256("\n".join(self.names).encode()).hexdigest()[:8]
        prefix = f"fw:{self.feature_set}:lookup:{self.name}:{layout}:"
        object.__setattr__(self, "prefix", prefix.encode())

    @cached_property
    def layout(self) -> np.dtype[np.void]:
        """Of one stored value: int64 updated_at in microseconds UTC, float64 of each value."""
        return np.dtype([("updated_at", "<i8"), ("values", "<f8", (len(self.names),))])

    @cached_property
    def blank(self) -> bytes:
        """A stored value that stands for one that is not there: the defaults, never updated."""
        return np.array([(NEVER, self.defaults)], dtype=self.layout).tobytes()

    def keys(self, entity_keys: pa.StringArray) -> list[bytes]:
        """The key in the store of each entity key."""
        prefix = self.prefix
        keys = entity_keys.view(pa.binary()).to_numpy(zero_copy_only=False).tolist()
        return [prefix + key for key in keys]


class LookedUp(NamedTuple):
    """values: float64[N] by "lookup.value"; flags: uint32[N], bits from ``flag_names``."""

    values: dict[str, Floats]
    flags: npt.NDArray[np.uint32]


def flag_names(lookups: Sequence[Lookup]) -> tuple[str, ...]:
    """The meaning of each bit of the flags, from the lowest."""
    return tuple(f"lookup_{state}:{lookup.name}" for lookup in lookups for state in STATES)


def read_lookups(lookups: Sequence[Lookup], batch: EventBatch, store: OnlineStore) -> LookedUp:
    """The values of all lookups for N events: unique keys, one read of the store.

    Where a value is missing, older than ``max_age`` at the event's own time, or not in the layout,
    the defaults stand for it and a flag says so. Raises DependencyUnavailableError.
    """
    flags = np.zeros(len(batch), dtype=np.uint32)
    values: dict[str, Floats] = {}
    if not lookups or not len(batch):
        return LookedUp({f"{k.name}.{n}": np.empty(0) for k in lookups for n in k.names}, flags)
    encoded = {
        entity: batch.entity_keys[entity].dictionary_encode()
        for entity in dict.fromkeys(lookup.entity for lookup in lookups)
    }
    keys = [lookup.keys(encoded[lookup.entity].dictionary) for lookup in lookups]
    found = store.read([key for some in keys for key in some])
    start = 0
    for place, (lookup, some) in enumerate(zip(lookups, keys, strict=True)):
        rows = encoded[lookup.entity].indices.to_numpy()
        decoded = _decode(lookup, found[start : start + len(some)])
        start += len(some)
        stale = _stale(lookup, decoded, rows, batch.event_time)
        table = decoded.values.take(rows, axis=1)
        if stale is not None:
            table = np.where(stale, np.array(lookup.defaults)[:, None], table)
        values |= {f"{lookup.name}.{name}": table[i] for i, name in enumerate(lookup.names)}
        for bit, mask in enumerate((decoded.missing, None, decoded.invalid), len(STATES) * place):
            if mask is not None:
                flags |= mask[rows].astype(np.uint32) << np.uint32(bit)
        if stale is not None:
            flags |= stale.astype(np.uint32) << np.uint32(len(STATES) * place + 1)
    return LookedUp(values, flags)


class _Decoded(NamedTuple):
    """U unique values: float64[V, U], int64[U], and bool[U] or None where none is so."""

    values: Floats
    updated_at: npt.NDArray[np.int64]
    missing: Mask | None
    invalid: Mask | None


def _decode(lookup: Lookup, found: list[bytes | None]) -> _Decoded:
    missing = invalid = None
    blank = lookup.blank
    present = [blank if value is None else value for value in found]
    if None in found:
        missing = np.array([value is None for value in found])
    width = len(blank)
    if set(map(len, present)) != {width}:
        invalid = np.array([len(value) != width for value in present])
        present = [value if len(value) == width else blank for value in present]
    table = np.frombuffer(b"".join(present), dtype=lookup.layout)
    values = np.ascontiguousarray(table["values"].T)
    infinite = np.isinf(values)
    if infinite.any():
        damaged = infinite.any(axis=0)
        invalid = damaged if invalid is None else invalid | damaged
        values = np.where(damaged, np.array(lookup.defaults)[:, None], values)
    return _Decoded(values, table["updated_at"], missing, invalid)


def _stale(
    lookup: Lookup,
    decoded: _Decoded,
    rows: npt.NDArray[np.int32],
    event_time: npt.NDArray[np.int64],
) -> Mask | None:
    """bool[N]: too old at the event's time, or of no known time; None where none can be."""
    if lookup.max_age is None:
        return None
    # The oldest time allowed: no underflow, as event times lie within 2000 and 2100.
    stale: Mask = decoded.updated_at[rows] < event_time - lookup.max_age
    for absent in (decoded.missing, decoded.invalid):
        if absent is not None:
            stale &= ~absent[rows]
    return stale
