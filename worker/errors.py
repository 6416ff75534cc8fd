"""What can go wrong between the worker and its brokers."""

from __future__ import annotations


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


class TopicReplacedError(DeliveryFatalError):
    """The input topic was deleted and created again: offsets of the old one mean nothing in it."""
