"""From measurements to what is reported of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.__main__ import SUITES, main
from benchmarks.agreement import same
from benchmarks.latency.measure import Latency
from benchmarks.options import RESULTS, Options
from benchmarks.summary import last_line, summarise
from benchmarks.throughput import Measured

ROOT = report.ROOT


def measured(events_per_s: float, stages: dict[str, float] | None = None) -> Measured:
    return Measured(
        events=int(events_per_s * 10),
        seconds=10.0,
        cpu_seconds=5.0,
        peak_bytes=100 * 2**20,
        stages=stages or {},
        committed=10**6,
        other_cores=0.1,
    )


def test_the_median_run_counts_and_the_spread_shows() -> None:
    worker = [measured(rate, {"decode": rate * 10e-6}) for rate in (50_000, 90_000, 80_000)]
    found = summarise({"worker": worker, "other": [measured(20_000)] * 3}, "other")
    assert found["worker"]["events_per_s"] == 80_000
    assert (found["worker"]["lowest"], found["worker"]["highest"]) == (50_000, 90_000)
    assert found["worker"]["ratio"] == 4.0
    assert found["worker"]["cpu_us_per_event"] == pytest.approx(5e6 / 800_000)
    assert found["worker"]["stages_us_per_event"]["decode"] == pytest.approx(1.0)
    assert len(found["worker"]["runs"]) == 3


def test_the_last_line_is_what_was_promised() -> None:
    runs = {"worker": [measured(75_000)], "hand_written": [measured(25_000)]}
    programs = summarise(runs, "hand_written")
    latency = Latency(6.123, 20.5, None, 40.0, 9, 0, 1000.0, kept_up=True)
    line = json.loads(json.dumps(last_line(programs, {"exactly_once": latency})))
    assert line == {
        "worker": 75_000,
        "hand_written": 25_000,
        "latency_ms": {"exactly_once": {"1000": {"p50": 6.12, "p99": 20.5}}},
    }


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        ({"score": 0.5, "flags": []}, {"score": 0.5 + 5e-7, "flags": []}, True),
        ({"score": 0.5}, {"score": 0.5 + 5e-6}, False),
        ({"vector": {"A": float("nan")}}, {"vector": {"A": float("nan")}}, True),
        ({"vector": {"A": float("nan")}}, {"vector": {"A": 0.0}}, False),
        ({"vector": {"A": 1.0}}, {"vector": {}}, False),
        ({"decision": "approve"}, {"decision": "review"}, False),
    ],
)
def test_scores_agree_within_the_tolerance(a: object, b: object, equal: bool) -> None:
    assert same(a, b) is equal


def test_an_unknown_suite_is_refused_with_those_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--suite", "spline"]) == 2
    error = capsys.readouterr().err
    assert "spline" in error
    assert all(name in error for name in SUITES)


@pytest.fixture
def measured_into(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """Folders that a suite was told to write to; recording writes a page of its own here."""
    folders: list[Path] = []

    def measure(options: Options) -> dict[str, str]:
        folders.append(options.out)
        return {}

    monkeypatch.setitem(SUITES, "spine", measure)
    page = tmp_path / "performance.md"
    page.write_text(report.PAGE.read_text("utf-8").replace("| median |", "| old |"), "utf-8")
    monkeypatch.setattr(report, "ROOT", tmp_path)
    monkeypatch.setattr(report, "PAGE", page)
    return folders


def test_a_run_leaves_the_repository_as_it_is(measured_into: list[Path]) -> None:
    before = report.PAGE.read_text("utf-8")
    assert main([]) == 0
    (folder,) = measured_into
    assert folder.relative_to(ROOT).parts[0] == "build"
    assert "/build/" in (ROOT / ".gitignore").read_text("utf-8").splitlines()
    assert Options().out == folder
    assert report.PAGE.read_text("utf-8") == before


def test_a_run_that_is_recorded_writes_the_page_too(measured_into: list[Path]) -> None:
    page = (ROOT / "docs" / "explanation" / "performance.md").read_text("utf-8")
    assert report.PAGE.read_text("utf-8") != page
    assert main(["--record"]) == 0
    assert measured_into == [RESULTS]
    assert report.PAGE.read_text("utf-8") == page


def test_a_run_goes_where_it_is_told_or_is_recorded_but_not_both(
    measured_into: list[Path], tmp_path: Path
) -> None:
    assert main(["--out", str(tmp_path)]) == 0
    assert measured_into == [tmp_path]
    with pytest.raises(SystemExit, match="2"):
        main(["--out", str(tmp_path), "--record"])


def test_a_page_keeps_what_is_around_the_tables() -> None:
    begin = report.BEGIN["features"]
    page = f"{report.BEGIN['spine']}\nother\n{report.END}\n{begin}\nold\n{report.END}\nafter\n"
    put = report.put(page, "features", "new\n")
    assert put == page.replace("old", "new")
    with pytest.raises(ValueError, match="lacks"):
        report.put("no marks", "spine", "new\n")


@pytest.mark.parametrize("suite", report.BEGIN)
def test_the_page_shows_the_newest_result(suite: str) -> None:
    page = report.PAGE.read_text("utf-8")
    assert report.put(page, suite, report.render(suite)) == page, (
        "docs/explanation/performance.md is behind: run python -m benchmarks.report, and commit it with the result"
    )
