"""``fraud-worker check`` on the model: which bundle, and whether it proves itself."""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from models.location import FolderLocation
from tests.support.healthy import edit, healthy_pipeline
from tools.checks import model
from tools.checks.files import read_files
from tools.checks.finding import Finding, State
from worker.pipeline import load_pipeline

process: Any = importlib.import_module("models.sandbox.process")


def findings_of(folder: Path) -> list[Finding]:
    files = read_files(folder)
    assert files.settings is not None, files.findings
    return model.check_model(files.settings, files.feature_set)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return healthy_pipeline(tmp_path / "pipeline")


@pytest.fixture
def place(folder: Path) -> FolderLocation:
    """Two bundles in a location that the pipeline names."""
    shutil.copytree(folder / "model", folder / "models" / "one")
    (folder / "model").rename(folder / "models" / "two")
    edit(folder / "worker.yaml", lambda values: values.update(model={"location": "models"}))
    return FolderLocation(folder / "models")


def test_the_bundle_and_its_proof_are_named(folder: Path) -> None:
    found = findings_of(folder)[0]
    assert found.state is State.OK
    for said in ("trees", "not calibrated", "reproduces its 128 golden margins"):
        assert said in found.found


def test_the_champion_of_a_location_is_the_model(folder: Path, place: FolderLocation) -> None:
    place.promote("one")
    place.promote("two")
    findings = findings_of(folder)
    assert [finding.state for finding in findings] == [State.OK] * 3, findings
    assert findings[0].found.startswith(f"champion two of {place.folder}, ")
    assert findings[0].found.endswith(", previous champion one")
    assert load_pipeline(folder).bundle.path == place.folder / "two"
    place.rollback()
    assert findings_of(folder)[0].found.endswith(", no previous champion")
    assert load_pipeline(folder).bundle.path.name == "one"


def test_a_location_without_a_champion_is_refused_with_the_command(
    folder: Path, place: FolderLocation
) -> None:
    (finding,) = findings_of(folder)
    assert (finding.check, finding.state) == (model.BUNDLE, State.FAILED)
    assert "has no champion" in finding.found
    assert f"fraud-worker model promote {place.folder} NAME" in finding.remedy


def test_a_bundle_that_ends_the_process_is_refused_and_check_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash = [sys.executable, "-c", "import os; os.abort()"]
    monkeypatch.setattr(process, "COMMAND", crash)
    (finding,) = findings_of(folder)
    assert (finding.check, finding.state) == (model.BUNDLE, State.FAILED)
    assert "with SIGABRT" in finding.found
    assert "write the bundle again" in finding.remedy


def test_the_limits_are_those_of_the_settings(folder: Path) -> None:
    def tight(values: dict[str, Any]) -> None:
        values["model"]["verify_timeout_s"] = 0.001

    edit(folder / "worker.yaml", tight)
    (finding,) = findings_of(folder)
    assert "took more than 0.001 s" in finding.found
    assert "raise model.verify_timeout_s" in finding.remedy
