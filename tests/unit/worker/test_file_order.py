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

from schemas.errors import ConfigurationError
from tests.event_files import Row, lines, row
from tests.healthy import edit, healthy_pipeline
from tests.transactions import SET, transactions, write
from worker.cli.commands import app as commands
from worker.cli.features import app

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
    for said in ("not in the order of time", "are late", "--sort", "--allow-late"):
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


def test_what_is_for_files_is_refused_for_a_topic(tmp_path: Path) -> None:
    for given in (["--sort"], ["--record-time", "t"]):
        error = run(
            "build", "--set", SET, "--out", tmp_path / "t", "-p", tmp_path, *given
        ).exception
        assert isinstance(error, ConfigurationError)
        assert "are for files" in str(error)
