"""``fraud-worker train``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from models.bundle import load_bundle
from models.policy import load_policy
from schemas.errors import ConfigurationError
from tests.unit.models.training_table import simulated, write_table
from worker.cli.commands import app

DAYS = ("--from", "2018-07-25", "--until", "2018-07-31", "--folds", 2)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(tmp_path_factory.mktemp("train") / "table.parquet", simulated(days=40))


def run(table: Path, out: Path, *options: object) -> Result:
    arguments = ["train", "--features", table, "--out", out, *options]
    return CliRunner().invoke(app, [*map(str, arguments)])


def test_it_writes_a_bundle_a_report_and_a_policy_and_says_what_they_are_worth(
    table: Path, tmp_path: Path
) -> None:
    out = tmp_path / "models" / "v1"
    result = run(table, out, *DAYS, "--tries", 2, "--alerts", 10, "--name", "pay", "--seed", 7)
    assert result.exit_code == 0, result.stderr
    (line,) = result.stdout.splitlines()
    told = json.loads(line)
    bundle = load_bundle(out)
    assert bundle.trained is not None
    assert (bundle.name, bundle.version, bundle.trained.seed) == ("pay", "2018-07-31", 7)
    assert told["rows"] == bundle.trained.rows
    assert told["average_precision"] > 0.5
    assert told["folds"] == 2
    assert told["out"] == str(out)
    bands = load_policy(Path(told["policy"])).segments[0].bands
    assert {band.decision: band.threshold for band in bands} == told["bands"]
    assert (out / "report.html").stat().st_size > 10_000
    assert "report.html" in result.stderr
    assert "average precision" in result.stderr


def test_like_takes_the_parameters_of_a_bundle(table: Path, tmp_path: Path) -> None:
    first = run(table, tmp_path / "v1", *DAYS, "--tries", 1)
    second = run(table, tmp_path / "v2", *DAYS, "--like", tmp_path / "v1", "--version", "2")
    told = [json.loads(result.stdout) for result in (first, second)]
    assert told[0]["params"] == told[1]["params"]
    assert (tmp_path / "v1" / "model.ubj").read_bytes() == (
        tmp_path / "v2" / "model.ubj"
    ).read_bytes()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--monotone", "AMOUNT"), "--monotone: 'AMOUNT' is not FEATURE=.1"),
        (("--monotone", "AMOUNT=2"), "is not FEATURE=.1"),
        (("--monotone", "SIZE=+1"), "no feature SIZE"),
        (("--card", "SHOP"), "--card"),
        (("--until", "2018-01-01"), "no days of"),
    ],
)
def test_what_does_not_hold_is_said_before_anything_is_written(
    table: Path, tmp_path: Path, options: tuple[str, ...], named: str
) -> None:
    result = run(table, tmp_path / "v1", *DAYS, "--tries", 1, *options)
    assert isinstance(result.exception, ConfigurationError)
    with pytest.raises(ConfigurationError, match=named):
        raise result.exception
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_that_is_there_is_left_alone(table: Path, tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    result = run(table, tmp_path / "v1", *DAYS)
    assert isinstance(result.exception, ConfigurationError)
    assert "exists already" in str(result.exception)
