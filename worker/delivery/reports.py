"""Reports of the client: records that were not written, and connections that were lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from confluent_kafka import KafkaError

from base.errors import DeliveryError
from worker.stages.dead_letter import DeadLetter

SIZE_CODES = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})
"""Error codes for a size that is too large; the brokers check the size of a whole batch."""
REFUSED_CODES = SIZE_CODES | {
    KafkaError.INVALID_TIMESTAMP,
    KafkaError.INVALID_RECORD,
    KafkaError.POLICY_VIOLATION,
    KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT,
}
"""Error codes for a record that the topic never accepts; nothing was written."""
FAILED_BY_ANOTHER_RECORD = KafkaError._INVALID_DIFFERENT_RECORD  # noqa: SLF001 - confluent_kafka has no public name for it
"""Error code of a record that was not written because another one of its batch is refused."""

OnFailure = Callable[["KafkaError | None", Any], None]


class Report(NamedTuple):
    """Report on one record that was not written.

    Attributes:
        record: The dead letter, or the value of the score, which names its event's position.
        error: Error of the brokers or the client.
        topic: Topic of the record.
        partition: Partition of the record; None if the client refused it before it had one.
    """

    record: DeadLetter | bytes
    error: KafkaError
    topic: str
    partition: int | None

    @property
    def is_refusal(self) -> bool:
        return self.error.code() in REFUSED_CODES


@dataclass(slots=True)
class Reports:
    """Reports of one producer; they arrive on the threads that call the client.

    Attributes:
        connection_lost: True if a connection of the producer was lost since it was made.
    """

    connection_lost: bool = False
    _reports: list[Report] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def clear(self) -> None:
        """Forget the records."""
        with self._lock:
            self._reports.clear()

    def all(self) -> Sequence[Report]:
        with self._lock:
            return list(self._reports)

    @property
    def refusals(self) -> bool:
        """True when a record was refused."""
        return any(report.is_refusal for report in self.all())

    def on_score(self, error: KafkaError | None, message: Any) -> None:
        """Take the client's report on a score."""
        if error is not None:
            self._add(Report(message.value(), error, message.topic(), message.partition()))

    def on_connection_lost(self) -> None:
        """Take the client's report on a connection."""
        self.connection_lost = True

    def on_letter(self, letter: DeadLetter) -> OnFailure:
        """Make the callback that takes the client's report on a dead letter."""

        def report(error: KafkaError | None, message: Any) -> None:
            if error is not None:
                self._add(Report(letter, error, message.topic(), message.partition()))

        return report

    def refused_here(self, record: DeadLetter | bytes, error: KafkaError, topic: str) -> None:
        """Report a record that the client refuses to send."""
        self._add(Report(record, error, topic, None))

    def _add(self, report: Report) -> None:
        with self._lock:
            self._reports.append(report)


class RecordsRefusedError(DeliveryError):
    """A topic refuses some records; the offsets were not committed.

    Attributes:
        reports: Reports on all records that were not written.
        cause: Error of the delivery as a whole; None if the brokers gave none.
        others_written: True if all records without a report are written and will not be sent
            again.
    """

    def __init__(
        self, reports: Sequence[Report], cause: KafkaError | None, *, others_written: bool
    ) -> None:
        super().__init__(str(cause or next(r.error for r in reports if r.is_refusal)))
        self.reports = reports
        self.cause = cause
        self.others_written = others_written
