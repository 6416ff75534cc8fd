"""Record of which dead letters of a partition were redriven, kept with a committed offset.

A redrive of some codes, or of some time, leaves other dead letters between those that it sends. The
committed offset alone cannot say so: its metadata holds ranges of offsets behind it, by code.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Self

from base.errors import ConfigurationError
from worker.consume.offset_metadata import MAX_BYTES
from worker.consume.packed_numbers import pack, unpack

ALL = "*"
"""Key of the ranges in which dead letters of every code were redriven."""
VERSION = 1

_VERSION, _TOPIC_ID, _RANGES = "version", "topic_id", "redriven"

Range = tuple[int, int]


@dataclass(slots=True)
class Redriven:
    """Dead letters of a partition that were redriven.

    Attributes:
        begin: Offset before which all were.
        ranges: Further ranges of offsets in ascending order, by code or ALL: each from its first
            offset up to, without, its end.
    """

    begin: int
    ranges: dict[str, list[Range]] = field(default_factory=dict)

    def __contains__(self, letter: tuple[int, str]) -> bool:
        """True if the dead letter at an offset, with a code, was redriven."""
        offset, code = letter
        ranges = chain(self.ranges.get(ALL, ()), self.ranges.get(code, ()))
        return offset < self.begin or any(low <= offset < high for low, high in ranges)

    def add(self, code: str, low: int, high: int) -> None:
        """Note that all dead letters of a code, or ALL, in a range of offsets were redriven."""
        self.ranges[code] = _joined([*self.ranges.get(code, ()), (low, high)])
        for first, end in self.ranges.get(ALL, ()):
            if first <= self.begin:
                self.begin = max(self.begin, end)
        cut = {
            key: [(max(low, self.begin), high) for low, high in ranges if high > self.begin]
            for key, ranges in self.ranges.items()
        }
        self.ranges = {key: ranges for key, ranges in cut.items() if ranges}

    def encode(self, topic_id: str) -> str:
        """Encode the ranges as metadata of the offset ``begin``.

        Args:
            topic_id: Kafka's id of the dead-letter topic.

        Raises:
            ConfigurationError: There are too many ranges for metadata.
        """
        packed = {
            key: pack(chain.from_iterable((low - self.begin, high - low) for low, high in ranges))
            for key, ranges in self.ranges.items()
        }
        values = {_VERSION: VERSION, _TOPIC_ID: topic_id, _RANGES: packed}
        text = json.dumps(values, separators=(",", ":"))
        if len(text) > MAX_BYTES:
            raise ConfigurationError(
                "--code, --since and --until: so many parts of the dead-letter topic were redriven "
                "by themselves that there is no room to note them; redrive without these options "
                "first"
            )
        return text

    @classmethod
    def decode(cls, offset: int, text: str, topic_id: str) -> Self | None:
        """Decode a committed offset and its metadata; None if it belongs to another topic id.

        Raises:
            ConfigurationError: A later version of the command has written it.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, Mapping):
            # Somebody has reset the offset.
            return cls(offset)
        if values.get(_VERSION) != VERSION:
            raise ConfigurationError(
                f"kafka.group: the metadata of the redrive group has version "
                f"{values.get(_VERSION)!r}, this command knows version {VERSION}: use the release "
                "that wrote it, or a later one"
            )
        if values.get(_TOPIC_ID) != topic_id:
            return None
        return cls(offset, {key: _read(offset, packed) for key, packed in values[_RANGES].items()})


def _read(begin: int, packed: Any) -> list[Range]:
    numbers: Iterator[int] = iter(unpack(packed))
    return [
        (begin + low, begin + low + length) for low, length in zip(numbers, numbers, strict=True)
    ]


def _joined(ranges: Iterable[Range]) -> list[Range]:
    """Ranges in ascending order, those that touch as one."""
    joined: list[Range] = []
    for low, high in sorted(ranges):
        if joined and low <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(high, joined[-1][1])
        else:
            joined.append((low, high))
    return joined
