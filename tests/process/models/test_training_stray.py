"""Few rows of a training table apart from all others: found, and told from honest gaps."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from base.errors import ConfigurationError
from models.training.result import describe_warnings
from models.training.stray_rows import find_stray_rows
from models.training.table import TrainingTable
from models.training.train import train
from models.training.training_days import find_training_days
from models.training.training_options import TrainingOptions
from tests.support.training_table import DAY, START, simulated, write_table

SOON = TrainingOptions(tries=1, threads=1, forest=1)


def table_of(folder: Path, columns: dict[str, Any]) -> TrainingTable:
    return TrainingTable(write_table(folder / "t.parquet", columns))


def of_days(folder: Path, days: list[int], a_day: int = 20) -> TrainingTable:
    """Rows on these days since START, as many on each."""
    columns = simulated(days=1, a_day=len(days) * a_day)
    hours = np.tile(np.linspace(0.3, 0.7, a_day), len(days)) * DAY
    columns["times"] = (
        START + (np.repeat(days, a_day) * DAY + hours).astype(np.int64) // 1000 * 1000
    )
    columns["label_time"] = columns["times"] + DAY
    return table_of(folder, columns)


def with_last(folder: Path, rows: int, days_later: int, **given: Any) -> TrainingTable:
    """The last rows of a table of every day are so many days later."""
    columns = simulated(**{"days": 40, "a_day": 50, "delay": 1, **given})
    columns["times"][-rows:] += days_later * DAY
    columns["label_time"][-rows:] += days_later * DAY
    return table_of(folder, columns)


@pytest.mark.parametrize("days_later", [4, 20, 29, 6_000])
def test_a_row_days_after_all_others_is_refused_by_name(tmp_path: Path, days_later: int) -> None:
    table = with_last(tmp_path, 1, days_later)
    named = r"1 of the 2,000 rows of .*t.parquet lies far after the others, the last at .*"
    named += (
        r"; the nearest other row is from 2018-08-09.*: correct or remove it, or give "
        "--until 2018-08-09"
    )
    with pytest.raises(ConfigurationError, match=named):
        find_training_days(table)
    assert find_training_days(table, last=date(2018, 8, 8)).folds == 4


def test_a_row_days_before_all_others_is_a_warning(tmp_path: Path) -> None:
    columns = simulated(days=20, a_day=100, delay=1)
    columns["times"][0] -= 20 * DAY
    columns["label_time"][0] -= 20 * DAY
    table = table_of(tmp_path, columns)
    days = find_training_days(table)
    trained = train(table, days, SOON)
    (line,) = (line for line in describe_warnings(trained, {"review": 0.5}) if "rows" in line)
    assert "Warning: 1 of the 2,000 rows" in line
    assert "lies far before the others, the first at 2018-06-11" in line
    assert "the nearest other row is from 2018-07-01" in line


def test_training_without_a_fold_of_both_labels_names_stray_rows(tmp_path: Path) -> None:
    """Of a table of three days, one three days later is not far, and yet the last fold is its day."""
    columns = simulated(days=3, a_day=200, delay=0)
    columns["times"][-1] += 3 * DAY
    columns["label_time"][-1] += 3 * DAY
    table = table_of(tmp_path, columns)
    days = find_training_days(table, assess=1, folds=1)
    with pytest.raises(ConfigurationError, match="no earlier fold holds both") as refused:
        train(table, days, SOON)
    assert re.search("1 of the 600 rows .* far after the others, the last at", str(refused.value))
    assert "give --until 2018-07-03 or an earlier day. Otherwise train on" in str(refused.value)


def test_honest_gaps_are_not_told(tmp_path: Path) -> None:
    weekdays = [day for day in range(60) if (day + 6) % 7 < 5]
    monthly = [0, 31, 62, 92, 123, 153, 184]
    for days in (weekdays, monthly):
        assert find_stray_rows(of_days(tmp_path, days)) == ()
        # The last day has begun: it holds three rows so far.
        cut = of_days(tmp_path, days[:-1])
        columns = simulated(days=1, a_day=len(cut) + 3)
        columns["times"] = np.append(cut.times, START + days[-1] * DAY + np.arange(3) * 1000)
        assert not any(one.is_far for one in find_stray_rows(table_of(tmp_path, columns)))
    shop_closed_for_a_week = [*range(30), *range(37, 39)]
    assert find_stray_rows(of_days(tmp_path, shop_closed_for_a_week)) == ()


def test_few_rows_are_three_or_one_in_a_thousand(tmp_path: Path) -> None:
    assert find_stray_rows(with_last(tmp_path, 3, 20))[0].is_far
    assert find_stray_rows(with_last(tmp_path, 4, 20)) == ()
    assert find_stray_rows(with_last(tmp_path, 5, 20, a_day=125))[0].is_far
