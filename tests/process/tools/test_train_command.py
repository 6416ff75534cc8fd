"""``fraud-worker train``."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from base.errors import ConfigurationError
from models.bundle import load_bundle
from models.policy import load_policy
from models.training.fit import fit
from tests.support.training_table import simulated, write_table
from tools.cli.commands import app

DAYS = ("--from", "2018-07-25", "--until", "2018-07-31", "--folds", 2)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(tmp_path_factory.mktemp("train") / "table.parquet", simulated(days=40))


def run(table: Path, out: Path, *options: object) -> Result:
    arguments = ["train", "--features", table, "--out", out, *options]
    return CliRunner().invoke(app, [*map(str, arguments)])


def test_train_writes_a_bundle_a_report_and_a_policy_and_prints_their_metrics(
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
    assert (told["from"][:10], told["until"][:10], told["span"]) == (
        *("2018-07-25", "2018-07-31", "7 days"),
    )
    assert "Trained on 2018-07-25 to 2018-07-31 (7 days): 2," in result.stderr
    assert "Past lookup values: holder from holders.parquet (1,234 rows)" in result.stderr
    assert told["expected_frauds"] == pytest.approx(told["assessed_frauds"], abs=0.2)
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
        (("--until", "2018-01-01"), "not days of"),
    ],
)
def test_train_refuses_invalid_options_before_it_writes(
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


@pytest.mark.parametrize("name", ["v1", "v1.policy.yaml"])
def test_a_link_that_leads_nowhere_is_left_alone(table: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to(tmp_path / "nowhere")
    result = run(table, tmp_path / "v1", *DAYS)
    assert isinstance(result.exception, ConfigurationError)
    assert f"{name} exists already" in str(result.exception)
    assert (tmp_path / name).is_symlink()


def test_a_table_of_two_days_is_enough_where_labels_are_known_in_time(tmp_path: Path) -> None:
    columns = simulated(days=2, a_day=1_500, delay=0)
    columns["label_time"] += 6 * 3_600_000_000
    table = write_table(tmp_path / "table.parquet", columns)
    for out, options in (("v1", ()), ("v2", ("--delay", "2h"))):
        result = run(table, tmp_path / out, "--tries", 1, "--forest", 1, *options)
        assert result.exit_code == 0, result.exception
        told = json.loads(result.stdout)
        assert (told["folds"], told["span"]) == (1, "all days")


@pytest.mark.parametrize("delay", ["soon", "-1", "7 weeks"])
def test_a_delay_is_a_duration(table: Path, tmp_path: Path, delay: str) -> None:
    result = run(table, tmp_path / "v1", "--delay", delay)
    assert isinstance(result.exception, ConfigurationError)
    assert "--delay: " in str(result.exception)


def test_like_takes_the_days_of_a_bundle(table: Path, tmp_path: Path) -> None:
    days = ("--from", "2018-07-22", "--until", "2018-07-31", "--folds", 1, "--tries", 1)
    assert run(table, tmp_path / "v1", *days).exit_code == 0
    later = run(table, tmp_path / "v2", "--like", tmp_path / "v1", "--folds", 1)
    assert json.loads(later.stdout)["span"] == "10 days"


def test_no_library_warning_reaches_the_user(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def warning(*given: Any, **named: Any) -> Any:
        warnings.warn("of a library", UserWarning, stacklevel=1)
        return fit(*given, **named)

    monkeypatch.setattr("models.training.train.fit", warning)
    result = run(table, tmp_path / "v1", *DAYS, "--tries", 1, "--forest", 1)
    assert result.exit_code == 0, result.exception
    assert "of a library" not in result.stderr
