"""Run a worker with a seeded bug, crash point or pause, for the tests of the oracle.

``python -m tests.support.buggy_worker --bug NAME --at POINT --pipeline DIR``. At a crash point the
process kills itself once, in its third delivery or later. It then creates the file ``crashed`` in
DIR, and does not crash again while that file exists. The producers take turns at any rate, so that
the third delivery is that of the third id, and each delivery overlaps the next poll. At ``pause`` the first delivery creates the file
``paused`` and waits for the file ``go``, while the loop continues to poll.
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Consumer

from features.compute.matrix import Enriched
from features.store.protocol import Writes
from worker import app, kafka
from worker.consume.micro_batch import BatchBound, Polled
from worker.consume.poll import Poller
from worker.delivery import producers_in_turn
from worker.delivery.checkpoint import Channel
from worker.delivery.exactly_once import ExactlyOnce
from worker.delivery.producers_in_turn import ProducersInTurn
from worker.delivery.publish import Outbox, SizeLimits
from worker.histories import HistoryWrites, StoredHistories
from worker.histories.marks import Marks
from worker.pipeline import load_pipeline
from worker.process.logs import configure_logs
from worker.process.watchdog import Watchdog
from worker.stages.serving import Score, Scored

_CRASH_IN_DELIVERY = 3
_PAUSE_DEADLINE_S = 60.0
_TIMEOUT_S = 10.0
_SLOW_WRITE_S = 0.2
_NO_LIMIT = SizeLimits(2**31, 2**31)
_LONG_S = 600.0

_deliver = ExactlyOnce.deliver
_open = ProducersInTurn.open
_poll = Poller.poll
_guard = Watchdog.guard
_make_consumer = kafka.make_consumer
_write = StoredHistories.write
_await_written = StoredHistories.await_written
_score = Score.__call__


class Planted:
    """Seeded bug and crash point; ``plant`` patches the worker's classes.

    Args:
        folder: Pipeline folder.
        bug: Name of the bug; "" for none.
        at: Name of the crash point or ``pause``; "" for none.
    """

    def __init__(self, folder: Path, bug: str, at: str) -> None:
        self.folder = folder
        self.bug = bug
        self.at = at
        self.deliveries = 0
        self.polled = False
        self.consumer: Consumer | None = None
        self.unwritten: list[tuple[StoredHistories, HistoryWrites]] = []
        self.scored_with: Score | None = None
        self.held: Outbox | None = None

    def plant(self) -> None:
        planted = self

        def deliver(checkpoint: ExactlyOnce, outbox: Outbox) -> None:
            planted.deliveries += 1
            planted.pause()
            planted.deliver(checkpoint, outbox)
            planted.reached("after_commit")

        def poll(poller: Poller, *arguments: Any) -> Polled | None:
            planted.overlap(poller)
            polled = _poll(poller, *arguments)
            planted.polled |= polled is not None
            return polled

        @contextmanager
        def guard(watchdog: Watchdog, call: str) -> Iterator[None]:
            planted.reached(f"before_{call}")
            with _guard(watchdog, call):
                yield

        def make_consumer(*arguments: Any) -> Consumer:
            planted.consumer = _make_consumer(*arguments)
            return planted.consumer

        def write(histories: StoredHistories, writes: HistoryWrites) -> None:
            planted.write(histories, writes)

        def score(stage: Score, enriched: Enriched) -> Scored:
            return planted.score(stage, enriched)

        for owner, name, own in (
            (producers_in_turn, "MARKERS_S", _LONG_S),
            (ProducersInTurn, "open", lambda producers: planted.open(producers)),  # noqa: PLW0108 - a function becomes a method
            (ExactlyOnce, "deliver", deliver),
            (Poller, "poll", poll),
            (Watchdog, "guard", guard),
            (app, "make_consumer", make_consumer),
            (app, "BatchBound", partial(BatchBound, overlap_from=0)),
            (StoredHistories, "write", write),
            (StoredHistories, "await_written", lambda own: planted.await_written(own)),  # noqa: PLW0108
            (Score, "__call__", score),
        ):
            setattr(owner, name, own)
        if self.bug == "no_read_your_writes":
            # A mark that is not written yet would be taken for a loss.
            setattr(Marks, "require", lambda *_: None)  # noqa: B010 - mypy refuses an assignment

    def overlap(self, poller: Poller) -> None:
        """Continue to poll while the first delivery pauses, so that a lost member rejoins."""
        if self.at == "pause" and self.polled:
            while not (self.folder / "go").exists():
                poller.serve()
                poller.rewind_needed = True

    def deliver(self, checkpoint: ExactlyOnce, outbox: Outbox) -> None:
        """Deliver with the bug."""
        if self.bug == "commit_before_produce":
            self._commit_before_produce(checkpoint, outbox)
            return
        if self.bug in ("produce_while_committing", "offsets_out_of_turn") and not self.crashed():
            self._out_of_turn(checkpoint, outbox)
            return
        if self.bug == "offset_one_short":
            short = {p: offset - 1 for p, offset in outbox.next_offsets.items()}
            outbox = replace(outbox, next_offsets=short)
        if self.bug == "fresh_group_metadata":
            assert self.consumer is not None
            outbox = replace(outbox, group_metadata=self.consumer.consumer_group_metadata())
        _deliver(checkpoint, outbox)
        while self.unwritten:
            self.reached("between")
            _write(*self.unwritten.pop())

    def write(self, histories: StoredHistories, writes: HistoryWrites) -> None:
        """Write to the store with the bug."""
        if self.bug in ("write_after_commit", "marks_before_members"):
            self.unwritten.append((histories, writes))
            if self.bug == "marks_before_members":
                _write(histories, replace(writes, members=Writes()))
            return
        if self.bug == "no_read_your_writes":
            time.sleep(_SLOW_WRITE_S)
        _write(histories, writes)

    def await_written(self, histories: StoredHistories) -> None:
        if self.bug != "no_read_your_writes":
            _await_written(histories)

    def open(self, producers: ProducersInTurn) -> None:
        """Open with the bug: only the first id is initialised."""
        if self.bug == "one_id_initialised":
            for turn in producers._turns[1:]:
                turn.settled = True
        _open(producers)

    def score(self, stage: Score, enriched: Enriched) -> Scored:
        """Score with the bug: half of a new model's first micro-batch gets the old model's scores."""
        before, self.scored_with = self.scored_with, stage
        scored = _score(stage, enriched)
        if self.bug != "mixed_batch" or before in (None, stage):
            return scored
        old, half = _score(before, enriched), (len(scored.margins) + 1) // 2
        return replace(
            scored,
            margins=np.concatenate([old.margins[:half], scored.margins[half:]]),
            scores=np.concatenate([old.scores[:half], scored.scores[half:]]),
        )

    def _commit_before_produce(self, checkpoint: ExactlyOnce, outbox: Outbox) -> None:
        with checkpoint.producers.transaction() as channel:
            producer = channel.producer
            producer.begin_transaction()
            self._send_offsets(checkpoint, channel, outbox)
            producer.commit_transaction(_TIMEOUT_S)
            self.reached("between")
            producer.begin_transaction()
            channel.publisher.publish(outbox, _NO_LIMIT)
            producer.commit_transaction(_TIMEOUT_S)

    def _out_of_turn(self, checkpoint: ExactlyOnce, outbox: Outbox) -> None:
        """Deliver two micro-batches of a partition at the same time, the second one first."""
        if self.held is None:
            self.held = outbox
            return
        held, self.held = self.held, None
        if not held.next_offsets.keys() & outbox.next_offsets.keys():
            _deliver(checkpoint, held)
            self.held = outbox
            return
        first, second = (turn.channel for turn in checkpoint.producers._turns[:2])
        assert first is not None
        assert second is not None
        for channel, own in ((first, held), (second, outbox)):
            channel.producer.begin_transaction()
            channel.publisher.publish(own, _NO_LIMIT)
        if self.bug == "produce_while_committing":
            self._send_offsets(checkpoint, first, held)
            self._send_offsets(checkpoint, second, outbox)
        else:
            self._send_offsets(checkpoint, second, outbox)
            self._send_offsets(checkpoint, first, held)
            first.producer.commit_transaction(_TIMEOUT_S)
        second.producer.commit_transaction(_TIMEOUT_S)
        self.reached("between")
        if self.bug == "produce_while_committing":
            first.producer.commit_transaction(_TIMEOUT_S)

    def _send_offsets(self, checkpoint: ExactlyOnce, channel: Channel, outbox: Outbox) -> None:
        channel.producer.send_offsets_to_transaction(
            checkpoint.destination.offsets(outbox), outbox.group_metadata, _TIMEOUT_S
        )

    def pause(self) -> None:
        """Make the first delivery wait for the file ``go``."""
        if self.at != "pause" or self.deliveries > 1:
            return
        (self.folder / "paused").touch()
        until = time.monotonic() + _PAUSE_DEADLINE_S
        while not (self.folder / "go").exists():
            if time.monotonic() > until:
                raise TimeoutError("the file go was not created in time")
            time.sleep(0.02)

    def reached(self, point: str) -> None:
        """Crash if this is the crash point, in the third delivery, for the first time."""
        if self.at == point and self.deliveries >= _CRASH_IN_DELIVERY and not self.crashed():
            (self.folder / "crashed").touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def crashed(self) -> bool:
        """Return True if a process of this pipeline has crashed as planned."""
        return (self.folder / "crashed").exists()


def main() -> None:
    """Run until SIGTERM, like ``fraud-worker run``."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bug", default="")
    parser.add_argument("--at", default="")
    parser.add_argument("--pipeline", type=Path, required=True)
    arguments = parser.parse_args()
    Planted(arguments.pipeline, arguments.bug, arguments.at).plant()
    configure_logs("info", "json")
    app.run(load_pipeline(arguments.pipeline))


if __name__ == "__main__":
    main()
