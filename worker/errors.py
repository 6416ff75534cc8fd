"""What can go wrong between the worker and its brokers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from confluent_kafka import KafkaError

    from worker.reports import Report


class DeliveryError(Exception):
    """A micro-batch was not committed."""


class BatchAbortedError(DeliveryError):
    """The transaction was aborted for certain: rewind, and read the records again."""


class StoreAwayError(BatchAbortedError):
    """Nothing was sent to the brokers, as the online store did not take the histories."""


class OutcomeUnknownError(DeliveryError):
    """The brokers did not say whether the transaction was committed: ask them anew."""


class RecordsRefusedError(DeliveryError):
    """A topic does not take some records; the offsets were not committed.

    reports: on all records that were not written. cause: the error of the whole, where the brokers
    gave one. others_written: whether records without a report are in their topics for good.
    """

    def __init__(
        self, reports: Sequence[Report], cause: KafkaError | None, *, others_written: bool
    ) -> None:
        super().__init__(str(cause or next(r.error for r in reports if r.is_refusal)))
        self.reports = reports
        self.cause = cause
        self.others_written = others_written


class DeliveryFatalError(DeliveryError):
    """Going on could lose or repeat a score: the process ends, and a new one takes over."""


class TopicReplacedError(DeliveryFatalError):
    """The input topic was deleted and created again: offsets of the old one mean nothing in it."""
