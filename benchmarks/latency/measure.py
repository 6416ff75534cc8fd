"""The worker's latency at a steady rate, in one mode of delivery."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.ground import Ground
from benchmarks.latency.task import LatencyTask
from benchmarks.programs import ROOT, Program, Run, RunError, Worker
from benchmarks.throughput import Span
from tools.embedded.topic_admin import create_topics

Beside = Callable[[Worker], AbstractContextManager[Any]]

RATE = 1000.0
# Far from the numbers of the events of the common topic.
_FIRST = 500_000_000
_SLACK_S = 60.0
_FILES = ("sent", "seen", "counts")


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from sending to seeing, of the events after the warm-up; their number.

    lost, duplicates: of all events.
    """

    p50: float
    p99: float
    highest: float
    events: int
    lost: int
    duplicates: int


def measure_latency(ground: Ground, run: Run, span: Span, beside: Beside = nullcontext) -> Latency:
    """Start the worker on topics of its own, play and watch. Raises RunError.

    run: its input topic is made here. beside: what goes on with the worker meanwhile.
    """
    topics = (run.input_topic, run.output_topic)
    create_topics(ground.kafka.bootstrap, dict.fromkeys(topics, ground.partitions))
    events = int(RATE * (span.warm_up + span.measured))
    files = {name: str(ground.folder / f"{run.name}-{name}.npy") for name in _FILES}
    play = LatencyTask(ground.kafka.bootstrap, run.input_topic, _FIRST, events, RATE, **files)
    watch = replace(play, topic=run.output_topic)
    with Worker(ground, run) as worker:
        worker.wait_ready()
        with (
            beside(worker),
            _start(ground, "watcher", watch) as watcher,
            _start(ground, "player", play) as player,
        ):
            _wait(worker, (player, watcher), events / RATE + _SLACK_S)
        worker.stop()
    return latency_of(*(np.load(files[name]) for name in _FILES), first=int(RATE * span.warm_up))


def _start(ground: Ground, module: str, task: LatencyTask) -> Program:
    path = ground.folder / f"{module}-{task.topic}.json"
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
    """Of events that were sent and seen at these nanoseconds, and seen so often.

    first: the first that counts, after the warm-up. Raises RunError where one was never seen.
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
