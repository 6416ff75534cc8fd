"""The suite ``models``: margins, calibration, policy, reasons and swaps, alone and in the worker."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from base.errors import CudaUnusableError
from benchmarks.ground import ground, note
from benchmarks.machine import machine
from benchmarks.models import explained, swaps
from benchmarks.models.alone import Device, measure_alone
from benchmarks.models.chart import draw
from benchmarks.models.explained import measure_throughput
from benchmarks.models.ground import make_material
from benchmarks.models.last_line import last_line
from benchmarks.models.swaps import measure_swaps
from benchmarks.models.table import show
from benchmarks.models.timing import ROUNDS
from benchmarks.options import Options
from benchmarks.result import today, write_result
from benchmarks.summary import summarise
from benchmarks.throughput import Span
from features.store.redis import RedisStore
from models.backend.cuda import require_cuda

EVENTS = 2_500_000
FULL = Span(3.0, 10.0), Span(5.0, 30.0)
"""Of throughput and of latency."""
QUICK = Span(0.5, 5.0), Span(2.0, 20.0)
"""For a run on fewer events."""


def run(options: Options) -> dict[str, Any]:
    """Measure, print the tables, write the dated result file and its chart; the last line.

    Raises RunError when a program fails, loses an event, or computes something else.
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
    date, (gpu, no_gpu) = today(), _find_gpu()
    gpus: list[Device] = ["cuda"] if gpu else []
    note(no_gpu or f"measured beside the CPU: {gpu}")
    for_rate, for_latency = FULL if options.events is None else QUICK
    with ground(folder, options.events or EVENTS) as on:
        info = RedisStore(on.valkey.url).info()
        material = make_material(on)
        alone = measure_alone(on, material, ("cpu", *gpus))
        throughput = measure_throughput(on, material, for_rate, gpus)
        swapping = measure_swaps(on, material, for_latency)
        result = {
            "suite": "models",
            "date": date,
            "machine": machine(f"{info.server} {info.version}"),
            "gpu": gpu,
            "no_gpu": no_gpu,
            "setting": {
                **on.setting(explained.ROUNDS),
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
    """Its name, or why there is none."""
    try:
        cupy = require_cuda()
    except CudaUnusableError as error:
        why, _, _ = str(error).partition(";")
        return None, f"no GPU on this machine that XGBoost can use ({why})"
    return cupy.cuda.runtime.getDeviceProperties(0)["name"].decode(), None
