"""Suite ``models``: margins, calibration, policy, reasons and swaps, in process and in the worker."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from base.errors import CudaUnusableError
from benchmarks.latency.measure import RATE, Pace
from benchmarks.machine import gpu, machine
from benchmarks.models import explained, swaps
from benchmarks.models.chart import draw
from benchmarks.models.explained import measure_throughput
from benchmarks.models.in_process import Device, measure_in_process
from benchmarks.models.last_line import last_line
from benchmarks.models.material import make_material
from benchmarks.models.swaps import measure_swaps
from benchmarks.models.table import show
from benchmarks.models.timing import ROUNDS
from benchmarks.options import Options
from benchmarks.result import today, write_result
from benchmarks.summary import summarise
from benchmarks.testbed import note, open_testbed
from benchmarks.throughput import Span
from features.store.redis import RedisStore
from models.backend.cuda import require_cuda

EVENTS = 2_500_000
FULL = Span(3.0, 10.0), Pace(RATE, 5.0, 30.0)
"""Durations for throughput and for latency."""
QUICK = Span(0.5, 5.0), Pace(RATE, 2.0, 20.0)
"""Durations for a run with fewer events."""


def run(options: Options) -> dict[str, Any]:
    """Measure, print the tables, and write the result file and its chart.

    Returns:
        The summary line.

    Raises:
        RunError: A program fails, loses an event, or computes a different result.
    """
    with tempfile.TemporaryDirectory(prefix="fraud-worker-bench.") as folder:
        result = _measure(Path(folder), options)
    show(result)
    path = write_result(options.out, result)
    for suffix in (".svg", ".png"):
        draw(result, path.with_suffix(suffix))
    line: dict[str, Any] = result["last_line"]
    return line


def _measure(folder: Path, options: Options) -> dict[str, Any]:
    date, (found, no_gpu) = today(), _find_gpu()
    gpus: list[Device] = ["cuda"] if found else []
    note(no_gpu or f"measured beside the CPU: {found}")
    for_rate, for_latency = FULL if options.events is None else QUICK
    with open_testbed(folder, options.events or EVENTS) as testbed:
        info = RedisStore(testbed.valkey.url).info()
        material = make_material(testbed)
        alone = measure_in_process(testbed, material, ("cpu", *gpus))
        throughput = measure_throughput(testbed, material, for_rate, gpus)
        swapping = measure_swaps(testbed, material, for_latency)
        result = {
            "suite": "models",
            "date": date,
            "machine": machine(f"{info.server} {info.version}"),
            "gpu": found,
            "no_gpu": no_gpu,
            "setting": {
                **testbed.setting(explained.ROUNDS),
                "rounds_alone": ROUNDS,
                "rounds_latency": swaps.ROUNDS,
                "swap_every_s": swaps.EVERY_S,
            },
            **alone.figures(),
            "programs": summarise(throughput.runs, explained.BASE),
            "explained_share": throughput.share,
            "latency": swapping.figures(),
        }
        return {**result, "last_line": last_line(result)}


def _find_gpu() -> tuple[str | None, str | None]:
    """Name of the GPU, or the reason why there is none."""
    try:
        require_cuda()
    except CudaUnusableError as error:
        why, _, _ = str(error).partition(";")
        return None, f"no GPU on this machine that XGBoost can use ({why})"
    return gpu() or "GPU", None
