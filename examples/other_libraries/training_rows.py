"""Rows of a training table, and the files that `fraud-worker model pack` takes.

The scripts of this folder share it. It needs numpy and pyarrow only, so that they run in the
environment of another library.
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

SAMPLE_ROWS = 10_000


@dataclass(frozen=True)
class Rows:
    """Labelled rows of a training table.

    Attributes:
        names: Names of the features.
        matrix: float32[N, F]; NaN means missing.
        labels: int8[N], 1 for a fraud.
    """

    names: list[str]
    matrix: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int8]


def read_rows(table: Path, since: date | None, until: date | None) -> Rows:
    """Read the labelled rows of some days of a table that `fraud-worker features build` wrote.

    Args:
        table: The Parquet file.
        since: First day, UTC; None for the first of the table.
        until: Last day, UTC; None for the last of the table.
    """
    description = json.loads(pq.read_schema(table).metadata[b"fraud_worker"])
    names = [feature["name"] for feature in description["features"]]
    columns = description["columns"]
    time, label = columns["time"], columns["label"]
    rows = pq.read_table(table, columns=[*dict.fromkeys([*names, time, label])])
    wanted = pc.is_valid(rows[label])
    kind = rows.schema.field(time).type
    if since is not None:
        wanted = pc.and_(wanted, pc.greater_equal(rows[time], _midnight(since, kind)))
    if until is not None:
        end = _midnight(until + timedelta(days=1), kind)
        wanted = pc.and_(wanted, pc.less(rows[time], end))
    rows = rows.filter(wanted)
    matrix = np.column_stack([rows[name].to_numpy() for name in names]).astype(np.float32)
    return Rows(names, matrix, rows[label].to_numpy().astype(np.int8))


def _midnight(day: date, kind: pa.DataType) -> pa.Scalar:
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC if kind.tz else None)
    return pa.scalar(begin).cast(kind)


def write_model(
    out: Path,
    content: bytes,
    rows: Rows,
    predict: Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]],
    options: Sequence[str] = ("--probability",),
) -> None:
    """Write a model in ONNX with its features, and rows with the predictions of its library.

    It prints the options with which `fraud-worker model pack` takes them.

    Args:
        out: Folder for `model.onnx`, `features.txt` and `sample.parquet`.
        content: The model.
        rows: Rows to take the sample from.
        predict: Computes the output with the library that trained the model: the probability of
            fraud, or the margin.
        options: Options that say what the output is.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / "model.onnx").write_bytes(content)
    (out / "features.txt").write_text("\n".join(rows.names) + "\n", encoding="utf-8")
    chosen = np.random.default_rng(0).permutation(len(rows.matrix))[:SAMPLE_ROWS]
    sample = rows.matrix[chosen]
    columns = {name: sample[:, place] for place, name in enumerate(rows.names)}
    expected = np.asarray(predict(sample), dtype=np.float64)
    pq.write_table(pa.table({**columns, "expected": expected}), out / "sample.parquet")
    files = ["--model", out / "model.onnx", "--feature-names", f"@{out / 'features.txt'}"]
    compared = ["--sample", out / "sample.parquet", "--expected", "expected"]
    print(shlex.join(map(str, [*files, *options, *compared])))  # noqa: T201


def run(train: Callable[[Rows, Path], None], description: str | None) -> None:
    """Train on the rows that the command line names.

    Args:
        train: Trains on rows, and writes to a folder.
        description: Text for `--help`.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("table", type=Path, help="table of fraud-worker features build")
    parser.add_argument("out", type=Path, help="folder for the model, its features and a sample")
    parser.add_argument("--since", type=date.fromisoformat, help="first training day, UTC")
    parser.add_argument("--until", type=date.fromisoformat, help="last training day, UTC")
    given = parser.parse_args()
    train(read_rows(given.table, given.since, given.until), given.out)
