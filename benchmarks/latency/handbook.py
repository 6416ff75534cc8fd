"""Testbed of the Handbook's windows: a history that fills them, then live events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.features.building import build
from benchmarks.features.source import Source, find_source
from benchmarks.features.states import apply_labels, begin_at, empty, load_sorted_sets
from benchmarks.features.testbed import open_testbed, read_messages
from benchmarks.latency.events import Events
from benchmarks.play import Messages, play
from benchmarks.programs import Run
from benchmarks.testbed import Testbed
from tools.embedded.topic_admin import create_topics

# Fewer hold no history that fills the windows.
_QUICK_EVENTS = 20_000


@dataclass(frozen=True, slots=True, eq=False)
class Handbook:
    """Servers with a model, and the events of the Handbook.

    Attributes:
        testbed: Servers and model.
        source: All events.
        history: Records of the first days.
        live: Events after them.
    """

    testbed: Testbed
    source: Source
    history: Sequence[Messages]
    live: Events

    def prepare(self, program: str, run: Run) -> Run:
        """Fill the run's input topic with the history, and the store with the program's state.

        Returns:
            The run with its history: the worker reads it; the hand-written loop has its state in
            the store and begins behind it, as does the bare loop.
        """
        testbed, url, history = self.testbed, self.testbed.valkey.url, self.source.history
        create_topics(testbed.kafka.bootstrap, {run.input_topic: testbed.partitions})
        play(testbed.kafka.bootstrap, run.input_topic, self.history)
        empty(url)
        if program == "worker":
            apply_labels(testbed, run, self.source)
            return replace(run, history=history)
        run = replace(run, first=history)
        begin_at(testbed, run, {0: run.first})
        if program == "hand_written":
            load_sorted_sets(url, self.source)
        return run


@contextmanager
def open_handbook(folder: Path, live: int, *, quick: bool) -> Iterator[Handbook]:
    """Train on the Handbook's events, and start the servers.

    Args:
        folder: Folder for files and logs, which is created.
        live: Number of live events.
        quick: True for the events of few customers.
    """
    folder.mkdir()
    source = find_source(folder, _QUICK_EVENTS if quick else None)
    built = folder / "built.parquet"
    build(source, built, folder / "build.log")
    with open_testbed(folder, source, built) as testbed:
        parts = []
        for name, first, count in (("history", 0, source.history), ("live", source.history, live)):
            path = folder / f"{name}.parquet"
            pq.write_table(source.table.slice(first, count), path)
            parts.append(list(read_messages(testbed.feature_set, path)))
        history, live_parts = parts
        keys = [key for _, some in live_parts for key in some]
        values = [value for some, _ in live_parts for value in some]
        yield Handbook(testbed, source, history, Events(keys, values))
