"""Rows that a load appends to a file of past values."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from base.errors import ConfigurationError
from features.definition import FeatureSet
from features.loading.lookup_files import ROWS_AT_A_TIME
from features.loading.past_lookups import keep_rows, read_past_lookup
from tests.support.making import EVENTS, feature_set

TEXT = f"""{EVENTS}
entities: {{customer: card}}
lookups:
  profile: {{by: customer, values: {{mean: , count: }}}}
features:
  - {{name: MEAN, lookup: profile.mean}}
"""
NOON = dt.datetime(2018, 8, 1, 12, tzinfo=dt.UTC)
LATER = NOON + dt.timedelta(days=1)

Row = tuple[str, dt.datetime | None, float | None, float | None]


@pytest.fixture
def made(tmp_path: Path) -> FeatureSet:
    return feature_set(tmp_path, TEXT)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    folder = tmp_path / "history"
    folder.mkdir()
    return folder / "profile.parquet"


def day(folder: Path, *rows: Row, **columns: Any) -> Path:
    cards, times, means, counts = zip(*rows, strict=True)
    given = {"card": cards, "updated_at": times, "mean": means, "count": counts, "more": means}
    path = folder / "day.parquet"
    pq.write_table(pa.table({**given, **columns}), path)
    return path


def append(made: FeatureSet, path: Path, kept: Path) -> int:
    with keep_rows(made, "profile", path, kept) as count:
        pass
    return count


def rows_of(kept: Path) -> list[Row]:
    table = pq.read_table(kept).to_pydict()
    return list(zip(*(table[name] for name in table), strict=True))


def _raise(error: Exception) -> None:
    raise error


def files(kept: Path) -> list[str]:
    return [path.name for path in kept.parent.iterdir()]


def test_a_load_begins_the_file_and_the_next_appends(
    made: FeatureSet, kept: Path, tmp_path: Path
) -> None:
    first: Sequence[Row] = [("a", NOON, 1.0, 2.0), ("b", NOON, 3.0, 4.0)]
    assert append(made, day(tmp_path, *first), kept) == 2
    second: Row = ("a", LATER, 1.0, 2.0)
    assert append(made, day(tmp_path, second), kept) == 1
    assert rows_of(kept) == [*first, second]
    assert files(kept) == [kept.name]
    assert [f"{column.name} {column.type}" for column in pq.read_schema(kept)] == [
        "customer string",
        "updated_at timestamp[us, tz=UTC]",
        "mean double",
        "count double",
    ]


def test_the_same_load_again_changes_nothing(made: FeatureSet, kept: Path, tmp_path: Path) -> None:
    # A null is kept as NaN, and -0.0 is not 0.0.
    path = day(tmp_path, ("a", NOON, None, -0.0), ("b", NOON, 3.0, 4.0), ("a", NOON, 5.0, None))
    assert append(made, path, kept) == 2
    before = kept.read_bytes()
    assert append(made, path, kept) == 0
    assert kept.read_bytes() == before
    assert append(made, kept, kept) == 0
    assert append(made, day(tmp_path, ("b", NOON, 3.0, 4.0), ("a", NOON, 5.0, math.nan)), kept) == 0


@pytest.mark.parametrize("at_a_time", [1, ROWS_AT_A_TIME])
def test_a_correction_of_one_time_stands_and_can_be_taken_back(
    at_a_time: int,
    made: FeatureSet,
    kept: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("features.loading.lookup_files.ROWS_AT_A_TIME", at_a_time)
    versions: Sequence[Row] = [("a", NOON, 1.0, 1.0), ("a", NOON, 2.0, 1.0), ("a", NOON, 1.0, 1.0)]
    for row in versions:
        assert append(made, day(tmp_path, row), kept) == 1
    assert append(made, day(tmp_path, versions[-1]), kept) == 0
    assert rows_of(kept) == list(versions)


def test_a_value_of_an_earlier_time_is_appended_although_it_is_said_before_and_after(
    made: FeatureSet, kept: Path, tmp_path: Path
) -> None:
    between = NOON + dt.timedelta(hours=1)
    append(made, day(tmp_path, ("a", NOON, 1.0, 1.0), ("a", LATER, 1.0, 1.0)), kept)
    assert append(made, day(tmp_path, ("a", between, 1.0, 1.0)), kept) == 1
    # The row of the later time does not hide that the file has this one.
    append(made, day(tmp_path, ("a", LATER + dt.timedelta(days=1), 9.0, 9.0)), kept)
    assert append(made, day(tmp_path, ("a", between, 1.0, 1.0)), kept) == 0


def test_a_load_of_many_rows_is_appended_in_the_order_of_its_file(
    made: FeatureSet, kept: Path, tmp_path: Path
) -> None:
    size = ROWS_AT_A_TIME + 9
    numbers = np.arange(size, dtype=np.float64)
    columns = {
        "customer": pa.array(np.arange(size) * 7 % size),
        "mean": pa.array(numbers),
        "count": pa.array(numbers),
        "updated_at": pa.array(np.full(size, 5), pa.timestamp("s")),
    }
    path = tmp_path / "day.parquet"
    pq.write_table(pa.table(columns), path)
    pq.write_table(pa.table(columns).slice(3, 4), tmp_path / "some.parquet")
    assert append(made, tmp_path / "some.parquet", kept) == 4
    assert append(made, path, kept) == size - 4
    means = pq.read_table(kept)["mean"].to_pylist()
    assert means == [3, 4, 5, 6, 0, 1, 2, *range(7, size)]
    assert len(read_past_lookup(made, "profile", kept).history) == size


def test_a_load_that_fails_is_not_kept(made: FeatureSet, kept: Path, tmp_path: Path) -> None:
    append(made, day(tmp_path, ("a", NOON, 1.0, 1.0)), kept)
    before = kept.read_bytes()
    path = day(tmp_path, ("a", LATER, 1.0, 1.0))
    failing = ExitStack()
    assert failing.enter_context(keep_rows(made, "profile", path, kept)) == 1
    failing.callback(_raise, OSError("away"))
    with pytest.raises(OSError, match="away"):
        failing.close()
    assert kept.read_bytes() == before
    assert files(kept) == [kept.name]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["customer", "updated_at", "mean"], "has no column count, a value of lookup profile"),
        (
            ["customer", "updated_at", "count", "mean"],
            r"has the columns customer \(string\), updated_at \(.*name another file",
        ),
        (["card", "updated_at", "mean", "count"], r"has the columns card \(string\)"),
        (["customer", "updated_at", "mean", "count", "x"], r"count \(double\), x \(double\), and"),
    ],
)
def test_a_file_with_other_columns_is_refused_and_stays(
    columns: list[str], message: str, made: FeatureSet, kept: Path, tmp_path: Path
) -> None:
    values = dict.fromkeys(columns, pa.array([1.0]))
    values[columns[0]] = pa.array(["a"])
    values["updated_at"] = pa.array([NOON], pa.timestamp("us", "UTC"))
    pq.write_table(pa.table(values), kept)
    before = kept.read_bytes()
    with pytest.raises(ConfigurationError, match=rf"--keep: .*profile\.parquet.*{message}"):
        append(made, day(tmp_path, ("a", NOON, 1.0, 1.0)), kept)
    assert kept.read_bytes() == before


def test_what_cannot_be_kept_is_named(made: FeatureSet, kept: Path, tmp_path: Path) -> None:
    path = day(tmp_path, ("a", NOON, 1.0, 1.0))
    with pytest.raises(ConfigurationError, match=r"--keep: .* cannot be written: No such file"):
        append(made, path, tmp_path / "absent" / "x.parquet")
    with pytest.raises(ConfigurationError, match=r"--keep: .* is a folder"):
        append(made, path, tmp_path)
    undated = day(tmp_path, ("a", NOON, 1.0, 1.0), ("b", None, 1.0, 1.0))
    with pytest.raises(ConfigurationError, match=r"day\.parquet: row 2: updated_at is null, and p"):
        append(made, undated, kept)
    with pytest.raises(ConfigurationError, match="unknown lookup 'profil'; did you mean"):
        keep_rows(made, "profil", path, kept).__enter__()
    kept.write_bytes(b"text")
    with pytest.raises(ConfigurationError, match=r"--keep: .* cannot be read as Parquet"):
        append(made, day(tmp_path, ("a", NOON, 1.0, 1.0)), kept)
    assert files(kept) == [kept.name]
