"""The pure parts of the suite ``soak``."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.soak import load, suite
from benchmarks.soak.slope import BLOCKS, block_means, slope_of
from tests.support.benchmark_results import MACHINE


def samples(resident: list[float]) -> list[suite.Sample]:
    return [
        suite.Sample(10.0 + second, mib, 1_000 * second, 700 - second)
        for second, mib in enumerate(resident)
    ]


def test_a_line_has_its_slope_and_no_error() -> None:
    times = np.arange(200.0)
    found = slope_of(times.tolist(), (3.0 + 0.5 * times).tolist())
    assert found.slope == pytest.approx(0.5)
    assert found.standard_error == pytest.approx(0.0, abs=1e-9)


def test_the_standard_error_is_that_of_many_repeats() -> None:
    random, times = np.random.default_rng(1), np.arange(600.0)
    found = [
        slope_of(times.tolist(), (0.2 * times + random.normal(0, 9, 600)).tolist())
        for _ in range(400)
    ]
    slopes = [one.slope for one in found]
    assert np.mean(slopes) == pytest.approx(0.2, abs=0.001)
    assert np.mean([one.standard_error for one in found]) == pytest.approx(np.std(slopes), rel=0.1)


def test_values_that_hang_together_do_not_make_the_error_small() -> None:
    random, times = np.random.default_rng(2), np.arange(600.0)
    found = []
    for _ in range(400):
        noise = np.repeat(random.normal(0, 9, 40), 15)
        found.append(slope_of(times.tolist(), noise.tolist()))
    beyond = np.mean([abs(one.slope) > 2.1 * one.standard_error for one in found])
    assert beyond < 0.12


def test_a_short_series_has_no_slope() -> None:
    with pytest.raises(ValueError, match="19 values are too few for 20 blocks"):
        block_means([1.0] * (BLOCKS - 1))


def test_figures_are_for_an_hour() -> None:
    found = suite.figures(samples([300.0 + second / 60 for second in range(601)]))
    assert found["mib_per_hour"] == pytest.approx(60.0)
    assert (found["seconds"], found["events"], found["events_per_s"]) == (600.0, 600_000, 1000.0)
    assert (found["highest_mib"], found["lowest_ahead"]) == (310.0, 100)
    assert json.loads(json.dumps(found)) == found


def test_a_result_is_written_down() -> None:
    result = {
        "date": "2026-11-30",
        "machine": MACHINE,
        "memory": suite.figures(samples([300.0 + second / 60 for second in range(601)])),
    }
    page = "\n".join(suite.soak(result, "2026-11-30-soak.json"))
    assert "through 600 s of full load" in page
    assert "| +60.0 | 0.0 | 310 | 1,000 | 600,000 | 100 |" in page


def test_events_stay_ahead_of_the_worker_by_a_bounded_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(load, "AHEAD", 25)
    monkeypatch.setattr(load, "_LOOK_S", 0.0)
    done = 0
    looks = 0

    def committed() -> int:
        nonlocal done, looks
        looks += 1
        done += 1
        return done

    source = load.Load(committed)
    chunks = source.chunks([([b""] * 10, [None] * 10), ([b"x"] * 10, [None] * 10)])
    for _ in range(12):
        assert len(next(chunks)[0]) == 10
        assert source.played - done <= 25
    source.stop()
    assert list(chunks) == []
    assert source.played == 120
    assert looks > 80
