"""Measure models of other libraries beside XGBoost: ``python -m benchmarks.evaluate.libraries``.

The program builds the table of the Handbook's data, trains with ``fraud-worker train`` and with the
scripts of ``examples/other_libraries``, packs the models, and measures their quality on the test
days of `benchmarks.evaluate.defaults`, and the time of margins and reasons. The last line of stdout
is the result as JSON.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq

from base.times import DAY
from benchmarks.evaluate.defaults import CASES, Case, built, measure, midnight
from benchmarks.machine import hardware, xgboost_packages
from benchmarks.models.timing import alternate
from benchmarks.options import RESULTS, UNRECORDED
from benchmarks.result import today, write_result
from benchmarks.testbed import note
from models.backend import open_backend
from models.backend.protocol import Matrix
from models.bundle import Bundle, load_bundle, read_manifest
from models.calibration import logistic
from models.training.table import TrainingTable

SCRIPTS: Final = Path(__file__).parents[2] / "examples" / "other_libraries"
LIBRARIES: Final = {"neural_network": "scikit-learn", "lightgbm_model": "lightgbm"}
"""Scripts that run in this environment, and their libraries."""
FURTHER: Final = {"pytorch_network": "torch", "catboost_model": "catboost"}
"""Scripts that run in an environment of their own."""
_TITLES: Final = {
    "xgboost": "XGBoost, `fraud-worker train`",
    "neural_network": "neural network, 64 and 32 units",
    "lightgbm_model": "LightGBM, 200 trees",
    "pytorch_network": "neural network, 64 and 32 units",
    "catboost_model": "CatBoost, 300 trees",
}
BATCHES: Final = (1, 100, 4_000)
_SINCE = "2018-07-01"
_TRIES = 4
_EXPLAINED = 200
_PACKAGES = ("numpy", "onnx", "onnxruntime")


def main(arguments: list[str] | None = None) -> int:
    """Train, pack and measure, and return the exit status."""
    parser = argparse.ArgumentParser("python -m benchmarks.evaluate.libraries", description=__doc__)
    parser.add_argument("--further", type=Path, help="Python with the libraries of locks/torch.txt")
    parser.add_argument("--record", action="store_true", help="write to benchmarks/results")
    given = parser.parse_args(arguments)
    case = next(case for case in CASES if case.example == "handbook")
    with tempfile.TemporaryDirectory(prefix="fraud-worker-libraries.") as scratch:
        result = compare(case, Path(scratch), given.further)
    write_result(RESULTS if given.record else UNRECORDED, result)
    print(json.dumps(result))
    return 0


def compare(case: Case, folder: Path, further: Path | None) -> dict[str, Any]:
    """Train and measure each model.

    Args:
        case: Data set, and its days.
        folder: Folder for tables and models.
        further: Python that runs the `FURTHER` scripts; None to leave them out.
    """
    note("building the table …")
    table = built(case, folder / "table.parquet")
    bundles = {"xgboost": _trained(case, table, folder / "xgboost")}
    scripts = [(sys.executable, name) for name in LIBRARIES]
    scripts += [(str(further), name) for name in FURTHER if further is not None]
    seconds = {}
    for python, name in scripts:
        note(f"{name}: training …")
        started = time.monotonic()
        bundles[name] = _packed(python, name, case, table, folder / name)
        seconds[name] = round(time.monotonic() - started, 1)
    events = _test_events(case, TrainingTable(table))
    models = {
        name: {
            "seconds": seconds.get(name),
            **_difference(load_bundle(path), folder / name / "sample.parquet"),
            **measure(case, TrainingTable(table), path),
            **_timed(load_bundle(path), events),
        }
        for name, path in bundles.items()
    }
    packages = (*_PACKAGES, *xgboost_packages(), *LIBRARIES.values())
    versions = {each: version(each) for each in packages}
    if further is not None:
        versions |= _versions(further, FURTHER.values())
    return {
        "suite": "libraries",
        "date": today(),
        "command": "make libraries FURTHER=1" if further else "make libraries",
        "machine": {**hardware(), "versions": versions},
        "since": _SINCE,
        "until": f"{case.last}",
        "models": models,
    }


def table_of(result: Mapping[str, Any]) -> list[str]:
    """Lines of the table that the documentation shows of a result."""
    versions = result["machine"]["versions"]
    sizes = " / ".join(f"{size:,}" for size in BATCHES)
    lines = [
        f"| model | average precision | card precision | µs an event, in {sizes} | µs of its reasons |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, model in result["models"].items():
        library = {"xgboost": "xgboost-cpu", **LIBRARIES, **FURTHER}[name]
        us = " / ".join(f"{model['us'][f'{size}']:.3g}" for size in BATCHES)
        lines.append(
            f"| {_TITLES[name]} ({library} {versions[library]}) | {model['average_precision']:.3f} | "
            f"{model['card_precision_100']:.3f} | {us} | {model['reasons_us']:,.0f} |"
        )
    return lines


def _trained(case: Case, table: Path, out: Path) -> Path:
    note("xgboost: training …")
    options = ["--until", f"{case.last}", "--tries", f"{_TRIES}", "--out", str(out)]
    _run([sys.executable, "-m", "tools", "train", "--features", str(table), *options])
    return out


def _packed(python: str, name: str, case: Case, table: Path, folder: Path) -> Path:
    """Train by a script, and pack the model as a user does."""
    days = ["--since", _SINCE, "--until", f"{case.last}"]
    printed = _run([python, str(SCRIPTS / f"{name}.py"), str(table), str(folder), *days])
    features = Path(__file__).parents[2] / "examples" / case.example / "features.yaml"
    bundle = folder / "bundle"
    named = ["--name", name, "--version", f"{case.last}", "--out", str(bundle)]
    named += ["--features-from", str(features)]
    options = shlex.split(printed.splitlines()[-1])
    _run([sys.executable, "-m", "tools", "model", "pack", *options, *named])
    return bundle


def _versions(python: Path, packages: Iterable[str]) -> dict[str, str]:
    """Versions of packages in another environment."""
    code = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    packages = [*packages]
    return dict(zip(packages, _run([str(python), "-c", code, *packages]).split(), strict=True))


def _run(command: Sequence[str]) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def _test_events(case: Case, table: TrainingTable) -> Matrix:
    since = midnight(case.test_from)
    return np.ascontiguousarray(table.read(since, since + DAY).matrix)


def _difference(bundle: Bundle, sample: Path) -> dict[str, Any]:
    """Largest difference from the library's own predictions; nothing without a sample."""
    if not sample.exists():
        return {}
    rows = pq.read_table(sample)
    matrix = np.column_stack([rows[feature.name].to_numpy() for feature in bundle.features])
    margins = open_backend(bundle, "cpu").margins(np.ascontiguousarray(matrix))
    expected = rows["expected"].to_numpy()
    if _is_margin(bundle):
        expected = logistic(expected.astype(np.float32))
    difference = np.abs(logistic(margins) - expected)
    return {"compared": len(rows), "largest_difference": float(difference.max())}


def _is_margin(bundle: Bundle) -> bool:
    output = read_manifest(bundle.path).output
    return output is not None and output.kind == "margin"


def _timed(bundle: Bundle, events: Matrix) -> dict[str, Any]:
    """Microseconds per event of margins, by batch size, and of reasons; one thread."""
    backend = open_backend(bundle, "cpu", threads=1)
    calls = {f"{size}": events[:size] for size in BATCHES}
    took = alternate({size: partial(backend.margins, rows) for size, rows in calls.items()})
    margins = {size: round(took[size].median * 1e6 / int(size), 3) for size in calls}
    explained = alternate({"": lambda: backend.contributions(events[:_EXPLAINED])})[""]
    return {"us": margins, "reasons_us": round(explained.median * 1e6 / _EXPLAINED, 1)}


if __name__ == "__main__":
    sys.exit(main())
