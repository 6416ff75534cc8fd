"""The documented figures of the defaults are those of the recorded runs, and reach the targets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from features.definition import load_feature_set

ROOT = Path(__file__).parents[3]


def test_figures_of_the_wide_set_are_those_of_the_recorded_run() -> None:
    path = ROOT / "benchmarks" / "results" / "2026-12-01-defaults-sparkov-sets.json"
    sets = json.loads(path.read_text())["sets"]
    (line,) = (
        line
        for line in (ROOT / "docs" / "explanation" / "training.md").read_text().splitlines()
        if path.name in line
    )
    for name, found in sets.items():
        assert f"the {found['features']} " in line
        assert f"[`{name}`]" in line
        assert f".{round(found['test']['average_precision'] * 10_000)}" in line
        assert f"{found['processor_seconds']:.0f} " in line
        feature_set = load_feature_set(ROOT / "examples" / "sparkov" / name)
        assert len(feature_set.names) == found["features"]


@pytest.mark.parametrize(("case", "least"), [("sparkov", 0.94), ("handbook", 0.680)])
def test_figures_are_those_of_the_recorded_run(case: str, least: float) -> None:
    (path,) = (ROOT / "benchmarks" / "results").glob(f"*-defaults-{case}.json")
    found = json.loads(path.read_text())
    reached = found["test"]["average_precision"]
    assert reached >= least
    (line,) = (
        line
        for line in (ROOT / "docs" / "explanation" / "training.md").read_text().splitlines()
        if path.name in line
    )
    assert f"| .{round(reached * 1000)} | {found['processor_seconds']:.0f} s |" in line
    assert found["processor_seconds"] / 2 < 600, "ten minutes on two cores"
