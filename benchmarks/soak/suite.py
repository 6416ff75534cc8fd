"""Suite ``soak``: slope of the worker's memory through ten minutes of full load."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # it ships no types
from rich.table import Table

from benchmarks.machine import machine
from benchmarks.markdown import machine_of, table
from benchmarks.options import Options
from benchmarks.programs import Program, Run, Worker
from benchmarks.result import today, write_result
from benchmarks.soak.load import Load, endless
from benchmarks.soak.slope import block_means, slope_of
from benchmarks.table import print_tables
from benchmarks.testbed import Testbed, note, open_testbed
from benchmarks.throughput import Span, committed, group_reader, wait_for_commits
from features.store.redis import RedisStore

FULL = Span(60.0, 600.0)
QUICK = Span(1.0, 6.0)
"""Durations for a run with fewer events."""
_SAMPLES = 600
_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Sample:
    """State of the worker at one moment.

    Attributes:
        at: Monotonic time in seconds.
        resident: Resident memory in MiB.
        committed: Number of committed events.
        ahead: Number of played events that are not committed.
    """

    at: float
    resident: float
    committed: int
    ahead: int


def run(options: Options) -> dict[str, Any]:
    """Measure, print the table, and write the result file.

    Returns:
        The summary line.

    Raises:
        RunError: The worker fails, or makes no progress.
    """
    span = FULL if options.events is None else QUICK
    with tempfile.TemporaryDirectory(prefix="fraud-worker-bench.") as folder:
        result = _measure(Path(folder), span)
    _show(result)
    write_result(options.out, result)
    line: dict[str, Any] = result["last_line"]
    return line


def _measure(folder: Path, span: Span) -> dict[str, Any]:
    date = today()
    with open_testbed(folder, 0) as testbed:
        info = RedisStore(testbed.valkey.url).info()
        samples = _soak(testbed, Run("soak", "transactions-soak"), span)
        found = figures(samples)
        return {
            "suite": "soak",
            "date": date,
            "machine": machine(f"{info.server} {info.version}"),
            "setting": {**testbed.setting(1), **asdict(span)},
            "memory": found,
            "last_line": {
                name: round(found[name], 2)
                for name in ("mib_per_hour", "standard_error", "events_per_s", "highest_mib")
            },
        }


def _soak(testbed: Testbed, run: Run, span: Span) -> list[Sample]:
    """Keep the worker busy, and sample it after the warm-up."""
    with (
        closing(group_reader(testbed, run)) as reader,
        closing(group_reader(testbed, run)) as of_load,
        endless(testbed, run, lambda: committed(of_load, run)) as load,
        Worker(testbed, run) as worker,
    ):
        wait_for_commits(reader, run, worker, 1)
        time.sleep(span.warm_up)
        note(f"full load for {span.measured:.0f} s …")
        samples = list(_sampled(lambda: committed(reader, run), load, worker, span.measured))
        worker.stop()
    return samples


def _sampled(
    count: Callable[[], int], load: Load, worker: Program, seconds: float
) -> Iterator[Sample]:
    process, begin = psutil.Process(worker.pid), time.monotonic()
    for number in range(_SAMPLES):
        time.sleep(max(0.0, begin + number * seconds / _SAMPLES - time.monotonic()))
        worker.require_running()
        done, played = count(), load.played
        resident = process.memory_info().rss / 2**20
        yield Sample(time.monotonic(), resident, done, played - done)


def figures(samples: list[Sample]) -> dict[str, Any]:
    """Return the values for the result file: MiB per hour, its standard error, and the load."""
    first, last = samples[0], samples[-1]
    resident = [sample.resident for sample in samples]
    slope = slope_of([(sample.at - first.at) / _HOUR_S for sample in samples], resident)
    seconds, events = last.at - first.at, last.committed - first.committed
    return {
        "mib_per_hour": slope.slope,
        "standard_error": slope.standard_error,
        "highest_mib": max(resident),
        "seconds": seconds,
        "events": events,
        "events_per_s": events / seconds,
        # Near 0, the worker was not at full load.
        "lowest_ahead": min(sample.ahead for sample in samples),
        "block_means_mib": block_means(resident),
    }


_TITLES = ("MiB/hour", "standard error", "highest MiB", "events/s", "events", "fewest waiting")


def _cells(memory: Mapping[str, Any]) -> list[str]:
    return [
        f"{memory['mib_per_hour']:+,.1f}",
        f"{memory['standard_error']:,.1f}",
        f"{memory['highest_mib']:,.0f}",
        f"{memory['events_per_s']:,.0f}",
        f"{memory['events']:,}",
        f"{memory['lowest_ahead']:,}",
    ]


def _show(result: Mapping[str, Any]) -> None:
    shown = Table(title=f"memory of the worker, {result['memory']['seconds']:.0f} s of full load")
    for title in _TITLES:
        shown.add_column(title, justify="right")
    shown.add_row(*_cells(result["memory"]))
    print_tables(shown)


def soak(result: Mapping[str, Any], name: str) -> Iterator[str]:
    """Lines of the report; ``name`` is the file of the result."""
    memory = result["memory"]
    yield from machine_of(result, name)
    yield f"Resident memory of the worker through {memory['seconds']:.0f} s of full load:"
    yield ""
    yield from table(_TITLES, [_cells(memory)])
