"""``init --sample``, then ``features check``, ``features build`` and ``train`` without an edit."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from features.definition import load_feature_set
from models.bundle import load_bundle
from tests.support.public_sets import handbook, sparkov
from tools.cli.commands import app
from worker.settings import load_settings

ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("FRAUD_WORKER_DATA", ROOT.parent / "shared" / "data"))


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout


def as_lines(path: Path) -> Path:
    """Write the same events as JSON lines, with times as text."""
    rows = pq.read_table(path).to_pylist()
    lines = path.with_suffix(".jsonl")
    lines.write_text("".join(json.dumps(row, default=str) + "\n" for row in rows))
    return lines


@pytest.mark.parametrize(
    ("write", "form"),
    [(handbook, Path), (sparkov, as_lines)],
    ids=["handbook", "sparkov as JSON lines"],
)
def test_a_pipeline_from_a_sample_builds_and_trains_without_an_edit(
    write: Callable[[Path], Path], form: Callable[[Path], Path], tmp_path: Path
) -> None:
    events, folder = form(write(tmp_path / "events.parquet")), tmp_path / "pipeline"
    table, model = folder / "table.parquet", folder / "model"
    told = run("init", folder, "--sample", events)
    assert f"features build --pipeline {folder} --events {events} --out {table} " in told
    assert f"train --features {table} --out {model} " in told

    run("features", "check", "--pipeline", folder)
    built = json.loads(
        run("features", "build", "--pipeline", folder, "--events", events, "--out", table)
    )
    assert (built["rows"], built["labelled"], built["refused"]) == (3_000, 3_000, 0)
    options = ("--tries", 1, "--folds", 1, "--assess", 7)
    trained = json.loads(run("train", "--features", table, "--out", model, *options))
    assert trained["roc_auc"] > 0.6, "frauds of these files have larger amounts"
    assert load_settings(folder).model.bundle == model
    names = load_feature_set(folder / "features.yaml").names
    assert tuple(feature.name for feature in load_bundle(model).features) == names


@pytest.mark.parametrize(
    ("name", "bound"),
    [
        (
            "handbook_raw.parquet",
            ("TRANSACTION_ID", "TX_DATETIME", "TX_AMOUNT", "CUSTOMER_ID", "TX_FRAUD"),
        ),
        (
            "sparkov_transactions.parquet",
            ("transaction_id", "event_time", "amt_cents", "cc_num", "is_fraud"),
        ),
    ],
)
def test_public_sets_are_bound_as_their_makers_mean_them(
    name: str, bound: tuple[str, ...], tmp_path: Path
) -> None:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{name} is not in the data folder")
    run("init", tmp_path / "p", "--sample", path)
    bindings = load_feature_set(tmp_path / "p" / "features.yaml").bindings
    assert bindings.amount is not None
    assert bindings.partition_key is not None
    assert bindings.label is not None
    assert bound == (
        bindings.event_id.path,
        bindings.event_time.path,
        bindings.amount.source.path,
        bindings.partition_key.path,
        bindings.label.field,
    )
    assert len(bindings.entities) == 2
