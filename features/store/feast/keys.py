"""Keys and fields of the hashes in which Feast stores a feature view in Redis."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from features.values.key_texts import decode

_INTEGER = re.compile(rb"-?[0-9]+")
_MASK = 0xFFFFFFFF


class KeyType(Enum):
    """The kinds of an entity key, by their numbers in Feast's ``ValueType``."""

    BYTES = 1
    STRING = 2
    INT32 = 3
    INT64 = 4
    UNIX_TIMESTAMP = 8


@dataclass(frozen=True, slots=True)
class FeastView:
    """A feature view by Feast's own names; join keys and types in the order of a key's parts."""

    project: str
    feature_view: str
    join_keys: tuple[str, ...]
    key_types: tuple[KeyType, ...]

    def keys(self, entity_keys: Sequence[bytes]) -> list[bytes | None]:
        """Key of each entity's hash; None for an entity that Feast cannot have."""
        columns: Sequence[Sequence[bytes | None]] = [entity_keys]
        if len(self.join_keys) > 1:
            columns = [*zip(*map(decode, entity_keys), strict=True)]
        types = zip(self.key_types, columns, strict=True)
        return redis_keys(dict(zip(self.join_keys, types, strict=True)), self.project)

    def fields(self, features: Sequence[str]) -> tuple[bytes, ...]:
        """Fields of a hash: one for each feature, then the time of the values."""
        names = (hash_field(self.feature_view, feature) for feature in features)
        return (*names, timestamp_field(self.feature_view))

    def canonical(self) -> dict[str, Any]:
        """Definition for fingerprints: the parts of the view that change values."""
        keys, types = [*self.join_keys], [kind.name.lower() for kind in self.key_types]
        several = len(keys) > 1
        return {
            "project": self.project,
            "feature_view": self.feature_view,
            "join_key": keys if several else keys[0],
            "key_type": types if several else types[0],
        }


_INTEGER_WIDTHS = {KeyType.INT32: 4, KeyType.INT64: 8, KeyType.UNIX_TIMESTAMP: 8}


def redis_keys(
    join: Mapping[str, tuple[KeyType, Sequence[bytes | None]]], project: str
) -> list[bytes | None]:
    """Build the key of each entity's hash.

    Args:
        join: Type and N values by join key; whole numbers in decimal digits.
        project: Name of Feast's project.

    Returns:
        N keys; None where a value is None or not a number of its type, as Feast cannot have such an
        entity.
    """
    names = sorted(join)
    head = _u32(len(names)) + b"".join(_u32(KeyType.STRING.value) + _sized(n) for n in names)
    tail = project.encode()
    columns = [_serialized(*join[name]) for name in names]
    if len(columns) == 1:
        return [None if part is None else head + part + tail for part in columns[0]]
    return [
        None if None in parts else head + b"".join(filter(None, parts)) + tail
        for parts in zip(*columns, strict=True)
    ]


def hash_field(feature_view: str, feature: str) -> bytes:
    """Field of an entity's hash that has a feature's value."""
    return murmur3(f"{feature_view}:{feature}".encode()).to_bytes(4, "little")


def timestamp_field(feature_view: str) -> bytes:
    """Field of an entity's hash that has the event time of a view's values."""
    return f"_ts:{feature_view}".encode()


def murmur3(data: bytes) -> int:
    """MurmurHash3 of 32 bits, x86, seed 0."""
    whole = len(data) // 4 * 4
    state = 0
    for start in range(0, whole, 4):
        state ^= _scrambled(int.from_bytes(data[start : start + 4], "little"))
        state = (_rotated(state, 13) * 5 + 0xE6546B64) & _MASK
    state ^= _scrambled(int.from_bytes(data[whole:], "little")) ^ len(data)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        state = (state ^ state >> shift) * factor & _MASK
    return state ^ state >> 16


def _scrambled(block: int) -> int:
    return _rotated(block * 0xCC9E2D51 & _MASK, 15) * 0x1B873593 & _MASK


def _rotated(value: int, bits: int) -> int:
    return (value << bits | value >> (32 - bits)) & _MASK


def _serialized(kind: KeyType, values: Sequence[bytes | None]) -> list[bytes | None]:
    width = _INTEGER_WIDTHS.get(kind)
    if width is None:
        head = _u32(kind.value)
        return [None if value is None else head + _sized(value) for value in values]
    head = _u32(kind.value) + _u32(width)
    limit = 1 << (8 * width - 1)
    serialized: list[bytes | None] = []
    for value in values:
        number = int(value) if value and _INTEGER.fullmatch(value) else limit
        fits = -limit <= number < limit
        serialized.append(head + number.to_bytes(width, "little", signed=True) if fits else None)
    return serialized


def _u32(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _sized(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _u32(len(data)) + data
