"""Measure a run from outside: committed events, CPU time and memory."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it ships no types
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from benchmarks.programs import Program, Run, Start
from benchmarks.testbed import Testbed

_STALL_S = 60.0
_LOOK_S = 0.2
# The partitions of a topic do not reach their ends at the same time.
_LEFT_SHARE = 0.1
_SHORTEST_S = 5.0
# Answers of a broker that makes the topic of offsets for its first group.
_NO_COORDINATOR_YET = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)


@dataclass(frozen=True, slots=True)
class Span:
    """Durations of a run, in seconds.

    Attributes:
        warm_up: Time after the first commit before the measurement.
        measured: Time of the measurement.
    """

    warm_up: float = 3.0
    measured: float = 15.0


@dataclass(frozen=True, slots=True)
class Measured:
    """Result of a measurement.

    Attributes:
        events: Number of events committed within ``seconds``.
        seconds: Duration of the measurement.
        cpu_seconds: CPU time of the process, user and system.
        peak_bytes: Maximum resident memory.
        stages: Seconds by stage; only for the worker.
        committed: Number of all events that the run committed, with history, warm-up and drain.
        other_cores: Cores used by processes outside the benchmark.
    """

    events: int
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    stages: Mapping[str, float]
    committed: int
    other_cores: float

    @property
    def events_per_s(self) -> float:
        return self.events / self.seconds

    @property
    def cpu_us_per_event(self) -> float:
        return self.cpu_seconds * 1e6 / self.events


def measure(testbed: Testbed, start: Start, run: Run, span: Span) -> Measured:
    """Start a program, warm it up, measure it and stop it.

    Raises:
        RunError: The program fails, or makes no progress.
    """
    with (
        closing(group_reader(testbed, run)) as reader,
        start(testbed, run) as process,
    ):
        wait_for_commits(reader, run, process, run.history + 1)
        time.sleep(span.warm_up)
        first = _Look(reader, run, process)
        last = _look_until(
            reader, run, process, first.at + span.measured, testbed.events - run.first
        )
        seconds = last.at - first.at
        if seconds < min(_SHORTEST_S, span.measured):
            raise process.error(f"had no events left after {seconds:.1f} s; play more events")
        if last.committed == first.committed:
            raise process.error(f"has committed nothing within {seconds:.1f} s")
        peak = peak_bytes(process.pid)
        process.stop()
        return Measured(
            last.committed - first.committed,
            seconds,
            last.cpu_s - first.cpu_s,
            peak,
            _stages(first.metrics, last.metrics),
            committed(reader, run),
            max(0.0, last.others_s - first.others_s) / seconds,
        )


class _Look:
    """Progress and resource usage of a program at one moment."""

    def __init__(self, reader: Consumer, run: Run, process: Program) -> None:
        times = psutil.Process(process.pid).cpu_times()
        self.committed = committed(reader, run)
        self.at = time.monotonic()
        self.cpu_s = times.user + times.system
        self.others_s = _machine_cpu_s() - _own_cpu_s()
        self.metrics = process.metrics()


def group_reader(testbed: Testbed, run: Run) -> Consumer:
    """Make a consumer that reads the committed offsets of a run's group."""
    # No admin client: librdkafka 2.16 crashes while the group's coordinator is being created.
    return Consumer(
        {"bootstrap.servers": testbed.kafka.bootstrap, "group.id": run.group, "log_level": 0}
    )


def committed(reader: Consumer, run: Run) -> int:
    """Number of events that a run has committed; the input topic begins at 0 and has no gaps."""
    partitions = reader.list_topics(run.input_topic, timeout=10).topics[run.input_topic].partitions
    asked = [TopicPartition(run.input_topic, partition) for partition in partitions]
    reached: int = sum(at.offset for at in _offsets(reader, asked) if at.offset > 0)
    return max(0, reached - run.first)


def _offsets(reader: Consumer, asked: list[TopicPartition]) -> list[TopicPartition]:
    deadline = time.monotonic() + _STALL_S
    while True:
        try:
            return reader.committed(asked, timeout=10)
        except KafkaException as error:
            if error.args[0].code() not in _NO_COORDINATOR_YET or time.monotonic() > deadline:
                raise
        time.sleep(_LOOK_S)


def peak_bytes(pid: int) -> int:
    """Maximum resident memory of a process, in bytes."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:  # not Linux: use the current value
        return int(psutil.Process(pid).memory_info().rss)
    match = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(match[1]) * 1024 if match else 0


def _machine_cpu_s() -> float:
    times = psutil.cpu_times()
    # On Linux, `user` includes the time of guests.
    idle = sum(getattr(times, name, 0.0) for name in ("idle", "iowait", "guest", "guest_nice"))
    return float(sum(times) - idle)


def _own_cpu_s() -> float:
    """CPU time of this process and its running children: broker, store and program."""
    this = psutil.Process()
    every = [process.cpu_times() for process in (this, *this.children(recursive=True))]
    return float(sum(times.user + times.system for times in every))


def wait_for_commits(reader: Consumer, run: Run, process: Program, events: int) -> None:
    """Wait until the run has committed so many events.

    Raises:
        RunError: The program fails, or makes no progress.
    """
    known, deadline = 0, time.monotonic() + _STALL_S
    while (count := committed(reader, run)) < events:
        process.require_running()
        if count > known:
            known, deadline = count, time.monotonic() + _STALL_S
        if time.monotonic() > deadline:
            raise process.error(f"has committed nothing for {_STALL_S:g} s, after {known} events")
        time.sleep(_LOOK_S)


def _look_until(reader: Consumer, run: Run, process: Program, until: float, events: int) -> _Look:
    """Take the last look at the given time, or earlier if the topic is almost at its end."""
    while time.monotonic() < until:
        process.require_running()
        if committed(reader, run) > events * (1 - _LEFT_SHARE):
            break
        time.sleep(min(_LOOK_S, max(0.0, until - time.monotonic())))
    return _Look(reader, run, process)


def _stages(first: Mapping[str, float], last: Mapping[str, float]) -> dict[str, float]:
    prefix = "fraud_worker_stage_seconds_sum/"
    return {
        name.removeprefix(prefix): last[name] - first.get(name, 0.0)
        for name in last
        if name.startswith(prefix)
    }
