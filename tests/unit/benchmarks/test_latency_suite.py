"""The pure parts of the suite ``latency``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import population
from benchmarks.latency import chart, report, table
from benchmarks.latency.cases import BARE, figures
from benchmarks.latency.events import Events, id_of
from benchmarks.latency.measure import Observed, Pace, due_times, latency_of, observed
from benchmarks.latency.plan import PACES, Plan
from benchmarks.latency.suite import HANDBOOK, LOOKUPS, last_line
from benchmarks.programs import RunError
from benchmarks.testbed import PIPELINE, played_payments
from features.definition import load_feature_set
from tests.support.benchmark_results import MACHINE

MS = 1_000_000


def run_of(*took: float, rate: float = 1000.0) -> Observed:
    return Observed(np.array(took, np.float64), duplicates=0, rate=rate)


def test_latency_is_of_the_events_after_the_warm_up() -> None:
    sent = np.arange(10, dtype=np.int64) * MS
    seen = sent + np.array([9] * 5 + [2, 2, 3, 4, 5]) * MS
    counts = np.ones(10, np.int64)
    counts[7] = 2
    (found,) = observed(sent, seen, counts, [Pace(1000, 0.005, 0.005)])
    assert found.took.tolist() == [2, 2, 3, 4, 5]
    assert (found.duplicates, found.rate) == (1, 1000.0)


def test_each_pace_has_its_own_events() -> None:
    paces = [Pace(100, 0.01, 0.02), Pace(1000, 0.001, 0.003)]
    due = due_times(paces)
    np.testing.assert_allclose(due, [0, 0.01, 0.02, 0.03, 0.031, 0.032, 0.033])
    sent = (due * 1e9).astype(np.int64)
    seen = sent + np.array([90, 1, 2, 90, 3, 4, 5]) * MS
    slow, fast = observed(sent, seen, np.ones(7, np.int64), paces)
    np.testing.assert_allclose(slow.took, [1, 2])
    np.testing.assert_allclose(fast.took, [3, 4, 5])


def test_a_lost_event_is_no_result() -> None:
    times = np.ones(3, np.int64)
    with pytest.raises(RunError, match="1 of 3"):
        observed(times, times, np.array([1, 0, 1]), [Pace(1000, 0, 0.003)])


def test_percentiles_are_of_all_runs_together() -> None:
    found = latency_of([run_of(1, 1, 1, rate=990), run_of(3, 3, 3, 8)])
    assert (found.p50, found.highest, found.events, found.rate) == (3.0, 8.0, 7, 990)


def test_the_999th_of_thousand_needs_ten_thousand_events() -> None:
    assert latency_of([run_of(*[1.0] * 9_999)]).p99_9 is None
    assert latency_of([run_of(*[1.0] * 9_999), run_of(1.0)]).p99_9 == 1.0


def test_a_program_whose_last_events_wait_longest_falls_behind() -> None:
    assert not latency_of([run_of(*range(0, 1000, 10))]).kept_up
    assert not latency_of([run_of(*range(7_500, 12_500, 50))]).kept_up, "from the warm-up on"
    assert latency_of([run_of(*range(0, 200, 2))]).kept_up
    assert latency_of([run_of(*[900.0] * 100)]).kept_up, "slow throughout, as on a cold broker"


def test_a_short_run_has_all_rates() -> None:
    short = Plan().shortened(1_000)
    assert short.rounds == 1
    assert [pace.rate for pace in short.paces] == [pace.rate for pace in PACES]
    assert 950 <= short.run_events <= 1_050
    assert Plan().shortened(10**9).paces == list(PACES)


def test_events_survive_their_file(tmp_path: Path) -> None:
    events = played_payments(load_feature_set(PIPELINE / "features.yaml"), 20)
    events.write(tmp_path / "events")
    assert Events.read(tmp_path / "events") == events
    assert len(events.first(7)) == 7
    with pytest.raises(ValueError, match="21 events are to be played, and there are 20"):
        events.first(21)


def test_an_event_tells_its_id() -> None:
    (value,) = played_payments(load_feature_set(PIPELINE / "features.yaml"), 1).values
    ids = population.payments(500_000_000, 1)["transaction_id"].values.tolist()
    assert [id_of(value)] == [str(ids[0]).encode()]
    assert id_of(None) == id_of(b"") == b""


def result() -> dict[str, Any]:
    behind = [float(ms) for ms in range(0, 4_000, 10)]
    runs = {"worker": [run_of(12.0, 18.0)], "hand_written": [run_of(*behind)], BARE: [run_of(6.0)]}
    case = {"guarantee": "exactly_once", "rate": 1000, "programs": figures(runs)}
    other = {**case, "guarantee": "at_least_once"}
    return {
        "date": "2026-11-30",
        "machine": MACHINE,
        "setting": {
            "partitions": 4,
            "rounds": 2,
            "source": "simulated",
            "history_events": 7,
            "cold": {"measured": 20.0},
        },
        "cases": {"lookups": [case, other], "handbook": [case, other]},
        "cold": case,
    }


def test_the_last_line_has_ratios_to_the_bare_loop() -> None:
    found = result()
    line = last_line(found["cases"], found["cold"])
    assert json.loads(json.dumps(line)) == line
    assert line["lookups"]["exactly_once"]["1000"]["worker"] == {
        "p50": 15.0,
        "p99": 17.94,
        "p50_of_bare": 2.5,
        "p99_of_bare": 2.99,
    }
    assert line["handbook"]["at_least_once"]["1000"]["hand_written"]["kept_up"] is False
    assert line["cold"][BARE]["p50_of_bare"] == 1.0


def test_a_result_is_shown_and_written_down(capsys: pytest.CaptureFixture[str]) -> None:
    table.show(result())
    shown = capsys.readouterr().err
    page = "\n".join(report.latency(result(), "2026-11-30-latency.json"))
    assert "2026-11-30-latency.svg" in page
    for text in ("15.0", "2.50", "(1,995)", "bare loop", "at least once"):
        assert text in shown
        assert text in page


def test_the_same_figures_draw_the_same_chart(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        chart.draw(result(), tmp_path / name)
    drawn = (tmp_path / "a.svg").read_bytes()
    assert drawn == (tmp_path / "b.svg").read_bytes()
    assert len(drawn) > 5000


def test_both_pipelines_have_the_same_programs() -> None:
    assert LOOKUPS.keys() == HANDBOOK.keys() <= table.PROGRAMS.keys()
