"""Session of the demo: play files through a running program until every event is answered."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from base.arrays import Longs
from base.errors import DependencyUnavailableError
from features.definition import FeatureSet
from features.tables.event_records import EventRecordReader
from tools.demo.player import Played, Player
from tools.demo.reader import Reader

_STALL_S = 60.0
_LOOK_S = 0.1


class Program(Protocol):
    """Process that answers events."""

    def require_running(self) -> None:
        """Raise DependencyUnavailableError if the process has ended."""


@dataclass(slots=True, eq=False)
class PlaySession:
    """Running program, and the reader of its answers.

    Attributes:
        bootstrap: Address of the brokers.
        topic: Input topic, which nothing else writes.
        feature_set: The feature set.
        prefix: Bytes at the start of each record's value.
        program: The program's process.
        reader: Reader of all topics with answers.
        end: int64[P], offset after the last event played in each partition of the topic.
    """

    bootstrap: str
    topic: str
    feature_set: FeatureSet
    prefix: bytes
    program: Program
    reader: Reader
    end: Longs

    def play(
        self,
        path: Path,
        events: int,
        rate: float | None,
        show: Callable[[Played], None],
        *,
        keep: bool,
    ) -> Played:
        """Play the first ``events`` of a file, and wait until all are answered.

        Args:
            path: File of events.
            events: Number of events.
            rate: Events a second; None for as fast as possible.
            show: Called several times a second.
            keep: True if the reader keeps the answers.

        Raises:
            DependencyUnavailableError: The program ends, or stops answering.
        """
        bindings = self.feature_set.bindings
        player = Player(
            self.bootstrap,
            self.topic,
            EventRecordReader(self.feature_set, self.topic, self.prefix),
            path,
            event_id=bindings.event_id.path,
            label=None if bindings.label is None else bindings.label.field,
            first=self.end,
        )
        self.reader.begin(keep=keep)
        player.start(events, rate)
        last, since = 0, time.monotonic()
        while True:
            self.program.require_running()
            show(player.played)
            answers = self.reader.answers
            if player.done and answers >= player.played.events:
                self.end = player.played.end
                return player.played
            if answers != last or not player.done:
                last, since = answers, time.monotonic()
            elif time.monotonic() - since > _STALL_S:
                raise DependencyUnavailableError(
                    f"no answer arrived for {_STALL_S:g} s: {player.played.events:,} events were "
                    f"played, {answers:,} scores and dead letters arrived"
                )
            time.sleep(_LOOK_S)
