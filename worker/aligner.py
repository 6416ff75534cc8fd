"""Partitions whose next event waits until others, or labels, are applied to the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import structlog
from confluent_kafka import KafkaException

from base.errors import DependencyUnavailableError
from features.history.watermarks import LogState
from worker.consume.micro_batch import Polled
from worker.consume.poll import Poller
from worker.histories import Histories, Wait
from worker.process import metrics
from worker.process.health import Health

log = structlog.get_logger(__name__)

_SUBJECT = "alignment"
# Partitions that are scored by turns seldom need it: to apply records ahead takes a consumer.
_PATIENCE_S = 0.1


class Aligner:
    """Holds partitions back, and releases them when their events can be scored.

    Args:
        poller: Poller of the input topic.
        histories: Histories of the input topic.
        health: State of the worker that the probes read.
        wait_s: Time in seconds after which a wait is reported, and the worker is not ready.
        clock: Returns monotonic seconds.

    Attributes:
        waits: First event of each partition that is held back.
    """

    def __init__(
        self,
        poller: Poller,
        histories: Histories,
        health: Health,
        wait_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._poller = poller
        self._histories = histories
        self._health = health
        self._wait_s = wait_s
        self._clock = clock
        self._since: dict[int, float] = {}
        self._reported: frozenset[int] = frozenset()
        self.waits: dict[int, Wait] = {}

    def hold(self, polled: Polled, waits: Mapping[int, Wait]) -> Polled:
        """Hold partitions back from their first waiting event on.

        Returns:
            The records before these events; their partitions may have none.
        """
        offsets = {partition: wait.offset for partition, wait in waits.items()}
        self._poller.hold(offsets, polled.records)
        self.waits |= waits
        now = self._clock()
        for partition, wait in waits.items():
            self._since.setdefault(partition, now)
            log.debug("partition_held", partition=partition, **wait._asdict())
        return polled.before(offsets)

    def review(self) -> None:
        """Release the partitions whose events no longer wait; report those that wait too long.

        Raises:
            DependencyUnavailableError: The store does not answer.
        """
        still = dict(self._histories.still_waiting(self.waits))
        released = self.waits.keys() - still.keys()
        self._poller.release(released)
        for partition in released:
            del self._since[partition]
            log.debug("partition_released", partition=partition)
        self.waits = still
        self._report()

    def lagging(self) -> Sequence[int]:
        """Partitions to apply ahead, as others may wait for them and waiting does not end."""
        waited = (self._clock() - since for since in self._since.values())
        alone = self.waits.keys() < {*self._poller.partitions}
        if alone and max(waited, default=0.0) < _PATIENCE_S:
            return ()
        return self._histories.lagging(self.waits)

    def apply_ahead(self, partitions: Sequence[int], state: LogState) -> None:
        """Apply records behind the waiting events, so that others need not wait for them.

        Args:
            partitions: Waiting partitions.
            state: State of the log before the waiting events.

        Raises:
            DependencyUnavailableError: The store, the registry or the brokers do not answer.
            HistoriesLostError: The store has lost members.
        """
        try:
            self._histories.apply_ahead(partitions, state)
        except KafkaException as error:
            raise DependencyUnavailableError(f"partitions cannot be applied: {error}") from error

    def forget(self) -> None:
        """Forget all waits; a rewind has released the partitions."""
        self.waits = {}
        self._since.clear()
        self._report()

    def _report(self) -> None:
        now = self._clock()
        waited = {p: now - since for p, since in self._since.items()}
        metrics.alignment_wait_seconds.set(max(waited.values(), default=0.0))
        late = {p: self.waits[p] for p in waited if waited[p] > self._wait_s}
        if late:
            reasons = [
                f"partition {p} waits at offset {wait.offset} until {wait.reason}"
                for p, wait in late.items()
            ]
            self._health.unready(_SUBJECT, "; ".join(reasons))
        else:
            self._health.back(_SUBJECT)
        for partition in late.keys() - self._reported:
            log.warning(
                "partition_waits",
                partition=partition,
                **late[partition]._asdict(),
                until=late[partition].reason,
                remedy="see which worker reads the other partition or the labels topic, and its log",
            )
        self._reported = frozenset(late)
