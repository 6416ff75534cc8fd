"""Measure the latency while the champion is swapped every few seconds, and without swaps."""

from __future__ import annotations

import itertools
import shutil
import statistics
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.latency.measure import Latency, Pace, latency_of, measure_latency
from benchmarks.models.material import Material
from benchmarks.models.policies import write_explaining
from benchmarks.programs import Program, Run, Worker
from benchmarks.testbed import Testbed, note, played_payments
from models.bundle import Bundle
from models.location import FolderLocation

EVERY_S = 10.0
ROUNDS = 2
_TAKEN = "fraud_worker_swaps_total/taken/model"
_REFUSED = "fraud_worker_swaps_total/refused/model"


@dataclass(frozen=True, slots=True)
class Swapping:
    """Measurements of the latency.

    Attributes:
        alone: Latency of each round without swaps.
        swapped: Latency of each round with swaps.
        swaps: Number of models that the worker loaded during the measurement.
    """

    alone: Sequence[Latency]
    swapped: Sequence[Latency]
    swaps: int

    def figures(self) -> dict[str, Any]:
        """Return the values for the result file: medians of the rounds, and all rounds."""
        alone, swapped = _figures(self.alone), _figures(self.swapped)
        ratio = swapped["p99"] / alone["p99"]
        return {"alone": alone, "swapped": swapped, "swaps": self.swaps, "p99_ratio": ratio}


def _figures(rounds: Sequence[Latency]) -> dict[str, Any]:
    return {
        "p50": statistics.median(one.p50 for one in rounds),
        "p99": statistics.median(one.p99 for one in rounds),
        "highest": max(one.highest for one in rounds),
        "runs": [asdict(one) for one in rounds],
    }


def measure_swaps(testbed: Testbed, material: Material, pace: Pace) -> Swapping:
    """Measure rounds with and without swaps in turn, with a policy that gives reasons.

    A swap then prepares the reasons too.

    Raises:
        RunError: An event is lost, or no swap took place.
    """
    bundles = (testbed.bundle, material.successor)
    location = _location(testbed.folder / "location", bundles)
    policy = write_explaining(testbed.folder / "swapped.yaml", material.threshold)
    settings = {"MODEL__LOCATION": str(location.folder), "POLICY": str(policy)}
    events = played_payments(testbed.feature_set, pace.events)
    latencies: dict[str, list[Latency]] = defaultdict(list)
    counts: list[int] = []

    @contextmanager
    def swapping(worker: Program) -> Iterator[None]:
        with _promoting(location, itertools.cycle([bundle.version for bundle in bundles[::-1]])):
            yield
        counts.append(_taken(worker))

    for number in range(1, ROUNDS + 1):
        for name, beside in (("alone", nullcontext), ("swapped", swapping)):
            location.promote(testbed.bundle.version)
            run = Run(f"{name}-{number}", f"transactions-{name}-{number}", settings=settings)
            latency = latency_of(measure_latency(testbed, Worker, run, events, [pace], beside))
            note(f"{run.name}: median {latency.p50:.1f} ms, 99 % under {latency.p99:.1f} ms")
            latencies[name].append(latency)
    return Swapping(latencies["alone"], latencies["swapped"], sum(counts))


def _location(folder: Path, bundles: Sequence[Bundle]) -> FolderLocation:
    for bundle in bundles:
        shutil.copytree(bundle.path, folder / bundle.version)
    return FolderLocation(folder)


@contextmanager
def _promoting(location: FolderLocation, names: Iterator[str]) -> Iterator[None]:
    """Promote the next of ``names`` every EVERY_S seconds."""
    stop = threading.Event()

    def promote() -> None:
        while not stop.wait(EVERY_S):
            location.promote(next(names))

    thread = threading.Thread(target=promote)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _taken(worker: Program) -> int:
    """Number of models that the worker loaded.

    Raises:
        RunError: The worker loaded none, or refused one.
    """
    metrics = worker.metrics()
    taken, refused = (int(metrics.get(name, 0)) for name in (_TAKEN, _REFUSED))
    if refused or not taken:
        raise worker.error(f"loaded {taken} models and refused {refused}")
    return taken
