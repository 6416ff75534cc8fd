"""One run of one program, measured from outside: what it has committed, and what it has used."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it ships no types
from confluent_kafka import Consumer, TopicPartition

from benchmarks.ground import Ground
from benchmarks.programs import Program, Run, Start

_STALL_S = 60.0
_LOOK_S = 0.2
# A topic's partitions do not come to their ends together.
_LEFT_SHARE = 0.1
_SHORTEST_S = 5.0


@dataclass(frozen=True, slots=True)
class Span:
    """How long a program warms up after its first commit, and is then measured; seconds."""

    warm_up: float = 3.0
    measured: float = 15.0


@dataclass(frozen=True, slots=True)
class Measured:
    """events committed within ``seconds``; CPU time of the process, user and system, in seconds.

    peak_bytes: the most memory that was resident at once. stages: seconds by stage, of the
    worker alone. committed: all events that the run has committed, history, warm-up and drain
    included.
    other_cores: cores kept busy by what does not belong to the benchmark.
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


def measure(ground: Ground, start: Start, run: Run, span: Span) -> Measured:
    """Start, warm up, measure, stop. Raises RunError when the program does not do its work."""
    with (
        closing(_group_reader(ground, run)) as reader,
        start(ground, run) as process,
    ):
        _wait_for_commit(reader, run, process)
        time.sleep(span.warm_up)
        first = _Look(reader, run, process)
        last = _look_until(
            reader, run, process, first.at + span.measured, ground.events - run.first
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
    """What could be seen of a program at one moment."""

    def __init__(self, reader: Consumer, run: Run, process: Program) -> None:
        times = psutil.Process(process.pid).cpu_times()
        self.committed = committed(reader, run)
        self.at = time.monotonic()
        self.cpu_s = times.user + times.system
        self.others_s = _machine_cpu_s() - _own_cpu_s()
        self.metrics = process.metrics()


def _group_reader(ground: Ground, run: Run) -> Consumer:
    # No admin client: librdkafka 2.16 crashes where the group's coordinator is just being made.
    return Consumer(
        {"bootstrap.servers": ground.kafka.bootstrap, "group.id": run.group, "log_level": 0}
    )


def committed(reader: Consumer, run: Run) -> int:
    """Events that a run has committed: the input topic begins at 0 and has no gaps."""
    partitions = reader.list_topics(run.input_topic, timeout=10).topics[run.input_topic].partitions
    asked = [TopicPartition(run.input_topic, partition) for partition in partitions]
    found = reader.committed(asked, timeout=10)
    reached: int = sum(at.offset for at in found if at.offset > 0)
    return max(0, reached - run.first)


def peak_bytes(pid: int) -> int:
    """The most memory that a process had resident at once."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:  # no Linux: what it has now is the best there is
        return int(psutil.Process(pid).memory_info().rss)
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) * 1024 if found else 0


def _machine_cpu_s() -> float:
    times = psutil.cpu_times()
    # Linux counts guests in `user` already.
    idle = sum(getattr(times, name, 0.0) for name in ("idle", "iowait", "guest", "guest_nice"))
    return float(sum(times) - idle)


def _own_cpu_s() -> float:
    """Of this process and all that it has started and that runs: broker, store, program."""
    this = psutil.Process()
    every = [process.cpu_times() for process in (this, *this.children(recursive=True))]
    return float(sum(times.user + times.system for times in every))


def _wait_for_commit(reader: Consumer, run: Run, process: Program) -> None:
    """Until there is one, and the run's history is played."""
    known, deadline = 0, time.monotonic() + _STALL_S
    while (found := committed(reader, run)) <= run.history:
        process.require_running()
        if found > known:
            known, deadline = found, time.monotonic() + _STALL_S
        if time.monotonic() > deadline:
            raise process.error(f"has committed nothing for {_STALL_S:g} s, after {known} events")
        time.sleep(_LOOK_S)


def _look_until(reader: Consumer, run: Run, process: Program, until: float, events: int) -> _Look:
    """The last look: at the time given, or before the topic comes to its end."""
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
