"""Micro-batches as they are polled: their records, and the bound on their events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from operator import methodcaller
from typing import Any, Self, cast

import numpy as np
from confluent_kafka import Message

from base.errors import ErrorCode, RecordError
from schemas.batch import Headers, Records

_SMOOTHING = 0.2
OVERLAP_FROM_EVENTS = 256
"""Smaller micro-batches have a lower latency if none is scored while another is committed (measured:
decision 24)."""
# Where the name of a header is not UTF-8, the client returns a name that is NULL and leaves an
# exception pending (confluent-kafka 2.16, c_headers_to_py). Python does not check for that after a
# call from bytecode, so that the exception would surface anywhere later. A call through C is
# checked.
_read_headers = methodcaller("headers")


@dataclass(frozen=True, slots=True, eq=False)
class Polled:
    """Records and the group membership they were consumed under.

    Attributes:
        records: Records; none where only the end of partitions was reached.
        next_offsets: For each partition, the offset to commit: behind its records, and behind the
            control records and aborted records that follow them.
        group_metadata: The consumer's group metadata at that moment.
        epoch: Counter of assignment changes and rewinds at that moment.
        at: Time right after the records were consumed, in monotonic seconds.
    """

    records: Records
    next_offsets: Mapping[int, int]
    group_metadata: Any
    epoch: int
    at: float

    def before(self, offsets: Mapping[int, int]) -> Self:
        """The records before these offsets of their partitions, of which some may have none."""
        records = self.records
        ends = np.full(int(records.partitions.max()) + 1, np.iinfo(np.int64).max)
        ends[[*offsets]] = [*offsets.values()]
        kept = records.take(np.flatnonzero(records.offsets < ends[records.partitions]))
        left = set(kept.partitions.tolist())
        return replace(
            self,
            records=kept,
            next_offsets={
                p: min(end, offsets.get(p, end))
                for p, end in self.next_offsets.items()
                if p in left or p not in offsets
            },
        )


def records_of(topic: str, messages: list[Message]) -> Records:
    """Convert consumed messages of one topic, none of them an error, to columns.

    A record whose headers cannot be read has no headers, and a fault. The headers of each message
    are read once: a second call on such a message may end the process.
    """
    headers: list[Headers | None] = []
    faults: dict[int, RecordError] = {}
    reading = map(_read_headers, messages)
    while len(headers) < len(messages):
        try:
            # The headers that were read before an exception stay in the list.
            headers.extend(reading)
        except (SystemError, UnicodeDecodeError):
            faults[len(headers)] = RecordError(
                ErrorCode.HEADER_INVALID,
                "the name of a header is not UTF-8, and the client can read none of its headers",
            )
            headers.append(None)
    return Records(
        topic,
        cast("list[bytes | None]", [m.key() for m in messages]),
        cast("list[bytes | None]", [m.value() for m in messages]),
        np.array([m.partition() for m in messages], dtype=np.int32),
        np.array([m.offset() for m in messages], dtype=np.int64),
        np.array([m.timestamp()[1] for m in messages], dtype=np.int64),
        headers if any(headers) else None,
        faults,
    )


class BatchBound:
    """Bounds on the events of micro-batches.

    Attributes:
        overlap_from: Size of a micro-batch from which on the next one is scored while it is
            committed.

    Args:
        max_events: Upper bound on the events of a micro-batch.
        budget_s: Longest time that a micro-batch should take from its poll to its checkpoint, in
            seconds.
        overlap_from: As above.
    """

    def __init__(
        self, max_events: int, budget_s: float, overlap_from: int = OVERLAP_FROM_EVENTS
    ) -> None:
        self.overlap_from = overlap_from
        self._max_events = max_events
        self._budget_s = budget_s
        self._cost_s: float | None = None

    @property
    def events(self) -> int:
        """Number of events that the next micro-batch may hold, from the measured cost of an event.

        It is never below 1 and never above ``max_events``.
        """
        cost_s = self._cost_s
        # Multiplied, not divided: a clock with coarse ticks may measure a cost of 0.
        if cost_s is None or cost_s * self._max_events <= self._budget_s:
            return self._max_events
        return max(1, int(self._budget_s / cost_s))

    def observe(self, events: int, took_s: float) -> None:
        """Measure the cost of an event in one committed micro-batch.

        Small micro-batches are skipped: fixed costs dominate them.
        """
        if events * 4 < self.events:
            return
        cost = took_s / events
        self._cost_s = (
            cost if self._cost_s is None else self._cost_s + _SMOOTHING * (cost - self._cost_s)
        )
