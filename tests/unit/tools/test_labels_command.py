"""``fraud-worker labels send`` where it reaches no broker: help, dry run, errors of the call."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.event_files import lines
from tests.support.healthy import edit
from tests.support.transactions import SET
from tools.cli import commands

SCHEMA = SET.parents[2] / "schemas" / "transaction.avsc"
LABEL = {
    "event_id": "7",
    "event_time": "2018-05-01T00:00:00Z",
    "terminal": "t",
    "fraud": True,
    "label_time": "2018-05-03T00:00:00Z",
}


class Done(NamedTuple):
    code: object
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process."""

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["fraud-worker", "labels", "send", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            commands.main()
        shown = capsys.readouterr()
        return Done(ended.value.code or 0, shown.out, shown.err)

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "pipeline"
    made.mkdir()
    (made / "features.yaml").write_text(
        SET.read_text().replace("../../schemas/transaction.avsc", str(SCHEMA))
    )
    (made / "worker.yaml").write_text((SET.parent / "worker.yaml").read_text())
    edit(made / "worker.yaml", lambda values: values["kafka"].update(labels_topic="labels"))
    return made


def test_help_names_what_a_user_needs(run: Run) -> None:
    shown = " ".join(run("--help").out.split())
    for text in ("FILE", "--dry-run", "kafka.labels_topic", "--pipeline", "counts once"):
        assert text in shown, shown


def test_a_dry_run_counts_the_rows_of_all_files(run: Run, folder: Path, tmp_path: Path) -> None:
    says_nothing = {**LABEL, "fraud": False, "label_time": None}
    first = lines(tmp_path / "a.jsonl", [LABEL, says_nothing])
    second = lines(tmp_path / "b.jsonl", [{**LABEL, "fraud": False}])
    done = run(first, second, "--dry-run", "-p", folder)
    assert done.code == 0
    assert json.loads(done.out) == {"read": 3, "labels": 2, "sent": 0, "skipped": 1, "refused": 0}
    for name, number in (("read", "3"), ("skipped", "1")):
        assert any(name in line and number in line for line in done.err.splitlines())


def test_refused_rows_are_named_and_the_exit_code_is_1(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    bad: list[Any] = ["{", *[{**LABEL, "event_id": ""}] * 3, *[{**LABEL, "terminal": None}] * 3]
    path = lines(tmp_path / "labels.jsonl", [LABEL, *bad])
    done = run(path, "--dry-run", "-p", folder)
    assert done.code == 1
    assert json.loads(done.out.splitlines()[-1])["refused"] == 7
    assert "refused: 7 rows are not valid labels" in done.err
    assert f"{path}, row 1: body_invalid" in done.err
    assert f"{path}, row 2: event_id_missing" in done.err
    assert done.err.count(f"{path}, row") == 5


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([{**LABEL, "terminal": ""}], "none of its 1 rows is a valid label"),
        ([{"event_id": "7"}], "has no column for 'fraud'"),
    ],
)
def test_a_file_without_a_label_is_an_error(
    run: Run, folder: Path, tmp_path: Path, rows: list[Any], told: str
) -> None:
    done = run(lines(tmp_path / "labels.jsonl", rows), "--dry-run", "-p", folder)
    assert (done.code, done.out) == (2, "")
    assert told in done.err


def test_every_file_is_there_before_the_first_is_read(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    # Without --dry-run: the files are looked at before the brokers.
    done = run(lines(tmp_path / "a.jsonl", [LABEL]), tmp_path / "b.jsonl", "-p", folder)
    assert done.code == 2
    assert "b.jsonl does not exist" in done.err


def test_the_topic_has_to_be_named(run: Run, folder: Path, tmp_path: Path) -> None:
    edit(folder / "worker.yaml", lambda values: values["kafka"].pop("labels_topic"))
    done = run(lines(tmp_path / "a.jsonl", [LABEL]), "--dry-run", "-p", folder)
    assert done.code == 2
    assert "worker.yaml: name the topic of labels: kafka.labels_topic" in done.err


def test_labels_need_a_window_that_counts_frauds(run: Run, folder: Path, tmp_path: Path) -> None:
    def without_shares(values: dict[str, Any]) -> None:
        kept = [one for one in values["features"] if one.get("window") != "fraud_share"]
        values["features"] = kept

    edit(folder / "features.yaml", without_shares)
    done = run(lines(tmp_path / "a.jsonl", [LABEL]), "--dry-run", "-p", folder)
    assert done.code == 2
    assert "no feature counts frauds" in done.err
