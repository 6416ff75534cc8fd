"""Past values of lookups in the commands: keep them, join them, name what has defaults."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from base.errors import ConfigurationError, DependencyUnavailableError
from features.store.memory import MemoryStore
from models.training.result import describe_lookups
from models.training.table import TrainingTable
from tests.support.healthy import healthy_pipeline
from tests.support.making import EVENTS, write_pipeline
from tools.cli.features import app

NOON = dt.datetime(2018, 8, 1, 12, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
FEATURES = f"""{EVENTS}entities: {{card: card, shop: shop}}
lookups:
  holder: {{by: card, values: {{age: {{default: 45}}, lat: }}, max_age: 10d}}
  place: {{by: shop, values: {{risk: {{default: 0}}}}}}
  unused: {{by: shop, values: {{v: }}}}
features:
  - {{name: AGE, lookup: holder.age}}
  - {{name: RISK, lookup: place.risk}}
  - {{name: OLD, expr: AGE > 60}}
  - {{name: OLD_RISK, expr: OLD * RISK}}
"""


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


def refusal(*arguments: object) -> str:
    error = run(*arguments).exception
    assert isinstance(error, ConfigurationError)
    return str(error)


def defaults(lookup: str, features: str) -> str:
    return (
        f"without past values of lookup {lookup}, its defaults are in {features}; give --lookup "
        f"{lookup}=FILE"
    )


def flagged(lookup: str, *, missing: int, stale: int) -> str:
    return (
        f"lookup {lookup} has its defaults in {missing} rows without a value at their time, and in "
        f"{stale} whose value is older than max_age"
    )


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def pipeline(tmp_path: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = healthy_pipeline(tmp_path / "pipeline")
    write_pipeline(folder, FEATURES)
    monkeypatch.setattr("worker.pipeline.open_store", lambda _: store)
    return folder


@pytest.fixture
def events(tmp_path: Path) -> Path:
    path = tmp_path / "events.parquet"
    columns = {
        "id": ["0", "1", "2", "3"],
        "at": [NOON, NOON + DAY, NOON + 2 * DAY, NOON + 20 * DAY],
        "card": ["a"] * 4,
        "shop": [7] * 4,
    }
    pq.write_table(pa.table(columns), path)
    return path


def holders(path: Path, age: float, at: dt.datetime) -> Path:
    pq.write_table(pa.table({"card": ["a"], "age": [age], "lat": [1.0], "updated_at": [at]}), path)
    return path


def test_a_table_joins_what_loads_have_kept(
    pipeline: Path, store: MemoryStore, events: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "holders.parquet"
    for age, at in ((30.0, NOON), (70.0, NOON + 2 * DAY)):
        day = holders(tmp_path / "day.parquet", age, at)
        loaded = run("load", "holder", day, "-p", pipeline, "--keep", kept)
        assert loaded.stderr == f"holder: 1 rows, 1 keys; 1 rows added to {kept}\n"
    again = run("load", "holder", tmp_path / "day.parquet", "-p", pipeline, "--keep", kept)
    assert again.stderr.endswith(f"; 0 rows added to {kept}\n")
    assert len(store._slots) == 1
    out = tmp_path / "table.parquet"
    lookup = f"holder={kept}"
    result = run("build", "-p", pipeline, "--events", events, "--out", out, "--lookup", lookup)
    assert result.exit_code == 0, result.exception
    table = pq.read_table(out)
    assert table["AGE"].to_pylist() == [30, 30, 70, 45]
    assert table["OLD"].to_pylist() == [0, 0, 1, 0]
    assert result.stderr.splitlines() == [
        defaults("place", "RISK, OLD_RISK"),
        flagged("holder", missing=0, stale=1),
    ]
    joined, warning = describe_lookups(TrainingTable(out))
    assert joined == "Past lookup values: holder from holders.parquet (2 rows)"
    assert warning.startswith("Warning: the table has the defaults of place, which")


def test_several_lookups_are_joined(pipeline: Path, events: Path, tmp_path: Path) -> None:
    old = holders(tmp_path / "old.parquet", 61.0, NOON)
    risks = tmp_path / "risks.parquet"
    pq.write_table(pa.table({"shop": [7], "risk": [0.5], "updated_at": [NOON + DAY]}), risks)
    given = ("--lookup", f"holder={old}", "--lookup", f"place={risks}")
    out = tmp_path / "table.parquet"
    result = run("build", "-p", pipeline, "--events", events, "--out", out, *given)
    assert pq.read_table(out)["OLD_RISK"].to_pylist() == [0, 0.5, 0.5, 0]
    assert result.stderr.splitlines() == [
        flagged("holder", missing=0, stale=1),
        flagged("place", missing=1, stale=0),
    ]


def test_without_past_values_the_features_with_defaults_are_named(
    pipeline: Path, events: Path, tmp_path: Path
) -> None:
    out = tmp_path / "table.parquet"
    result = run("build", "-p", pipeline, "--events", events, "--out", out)
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        defaults("holder", "AGE, OLD, OLD_RISK"),
        defaults("place", "RISK, OLD_RISK"),
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["holder"], "--lookup: 'holder' is not NAME=FILE; write it like card_holder="),
        (["=x.parquet"], "is not NAME=FILE"),
        (["holders=x.parquet"], "--lookup: unknown lookup 'holders'; did you mean 'holder'?"),
        (["holder=x.parquet"], "--lookup: x.parquet: no such file"),
        (["holder=ftp://host/x.parquet"], "ftp://host/x.parquet: is not the URL of an object"),
        (["holder={old}", "holder={old}"], "--lookup: holder is given twice; put all its rows"),
        (["place={old}"], "{old} has no column for the key of entity shop"),
        (["holder={text}"], "--lookup: {text} cannot be read as Parquet"),
    ],
)
def test_a_wrong_lookup_is_refused_before_a_table_is_written(
    given: list[str], message: str, pipeline: Path, events: Path, tmp_path: Path
) -> None:
    old = holders(tmp_path / "old.parquet", 61.0, NOON)
    (tmp_path / "text.parquet").write_text("text")
    names: dict[str, Any] = {"old": old, "text": tmp_path / "text.parquet"}
    options = [part for text in given for part in ("--lookup", text.format_map(names))]
    out = tmp_path / "table.parquet"
    refused = refusal("build", "-p", pipeline, "--events", events, "--out", out, *options)
    assert message.format_map(names) in refused
    assert not out.exists()


def test_a_vector_with_defaults_is_named_by_its_first_and_last_column(
    pipeline: Path, events: Path, tmp_path: Path
) -> None:
    text = (
        FEATURES.replace("lat: }", "lat: {vector: 20}}") + "  - {name: lat, lookup: holder.lat}\n"
    )
    write_pipeline(pipeline, text + "  - {name: NORTH, expr: lat_3 > 0}\n")
    out = tmp_path / "table.parquet"
    result = run("build", "-p", pipeline, "--events", events, "--out", out)
    assert result.stderr.splitlines()[0] == defaults(
        "holder", "AGE, OLD, OLD_RISK, lat_0 … lat_19, NORTH"
    )
    assert pq.read_table(out).column_names[4:24] == [f"lat_{element}" for element in range(20)]


def test_what_cannot_be_kept_is_not_loaded(
    pipeline: Path, store: MemoryStore, tmp_path: Path
) -> None:
    risks, kept = tmp_path / "risks.parquet", tmp_path / "kept.parquet"
    pq.write_table(pa.table({"shop": [7], "risk": [0.5]}), risks)
    refused = refusal("load", "place", risks, "-p", pipeline, "--keep", kept)
    assert refused.endswith(
        "has no column updated_at, and past values are found by it: add the time (UTC) of each "
        "row's values"
    )
    assert not store._slots
    assert not kept.exists()
    assert run("load", "place", risks, "-p", pipeline).exit_code == 0


def test_a_load_that_fails_keeps_nothing(
    pipeline: Path, store: MemoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_: object) -> None:
        raise DependencyUnavailableError("away")

    monkeypatch.setattr(store, "write", away)
    kept = tmp_path / "kept.parquet"
    day = holders(tmp_path / "day.parquet", 30.0, NOON)
    failed = run("load", "holder", day, "-p", pipeline, "--keep", kept).exception
    assert str(failed) == "away"
    assert {path.name for path in tmp_path.iterdir()} == {"pipeline", "day.parquet"}


def test_the_help_names_both_options() -> None:
    assert "--lookup" in run("build", "--help").stdout
    assert "--keep" in run("load", "--help").stdout
