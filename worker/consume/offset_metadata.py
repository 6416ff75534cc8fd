"""Offset metadata: the state of the log behind a committed offset, committed with it as text.

The text is JSON with a version, the topic's id, and numbers that are packed so that it stays short
whatever the feature set. Fields that a version does not know are ignored; a later version is
refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Any, Self

from base.errors import ConfigurationError
from features.history.pairs import Pair, thinned
from features.history.recent_records import SPAN, UNCOUNTED, RecentRecords
from features.history.watermarks import LogState
from worker.consume.packed_numbers import pack, unpack

MAX_BYTES = 1_000
"""Upper bound on the text. Brokers refuse 4,096 bytes by default, and operators may allow fewer."""
VERSION = 1

_VERSION, _TOPIC_ID, _STATE, _PAIRS = "version", "topic_id", "state", "pairs"
_RECENT = "recent_records"
# Fields of metadata without a version.
_HIGHEST, _LOWEST, _COUNTED = "highest_event_times", "lowest_event_time", "counted_events"
_HIGHEST_ALONE = "highest_event_time"
# Made once: `json.dumps` makes an encoder for each call with separators.
_encode = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class OffsetMetadata:
    """State of one partition behind its committed offset.

    Attributes:
        topic_id: Kafka's id of the topic that the offset belongs to; None in metadata without one.
        highest_event_times: Times of the events before the offset that support the watermark, from
            the highest, in microseconds since 1970-01-01 UTC; empty without such events.
        lowest_event_time: Time that histories reach back to, in microseconds since 1970-01-01 UTC,
            by `Namespace.history_digest`; empty before they begin.
        counted_events: Number of events of histories that have not begun, as `LogState.counted`.
        early_event_time: Latest time of the events that did not support the watermark, in
            microseconds since 1970-01-01 UTC; None without such events.
        pairs: State at earlier offsets, in their order.
        recent_records: The last records, and which of them are dead letters. A worker that does not
            know the field leaves it out, and the next one begins to count anew.
    """

    topic_id: str | None = None
    highest_event_times: tuple[int, ...] = ()
    lowest_event_time: Mapping[str, int] = field(default_factory=dict)
    counted_events: Mapping[str, int] = field(default_factory=dict)
    early_event_time: int | None = None
    pairs: tuple[Pair, ...] = ()
    recent_records: RecentRecords = UNCOUNTED

    @classmethod
    def of(cls, topic_id: str, log: LogState, partition: int) -> Self:
        """Make the metadata of a partition from the state of the log."""
        return cls(
            topic_id,
            log.highest.get(partition, ()),
            log.lowest.get(partition, {}),
            log.counted.get(partition, {}),
            log.early.get(partition),
            log.pairs.get(partition, ()),
            log.recent.get(partition, UNCOUNTED),
        )

    def encode(self) -> str:
        """Encode the metadata in at most MAX_BYTES, with fewer pairs where there is no room."""
        if self == OffsetMetadata():
            return ""
        values: dict[str, Any] = {_VERSION: VERSION}
        if self.topic_id is not None:
            values[_TOPIC_ID] = self.topic_id
        if state := self._state():
            values[_STATE] = pack(state)
        if self.recent_records:
            values[_RECENT] = pack([self.recent_records.count, self.recent_records.letters])
        pairs = self.pairs
        while True:
            if pairs:
                values[_PAIRS] = _packed_pairs(pairs)
            text = _encode(values)
            if not pairs or len(text) <= MAX_BYTES:
                return text
            pairs = thinned(pairs)
            del values[_PAIRS]

    @classmethod
    def decode(cls, text: str) -> Self:
        """Decode the text of `encode`; the metadata of other programs is read as empty.

        Raises:
            ConfigurationError: A later version of the worker has written it.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            return cls()
        if not isinstance(values, Mapping):
            return cls()
        topic_id, version = _typed(values, _TOPIC_ID, str), _typed(values, _VERSION, int)
        if version is None:
            return cls(
                topic_id,
                _highest(values),
                _numbers(values, _LOWEST),
                _numbers(values, _COUNTED),
            )
        if version > VERSION:
            raise ConfigurationError(
                f"kafka.group: the metadata of the group's offsets has version {version}, this "
                f"worker knows version {VERSION}: a later worker has committed it; run that one or "
                "a later one, or use another kafka.group"
            )
        try:
            state = _read_state(iter(unpack(values.get(_STATE, ""))))
            pairs = _read_pairs(iter(unpack(values.get(_PAIRS, ""))))
        except (LookupError, TypeError, ValueError, StopIteration):
            return cls(topic_id)
        return cls(topic_id, *state, pairs, _read_recent(values.get(_RECENT)))

    def _state(self) -> list[int]:
        """Numbers of everything but the topic and the pairs; empty if there are none."""
        highest, early = self.highest_event_times, self.early_event_time
        if not (highest or self.lowest_event_time or self.counted_events or early is not None):
            return []
        base = highest[0] if highest else 0
        return [
            *_with_length(_falling(highest, 0)),
            *_with_length([] if early is None else [early - base]),
            *_with_digests(self.lowest_event_time, base),
            *_with_digests(self.counted_events, 0),
        ]


def log_state_of(metadata: Mapping[int, OffsetMetadata]) -> LogState:
    """State of the log, from the offset metadata of its partitions."""
    return LogState(
        _present(metadata, lambda state: state.highest_event_times or None),
        _present(metadata, lambda state: state.lowest_event_time or None),
        _present(metadata, lambda state: state.counted_events or None),
        early=_present(metadata, lambda state: state.early_event_time),
        pairs=_present(metadata, lambda state: state.pairs or None),
        recent=_present(metadata, lambda state: state.recent_records or None),
    )


def _present(
    metadata: Mapping[int, OffsetMetadata], value: Callable[[OffsetMetadata], Any]
) -> dict[int, Any]:
    values = ((partition, value(state)) for partition, state in metadata.items())
    return {partition: given for partition, given in values if given is not None}


def _falling(numbers: Sequence[int], before: int) -> list[int]:
    """Differences of descending numbers; the first to ``before``."""
    if not numbers:
        return []
    return [numbers[0] - before, *(higher - lower for higher, lower in pairwise(numbers))]


def _with_length(numbers: Sequence[int]) -> list[int]:
    return [len(numbers), *numbers]


def _with_digests(values: Mapping[str, int], base: int) -> list[int]:
    """Numbers of a mapping by digest, each less ``base``."""
    items = ((int(digest, 16), number - base) for digest, number in values.items())
    return [len(values), *(number for item in items for number in item)]


@lru_cache(1024)
def _packed_pairs(pairs: tuple[Pair, ...]) -> str:
    """Pack pairs, each by its difference to the one before. They seldom change."""
    numbers, offset, time = list[int](), 0, 0
    for pair in pairs:
        numbers += [pair.offset - offset, pair.latest - pair.highest[0]]
        numbers += _with_length(_falling(pair.highest, time))
        offset, time = pair.offset, pair.highest[0]
    return pack(numbers)


def _read_state(
    numbers: Iterator[int],
) -> tuple[tuple[int, ...], dict[str, int], dict[str, int], int | None]:
    """Read the numbers of `OffsetMetadata._state`; StopIteration where they end too early."""
    first = next(numbers, None)
    if first is None:
        return (), {}, {}, None
    highest = _read_falling(numbers, first, 0)
    base = highest[0] if highest else 0
    early = next(numbers) + base if next(numbers) else None
    lowest = {_digest(numbers): next(numbers) + base for _ in range(next(numbers))}
    counted = {_digest(numbers): next(numbers) for _ in range(next(numbers))}
    return highest, lowest, counted, early


def _read_pairs(numbers: Iterator[int]) -> tuple[Pair, ...]:
    pairs, offset, time = list[Pair](), 0, 0
    for rise in numbers:
        offset += rise
        above = next(numbers)
        highest = _read_falling(numbers, next(numbers), time)
        time = highest[0]
        pairs.append(Pair(offset, highest, time + above))
    return tuple(pairs)


def _read_recent(text: Any) -> RecentRecords:
    """Read the last records; none from text that is damaged."""
    try:
        recent = RecentRecords(*unpack(text))
    except (TypeError, ValueError):
        return UNCOUNTED
    fits = 0 <= recent.count <= SPAN and recent.letters >= 0
    return recent if fits and recent.letters.bit_length() <= recent.count else UNCOUNTED


def _read_falling(numbers: Iterator[int], count: int, before: int) -> tuple[int, ...]:
    read = list[int]()
    for _ in range(count):
        read.append(read[-1] - next(numbers) if read else before + next(numbers))
    return tuple(read)


def _digest(numbers: Iterator[int]) -> str:
    return f"{next(numbers):012x}"


def _highest(values: Mapping[str, Any]) -> tuple[int, ...]:
    """Read the highest event times of metadata without a version.

    A single time may be that of an event with a wrong clock: it counts as one event for the
    watermark.
    """
    times = _typed(values, _HIGHEST, list)
    if times is None:
        times = [_typed(values, _HIGHEST_ALONE, int)]
    return tuple(times) if all(type(time) is int for time in times) else ()


def _numbers(values: Mapping[str, Any], name: str) -> dict[str, int]:
    numbers = _typed(values, name, dict) or {}
    return {key: number for key, number in numbers.items() if type(number) is int}


def _typed(values: Mapping[str, Any], name: str, kind: type[Any]) -> Any:
    """The value if it has exactly this type (a bool is not an int), else None."""
    value = values.get(name)
    return value if type(value) is kind else None
