"""The command line as a whole: version, completion, help, and what a terminal shows of scores."""

from __future__ import annotations

import importlib.metadata
import inspect
import json
import os
import re
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from base.errors import ConfigurationError
from tests.support.event_files import lines, row
from tests.support.healthy import edit, healthy_pipeline
from tools.cli.commands import app
from tools.cli.score import score

pytestmark = pytest.mark.usefixtures("verified_here")

PROGRAM = [sys.executable, "-c", "from tools.cli import commands; commands.main()"]


def run(*arguments: object, **environment: str) -> Any:
    return CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "200", **environment})


def test_the_version_is_that_of_the_package() -> None:
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout == f"fraud-worker {importlib.metadata.version('fraud-worker')}\n"


@pytest.mark.parametrize(
    ("words", "completed"),
    [("fraud-worker fea", "features"), ("fraud-worker model pro", "promote")],
)
def test_a_shell_completes_commands(words: str, completed: str) -> None:
    done = subprocess.run(
        PROGRAM,
        env={
            **os.environ,
            "_FRAUD_WORKER_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split() == [completed], done.stderr


def _commands(group: Any, before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, (*before, name))
        else:
            yield (*before, name), command


ALL = dict(_commands(typer.main.get_command(app)))


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_help_marks_what_a_command_cannot_do_without(words: tuple[str, ...]) -> None:
    told = run(*words, "--help").stdout
    for parameter in ALL[words].params:
        name = parameter.opts[0] if parameter.param_type_name == "option" else parameter.name
        if parameter.required:
            assert re.search(rf"\*\s+({re.escape(name)}|{parameter.metavar})", told), (name, told)
    assert told.count("[required]") == sum(parameter.required for parameter in ALL[words].params)


def test_a_value_is_explained_only_with_events_and_help_says_so() -> None:
    events = next(p for p in ALL["features", "explain"].params if p.name == "events")
    assert events.required


PATHS = [
    pytest.param(words, parameter, id=f"{' '.join(words)} {parameter.name}")
    for words, command in ALL.items()
    for parameter in command.params
    if "Path" in str(typing.get_type_hints(inspect.unwrap(command.callback))[parameter.name])
]


@pytest.mark.parametrize(("words", "parameter"), PATHS)
def test_an_address_is_no_path_in_any_command(words: tuple[str, ...], parameter: Any) -> None:
    given = [*words]
    for other in ALL[words].params:
        if other is parameter or other.required:
            option = [other.opts[0]] if other.param_type_name == "option" else []
            given += [*option, "models:/fraud/3" if other is parameter else "x"]
    name = given[given.index("models:/fraud/3") - 1]
    if parameter.param_type_name == "argument":
        name = parameter.metavar.strip("[]")
    error = run(*given).exception
    assert isinstance(error, ConfigurationError), error
    assert str(error).startswith(f"{name}: models:/fraud/3 is an address, and this is read and")


@pytest.mark.parametrize("address", ["s3://b/x", "gs://b/x", "abfs://c@a/x", "file:///x"])
def test_a_pipeline_at_an_address_of_any_kind_is_refused(address: str) -> None:
    assert "is an address" in str(run("score", "--events", "x", "-p", address).exception)


def test_a_list_of_names_is_a_local_file(tmp_path: Path) -> None:
    given = ["--model", tmp_path, "--name", "m", "--version", "1", "--out", tmp_path / "out"]
    error = run("model", "pack", *given, "--feature-names", "@s3://bucket/names").exception
    assert str(error).startswith("--feature-names: s3:/bucket/names is an address")


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    return healthy_pipeline(tmp_path / "pipeline")


@pytest.fixture
def events(tmp_path: Path) -> Path:
    return lines(tmp_path / "events.jsonl", [row(0), row(1)])


def test_a_file_whose_rows_all_have_scores_is_done(events: Path, pipeline: Path) -> None:
    result = run("score", "--events", events, "--pipeline", pipeline)
    assert result.exit_code == 0, result.stderr
    assert [json.loads(line)["event_id"] for line in result.stdout.splitlines()] == ["t-0", "t-1"]


def test_refused_rows_end_the_command_with_1_after_all_others_are_scored(
    tmp_path: Path, pipeline: Path
) -> None:
    path = lines(tmp_path / "events.jsonl", [row(0), row(1, transaction_id=""), row(2)])
    result = run("score", "--events", path, "--pipeline", pipeline)
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 2
    assert "1 rows were refused" in result.stderr


def test_a_terminal_shows_the_vector_and_the_reasons(
    events: Path,
    pipeline: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    reasons = {"catalogue": {"R01": {"features": ["*"], "text": "Odd", "audience": "analyst"}}}

    def explained(values: dict[str, Any]) -> None:
        values["bands"] = {"review": 1e-6}
        values["reasons"] = reasons

    edit(pipeline / "policy.yaml", explained)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    score(events=events, pipeline=pipeline)
    shown = capsys.readouterr().out
    assert "AMOUNT 10" in shown
    assert "AVG_AMOUNT missing" in shown
    assert re.search(r"R01 \+\d", shown), shown


def test_a_terminal_shows_which_rows_were_refused(
    tmp_path: Path,
    pipeline: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = lines(tmp_path / "events.jsonl", [row(0), row(1, transaction_id="")])
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    with pytest.raises(typer.Exit) as ended:
        score(events=path, pipeline=pipeline)
    assert ended.value.exit_code == 1
    assert "row 1: event_id_missing: " in capsys.readouterr().err


def test_a_file_without_rows_is_an_error(tmp_path: Path, pipeline: Path) -> None:
    path = lines(tmp_path / "events.jsonl", [])
    error = run("score", "--events", path, "--pipeline", pipeline).exception
    assert str(error) == f"--events: {path} has no rows; give a file with events"


@pytest.mark.parametrize(("limit", "told"), [(None, True), (50, False)])
def test_a_terminal_says_that_it_shows_the_first_rows_only(
    limit: int | None,
    told: bool,
    tmp_path: Path,
    pipeline: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = lines(tmp_path / "events.jsonl", [*map(row, range(51)), "{broken"])
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    score(events=path, limit=limit, pipeline=pipeline)
    said = "only the first 50 of 52 rows were read, and the exit code is for these; to read all, give --limit 52"
    assert (said in capsys.readouterr().err) is told


def test_a_terminal_that_shows_all_rows_says_nothing_of_it(
    events: Path,
    pipeline: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    score(events=events, pipeline=pipeline)
    assert "only the first" not in capsys.readouterr().err
