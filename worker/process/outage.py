"""Outages of dependencies, reported to the log, the probes and a metric."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from confluent_kafka import KafkaException

from base.errors import DeliveryError, DeliveryFatalError, DependencyUnavailableError
from worker.process import metrics
from worker.process.health import Health

log = structlog.get_logger(__name__)

_BACKOFF_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
_FIRST_REFUSAL_S, _LONGEST_REFUSAL_S = 1.0, 30.0
_REFUSALS_TO_BE_UNREADY = 3
# Unknown outcomes in a row after which the worker reports not ready.
_UNKNOWN_TO_BE_UNREADY = 3
_STORE_REMEDY = "make the store accept writes; the worker then scores the same events again"
_DELIVERY_REMEDY = (
    "see the error of the brokers; the same events are scored again until they are committed"
)
_LETTER_REMEDY = (
    "correct the settings of the topic; the dead letter is retried until it is accepted"
)


def backoff_s(attempt: int) -> float:
    """Seconds to wait after a failed attempt, counted from 0."""
    return _BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)]


class Outage:
    """State of one dependency that may be away.

    Args:
        dependency: Its name in the log, the probes and the metric.
        error: Exception that calls raise while it is away.
        remedy: Advice to an operator, for the log.
        health: State of the worker that the probes read.
        give_up: Returns True to stop retrying.
    """

    def __init__(
        self,
        dependency: str,
        error: type[Exception],
        remedy: str,
        health: Health,
        give_up: Callable[[], bool],
    ) -> None:
        self._dependency = dependency
        self._begun, self._ended = f"{dependency}_away", f"{dependency}_back"
        self._error = error
        self._remedy = remedy
        self._health = health
        self._give_up = give_up
        self.is_down = False
        self.retrying = False

    def mark_down(self, reason: str) -> None:
        """Record that the dependency is away, or still away, with the current reason."""
        if not self.is_down:
            log.warning(self._begun, reason=reason, remedy=self._remedy)
        self.is_down = True
        self._health.away(self._dependency, reason)
        metrics.paused.labels(self._dependency).set(1)

    def mark_up(self) -> None:
        """Record that the dependency answers."""
        if self.is_down:
            log.info(self._ended)
        self.is_down = False
        self._health.back(self._dependency)
        metrics.paused.labels(self._dependency).set(0)

    def retry_until_up(self, call: Callable[[], None], wait: Callable[[float], None]) -> None:
        """Retry a call until it succeeds; the wait between two attempts grows to 2 s.

        Args:
            call: Raises the outage's error while the dependency is away.
            wait: Waits for a number of seconds.
        """
        attempt = 0
        self.retrying = True
        try:
            while not self._give_up():
                try:
                    call()
                except self._error as error:
                    self.mark_down(str(error))
                    self._health.tick()
                    wait(backoff_s(attempt))
                    attempt += 1
                else:
                    self.mark_up()
                    return
        finally:
            self.retrying = False


class Failures:
    """Failures in a row of something that the loop retries, with growing waits.

    Args:
        outage: Outage that begins when failures go on.
        patience: Number of failures in a row with which the outage begins.
    """

    def __init__(self, outage: Outage, patience: int = 1) -> None:
        self._outage = outage
        self._patience = patience
        self._count = 0

    def record_failure(self, reason: str) -> float:
        """Count one more failure, and return the seconds to wait after it."""
        self._count += 1
        if self._count >= self._patience:
            self._outage.mark_down(reason)
        return backoff_s(self._count - 1)

    def record_success(self) -> None:
        """Record a success: the next failure is the first in a row."""
        self._count = 0
        self._outage.mark_up()


class LetterRefusals:
    """Refusals in a row of a dead letter that must be written and that nothing can replace.

    Args:
        outage: Outage that begins with the third refusal in a row.
        limit_s: Time limit in seconds.
        clock: Returns monotonic seconds.
    """

    def __init__(self, outage: Outage, limit_s: float, clock: Callable[[], float]) -> None:
        self._outage = outage
        self._limit_s = limit_s
        self._clock = clock
        self._count = 0
        self._since = 0.0

    def record_failure(self, reason: str) -> float:
        """Count one more refusal, and return the seconds to wait after it.

        Raises:
            DeliveryFatalError: The refusals have lasted for longer than the limit.
        """
        if self._count == 0:
            self._since = self._clock()
        lasted_s = self._clock() - self._since
        if lasted_s >= self._limit_s:
            raise DeliveryFatalError(
                f"kafka.dead_letter_topic: it has refused a dead letter for {lasted_s:.0f} s "
                f"(delivery.refused_s is {self._limit_s:g}): {reason}"
            )
        wait_s = min(_FIRST_REFUSAL_S * 2.0**self._count, _LONGEST_REFUSAL_S)
        self._count += 1
        if self._count >= _REFUSALS_TO_BE_UNREADY:
            self._outage.mark_down(reason)
        return min(wait_s, self._limit_s - lasted_s)

    def record_success(self) -> None:
        """Record that the dead letter was accepted."""
        self._count = 0
        self._outage.mark_up()

    def on_reassigned(self) -> None:
        """Stop counting: another worker owns the partition now."""
        self._outage.mark_up()


class Outages:
    """The outages that the loop waits out, and its failures in a row.

    Attributes:
        kafka: Outage of the brokers.
        store: Outage of the online store.
        delivery: Outage of transactions, while the brokers answer other calls.
        rewind_failures: Rewinds that the brokers did not answer.
        store_failures: Micro-batches whose members the store refused. A store without free memory
            still answers reads, so nothing but these waits slows the loop.
        unknown_outcomes: Transactions with an unknown outcome. Brokers that forbid writing answer
            all other calls, so nothing but these waits slows the loop.
        letter_refusals: Refusals of a dead letter.
    """

    def __init__(
        self,
        health: Health,
        brokers: str,
        refusal_limit_s: float,
        give_up: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        """Begin without any outage.

        Args:
            health: State of the worker that the probes read.
            brokers: Addresses of the brokers, for messages.
            refusal_limit_s: Longest wait for a dead-letter topic that refuses a dead letter, in
                seconds.
            give_up: Returns True to stop retrying.
            clock: Returns monotonic seconds.
        """

        def outage(dependency: str, error: type[Exception], remedy: str) -> Outage:
            return Outage(dependency, error, remedy, health, give_up)

        kafka_remedy = f"see that the brokers at {brokers} are up (kafka.bootstrap_servers)"
        self.kafka = outage("kafka", KafkaException, kafka_remedy)
        self.store = outage("store", DependencyUnavailableError, _STORE_REMEDY)
        self.delivery = outage("delivery", DeliveryError, _DELIVERY_REMEDY)
        letters = outage("dead_letter_topic", DeliveryError, _LETTER_REMEDY)
        self.rewind_failures = Failures(self.kafka)
        self.store_failures = Failures(self.store)
        self.unknown_outcomes = Failures(self.delivery, _UNKNOWN_TO_BE_UNREADY)
        self.letter_refusals = LetterRefusals(letters, refusal_limit_s, clock)
