"""Measure the latency of a program at constant rates."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from base.arrays import Floats, Longs
from benchmarks.latency.events import Events
from benchmarks.latency.task import LatencyTask
from benchmarks.latency.watcher import WATCHING
from benchmarks.programs import ROOT, Program, Run, RunError, Start
from benchmarks.testbed import Testbed
from benchmarks.throughput import group_reader, wait_for_commits
from tools.embedded.topic_admin import create_topics

Beside = Callable[[Program], AbstractContextManager[Any]]

RATE = 1000.0
"""Events per second of the suites that measure one rate."""
P99_9_EVENTS = 10_000
"""Smallest number of events of which the 99.9th percentile is reported."""
_BEHIND_MS = 250.0
# A queue that grows from the warm-up on makes the last events wait a third longer and more.
_BEHIND_RATIO = 1.2
_SLACK_S = 60.0
_FILES = ("events.parquet", "due.npy", "sent.npy", "seen.npy", "counts.npy")


@dataclass(frozen=True, slots=True)
class Pace:
    """A constant rate, for some time.

    Attributes:
        rate: Events per second.
        warm_up: Seconds at this rate that are not measured.
        measured: Seconds of the measurement.
    """

    rate: float
    warm_up: float
    measured: float

    @property
    def skipped(self) -> int:
        """Number of events of the warm-up."""
        return int(self.rate * self.warm_up)

    @property
    def events(self) -> int:
        """Number of events with those of the warm-up."""
        return self.skipped + max(1, int(self.rate * self.measured))


@dataclass(frozen=True, slots=True)
class Observed:
    """Events of one pace of one run, after its warm-up.

    Attributes:
        took: float64[N], latency of each event in milliseconds, in the order of sending.
        duplicates: Number of additional scores.
        rate: Events per second that were sent.
    """

    took: Floats
    duplicates: int
    rate: float


@dataclass(frozen=True, slots=True)
class Latency:
    """Latency of the events of one pace, of one or more runs.

    Attributes:
        p50: Median in milliseconds.
        p99: 99th percentile in milliseconds.
        p99_9: 99.9th percentile in milliseconds; None for fewer than P99_9_EVENTS events.
        highest: Maximum in milliseconds.
        events: Number of measured events.
        duplicates: Number of additional scores.
        rate: Events per second that were sent, the lowest of the runs.
        kept_up: False if the last events of a run waited so long that the program fell behind.
    """

    p50: float
    p99: float
    p99_9: float | None
    highest: float
    events: int
    duplicates: int
    rate: float
    kept_up: bool


def latency_of(runs: Sequence[Observed]) -> Latency:
    """Percentiles of the events of all runs together."""
    took = np.concatenate([run.took for run in runs])
    p50, p99, p99_9 = np.percentile(took, (50, 99, 99.9)).tolist()
    return Latency(
        p50=p50,
        p99=p99,
        p99_9=p99_9 if len(took) >= P99_9_EVENTS else None,
        highest=float(took.max()),
        events=len(took),
        duplicates=sum(run.duplicates for run in runs),
        rate=min(run.rate for run in runs),
        kept_up=all(_kept_up(run.took) for run in runs),
    )


def _kept_up(took: Floats) -> bool:
    """Return False if the last tenth of the events took long, and longer than the first half."""
    last, first = np.median(took[-max(1, len(took) // 10) :]), np.median(took[: len(took) // 2 + 1])
    return bool(last < max(_BEHIND_MS, _BEHIND_RATIO * first))


def measure_latency(
    testbed: Testbed,
    start: Start,
    run: Run,
    events: Events,
    paces: Sequence[Pace],
    beside: Beside = nullcontext,
) -> list[Observed]:
    """Start a program, play events at one pace after the other, and watch the scores.

    Args:
        testbed: Servers and model.
        start: Starts the program.
        run: The run; its topics are created here if they are missing.
        events: As many events as the paces take.
        paces: Rates in turn; the highest last, so that a program that falls behind spoils no other.
        beside: Context in which the events are played, called with the program.

    Returns:
        What was observed of each pace.

    Raises:
        RunError: The program fails, or an event has no score in time.
    """
    topics = (run.input_topic, run.output_topic)
    create_topics(testbed.kafka.bootstrap, dict.fromkeys(topics, testbed.partitions))
    files = [testbed.folder / f"{run.name}-{name}" for name in _FILES]
    events.write(files[0])
    np.save(files[1], due_times(paces))
    play = LatencyTask(testbed.kafka.bootstrap, run.input_topic, *map(str, files))
    watch = replace(play, topic=run.output_topic)
    with start(testbed, run) as program:
        program.wait_ready()
        if run.history:
            with closing(group_reader(testbed, run)) as reader:
                wait_for_commits(reader, run, program, run.history)
        with _start(testbed, "watcher", watch, WATCHING) as watcher:
            watcher.wait_ready()
            with beside(program), _start(testbed, "player", play) as player:
                planned_s = sum(pace.warm_up + pace.measured for pace in paces)
                _wait(program, (player, watcher), planned_s + _SLACK_S)
        program.stop()
    sent, seen, counts = map(np.load, files[2:])
    for path in files:
        path.unlink()
    return observed(sent, seen, counts, paces)


def due_times(paces: Sequence[Pace]) -> Floats:
    """Seconds after the start at which each event is to be sent."""
    due, start = [], 0.0
    for pace in paces:
        due.append(start + np.arange(pace.events) / pace.rate)
        start += pace.events / pace.rate
    return np.concatenate(due)


def _start(testbed: Testbed, module: str, task: LatencyTask, ready: str = "") -> Program:
    path = testbed.folder / f"{module}-{task.topic}.json"
    task.write(path)
    command = ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", f"benchmarks.latency.{module}"]
    return Program(module, [*command, str(path)], path.with_suffix(".log"), ready)


def _wait(program: Program, probes: tuple[Program, ...], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        ended = [probe.ended() for probe in probes]
        if all(ended):
            return
        program.require_running()
        if time.monotonic() > deadline:
            raise program.error(f"did not score all events within {timeout_s:g} s")
        time.sleep(0.1)


def observed(sent: Longs, seen: Longs, counts: Longs, paces: Sequence[Pace]) -> list[Observed]:
    """Compute the latency of each pace from times of sending and seeing.

    Args:
        sent: int64[N], time at which each event was sent, in nanoseconds.
        seen: int64[N], time at which its first score was seen, in nanoseconds.
        counts: int64[N], number of scores of each event.
        paces: Paces of the events.

    Raises:
        RunError: An event has no score.
    """
    lost = int(np.count_nonzero(counts == 0))
    if lost:
        raise RunError(f"{lost} of {len(counts)} events had no score in time")
    found, start = [], 0
    for pace in paces:
        rows = slice(start + pace.skipped, start + pace.events)
        start += pace.events
        took_s = max(1e-9, (sent[rows][-1] - sent[rows][0]) / 1e9)
        found.append(
            Observed(
                took=(seen[rows] - sent[rows]) / 1e6,
                duplicates=int(np.sum(counts[rows] - 1)),
                rate=(rows.stop - rows.start - 1) / took_s,
            )
        )
    return found
