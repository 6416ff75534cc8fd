"""``fraud-worker model pack``, ``verify``, ``show``, ``promote`` and ``rollback``."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost as xgb
from typer.testing import CliRunner, Result

from base.errors import BundleRefusedError, ConfigurationError
from features.definition import load_feature_set
from models.bundle import Knots, TrainingRecord, load_bundle, write_bundle
from models.location import FolderLocation
from tests.support.bundles import booster_in, edit_manifest
from tests.support.event_files import lines, row
from tests.support.healthy import edit, healthy_pipeline
from tools.cli.model import app
from tools.cli.model.show import show
from tools.replay import replay_file
from worker.pipeline import load_pipeline
from worker.process.exits import ExitCode

pytestmark = pytest.mark.usefixtures("verified_here")


def run(*arguments: object, fails_with: type[Exception] | None = None) -> Result:
    result = CliRunner().invoke(app, [*map(str, arguments)])
    if fails_with is not None:
        assert isinstance(result.exception, fails_with), result.output
    elif result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="session")
def pipeline_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return healthy_pipeline(tmp_path_factory.mktemp("model-commands") / "pipeline")


@pytest.fixture
def pipeline(pipeline_once: Path, tmp_path: Path) -> Path:
    return shutil.copytree(pipeline_once, tmp_path / "pipeline")


@pytest.fixture
def location(pipeline: Path) -> Path:
    """Three bundles: of the pipeline's features, with all facts, and one that is damaged."""
    folder = pipeline / "models"
    shutil.copytree(pipeline / "model", folder / "one")
    bundle = load_bundle(pipeline / "model")
    write_bundle(
        folder / "two",
        booster_in(bundle),
        name="second",
        version="2",
        features=bundle.features,
        calibration=Knots(margins=(-2.0, 3.0), scores=(0.0125, 0.975)),
        trained=TrainingRecord.model_validate_json(
            '{"rows": 123456, "frauds": 789, "from": "2018-07-25T00:00:00Z", '
            '"until": "2018-07-31T23:59:59Z", "data": "", "xgboost": "3.2.0", '
            '"params": {"max_depth": 3}, "seed": 5}'
        ),
        report="<!doctype html>",
    )
    shutil.copytree(folder / "one", folder / "three")
    with (folder / "three" / "model.ubj").open("ab") as file:
        file.write(b"x")
    (folder / "notes").mkdir()
    return folder


def columns(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_a_command_that_verify_suggests_takes_any_folder(tmp_path: Path, pipeline: Path) -> None:
    folder = tmp_path / "all models"
    shutil.copytree(pipeline / "model", folder / "one")
    said = run("verify", folder).stdout
    assert f"`fraud-worker model promote '{folder}' NAME`" in said


def test_verify_says_of_each_bundle_whether_it_holds(location: Path) -> None:
    result = run("verify", location)
    assert result.exit_code == ExitCode.CONFIGURATION
    said = [columns(line) for line in result.stdout.splitlines()]
    assert said[0] == ["warning", "CHAMPION", "there is none yet"]
    assert said[1][0].startswith("-> `fraud-worker model promote")
    assert said[2][:2] == ["ok", "one"]
    assert said[3][:2] == ["failed", "three"]
    assert "has the SHA-256" in said[3][2]
    assert "copy the bundle again" in said[4][0]
    assert said[5][:2] == ["ok", "two"]
    assert "second 2: " in said[5][2]
    assert "golden margins on cpu" in said[5][2]


def test_verify_of_one_bundle_as_json(location: Path) -> None:
    result = run("verify", location / "two", "--json")
    assert result.exit_code == 0
    said = json.loads(result.stdout)
    assert said["ok"] is True
    assert [finding["check"] for finding in said["findings"]] == ["two"]


def test_verify_with_a_pipeline_holds_the_bundle_against_its_features(
    pipeline: Path, location: Path
) -> None:
    fits = run("verify", location / "one", "--pipeline", pipeline)
    assert fits.exit_code == 0
    assert "of the pipeline" in fits.stdout
    assert run("verify", "--pipeline", pipeline).exit_code == 0

    def change(values: dict[str, Any]) -> None:
        values["features"][1]["expr"] = "hour(tx_time) <= 5"

    edit(pipeline / "features.yaml", change)
    changed = run("verify", location / "one", "--pipeline", pipeline)
    assert changed.exit_code == ExitCode.CONFIGURATION
    assert "on other definitions of NIGHT" in changed.stdout


def test_a_place_that_is_neither_bundle_nor_location_is_refused(tmp_path: Path) -> None:
    result = run("verify", tmp_path, fails_with=ConfigurationError)
    assert "has no SHA256SUMS and no CHAMPION; name the folder of" in str(result.exception)
    result = run("show", tmp_path / "nowhere", fails_with=ConfigurationError)
    assert "nowhere: is not there; name" in str(result.exception)


def test_show_lists_the_bundles_of_a_location(location: Path) -> None:
    place = FolderLocation(location)
    place.promote("one")
    place.promote("two")
    lines = run("show", location).stdout.splitlines()
    assert columns(lines[0]) == ["bundle", "model", "kind", "features", "trained", "calibration"]
    assert columns(lines[1])[:2] == ["one", "before"]
    assert columns(lines[2]) == ["three", "refused"]
    assert columns(lines[3]) == [
        "two",
        "champion",
        "second 2",
        f"binary:logistic, {load_bundle(location / 'two').trees} trees",
        str(len(load_bundle(location / "two").features)),
        "123,456 rows, 789 frauds, 2018-07-25 to 2018-07-31, XGBoost 3.2.0",
        "2 knots, scores 0.0125 to 0.975",
    ]
    assert lines[4].startswith("refused: ")
    assert "model.ubj: has the SHA-256" in lines[4]
    told = json.loads(run("show", location, "--json").stdout)
    assert (told["champion"], told["previous"]) == ("two", ["one"])
    assert [bundle["bundle"] for bundle in told["bundles"]] == ["one", "three", "two"]
    assert "model.ubj" in told["bundles"][1]["refused"]
    assert told["bundles"][2]["trained"]["from"] == "2018-07-25T00:00:00Z"


def test_model_show_prints_a_table_on_a_terminal(
    location: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    FolderLocation(location).promote("two")
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    show(str(location))
    lines = capsys.readouterr().out.splitlines()
    assert str(location) in lines[0]
    assert [line for line in lines if "two" in line and "champion" in line and "second 2" in line]
    refused = "".join(lines[-4:])
    assert "refused: " in refused
    assert "copy the bundle again" in refused


def test_show_says_what_a_bundle_is(pipeline: Path, location: Path) -> None:
    lines = dict(
        columns(line) for line in run("show", location / "two").stdout.splitlines() if line
    )
    assert lines["model"] == "second 2"
    assert lines["parameters"] == "max_depth 3, seed 5"
    assert lines["report"].endswith("report.html")
    assert lines["calibration"] == "2 knots, scores 0.0125 to 0.975"
    told = json.loads(run("show", location / "two", "--json").stdout)
    assert (told["name"], told["golden"]) == ("second", 128)
    assert told["report"].endswith("report.html")
    plain = run("show", "--pipeline", pipeline).stdout
    assert "parameters" not in plain
    assert "report" not in plain
    run("show", location / "three", fails_with=BundleRefusedError)


def test_promote_and_rollback_change_the_champion(pipeline: Path, location: Path) -> None:
    assert run("promote", location, "one").stdout == "champion: one (before: none)\n"
    assert run("promote", location, "one").stdout == "one is already the champion\n"
    told = run("promote", location, "two", "--pipeline", pipeline, "--json").stdout
    assert json.loads(told) == {"champion": "two", "before": "one"}
    assert (location / "CHAMPION").read_text() == "two\n"
    assert run("rollback", location).stdout == "champion: one (before: two)\n"
    assert (location / "CHAMPION").read_text() == "one\n"
    result = run("rollback", location, fails_with=BundleRefusedError)
    assert "has no champion before one" in str(result.exception)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("three", "has the SHA-256"),
        ("four", "there is no bundle four; there are: one, three, two"),
        ("notes", "is not a folder with a SHA256SUMS"),
        ("../model", "is not the name of a bundle"),
    ],
)
def test_model_promote_refuses_a_bundle_that_fails_verification(
    location: Path, name: str, said: str
) -> None:
    FolderLocation(location).promote("one")
    result = run("promote", location, name, fails_with=BundleRefusedError)
    assert said in str(result.exception)
    assert (location / "CHAMPION").read_text() == "one\n"


def test_two_models_of_a_location_may_not_share_name_and_version(location: Path) -> None:
    first = load_bundle(location / "one")
    edit_manifest(
        location / "two", lambda manifest: manifest.update(name=first.name, version=first.version)
    )
    result = run("promote", location, "two", fails_with=BundleRefusedError)
    for said in ("the name and version of one (golden", "train --version"):
        assert said in str(result.exception)
    edit_manifest(location / "two", lambda manifest: manifest.update(version="2"))
    assert run("promote", location, "two").stdout == "champion: two (before: none)\n"


def test_promote_for_a_pipeline_refuses_a_bundle_of_other_features(
    pipeline: Path, location: Path
) -> None:
    edit(pipeline / "features.yaml", lambda values: values["features"].pop())
    result = run("promote", location, "one", "--pipeline", pipeline, fails_with=BundleRefusedError)
    assert "the feature set does not define" in str(result.exception)
    assert not (location / "CHAMPION").exists()


def test_a_champion_before_that_is_damaged_is_not_gone_back_to(location: Path) -> None:
    place = FolderLocation(location)
    place.promote("three")
    place.promote("one")
    result = run("rollback", location, fails_with=BundleRefusedError)
    assert "has the SHA-256" in str(result.exception)
    assert place.champions().champion == "one"


def saved_model(folder: Path, features: list[str]) -> Path:
    matrix = np.random.default_rng(3).normal(size=(200, len(features))).astype(np.float32)
    data = xgb.DMatrix(matrix, (matrix[:, 0] > 0).astype(int))
    model = xgb.train({"objective": "binary:logistic", "base_score": 0.5, "nthread": 1}, data, 3)
    model.save_model(folder / "model.json")
    return folder / "model.json"


def test_pack_makes_a_bundle_that_the_pipeline_takes(pipeline: Path, tmp_path: Path) -> None:
    names = list(load_feature_set(pipeline / "features.yaml").names)
    (tmp_path / "names.txt").write_text("\n".join(names) + "\n\n")
    model = saved_model(tmp_path, names)
    common = ("pack", "--model", model, "--name", "own", "--version", "3")
    features = ("--features-from", pipeline / "features.yaml")
    out = tmp_path / "out"
    for given in (",".join(names), f"@{tmp_path / 'names.txt'}"):
        shutil.rmtree(out, ignore_errors=True)
        result = run(*common, *features, "--feature-names", given, "--out", out)
        assert result.stdout == (
            f"{out}: own 3, binary:logistic, 3 trees, {len(names)} features, 128 golden vectors; "
            "verified\n"
        )
        assert run("verify", out, "--pipeline", pipeline).exit_code == 0
    more = tmp_path / "more"
    told = run(*common, "--generate-names", "--golden", 9, "--out", more, "--json").stdout
    said = json.loads(told)
    assert (said["golden"], said["objective"], said["notes"]) == (9, "binary:logistic", [])
    assert said["features"][0] == {"name": "f0", "fingerprint": ""}
    no_set = run(*common, "--generate-names", "--out", tmp_path / "f").stdout
    assert "note: the bundle does not hold the definitions of its features" in no_set


def test_a_model_packed_with_its_missing_value_scores_as_its_owner_would(
    pipeline: Path, tmp_path: Path
) -> None:
    """LIMIT is 500 where the lookup has nothing, which the model was told to take as missing."""
    names = ["AMOUNT", "LIMIT"]
    random = np.random.default_rng(5)
    matrix = random.choice(np.array([10, 100, 500, 900], np.float32), (600, 2))
    labels = (matrix[:, 0] > 50) ^ (matrix[:, 1] == 500)
    data = xgb.DMatrix(matrix, labels.astype(int), missing=500)
    params = {"objective": "binary:logistic", "base_score": 0.5, "nthread": 1}
    booster = xgb.train(params, data, 5)
    booster.save_model(tmp_path / "model.ubj")
    common = ("pack", "--model", tmp_path / "model.ubj", "--name", "own", "--version", "3")
    options = ("--feature-names", ",".join(names), "--features-from", pipeline / "features.yaml")

    refused = run(
        *common,
        *options,
        "--missing",
        "inf",
        "--out",
        tmp_path / "o",
        fails_with=ConfigurationError,
    )
    assert "--missing: inf is not a finite float32, so no feature can have it" in str(
        refused.exception
    )
    shutil.rmtree(pipeline / "model")
    told = run(*common, *options, "--missing", "500", "--out", pipeline / "model").stdout
    assert "verified; 500 counts as missing, like NaN" in told
    shown = dict(columns(line) for line in run("show", pipeline / "model").stdout.splitlines())
    assert shown["missing"] == "NaN and 500"
    as_json = run(*common, *options, "--missing", 500, "--out", tmp_path / "b", "--json").stdout
    assert json.loads(as_json)["missing"] == 500.0

    events = lines(tmp_path / "e.jsonl", [row(i, amount=float(60 * i)) for i in range(12)])
    (replayed,) = replay_file(load_pipeline(pipeline), events, None)
    vectors = np.array([[score["vector"][name] for name in names] for score in replayed.scores])
    assert (vectors[:, 1] == 500).all(), "a score carries what the feature is"
    expected = booster.predict(xgb.DMatrix(vectors, missing=500), output_margin=True)
    assert [np.float32(score["margin"]) for score in replayed.scores] == expected.tolist()
    unaware = booster.predict(xgb.DMatrix(vectors), output_margin=True)
    assert (unaware != expected).any()


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [
        ("utf-8", ""),
        ("utf-8-sig", ""),
        ("utf-16", ""),
        ("utf-16-be", "\ufeff"),
        ("utf-16-be", ""),
        ("utf-16-le", ""),
    ],
)
def test_a_file_of_feature_names_is_text_with_or_without_a_byte_order_mark(
    encoding: str, mark: str, pipeline: Path, tmp_path: Path
) -> None:
    names = list(load_feature_set(pipeline / "features.yaml").names)
    text = "\r\n".join(names)
    (tmp_path / "names.txt").write_bytes(f"{mark}{text}\r\n".encode(encoding))
    model = saved_model(tmp_path, names)
    common = ("pack", "--model", model, "--name", "own", "--version", "3")
    features = ("--features-from", pipeline / "features.yaml")
    given = ("--feature-names", f"@{tmp_path / 'names.txt'}", "--out", tmp_path / "out", "--json")
    said = json.loads(run(*common, *features, *given).stdout)
    assert [feature["name"] for feature in said["features"]] == names


def test_pack_refuses_with_the_option_that_helps(pipeline: Path, tmp_path: Path) -> None:
    model = saved_model(tmp_path, ["a", "b"])
    common = ("pack", "--model", model, "--name", "own", "--version", "3", "--out", tmp_path / "o")
    for arguments, said in (
        ([], "names none of them; give --feature-names"),
        (["--feature-names", "@nowhere"], "--feature-names: nowhere cannot be read"),
        (["--feature-names", "a,b,c"], "has 2 columns, and 3 feature names were given"),
        (
            ["--generate-names", "--features-from", pipeline / "features.yaml"],
            "unknown feature 'f0'",
        ),
    ):
        result = run(*common, *arguments, fails_with=ConfigurationError)
        assert said in str(result.exception)
    assert not (tmp_path / "o").exists()


def test_a_refusal_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    model = saved_model(tmp_path, ["a", "b"])
    command = [sys.executable, "-m", "tools", "model", "pack", "--model", str(model)]
    done = subprocess.run(
        [*command, "--name", "own", "--version", "3", "--out", str(tmp_path / "o")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == ExitCode.CONFIGURATION
    assert done.stderr.startswith(f"error: {model}: has 2 columns and names none of them; give")
    assert done.stderr.count("\n") == 1
