"""The Handbook's features as its authors published them, from the raw transactions.

A row may differ from theirs for one of two reasons. Two transactions of one customer in the same
second: which comes first is nobody's knowledge, and each counts those before it. And amounts of
zero, of which pandas' running sums leave a rest of 1e-13 where there is nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from features.definition import load_feature_set
from features.tables import EventTableReader, Partitioning, build

SET = Path(__file__).parents[2] / "examples" / "handbook" / "features.yaml"
ROWS = 201_295
REST = 1e-9
"""Far below a hundredth of a cent."""


@pytest.fixture(scope="module")
def raw(data_dir: Path) -> Path:
    return data_dir / "handbook_raw.parquet"


@pytest.fixture(scope="module")
def published(data_dir: Path) -> pa.Table:
    table = pq.read_table(data_dir / "handbook_features_20180725_0814.parquet")
    return table.sort_by("TRANSACTION_ID")


@pytest.fixture(scope="module")
def table(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    out = tmp_path_factory.mktemp("built") / "table.parquet"
    made = load_feature_set(SET)
    assert build(made, EventTableReader(made, [raw]), out).rows == 1_754_155
    return pq.read_table(out)


def test_the_built_table_has_the_published_features(table: pa.Table, published: pa.Table) -> None:
    names = [name for name in published.column_names if name != "TRANSACTION_ID"]
    assert ["TX_AMOUNT", *names] == list(load_feature_set(SET).names)
    wanted = pc.is_in(table["TRANSACTION_ID"], value_set=published["TRANSACTION_ID"])
    ours = table.filter(wanted).sort_by("TRANSACTION_ID")
    assert ours.num_rows == published.num_rows == ROWS
    differs = {name: differing(name, ours[name], published[name]) for name in names}
    rows = np.unique(np.concatenate(list(differs.values())))
    tied = simultaneous(table, ours)
    for row in rows.tolist():
        print(told(ours, published, [n for n in names if row in differs[n]], row))  # noqa: T201
    assert len(rows) < 20
    assert set(rows.tolist()) <= tied


def differing(name: str, ours: pa.ChunkedArray, theirs: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """Rows with another count, or with a mean or risk that is off by more than 1e-6 of it."""
    got, wanted = ours.to_numpy().astype(np.float64), theirs.to_numpy().astype(np.float64)
    exact = pa.types.is_integer(theirs.type)
    allowed = 0.0 if exact else np.maximum(1e-6 * np.abs(wanted), REST)
    assert exact is ("AVG" not in name and "RISK" not in name)
    return np.flatnonzero(~(np.abs(got - wanted) <= allowed))


def simultaneous(table: pa.Table, ours: pa.Table) -> set[int]:
    """Rows of ``ours`` whose customer has another transaction in the same second."""
    seconds = table["TX_DATETIME"].cast(pa.timestamp("s"), safe=False).cast(pa.int64()).to_numpy()
    moment = seconds * 10_000 + table["CUSTOMER_ID"].to_numpy()
    values, counts = np.unique(moment, return_counts=True)
    several = table["TRANSACTION_ID"].to_numpy()[np.isin(moment, values[counts > 1])]
    return set(np.flatnonzero(np.isin(ours["TRANSACTION_ID"].to_numpy(), several)).tolist())


def told(ours: pa.Table, theirs: pa.Table, names: list[str], row: int) -> str:
    who = ", ".join(f"{n} {ours[n][row]}" for n in ("TRANSACTION_ID", "CUSTOMER_ID", "TX_DATETIME"))
    what = ", ".join(f"{name} {ours[name][row]} for {theirs[name][row]}" for name in names)
    return f"{who}: another transaction in the same second: {what}"


def test_features_are_the_same_in_four_partitions(
    raw: Path, table: pa.Table, tmp_path: Path
) -> None:
    made = load_feature_set(SET)
    source = EventTableReader(made, [raw], Partitioning.by(made, "CUSTOMER_ID", 4))
    build(made, source, tmp_path / "table.parquet", partitions=4)
    several = pq.read_table(tmp_path / "table.parquet")
    # The file is in order of time, so terminals see the same too.
    for name in made.names:
        np.testing.assert_array_equal(several[name].to_numpy(), table[name].to_numpy())
