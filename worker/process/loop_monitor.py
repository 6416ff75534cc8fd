"""Reports on the loop and its partitions, for the probes, the metrics and the log."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet

import numpy as np
import structlog

from base.errors import DeliveryFatalError
from worker.consume.micro_batch import Polled
from worker.consume.poll import Poller
from worker.process import metrics
from worker.process.event_time_monitor import EventTimeMonitor
from worker.process.garbage import report_pauses
from worker.process.health import Health
from worker.process.outage import Outage
from worker.process.tracing import Spans
from worker.stages.stages import Processed

log = structlog.get_logger(__name__)

_GROUP = "consumer group"
_CHECK_EVERY_S = 2.0


class LoopMonitor:
    """Monitor of the loop: each turn and micro-batch; lag, group and brokers every two seconds.

    Args:
        poller: Poller of the input topic.
        health: State of the worker that the probes read.
        kafka: Outage of the brokers.
        rejoin_s: Longest time in seconds for which a member that lost its partitions may stay out
            of the group, and for which a partition may give neither a record nor its end.
        clock: Returns monotonic seconds.
        tracing: Traces of committed micro-batches; None without any.
    """

    def __init__(
        self,
        poller: Poller,
        health: Health,
        kafka: Outage,
        rejoin_s: float,
        clock: Callable[[], float],
        tracing: Spans | None,
    ) -> None:
        self._poller = poller
        self._health = health
        self._kafka = kafka
        self._rejoin_s = rejoin_s
        self._clock = clock
        self._tracing = tracing
        self._next_check_at = 0.0
        self._held_up: AbstractSet[int] = frozenset()
        self._member_at = clock()
        self._event_times = EventTimeMonitor(health)
        # The last committed micro-batch, until the metrics have it.
        self._unobserved: tuple[Polled, Processed, float, float] | None = None

    def check(self) -> None:
        """Report one turn of the loop.

        Raises:
            DeliveryFatalError: The group does not take this member back, or a partition gives
                neither a record nor its end.
        """
        self._health.tick()
        if self._poller.joined:
            self._health.joined()
        metrics.partitions.set(len(self._poller.partitions))
        self._require_membership()
        self._require_reading()
        if self._clock() < self._next_check_at:
            return
        self._next_check_at = self._clock() + _CHECK_EVERY_S
        if self._poller.unable_to_join:
            self._health.away(_GROUP, self._poller.unable_to_join)
        else:
            self._health.back(_GROUP)
        self._report_lag()
        report_pauses()
        # If a retry is running, it ends the outage when it succeeds.
        waiting = self._kafka.retrying or self._poller.rewind_needed
        if self._kafka.is_down and not waiting and self._poller.brokers_answer():
            self._kafka.mark_up()

    def committed(self, polled: Polled, processed: Processed, took_s: float) -> None:
        """Take a micro-batch that was committed ``took_s`` seconds after its processing began.

        Metrics and traces have it after `flush`.
        """
        self._event_times.observe(processed.records.partitions, processed.ahead)
        self.flush()
        self._unobserved = polled, processed, took_s, time.time()

    def flush(self) -> None:
        """Record the last committed micro-batch in metrics and traces.

        It takes up to 0.13 ms, for which the next micro-batch of a sparse stream need not wait.
        """
        if self._unobserved is None:
            return
        polled, processed, took_s, at = self._unobserved
        self._unobserved = None
        _observe_committed_batch(polled, processed, at)
        if self._tracing is not None and len(polled.records):
            self._tracing.batch(polled.records, processed, took_s, at)

    def rewound(self) -> None:
        """Report a rewind of the poller."""
        metrics.rebalances.inc()
        self._event_times.assigned(self._poller.partitions)

    def _report_lag(self) -> None:
        lag = self._poller.lag()
        metrics.lag.clear()
        for partition, behind in lag.items():
            metrics.lag.labels(str(partition)).set(behind)
        held_up = self._poller.held_up(lag)
        for partition in held_up.keys() - self._held_up:
            log.warning(
                "open_transaction_in_input",
                partition=partition,
                offset=held_up[partition],
                behind=lag[partition],
                meaning="a producer has left a transaction open: records after it stay uncommitted",
                remedy="find its producer by this offset: kafka-transactions.sh find-hanging, abort",
            )
        self._held_up = held_up.keys()

    def _require_membership(self) -> None:
        """Raise DeliveryFatalError for a member that lost its partitions and does not rejoin.

        librdkafka can hang between the loss and its rejoin (seen after a broker was killed). The
        group then waits for this member for as long as its heartbeats continue.
        """
        if not self._poller.expelled or self._kafka.is_down:
            self._member_at = self._clock()
        elif self._clock() - self._member_at > self._rejoin_s:
            raise DeliveryFatalError(
                f"the group has not taken this member back for {self._rejoin_s:g} s; restart the "
                "worker"
            )

    def _require_reading(self) -> None:
        """Raise DeliveryFatalError if a partition gives neither a record nor its end.

        The client may stop fetching a partition without an error, while all else works.
        """
        if self._kafka.is_down:
            self._poller.restart_stall_timer()
            return
        if stalled := self._poller.stalled(self._rejoin_s):
            raise DeliveryFatalError(
                f"partitions {stalled} of the input topic have given neither a record nor their end "
                f"for {self._rejoin_s:g} s; restart the worker"
            )


def _observe_committed_batch(polled: Polled, processed: Processed, at: float) -> None:
    """Record a micro-batch in the metrics that was committed ``at`` this Unix time in seconds."""
    metrics.batches.labels("committed").inc()
    if not len(polled.records):
        return
    metrics.batch_events.observe(len(polled.records))
    metrics.events.labels(processed.model.name, processed.model.version).inc(len(processed.values))
    for (segment, decision), number in processed.decisions.items():
        metrics.decisions.labels(segment, decision).inc(number)
    metrics.explained.inc(processed.explained)
    metrics.not_additive.inc(processed.not_additive)
    for name, number in processed.flagged.items():
        metrics.flags.labels(name).inc(number)
    for entity, share in processed.coverage.items():
        metrics.history_coverage.labels(entity).set(share)
    for letter in processed.dead_letters:
        metrics.dead_letters.labels(letter.code.value).inc()
    for stage, seconds in processed.seconds.items():
        metrics.stage_seconds.labels(stage).observe(seconds)
    metrics.scores.observe(processed.scores, processed.model.name, processed.model.version)
    written = polled.records.timestamps[polled.records.timestamps > 0] / 1000
    metrics.record_age_seconds.observe(np.maximum(at - written, 0.0))
