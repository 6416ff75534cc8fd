"""Partitions that are held because too many of their records are dead letters."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from worker.consume.micro_batch import Polled
from worker.consume.poll import Poller
from worker.process import metrics
from worker.process.health import Health
from worker.stages.dead_letter_limit import Crossing

log = structlog.get_logger(__name__)

_SUBJECT = "dead_letters"


class DeadLetterHolds:
    """Holds partitions before the record with which they have too many dead letters.

    Args:
        poller: Poller of the input topic.
        health: State of the worker that the probes read.
    """

    def __init__(self, poller: Poller, health: Health) -> None:
        self._poller = poller
        self._health = health
        self._reasons: dict[int, str] = {}

    def hold(self, polled: Polled, crossings: Mapping[int, Crossing]) -> Polled:
        """Hold partitions from their crossings on, until a rewind.

        Returns:
            The records before these; their partitions may have none.
        """
        offsets = {partition: crossing.offset for partition, crossing in crossings.items()}
        self._poller.stop(offsets, polled.records)
        for partition, crossing in crossings.items():
            self._reasons[partition] = (
                f"partition {partition} of {self._poller.topic} is held at offset "
                f"{crossing.offset}: {crossing.reason}; look at them with `fraud-worker "
                "dead-letters show`; correct the producer or the setting, and restart; or accept "
                "the partition's dead letters up to an offset with dead_letters.accept_through: "
                f'{{"{partition}": OFFSET}}, and restart'
            )
            metrics.dead_letter_holds.inc()
            metrics.dead_letter_held.labels(str(partition)).set(1)
            log.error("too_many_dead_letters", reason=self._reasons[partition])
        self._health.unready(_SUBJECT, "; ".join(self._reasons.values()))
        return polled.before(offsets)

    def forget(self) -> None:
        """Forget what is held: a rewind has released the partitions, and they are judged again."""
        self._reasons.clear()
        self._health.back(_SUBJECT)
        metrics.dead_letter_held.clear()
