"""A micro-batch's way out: its members into the store, then its scores and offsets to Kafka."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from worker import metrics
from worker.checkpoint import Checkpoint
from worker.histories import Histories
from worker.poll import Polled
from worker.publish import Outbox
from worker.stages import Processed


@dataclass(slots=True)
class Flight:
    """A micro-batch that is being committed. started: of its processing, on the loop's clock."""

    polled: Polled
    processed: Processed
    started: float
    outcome: Future[None]


class Delivery:
    """Delivers micro-batches one at a time, in a thread of its own."""

    def __init__(self, histories: Histories, checkpoint: Checkpoint) -> None:
        self.histories = histories
        self.checkpoint = checkpoint
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="commit")

    def begin(self, polled: Polled, processed: Processed, started: float) -> Flight:
        """Hand a micro-batch over; nothing else may be in flight."""
        outbox = _outbox(polled, processed)
        self.histories.announce(outbox.writes)
        return Flight(polled, processed, started, self._thread.submit(self._deliver, outbox))

    def close(self) -> None:
        """Wait for what is in flight, and let go of the brokers."""
        self._thread.shutdown(wait=True)
        self.checkpoint.close()

    def _deliver(self, outbox: Outbox) -> None:
        # Before the commit: an event that is behind the checkpoint is in its histories.
        self.histories.write(outbox.writes)
        self.checkpoint.deliver(outbox)


def _outbox(polled: Polled, processed: Processed) -> Outbox:
    """What is committed of a micro-batch: offsets and the log's state behind it included."""
    records = polled.records
    # Offsets rise within a partition, so the last write for each partition is its highest.
    last = dict(zip(records.partitions.tolist(), records.offsets.tolist(), strict=True))
    return Outbox(
        processed.keys,
        processed.values,
        processed.headers,
        processed.dead_letters,
        {partition: offset + 1 for partition, offset in last.items()},
        polled.group_metadata,
        polled.epoch,
        {partition: processed.after.note(partition) for partition in last},
        processed.writes,
    )


def count(flight: Flight) -> None:
    """Count a micro-batch that was committed."""
    processed = flight.processed
    metrics.batches.labels("committed").inc()
    metrics.batch_events.observe(len(flight.polled.records))
    metrics.events.labels(processed.model.name, processed.model.version).inc(len(processed.values))
    for (segment, decision), number in processed.decisions.items():
        metrics.decisions.labels(segment, decision).inc(number)
    metrics.explained.inc(processed.explained)
    metrics.not_additive.inc(processed.not_additive)
    for name, number in processed.flags.items():
        metrics.flags.labels(name).inc(number)
    for letter in processed.dead_letters:
        metrics.dead_letters.labels(letter.code.value).inc()
    for stage, seconds in processed.seconds.items():
        metrics.stage_seconds.labels(stage).observe(seconds)
    oldest = float(np.min(flight.polled.records.timestamps)) / 1000
    if oldest > 0:
        metrics.record_age_seconds.observe(max(0.0, time.time() - oldest))
