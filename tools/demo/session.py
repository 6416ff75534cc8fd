"""Session of the demo: play files through a running worker until every event is answered."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from base.errors import DependencyUnavailableError
from features.definition import FeatureSet
from features.tables.event_records import EventRecordReader
from tools.demo.player import Played, Player
from tools.demo.screen import Screen
from tools.demo.watch import Snapshot, Watch
from tools.demo.worker_process import WorkerProcess

TOPICS = ("transactions", "scores", "transactions.dead-letters")
"""Input, output and dead letters."""
_STALL_S = 60.0
_LOOK_S = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class PlaySession:
    """Running worker, and the watch that reads its topics.

    Attributes:
        bootstrap: Address of the brokers.
        feature_set: The feature set.
        prefix: Bytes at the start of each record's value.
        worker: The worker's process.
        watch: Consumer of all topics.
    """

    bootstrap: str
    feature_set: FeatureSet
    prefix: bytes
    worker: WorkerProcess
    watch: Watch

    def play(self, path: Path, events: int, rate: float | None, view: Screen) -> Played:
        """Play the first ``events`` of a file, and wait until all are answered.

        Args:
            path: File of events.
            events: Number of events.
            rate: Events a second; None for as fast as possible.
            view: Display of the progress.

        Raises:
            DependencyUnavailableError: The worker ends, or stops answering.
        """
        bindings = self.feature_set.bindings
        player = Player(
            self.bootstrap,
            EventRecordReader(self.feature_set, TOPICS[0], self.prefix),
            path,
            event_id=bindings.event_id.path,
            label=None if bindings.label is None else bindings.label.field,
        )
        self.watch.begin()
        player.start(events, rate)
        last, since = 0, time.monotonic()
        while True:
            self.worker.require_running()
            snapshot = self.watch.snapshot()
            view.show(snapshot, events)
            if player.done and _all_seen(snapshot, player.played):
                return player.played
            seen = snapshot.events + snapshot.answers
            if seen != last or not player.done:
                last, since = seen, time.monotonic()
            elif time.monotonic() - since > _STALL_S:
                raise _stalled(snapshot, player.played)
            time.sleep(_LOOK_S)


def _all_seen(snapshot: Snapshot, played: Played) -> bool:
    return min(snapshot.events, snapshot.answers) >= played.events


def _stalled(snapshot: Snapshot, played: Played) -> DependencyUnavailableError:
    return DependencyUnavailableError(
        f"the worker wrote no score for {_STALL_S:g} s: {played.events:,} events were played, "
        f"{snapshot.scores:,} scores and {snapshot.dead_letters:,} dead letters arrived"
    )
