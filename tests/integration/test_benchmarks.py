"""The short forms of the suites ``latency`` and ``soak``, with few cards and training events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import population, testbed
from benchmarks.__main__ import main
from benchmarks.latency import suite as latency
from benchmarks.latency.cases import BARE
from benchmarks.soak import load
from benchmarks.soak import suite as soak
from benchmarks.throughput import Span
from tests.support.image import image_path

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(autouse=True)
def small_testbed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(population, "CARDS", 5_000)
    monkeypatch.setattr(testbed, "TRAINING_EVENTS", 5_000)
    monkeypatch.setattr(load, "DISTINCT", 50_000)
    # So many are played before the first sample: half of the test's CPU would go into them.
    monkeypatch.setattr(load, "AHEAD", 50_000)
    monkeypatch.setattr(soak, "QUICK", Span(0.5, 3.0))
    # For the worker; the suite's own programs set a path of theirs.
    monkeypatch.setenv("PYTHONPATH", image_path())


def measured(
    suite: str, events: int, folder: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run a suite; return its last line and its result."""
    arguments = ["--suite", suite, "--events", str(events), "--json", "--out", str(folder)]
    status = main(arguments)
    out, err = capsys.readouterr()
    assert status == 0, err
    (path,) = folder.glob(f"*-{suite}.json")
    line: dict[str, Any] = json.loads(out.splitlines()[-1])
    result: dict[str, Any] = json.loads(path.read_text())
    return line, result


def test_latency_has_all_programs_at_all_rates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each program costs three starts; the test of throughput runs the hand-written loops.
    programs = {name: latency.LOOKUPS[name] for name in ("worker", BARE)}
    monkeypatch.setattr(latency, "LOOKUPS", programs)
    monkeypatch.setattr(latency, "HANDBOOK", programs)
    line, result = measured("latency", 600, tmp_path, capsys)
    for pipeline in ("lookups", "handbook"):
        (found,) = line[pipeline].values()
        assert list(found) == ["100", "1000", "5000"]
        for times in found.values():
            assert times.keys() == programs.keys()
            assert all(0 < one["p50"] <= one["p99"] for one in times.values())
    assert line["cold"].keys() == programs.keys()
    worker = result["cases"]["handbook"][0]["programs"]["worker"]
    assert worker["events"] > 0
    assert worker["duplicates"] == 0
    assert len(list(tmp_path.glob("*-latency.svg"))) == 1


def test_soak_has_a_slope_and_its_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line, result = measured("soak", 1_000, tmp_path, capsys)
    assert line["standard_error"] >= 0
    assert line["highest_mib"] > 50
    assert line["events_per_s"] > 0
    assert len(result["memory"]["block_means_mib"]) == 20
