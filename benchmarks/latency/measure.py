"""Measure the worker's latency at a constant rate, with one delivery guarantee."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.latency.task import LatencyTask
from benchmarks.programs import ROOT, Program, Run, RunError, Worker
from benchmarks.testbed import Testbed
from benchmarks.throughput import Span
from tools.embedded.topic_admin import create_topics

Beside = Callable[[Worker], AbstractContextManager[Any]]

RATE = 1000.0
# Far from the event numbers of the common topic.
_FIRST = 500_000_000
_SLACK_S = 60.0
_FILES = ("sent", "seen", "counts")


@dataclass(frozen=True, slots=True)
class Latency:
    """Latency of the events after the warm-up.

    Attributes:
        p50: Median in milliseconds.
        p99: 99th percentile in milliseconds.
        highest: Maximum in milliseconds.
        events: Number of measured events.
        lost: Number of all events without a score.
        duplicates: Number of additional scores of all events.
    """

    p50: float
    p99: float
    highest: float
    events: int
    lost: int
    duplicates: int


def measure_latency(
    testbed: Testbed, run: Run, span: Span, beside: Beside = nullcontext
) -> Latency:
    """Start the worker on new topics, produce events and watch the scores.

    Args:
        testbed: Servers and model.
        run: The run; its input topic is created here.
        span: Durations of the run.
        beside: Context in which the measurement runs, called with the worker.

    Raises:
        RunError: The worker fails, or an event has no score in time.
    """
    topics = (run.input_topic, run.output_topic)
    create_topics(testbed.kafka.bootstrap, dict.fromkeys(topics, testbed.partitions))
    events = int(RATE * (span.warm_up + span.measured))
    files = {name: str(testbed.folder / f"{run.name}-{name}.npy") for name in _FILES}
    play = LatencyTask(testbed.kafka.bootstrap, run.input_topic, _FIRST, events, RATE, **files)
    watch = replace(play, topic=run.output_topic)
    with Worker(testbed, run) as worker:
        worker.wait_ready()
        with (
            beside(worker),
            _start(testbed, "watcher", watch) as watcher,
            _start(testbed, "player", play) as player,
        ):
            _wait(worker, (player, watcher), events / RATE + _SLACK_S)
        worker.stop()
    return latency_of(*(np.load(files[name]) for name in _FILES), first=int(RATE * span.warm_up))


def _start(testbed: Testbed, module: str, task: LatencyTask) -> Program:
    path = testbed.folder / f"{module}-{task.topic}.json"
    task.write(path)
    command = ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", f"benchmarks.latency.{module}"]
    return Program(module, [*command, str(path)], path.with_suffix(".log"))


def _wait(worker: Program, probes: tuple[Program, ...], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        ended = [probe.ended() for probe in probes]
        if all(ended):
            return
        worker.require_running()
        if time.monotonic() > deadline:
            raise worker.error(f"did not score all events within {timeout_s:g} s")
        time.sleep(0.1)


def latency_of(
    sent: npt.NDArray[np.int64],
    seen: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    *,
    first: int,
) -> Latency:
    """Compute the latency from times of sending and seeing.

    Args:
        sent: int64[N], time at which each event was sent, in nanoseconds.
        seen: int64[N], time at which its first score was seen, in nanoseconds.
        counts: int64[N], number of scores of each event.
        first: Index of the first event after the warm-up.

    Raises:
        RunError: An event has no score.
    """
    lost = int(np.count_nonzero(counts == 0))
    if lost:
        raise RunError(f"{lost} of {len(counts)} events had no score in time")
    took = (seen - sent)[first:] / 1e6
    return Latency(
        p50=float(np.percentile(took, 50)),
        p99=float(np.percentile(took, 99)),
        highest=float(took.max()),
        events=len(took),
        lost=lost,
        duplicates=int(np.sum(counts - 1)),
    )
