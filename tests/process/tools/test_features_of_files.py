"""``fraud-worker features build``, ``explain`` and ``load-labels`` on files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from base.errors import ConfigurationError
from features.definition import load_feature_set
from features.inspect.explanation import Explainer
from features.inspect.stored_history import ShownHistory, ShownLabel, ShownMember
from features.store.memory import MemoryStore
from features.tables import EventTableReader
from tests.support.event_files import Row, lines, row
from tests.support.healthy import edit, healthy_pipeline
from tests.support.transactions import SET, handbook, transactions, write
from tools.cli.features import app
from tools.cli.features.explain import _tables
from tools.cli.features.state import _table

pytestmark = pytest.mark.usefixtures("verified_here")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


def refusal(*arguments: object) -> str:
    error = run(*arguments).exception
    assert isinstance(error, ConfigurationError)
    return str(error)


@pytest.fixture
def events(tmp_path: Path) -> Path:
    return write(tmp_path / "events.parquet", transactions(200, 5, days=20, lateness_s=1))


def test_a_build_ends_with_one_line_of_json(events: Path, tmp_path: Path) -> None:
    out = tmp_path / "table.parquet"
    result = run("build", "--set", SET, "--events", events, "--out", out)
    assert result.exit_code == 0
    said = json.loads(result.stdout)
    assert said["rows"] == said["labelled"] == pq.read_metadata(out).num_rows == 200
    assert (said["refused"], said["late"], said["ahead"], said["features"]) == (0, 0, 0, 15)
    assert (said["out_of_order"], said["without_timestamp"]) == (0, 0)
    assert said["fingerprint"] == handbook().fingerprint
    assert said["events_per_s"] == pytest.approx(200 / said["seconds"], rel=0.05)
    assert all("short of history" in line for line in result.stderr.splitlines())


def test_a_table_that_is_there_is_overwritten_only_when_told_so(
    events: Path, tmp_path: Path
) -> None:
    out = tmp_path / "table.parquet"
    out.write_bytes(b"another table")
    build: list[Any] = ["build", "--set", SET, "--events", events, "--out", out]
    assert f"--out: {out} is there already; name another file" in refusal(*build)
    assert out.read_bytes() == b"another table"
    assert run(*build, "--force").exit_code == 0
    assert pq.read_metadata(out).num_rows == 200


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_table_takes_the_place_of_a_file_alone(
    events: Path, tmp_path: Path, force: list[str]
) -> None:
    """A rename would replace a pipe, and a device of the machine, by a file."""
    pipe, link, dangling = tmp_path / "pipe", tmp_path / "link", tmp_path / "dangling"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    dangling.symlink_to(tmp_path / "nowhere")
    for out, found in (
        (pipe, "a named pipe"),
        (link, "a named pipe"),
        (dangling, "a link that leads nowhere"),
        (tmp_path, "a folder"),
    ):
        told = refusal("build", "--set", SET, "--events", events, "--out", out, *force)
        assert told == f"--out: {out} is {found}; name a file"
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert dangling.is_symlink()


def test_a_table_is_a_file_of_labels_too(tmp_path: Path) -> None:
    table, again = tmp_path / "table.parquet", tmp_path / "again.parquet"
    whole = transactions(200, 5, days=20, lateness_s=1)
    ids = whole["TRANSACTION_ID"].to_pylist()
    # A label of an id is one of all events that bear it.
    whole = whole.filter(pa.array([ids.count(event_id) == 1 for event_id in ids]))
    events = write(tmp_path / "events.parquet", whole)
    bare = write(tmp_path / "bare.parquet", whole.drop_columns(["TX_FRAUD"]))
    run("build", "--set", SET, "--events", events, "--out", table)
    result = run("build", "--set", SET, "--events", bare, "--labels", table, "--out", again)
    assert all("short of history" in line for line in result.stderr.splitlines())
    for column in ("label", "label_time", "TERMINAL_ID_RISK_30DAY_WINDOW"):
        assert pq.read_table(again)[column].equals(pq.read_table(table)[column]), column


def test_files_may_follow_one_option(events: Path, tmp_path: Path) -> None:
    out = tmp_path / "table.parquet"
    more = write(tmp_path / "more.parquet", transactions(50, 6))
    result = run(
        "build", "--allow-late", "--events", events, more, more, "--set", SET, "--out", out
    )
    assert json.loads(result.stdout)["rows"] == 300


def test_rows_that_are_no_events_are_counted_by_code_and_the_first_are_shown(
    tmp_path: Path,
) -> None:
    bad: list[Row | str] = ["{broken"] * 6
    path = lines(tmp_path / "events.jsonl", [row(0), *bad, row(7, transaction_id=""), row(8)])
    result = run("build", "--set", SET, "--events", path, "--out", tmp_path / "table.parquet")
    assert json.loads(result.stdout)["refused"] == 7
    shown = result.stderr.splitlines()
    assert "refused: 7 rows are not valid events: 6 body_invalid, 1 event_id_missing" in shown
    assert f"  {path}, row 1: body_invalid: the line is not a JSON object" in shown
    assert sum(line.startswith(f"  {path}") for line in shown) == 5


def test_a_build_of_nothing_is_an_error(tmp_path: Path) -> None:
    out = tmp_path / "table.parquet"
    path = tmp_path / "events.jsonl"
    for content, said in (
        (json.dumps([row(0)]), "is a JSON array: write one object on each line: jq"),
        (
            "{broken\n",
            "nothing is built: of 1 rows none is an event (1 body_invalid); the first is",
        ),
        ("", "nothing is built: the input has no rows"),
    ):
        path.write_text(content)
        assert said in refusal("build", "--set", SET, "--events", path, "--out", out)
    assert not out.exists()


def test_labels_of_which_none_is_one_are_an_error(events: Path, tmp_path: Path) -> None:
    out = tmp_path / "table.parquet"
    labels = lines(
        tmp_path / "labels.jsonl", ["{broken", json.dumps({"event_id": "7", "fraud": 2})]
    )
    build = ("build", "--set", SET, "--events", events, "--labels", labels, "--out", out)
    assert refusal(*build) == (
        f"--labels: {labels}: none of its 2 rows is a valid label; correct them, or name their "
        "columns under events in features.yaml"
    )
    assert not out.exists()


def test_a_file_of_labels_is_called_one(events: Path, tmp_path: Path) -> None:
    out = tmp_path / "table.parquet"
    no_fraud = write(tmp_path / "labels.parquet", transactions(9, 1).drop_columns(["TX_FRAUD"]))
    for labels, said in (
        (tmp_path, f"--labels: label file {tmp_path} is a folder: name the files in it"),
        (tmp_path / "x.csv", f"--labels: label file {tmp_path}/x.csv has the suffix '.csv'"),
        (no_fraud, f"--labels: label file {no_fraud} has no column for 'fraud'"),
    ):
        build = ("build", "--set", SET, "--events", events, "--labels", labels, "--out", out)
        assert refusal(*build).startswith(said)


def test_labels_without_rows_are_an_error(events: Path, tmp_path: Path) -> None:
    out = tmp_path / "table.parquet"
    labels = lines(tmp_path / "labels.jsonl", [])
    said = f"--labels: {labels} has no rows; give a file with labels, or remove the option"
    assert refusal("build", "--set", SET, "--events", events, "--labels", labels, "--out", out) == (
        said
    )
    assert not out.exists()


@pytest.mark.parametrize(("event_id", "matched"), [("no such event", 0), (None, 1)])
def test_labels_of_other_events_are_named(
    event_id: str | None, matched: int, events: Path, tmp_path: Path
) -> None:
    event_id = event_id or str(pq.read_table(events)["TRANSACTION_ID"][0])
    labels = lines(tmp_path / "labels.jsonl", [json.dumps({"event_id": event_id, "fraud": 1})])
    out = tmp_path / "table.parquet"
    result = run("build", "--set", SET, "--events", events, "--labels", labels, "--out", out)
    assert (json.loads(result.stdout)["labelled"] > 0) is bool(matched)
    said = "--labels: none of its 1 labels belongs to an event that was read"
    assert (said in result.stderr) is not bool(matched)


def test_a_load_of_labels_of_which_none_is_one_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = healthy_pipeline(tmp_path / "p")
    shares = {"name": "S", "window": "fraud_share", "by": "customer", "over": "1d", "delay": "7d"}
    edit(folder / "features.yaml", lambda values: values["features"].append(shares))
    edit(folder / "worker.yaml", lambda values: values["store"].update(max_lag_s=3_600))
    monkeypatch.setattr("worker.pipeline.open_store", lambda _: MemoryStore())
    path = lines(tmp_path / "labels.jsonl", ["{broken"])
    assert f"{path}: none of its 1 rows is a valid label" in refusal(
        "load-labels", path, "-p", folder
    )
    day = "2018-04-01"
    good = {"event_id": "7", "fraud": 1, "event_time": day, "label_time": day, "customer": "c"}
    done = run("load-labels", lines(path, ["{broken", json.dumps(good)]), "-p", folder)
    assert done.exit_code == 0, done.exception
    assert json.loads(done.stdout)["labels"] == 1
    # No labels yet are no error: they are loaded again and again.
    assert run("load-labels", lines(path, []), "-p", folder).exit_code == 0


def test_features_build_names_values_that_it_cannot_know(tmp_path: Path) -> None:
    folder = healthy_pipeline(tmp_path / "p")
    path = lines(tmp_path / "events.jsonl", [row(0)])
    result = run("build", "-p", folder, "--events", path, "--out", tmp_path / "table.parquet")
    assert "without past values of lookup customer_profile, its defaults are in " in result.stderr
    bare = write(tmp_path / "bare.parquet", transactions(9, 1).drop_columns(["TX_FRAUD"]))
    out = tmp_path / "bare-table.parquet"
    result = run("build", "--set", SET, "--events", bare, "--out", out)
    assert "without labels, TERMINAL_ID_RISK_1DAY_WINDOW, " in result.stderr


def test_features_commands_refuse_options_that_exclude_each_other(
    tmp_path: Path, events: Path
) -> None:
    build: list[Any] = ["build", "--set", SET, "--out", tmp_path / "table.parquet"]
    assert "need each other" in refusal(*build, "--events", events, "--partitions", 3)
    assert "need each other" in refusal(*build, "--events", events, "--partition-by", "CUSTOMER_ID")
    several = ("--partition-by", "CUSTOMER_ID", "--partitions", 3)
    assert "are for files" in refusal(*build, "-p", tmp_path, *several)
    assert "give --events FILE..." in refusal(*build, "-p", tmp_path)


def test_an_explanation_is_a_feature_and_what_it_counts(events: Path) -> None:
    event = pq.read_table(events)["TRANSACTION_ID"][150].as_py()
    result = run(
        "explain", "TERMINAL_ID_RISK_30DAY_WINDOW", event, "--set", SET, "--events", events
    )
    head, *members = map(json.loads, result.stdout.splitlines())
    assert (head["feature"], head["event_id"]) == ("TERMINAL_ID_RISK_30DAY_WINDOW", str(event))
    assert (head["kind"], head["events"]) == ("fraud_share", len(members))
    assert head["value"] == pytest.approx(
        sum(member["fraud"] for member in members) / len(members), rel=1e-6
    )
    assert all(head["after"] < member["time"] <= head["until"] for member in members)


def test_features_explain_prints_a_table_on_a_terminal(
    events: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    event = str(pq.read_table(events)["TRANSACTION_ID"][150].as_py())
    made = load_feature_set(SET)
    source = EventTableReader(made, [events])
    feature = "CUSTOMER_ID_AVG_AMOUNT_30DAY_WINDOW"
    explanation = Explainer(made).explain(feature, event, source, None)
    _tables(explanation)
    shown = capsys.readouterr().out
    assert explanation.feature.counted is not None
    members = explanation.feature.counted.members
    assert f"{feature} = {explanation.feature.value:.9g}   (mean of amount by customer" in shown
    assert f"{len(members)} events after 2018-" in shown
    assert all(f"│ {member.event_id}" in shown for member in members)
    # Nobody asks these for frauds.
    assert "fraud" not in shown


def test_a_history_is_a_table_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    label = ShownLabel(fraud=True, label_time=1_523_145_600_000_000, partition=-1, offset=3)
    member = ShownMember(0, 7, 1_522_540_800_000_000, "00000000000000ff", {"k": 1.5}, (label,))
    _table("customer 3", ShownHistory([member], 1, 40, 1), {"k": "amount"})
    _, title, *_, shown, _ = ["", *capsys.readouterr().out.splitlines()]
    assert "customer 3" in title
    cells = [cell.strip() for cell in shown.strip("│").split("│")]
    assert cells == [
        "0",
        "7",
        "2018-04-01T00:00:00+00:00",
        "00000000000000ff",
        "1.5",
        "fraud since 2018-04-08T00:00:00+00:00",
    ]


def test_an_explanation_needs_events() -> None:
    result = run("explain", "TX_AMOUNT", "1", "--set", SET)
    assert result.exit_code == 2
    assert "Missing option '--events'" in result.stderr


def test_labels_need_a_store_and_somebody_who_counts_them(tmp_path: Path, events: Path) -> None:
    folder = healthy_pipeline(tmp_path / "p")
    assert "no feature counts frauds" in refusal("load-labels", events, "-p", folder)
    edit(folder / "worker.yaml", lambda values: values.pop("store"))
    assert "store is missing" in refusal("load-labels", events, "-p", folder)
    assert "store is missing" in refusal("state", "customer", "1", "-p", folder)


def test_a_table_of_files_waits_for_nothing_that_it_does_not_use(tmp_path: Path) -> None:
    program = f"""
import sys
from tools.cli.commands import app
from base.errors import ConfigurationError
try:
    app(["features", "build", "--set", {str(SET)!r}, "--events", "none.parquet", "--out", "t.parquet"])
except ConfigurationError as error:
    assert "none.parquet" in str(error), error
unused = {{"confluent_kafka", "redis", "xgboost", "polars", "pydantic_settings"}}
assert not unused & sys.modules.keys(), unused & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, cwd=tmp_path)
