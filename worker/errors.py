"""What can go wrong between the worker and its brokers."""

from __future__ import annotations

from confluent_kafka import KafkaError

NOT_A_MEMBER = (
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
)
"""Error codes that say: the group went on without this member, or without this generation."""


class DeliveryError(Exception):
    """A micro-batch was not committed."""


class BatchAbortedError(DeliveryError):
    """The transaction was aborted for certain: rewind, and read the records again."""


class StoreAwayError(BatchAbortedError):
    """Nothing was sent to the brokers, as the online store did not take the histories."""


class OutcomeUnknownError(DeliveryError):
    """The brokers did not say whether the transaction was committed: ask them anew."""


class OutputTooLargeError(DeliveryError):
    """The transaction was aborted because a topic refused a record's size."""


class DeliveryFatalError(DeliveryError):
    """Going on could lose or repeat a score: the process ends, and a new one takes over."""
