"""Offset metadata: the state of the log behind a committed offset, committed with it as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from features.history.watermarks import LogState

_TOPIC_ID, _HIGHEST, _LOWEST = "topic_id", "highest_event_times", "lowest_event_time"
_COUNTED = "counted_events"
_HIGHEST_ALONE = "highest_event_time"
"""Key of the single highest event time in metadata of earlier versions."""


@dataclass(frozen=True, slots=True)
class OffsetMetadata:
    """State of one partition behind its committed offset.

    Attributes:
        topic_id: Kafka's id of the topic that the offset belongs to; None in metadata without one.
        highest_event_times: Times of the events before the offset that support the watermark, from
            the highest, in microseconds since 1970-01-01 UTC; empty without such events.
        lowest_event_time: Time that histories reach back to, in microseconds since 1970-01-01 UTC,
            by `Namespace.reach_digest`; empty before they begin.
        counted_events: Number of events of histories that have not begun, as `LogState.counted`.
    """

    topic_id: str | None = None
    highest_event_times: tuple[int, ...] = ()
    lowest_event_time: Mapping[str, int] = field(default_factory=dict)
    counted_events: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, topic_id: str, log: LogState, partition: int) -> Self:
        """Make the metadata of a partition from the state of the log."""
        return cls(
            topic_id,
            log.highest.get(partition, ()),
            log.lowest.get(partition, {}),
            log.counted.get(partition, {}),
        )

    def encode(self) -> str:
        values = {
            _TOPIC_ID: self.topic_id,
            _HIGHEST: [*self.highest_event_times] or None,
            _LOWEST: self.lowest_event_time or None,
            _COUNTED: self.counted_events or None,
        }
        present = {name: value for name, value in values.items() if value is not None}
        return json.dumps(present) if present else ""

    @classmethod
    def decode(cls, text: str) -> Self:
        """Decode the text of `encode`; the metadata of other programs is read as empty."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            return cls()
        if not isinstance(values, Mapping):
            return cls()
        return cls(
            _typed(values, _TOPIC_ID, str),
            _highest(values),
            _numbers(values, _LOWEST),
            _numbers(values, _COUNTED),
        )


def log_state_of(metadata: Mapping[int, OffsetMetadata]) -> LogState:
    """State of the log, from the offset metadata of its partitions."""
    return LogState(
        {
            p: state.highest_event_times
            for p, state in metadata.items()
            if state.highest_event_times
        },
        {p: state.lowest_event_time for p, state in metadata.items() if state.lowest_event_time},
        {p: state.counted_events for p, state in metadata.items() if state.counted_events},
    )


def _highest(values: Mapping[str, Any]) -> tuple[int, ...]:
    """Read the highest event times.

    The single time of an earlier version may be that of an event with a wrong clock: it counts as
    one event for the watermark.
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
