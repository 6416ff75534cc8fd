"""``fraud-worker features build``, ``explain`` and ``score`` on files that are not in order of time."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from base.errors import ConfigurationError
from tests.support.event_files import Row, lines, row
from tests.support.healthy import edit, healthy_pipeline
from tests.support.transactions import SET, transactions, write
from tools.cli.commands import app as commands
from tools.cli.features import app

pytestmark = pytest.mark.usefixtures("verified_here")

ROWS = 300


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


def at(minute: int, **changes: Any) -> Row:
    """An event of so many minutes after the begin of a day."""
    time = datetime(2018, 4, 1, tzinfo=UTC) + timedelta(minutes=minute)
    return row(minute, **{"tx_time": time.isoformat(), **changes})


def windowed(folder: Path) -> Path:
    """A pipeline folder with a window, whose model does not use it."""
    count = {"name": "N", "window": "count", "by": "customer", "over": "1h"}

    def features(values: dict[str, Any]) -> None:
        values["features"].append(count)
        values["history"] = {"allowed_lateness": "10m"}

    path = healthy_pipeline(folder / "pipeline")
    edit(path / "features.yaml", features)
    return path


def flags(told: Result) -> list[list[str]]:
    """Those of each score but the lookups', which have no values in a file."""
    scores = map(json.loads, told.stdout.splitlines())
    return [[flag for flag in score["flags"] if flag in ("late", "ahead")] for score in scores]


@pytest.fixture
def by_card(tmp_path: Path) -> Path:
    raw = transactions(ROWS, 5)
    order = np.argsort(raw["CUSTOMER_ID"].to_numpy(), kind="stable")
    return write(tmp_path / "by_card.parquet", raw.take(pa.array(order)))


@pytest.fixture
def by_time(by_card: Path, tmp_path: Path) -> Path:
    raw = pq.read_table(by_card)
    order = np.argsort(raw["TX_DATETIME"].to_numpy(), kind="stable")
    return write(tmp_path / "by_time.parquet", raw.take(pa.array(order)))


def test_a_file_sorted_by_card_is_refused_with_the_remedies(by_card: Path, tmp_path: Path) -> None:
    out = tmp_path / "table.parquet"
    error = run("build", "--set", SET, "--events", by_card, "--out", out).exception
    assert isinstance(error, ConfigurationError)
    for said in ("not in order of time", "are late", "--sort", "--allow-late"):
        assert said in str(error)
    assert [path.name for path in tmp_path.iterdir()] == ["by_card.parquet"]


def test_sorted_it_is_the_table_of_the_file_in_order(
    by_card: Path, by_time: Path, tmp_path: Path
) -> None:
    out, other = tmp_path / "table.parquet", tmp_path / "other.parquet"
    told = run("build", "--set", SET, "--events", by_card, "--out", out, "--sort")
    assert (told.exit_code, json.loads(told.stdout)["late"]) == (0, 0)
    assert " late" not in told.stderr
    assert run("build", "--set", SET, "--events", by_time, "--out", other).exit_code == 0
    assert pq.read_table(out) == pq.read_table(other)


def test_taken_as_it_is_late_rows_are_told_and_flagged(by_card: Path, tmp_path: Path) -> None:
    out = tmp_path / "table.parquet"
    told = run("build", "--set", SET, "--events", by_card, "--out", out, "--allow-late")
    assert told.exit_code == 0
    late = json.loads(told.stdout)["late"]
    assert late > ROWS / 2
    assert f"{late:,} rows are late" in told.stderr
    assert sum("late" in flags for flags in pq.read_table(out)["flags"].to_pylist()) == late


def test_one_late_row_in_a_hundred_is_no_more_than_told(tmp_path: Path) -> None:
    rows = [at(60 * i) for i in range(99)]
    path = lines(tmp_path / "events.jsonl", [*rows, at(0, transaction_id="again")])
    build: list[Any] = ["build", "--set", SET, "--out", tmp_path / "out", "--events"]
    told = run(*build, path)
    assert (told.exit_code, json.loads(told.stdout)["late"]) == (0, 1)
    assert "1 rows are late" in told.stderr
    more = lines(tmp_path / "more.jsonl", [*rows[1:], *[at(0, transaction_id=i) for i in "ab"]])
    assert isinstance(run(*build, more).exception, ConfigurationError)


def test_an_explanation_agrees_with_the_sorted_table(by_card: Path, tmp_path: Path) -> None:
    out = tmp_path / "table.parquet"
    run("build", "--set", SET, "--events", by_card, "--out", out, "--sort")
    table = pq.read_table(out)
    feature = "CUSTOMER_ID_NB_TX_7DAY_WINDOW"
    place = int(np.argmax(table[feature].to_numpy()))
    event = table["TRANSACTION_ID"][place].as_py()
    given = ("explain", feature, event, "--set", SET, "--events", by_card)
    head = json.loads(run(*given, "--sort").stdout.splitlines()[0])
    assert head["value"] == table[feature][place].as_py() > 1
    assert head["offset"] == place
    assert " rows are late" in run(*given).stderr


def test_scores_of_a_file_say_how_many_rows_are_late_and_ahead(tmp_path: Path) -> None:
    folder = windowed(tmp_path)
    rows = [at(60 * i) for i in (9, 10, 11, 1, 9000, 12)]
    path = lines(tmp_path / "events.jsonl", rows)
    told = CliRunner().invoke(commands, ["score", "-p", str(folder), "--events", str(path)])
    assert told.exit_code == 0
    assert flags(told) == [[], [], [], ["late"], ["ahead"], []]
    assert "1 rows are late" in told.stderr
    assert "1 rows are ahead of time" in told.stderr


# out of order by less than allowed_lateness


def windowed_set(folder: Path, **history: Any) -> Path:
    """A features.yaml whose events may be a month late."""
    path = windowed(folder) / "features.yaml"
    edit(path, lambda values: values["history"].update({"allowed_lateness": "30d"} | history))
    return path


def newest_first(folder: Path) -> Path:
    """Twenty events of one card, a day apart."""
    rows = [at(1440 * day, customer_id="c") for day in reversed(range(20))]
    return lines(folder / "events.jsonl", rows)


def test_rows_out_of_order_are_refused_though_none_is_late(tmp_path: Path) -> None:
    path, out = newest_first(tmp_path), tmp_path / "out.parquet"
    build: list[Any] = ["build", "--set", windowed_set(tmp_path), "--events", path, "--out", out]
    error = run(*build).exception
    assert isinstance(error, ConfigurationError)
    for said in ("at least 19 of 20 are older than a row before them", "--sort", "--allow-late"):
        assert said in str(error)
    assert " late (" not in str(error)
    assert not out.exists()
    told = run(*build, "--sort")
    assert (told.exit_code, json.loads(told.stdout)["out_of_order"]) == (0, 0)
    assert "out of order" not in told.stderr
    told = run(*build, "--allow-late", "--force")
    said = json.loads(told.stdout)
    assert (told.exit_code, said["late"], said["out_of_order"]) == (0, 0, 19)
    assert "19 rows are out of order" in told.stderr
    assert "--sort sorts all rows" in told.stderr


def test_one_row_out_of_order_in_a_hundred_is_no_more_than_told(tmp_path: Path) -> None:
    rows = [at(60 * i) for i in range(99)]
    build: list[Any] = ["build", "--set", windowed_set(tmp_path), "--out", tmp_path / "out"]
    told = run(*build, "--events", lines(tmp_path / "a.jsonl", [*rows, at(30)]))
    assert (told.exit_code, json.loads(told.stdout)["out_of_order"]) == (0, 1)
    assert "1 rows are out of order" in told.stderr
    assert "--sort" in told.stderr


def test_files_given_in_the_wrong_order_are_refused(tmp_path: Path) -> None:
    first = lines(tmp_path / "first.jsonl", [at(60 * i) for i in range(20)])
    second = lines(tmp_path / "second.jsonl", [at(60 * i) for i in range(20, 40)])
    build: list[Any] = ["build", "--set", windowed_set(tmp_path), "--out", tmp_path / "out"]
    assert "at least 20 of 40" in str(run(*build, "--events", second, first).exception)
    assert run(*build, "--events", first, second).exit_code == 0


def test_order_is_of_each_partition(tmp_path: Path) -> None:
    """Two customers, of two partitions, one after the other."""
    rows = [at(60 * i, customer_id=customer) for customer in ("c-0", "c-1") for i in range(20)]
    build: list[Any] = ["build", "--set", windowed_set(tmp_path), "--out", tmp_path / "out"]
    build += ["--events", lines(tmp_path / "a.jsonl", rows)]
    assert "at least 19 of 40" in str(run(*build).exception)
    told = run(*build, "--partition-by", "customer_id", "--partitions", 2)
    assert json.loads(told.stdout)["out_of_order"] == 0, told.stderr


def test_rows_of_a_set_without_windows_may_be_in_any_order(tmp_path: Path) -> None:
    folder = healthy_pipeline(tmp_path / "p")
    edit(folder / "features.yaml", lambda values: values.pop("history", None))
    out = tmp_path / "out.parquet"
    told = run("build", "-p", folder, "--events", newest_first(tmp_path), "--out", out)
    assert (told.exit_code, json.loads(told.stdout)["out_of_order"]) == (0, 19)
    assert "out of order" not in told.stderr


def test_an_explanation_and_scores_say_that_rows_are_out_of_order(tmp_path: Path) -> None:
    events, features = newest_first(tmp_path), windowed_set(tmp_path)
    explain: list[Any] = ["explain", "N", "t-20160", "--set", features, "--events", events]
    told = run(*explain)
    assert told.exit_code == 0
    # Of the five events before it, which come first in the file, all but the first.
    assert "4 rows are out of order" in told.stderr
    assert "out of order" not in run(*explain, "--sort").stderr
    score = ["score", "-p", str(features.parent), "--events", str(events)]
    told = CliRunner().invoke(commands, score)
    assert told.exit_code == 0
    assert "19 rows are out of order" in told.stderr
    assert "sort the file by event time" in told.stderr
    told = CliRunner().invoke(commands, [*score, "--limit", "3"])
    assert "2 rows are out of order" in told.stderr


# the timestamps of records


def test_the_times_of_records_are_a_column_of_the_file(tmp_path: Path) -> None:
    folder = windowed(tmp_path)
    edit(folder / "features.yaml", lambda values: values["history"].update(max_ahead="1h"))
    rows = [row(0, kafka_time="2018-04-01T00:00:01Z"), row(1, kafka_time="2018-03-31T20:00:00Z")]
    path = lines(tmp_path / "events.jsonl", rows)
    score = ["score", "-p", str(folder), "--events", str(path)]
    told = CliRunner().invoke(commands, [*score, "--record-time", "kafka_time"])
    assert flags(told) == [[], ["ahead"]]
    assert "--record-time" not in told.stderr
    told = CliRunner().invoke(commands, score)
    assert flags(told) == [[], []]
    assert "no --record-time" in told.stderr
    build = ("build", "-p", folder, "--events", path, "--out", tmp_path / "out.parquet")
    assert "no --record-time" in run(*build).stderr
    told = run(*build, "--force", "--record-time", "kafka_time")
    assert (json.loads(told.stdout)["ahead"], "--record-time" in told.stderr) == (1, False)


def judged(folder: Path) -> Path:
    """A pipeline folder that holds events against their records."""
    path = windowed(folder)
    edit(path / "features.yaml", lambda values: values["history"].update(max_ahead="1h"))
    return path


def test_a_timestamp_that_is_no_time_is_an_error(tmp_path: Path) -> None:
    folder, out = judged(tmp_path), tmp_path / "out.parquet"
    rows = [row(i, kafka_time="2018-04-01T00:00:01Z") for i in range(3)]
    rows[2]["kafka_time"] = "01.03.2024 10:00"
    path = lines(tmp_path / "events.jsonl", rows)
    given = ("-p", folder, "--events", path, "--record-time", "kafka_time")
    score = CliRunner().invoke(commands, ["score", *map(str, given)])
    for told in (run("build", *given, "--out", out), score):
        assert isinstance(told.exception, ConfigurationError)
        named = f"{path}, row 2: '01.03.2024 10:00' in column 'kafka_time' is not a time"
        assert named in str(told.exception)
    assert not out.exists()


def test_rows_without_a_timestamp_are_counted_and_told(tmp_path: Path) -> None:
    folder, out = judged(tmp_path), tmp_path / "out.parquet"
    times = [0, None, -1, "2018-04-01T00:00:01Z", "0"]
    rows = [row(i, kafka_time=time) for i, time in enumerate(times)]
    path = lines(tmp_path / "events.jsonl", rows)
    given = ("-p", folder, "--events", path, "--record-time", "kafka_time")
    told = run("build", *given, "--out", out)
    assert json.loads(told.stdout)["without_timestamp"] == 4
    score = CliRunner().invoke(commands, ["score", *map(str, given)])
    for one in (told, score):
        assert one.exit_code == 0
        assert "4 rows have no timestamp in column kafka_time: history.max_ahead" in one.stderr


def test_rows_late_by_wrong_clocks_are_offered_record_timestamps(tmp_path: Path) -> None:
    wild = [at(90 * 1440 + i, transaction_id=f"w{i}") for i in range(5)]
    rows = [*[at(60 * i) for i in range(10)], *wild, *[at(60 * i) for i in range(10, 40)]]
    path = lines(tmp_path / "events.jsonl", rows)
    build: list[Any] = ["build", "--events", path, "--out", tmp_path / "out", "-p"]
    without = run(*build, windowed(tmp_path / "a"))
    assert "are late" in str(without.exception)
    assert "--record-time" not in str(without.exception)
    told = run(*build, judged(tmp_path / "b"))
    assert "give --record-time COLUMN" in str(told.exception)


def test_options_for_files_are_refused_for_a_topic(tmp_path: Path) -> None:
    for given in (["--sort"], ["--record-time", "t"]):
        error = run(
            "build", "--set", SET, "--out", tmp_path / "t", "-p", tmp_path, *given
        ).exception
        assert isinstance(error, ConfigurationError)
        assert "are for files" in str(error)
