"""Measure building a table: ``fraud-worker features build`` and the Handbook's pandas method."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.features.source import Source
from benchmarks.features.testbed import PIPELINE
from benchmarks.programs import ROOT, RunError
from benchmarks.testbed import note
from tools.embedded.process import last_lines

ROUNDS = 3
RELATIVE = 1e-6
DIFFERENT_SHARE = 1e-4
"""Share of rows that may differ: simultaneous payments of a customer may have another order."""


@dataclass(frozen=True, slots=True)
class Timed:
    """One run of a process and its children.

    Attributes:
        seconds: Wall-clock time of the process.
        inside_s: Seconds of the work that the process reports: without its start, and for pandas
            without reading and writing.
        cpu_seconds: CPU time of all processes.
        peak_bytes: Maximum resident memory of the largest process.
    """

    seconds: float
    inside_s: float
    cpu_seconds: float
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Building:
    """Measurements of building the table.

    Attributes:
        events: Number of events.
        runs: Runs of the build.
        pandas: The run of the Handbook's method.
        columns: Number of compared columns.
        different: Number of rows that differ between the tables.
    """

    events: int
    runs: Sequence[Timed]
    pandas: Timed
    columns: int
    different: int

    def figures(self) -> dict[str, Any]:
        """Return the values for the result file: medians with and without the processes' start."""
        build, pandas = self._of(self.runs), self._of([self.pandas])
        return {
            "events": self.events,
            "build": build,
            "pandas": pandas,
            "ratio": pandas["seconds"] / build["seconds"],
            "ratio_inside": pandas["seconds_inside"] / build["seconds_inside"],
            "columns_compared": self.columns,
            "rows_different": self.different,
        }

    def _of(self, runs: Sequence[Timed]) -> dict[str, Any]:
        whole = statistics.median(run.seconds for run in runs)
        inside = statistics.median(run.inside_s for run in runs)
        return {
            "seconds": whole,
            "seconds_inside": inside,
            "events_per_s": self.events / whole,
            "events_per_s_inside": self.events / inside,
            "peak_mib": max(run.peak_bytes for run in runs) / 2**20,
            "runs": [asdict(run) for run in runs],
        }


def measure_building(folder: Path, source: Source, out: Path) -> Building:
    """Build the table ``out`` of all events, and the same table with pandas.

    Raises:
        RunError: A process fails, or the two tables differ.
    """
    runs = [build(source, out, folder / "build.log") for _ in range(ROUNDS)]
    note(f"built {source.rows:,} rows in {min(run.seconds for run in runs):.1f} s")
    by_pandas = folder / "by_pandas.parquet"
    pandas = timed(_pandas(source.path, by_pandas), folder / "pandas.log")
    note(f"pandas took {pandas.seconds:.1f} s")
    return Building(source.rows, runs, pandas, *compare(out, by_pandas))


def build(source: Source, out: Path, log: Path) -> Timed:
    """Build the table ``out`` of all events; a table that is there is replaced.

    Raises:
        RunError: The build fails.
    """
    named = {"--set": PIPELINE / "features.yaml", "--events": source.path, "--out": out}
    words = [word for name, path in named.items() for word in (name, str(path))]
    return timed([sys.executable, "-m", "tools", "features", "build", "--force", *words], log)


def timed(command: Sequence[str], log: Path) -> Timed:
    """Run a command whose last line of output is JSON with ``seconds``, and measure it.

    Raises:
        RunError: The command fails; the message ends with the end of its log.
    """
    began = time.perf_counter()
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=ROOT)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RunError(
            f"{' '.join(command)} ended with status {process.returncode}; {log} ends with:\n"
            f"{last_lines(log)}"
        )
    inside: float = json.loads(log.read_text("utf-8").splitlines()[-1])["seconds"]
    return Timed(seconds, inside, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def compare(built: Path, by_pandas: Path) -> tuple[int, int]:
    """Compare the computed columns of two tables.

    Returns:
        Number of compared columns, and number of rows that differ in any of them.

    Raises:
        RunError: More rows differ than DIFFERENT_SHARE allows.
    """
    ours, theirs = pq.read_table(built), pq.read_table(by_pandas)
    names = [name for name in theirs.column_names if "_WINDOW" in name or "_DURING_" in name]
    different = np.zeros(ours.num_rows, np.bool_)
    for name in names:
        a, b = (t[name].cast(pa.float64()).to_numpy() for t in (ours, theirs))
        different |= ~np.isclose(a, b, rtol=RELATIVE, atol=0, equal_nan=True)
    differing = int(np.count_nonzero(different))
    if differing > DIFFERENT_SHARE * ours.num_rows:
        raise RunError(f"{differing} of {ours.num_rows} rows differ from those of pandas")
    note(f"{len(names)} columns compared with those of pandas: {differing} rows differ")
    return len(names), differing


def _pandas(events: Path, out: Path) -> list[str]:
    module = "benchmarks.rivals.pandas_rolling"
    return [sys.executable, "-m", module, str(events), str(out)]
