"""Random records that try to break a worker: bodies, keys, headers, timestamps and sizes.

A record is drawn aspect by aspect. Each ``RecordMaker`` uses only a share of the kinds of each
aspect, so that a fault that stops the worker does not hide all other faults in every round.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from tests.support.hostile_bodies import Kinds, Sizes, filler, near
from tests.support.raw_produce import RawRecord

COPIED_HEADER = "trace"
_PREFIX = b"__worker.errors."
_SCHEMA_HEADER = b"__value_schema_id"
_LONGEST_KEY_KEPT = 1024
_LARGE_BYTES = 1_000_000
_DAY_MS = 86_400_000

Header = tuple[bytes, bytes | None]
T = TypeVar("T")


class Values(Protocol):
    """Generator of record values for one event schema."""

    def good(self) -> bytes:
        """Event that is scored."""
        ...

    def kinds(self) -> Kinds:
        """Generator of each kind of hostile value."""
        ...


class Aspect(Generic[T]):
    """One part of a record: usually plain, otherwise of one of several hostile kinds.

    Args:
        name: Name of the aspect.
        draw: Source of all choices.
        plain: Generates the ordinary value.
        kinds: Generate the hostile values, by kind.
        kind_share: Share of the kinds that are used.
        share: Share of hostile values.
    """

    def __init__(
        self,
        name: str,
        draw: random.Random,
        plain: Callable[[], T],
        kinds: dict[str, Callable[[], T]],
        kind_share: float,
        share: float,
    ) -> None:
        self._name, self._draw, self._plain, self._share = name, draw, plain, share
        self._kinds = {kind: make for kind, make in kinds.items() if draw.random() < kind_share}

    def __call__(self) -> tuple[T, str]:
        """Draw a value; return it with its kind as ``aspect: kind``."""
        if not self._kinds or self._draw.random() >= self._share:
            return self._plain(), f"{self._name}: plain"
        kind = self._draw.choice([*self._kinds])
        return self._kinds[kind](), f"{self._name}: {kind}"


@dataclass(frozen=True, slots=True)
class HostileRecord:
    """A record, with its kind in each aspect."""

    record: RawRecord
    kinds: tuple[str, ...]


class RecordMaker:
    """Generator of records: reproducible by ``draw``, except for timestamps near the present.

    Args:
        draw: Source of all choices.
        values: Generator of the record values.
        sizes: Limits that sizes are drawn near.
        topic: Input topic, which forged headers name.
        kinds: Share of the kinds that are used.
    """

    def __init__(
        self, draw: random.Random, values: Values, sizes: Sizes, topic: str, *, kinds: float = 0.5
    ) -> None:
        self._draw, self._sizes, self._topic = draw, sizes, topic
        self._value = Aspect[bytes | None]("body", draw, values.good, values.kinds(), kinds, 0.5)
        self._key = Aspect[bytes | None]("key", draw, self._plain_key, self._keys(), kinds, 0.2)
        self._headers = Aspect[list[Header]](
            "headers", draw, list, self._header_kinds(), kinds, 0.35
        )
        self._timestamp = Aspect[int]("timestamp", draw, now_ms, self._timestamps(), kinds, 0.2)

    def __call__(self) -> HostileRecord:
        """Draw the next record."""
        value, of_value = self._value()
        key, of_key = self._key()
        headers, of_headers = self._headers()
        timestamp, of_timestamp = self._timestamp()
        record = RawRecord(key, value, headers, timestamp)
        return HostileRecord(record, (of_value, of_key, of_headers, of_timestamp))

    def _plain_key(self) -> bytes:
        return f"c-{self._draw.randrange(20)}".encode()

    def _keys(self) -> dict[str, Callable[[], bytes | None]]:
        draw = self._draw
        kept = (_LONGEST_KEY_KEPT - 1, _LONGEST_KEY_KEPT, _LONGEST_KEY_KEPT + 1)
        return {
            "none": lambda: None,
            "empty": lambda: b"",
            "NUL": lambda: b"\x00",
            "not UTF-8": lambda: b"key\xff\xfe",
            "as long as is kept": lambda: b"k" * draw.choice(kept),
            "near the largest dead letter": lambda: self._near(self._sizes.dead_letters),
            "near the largest score": lambda: self._near(self._sizes.scores),
            "large": lambda: self._up_to(100_000),
        }

    def _header_kinds(self) -> dict[str, Callable[[], list[Header]]]:
        draw, sizes = self._draw, self._sizes
        return {
            "ordinary": lambda: [(b"trace", b"1"), (b"tenant", None), (b"empty", b"")],
            "name not UTF-8": self._not_utf8,
            "name with NUL": lambda: [(b"a\x00b", b"1"), (b"\x00", None)],
            "no name": lambda: [(b"", b"1"), (b"", None)],
            "long name": lambda: [(self._near(sizes.dead_letters), b"1")],
            "value not UTF-8": lambda: [(b"trace", b"\xff\x00\xfe")],
            "copied, near the largest score": lambda: [(b"trace", self._near(sizes.scores))],
            "near the largest dead letter": lambda: [(b"h", self._near(sizes.dead_letters))],
            "large": lambda: [(b"h", self._up_to(_LARGE_BYTES))],
            "thousands": lambda: [(b"h%d" % n, b"") for n in range(draw.randrange(5_000))],
            "a name many times": lambda: [(b"trace", b"%d" % n) for n in range(500)],
            "forged answer": self._forged,
            "forged, large": lambda: [
                *self._forged(),
                (_PREFIX + b"x", self._up_to(_LARGE_BYTES)),
            ],
            "forged, thousands": lambda: self._forged() * 300,
            "forged, name not UTF-8": lambda: [(_PREFIX + b"topic\xff", b"x"), *self._forged()],
            "schema id": lambda: [(_SCHEMA_HEADER, draw.randbytes(draw.randrange(20)))],
            "schema id of none": lambda: [(_SCHEMA_HEADER, None), (_SCHEMA_HEADER, b"")],
            "GUID of a schema": lambda: [(_SCHEMA_HEADER, b"\x01" + draw.randbytes(16))],
        }

    def _not_utf8(self) -> list[Header]:
        names = (b"trace\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\x80" * 300)
        headers: list[Header] = [(self._draw.choice(names), b"1"), (b"trace", b"2")]
        self._draw.shuffle(headers)
        return headers

    def _forged(self) -> list[Header]:
        """Headers like those of a dead letter for another record, or for no record."""
        offset = self._draw.choice((b"0", b"1", b"%d" % self._draw.randrange(300), b"x", None))
        names: list[Header] = [
            (_PREFIX + b"topic", self._topic.encode()),
            (_PREFIX + b"partition", b"0"),
            (_PREFIX + b"offset", offset),
            (_PREFIX + b"code", b"null_value"),
            (_PREFIX + b"message", b"\xff"),
            (_PREFIX + b"timestamp", b"-1"),
            (_PREFIX + b"value.sha256", b"0"),
        ]
        return self._draw.sample(names, self._draw.randint(1, len(names)))

    def _timestamps(self) -> dict[str, Callable[[], int]]:
        return {
            "none": lambda: -1,
            "1970": lambda: self._draw.randrange(2),
            "negative": lambda: self._draw.choice((-2, -_DAY_MS, -(2**62), -(2**63))),
            "a day ago": lambda: now_ms() - _DAY_MS,
            "years ago": lambda: now_ms() - self._draw.randrange(20_000) * _DAY_MS,
            "minutes ahead": lambda: now_ms() + self._draw.randrange(3_600_000),
            "a day ahead": lambda: now_ms() + _DAY_MS,
            "centuries ahead": lambda: self._draw.choice((2**53, 2**62, 2**63 - 1)),
        }

    def _near(self, limit: int) -> bytes:
        return filler(self._draw, near(self._draw, limit))

    def _up_to(self, largest: int) -> bytes:
        return filler(self._draw, self._draw.randrange(largest))


def now_ms() -> int:
    """Current time as a Kafka timestamp."""
    return time.time_ns() // 1_000_000
