"""The suite ``models`` without Kafka: what is timed, what is checked, what is reported."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.latency.measure import Latency
from benchmarks.models import (
    chart,
    explained,
    explaining,
    policies,
    report,
    scoring,
    swaps,
    table,
    timing,
)
from benchmarks.models.explaining import Explaining, measure_explaining
from benchmarks.models.last_line import last_line
from benchmarks.models.micro_batch import MicroBatch, make_micro_batch
from benchmarks.models.scoring import Scoring, XGBoost, measure_scoring
from benchmarks.models.stages import Stages, measure_stages
from benchmarks.programs import Run, RunError
from benchmarks.summary import summarise
from benchmarks.testbed import PIPELINE, enriched_payments
from benchmarks.throughput import Measured
from features.compute.matrix import Enriched
from features.definition import FeatureSet, load_feature_set
from features.store.memory import MemoryStore
from models.backend import open_backend
from models.backend.protocol import Backend
from models.bundle import Bundle, load_bundle, write_bundle
from models.calibration import Calibration, logistic
from models.location import FolderLocation
from models.policy import Rules, load_policy
from models.reasons import Reasons
from models.training.fit import fit
from schemas.batch import EventBatch, Records
from tests.support.benchmark_results import MACHINE
from tests.support.bundles import booster_in

TREES = 5
EVENTS = 1_000


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "ROUNDS", 2)
    monkeypatch.setattr(timing, "_ROUND_S", 0.0)
    monkeypatch.setattr(scoring, "BATCHES", (1, 10))
    monkeypatch.setattr(explaining, "EXPLAINED", (1, 10))


@pytest.fixture(scope="module")
def feature_set() -> FeatureSet:
    return load_feature_set(PIPELINE / "features.yaml")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, feature_set: FeatureSet) -> Bundle:
    _, trained = enriched_payments(feature_set, MemoryStore(), 0, 5_000)
    amounts = trained.matrix[:, feature_set.names.index("AMOUNT")]
    booster = fit(trained.matrix, amounts > np.median(amounts), threads=1, rounds=TREES)
    folder = tmp_path_factory.mktemp("bundles") / "first"
    write_bundle(folder, booster, name="b", version="first", features=feature_set.features)
    return load_bundle(folder)


@pytest.fixture(scope="module")
def backend(bundle: Bundle) -> Backend:
    return open_backend(bundle, "cpu", 1)


@pytest.fixture(scope="module")
def payments(feature_set: FeatureSet) -> tuple[EventBatch, Enriched]:
    return enriched_payments(feature_set, MemoryStore(), 5_000, EVENTS)


@pytest.fixture(scope="module")
def rules(
    tmp_path_factory: pytest.TempPathFactory,
    feature_set: FeatureSet,
    backend: Backend,
    payments: tuple[EventBatch, Enriched],
) -> Rules:
    """That send the highest scores to review, and explain them."""
    scores = logistic(backend.margins(payments[1].matrix))
    middle = float(scores.min() + scores.max()) / 2
    path = policies.write_explaining(tmp_path_factory.mktemp("policy") / "p.yaml", middle)
    return Rules(load_policy(path), feature_set)


@pytest.fixture(scope="module")
def micro_batch(
    feature_set: FeatureSet,
    backend: Backend,
    rules: Rules,
    payments: tuple[EventBatch, Enriched],
) -> MicroBatch:
    return make_micro_batch(*payments, backend, rules, feature_set)


def test_programs_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "ROUNDS", 3)
    calls: list[str] = []
    found = timing.alternate({name: lambda name=name: calls.append(name) for name in "ab"})  # type: ignore[misc]
    assert calls[-6:] == ["a", "b"] * 3
    assert [len(seconds.rounds) for seconds in found.values()] == [3, 3]


def test_a_difference_is_of_the_same_round() -> None:
    slow, fast = timing.Seconds([1.0, 9.0, 2.0]), timing.Seconds([0.5, 8.0, 1.9])
    assert slow.beyond(fast) == 0.5
    assert slow.median == 2.0


def test_each_of_the_five_segments_takes_events(
    tmp_path: Path, feature_set: FeatureSet, micro_batch: MicroBatch
) -> None:
    rules = Rules(load_policy(policies.write_five(tmp_path / "five.yaml")), feature_set)
    matrix = micro_batch.enriched.matrix.copy()
    matrix[::5, feature_set.names.index("CARD_DAYS_ACTIVE")] = 400.0
    found = rules.decide(
        micro_batch.batch, matrix, micro_batch.scored.scores, micro_batch.enriched.flags
    )
    assert set(found.segments.tolist()) == set(range(5))


def test_margins_are_timed_beside_xgboost(
    bundle: Bundle, backend: Backend, micro_batch: MicroBatch
) -> None:
    by_hand = XGBoost(bundle, 1)
    found = measure_scoring(backend, TREES, micro_batch.scored.matrix, by_hand.methods)
    assert [(row.device, row.trees, row.batch) for row in found] == [
        ("cpu", TREES, 1),
        ("cpu", TREES, 10),
    ]
    assert all(row.worker > 0 and row.in_place and row.dmatrix for row in found)
    alone = measure_scoring(backend, TREES, micro_batch.scored.matrix, {})
    assert all(row.in_place is None for row in alone)
    with pytest.raises(RunError, match="odd gives other margins"):
        measure_scoring(
            backend,
            TREES,
            micro_batch.scored.matrix,
            {"odd": lambda rows: by_hand.in_place(rows) + 1},
        )


def test_reasons_are_timed_beside_xgboost(
    bundle: Bundle, backend: Backend, rules: Rules, feature_set: FeatureSet, micro_batch: MicroBatch
) -> None:
    theirs, coding = XGBoost(bundle, 1).contributions, policies.coding_of(rules, feature_set)
    found = measure_explaining(backend, TREES, coding, micro_batch, {"xgboost": theirs})
    assert [row.explained for row in found] == [1, 10]
    assert all(row.reasons > 0 and row.xgboost for row in found)
    with pytest.raises(RunError, match="other contributions"):
        measure_explaining(
            backend, TREES, coding, micro_batch, {"xgboost": lambda rows: theirs(rows) * 2}
        )


def test_the_other_stages_are_timed(
    tmp_path: Path, feature_set: FeatureSet, micro_batch: MicroBatch
) -> None:
    curve = Calibration([-3.0, 0.0], [0.1, 0.6])
    found = measure_stages(tmp_path, feature_set, micro_batch, curve)
    assert all(value > 0 for value in asdict(found).values())


def scores_of(
    micro_batch: MicroBatch, backend: Backend, rules: Rules, names: FeatureSet
) -> list[bytes]:
    reasons = Reasons(policies.coding_of(rules, names), backend)
    rows = np.flatnonzero(micro_batch.decided.codes)
    return micro_batch.encoded(
        reasons.explain(micro_batch.scored.matrix, micro_batch.scored.margins, rows)
    )


def records_of_values(values: Sequence[bytes]) -> Records:
    zeros = np.zeros(len(values), np.int64)
    return Records("out", values, values, zeros.astype(np.int32), zeros, zeros)


def test_scores_have_reasons_just_where_they_are_meant_to(
    monkeypatch: pytest.MonkeyPatch,
    backend: Backend,
    rules: Rules,
    feature_set: FeatureSet,
    micro_batch: MicroBatch,
) -> None:
    values = scores_of(micro_batch, backend, rules, feature_set)
    share = float(np.count_nonzero(micro_batch.decided.codes)) / EVENTS
    assert 0 < share < 1
    written = list(values)

    def read(_bootstrap: str, _topic: str) -> Iterator[Records]:
        yield from map(records_of_values, (written[:7], written[7:]))

    monkeypatch.setattr(explained, "read_to_end", read)
    monkeypatch.setattr(explained, "EXPLAINED_SHARE", share)
    monkeypatch.setattr(explained, "_EVERY", 1)
    testbed: Any = SimpleNamespace(kafka=SimpleNamespace(bootstrap=""))
    reasoned = explained.Reasoned(reasons=True)
    reasoned.check(testbed, Run("r"), EVENTS)
    assert reasoned.share == share
    with pytest.raises(RunError, match="999 events were committed, 1000 records read"):
        reasoned.check(testbed, Run("r"), EVENTS - 1)
    with pytest.raises(RunError, match="wrong reasons"):
        explained.Reasoned(reasons=False).check(testbed, Run("r"), EVENTS)
    written[:] = micro_batch.encoded()
    explained.Reasoned(reasons=False).check(testbed, Run("r"), EVENTS)
    with pytest.raises(RunError, match="wrong reasons"):
        reasoned.check(testbed, Run("r"), EVENTS)
    monkeypatch.setattr(explained, "EXPLAINED_SHARE", 2 * share)
    with pytest.raises(RunError, match="for review"):
        explained.Reasoned(reasons=False).check(testbed, Run("r"), EVENTS)


def test_a_sample_goes_on_where_the_last_chunk_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    sizes = [1, 30, 31, 5, 95]
    starts = [0, *itertools.accumulate(sizes)]

    def read(_bootstrap: str, _topic: str) -> Iterator[Records]:
        for start, size in zip(starts, sizes, strict=False):
            yield records_of_values([i.to_bytes(2, "big") for i in range(start, start + size)])

    def decode(_self: object, value: bytes) -> dict[str, Any]:
        looked.append(int.from_bytes(value, "big"))
        return {"decision": "review", "reasons": []}

    monkeypatch.setattr(explained, "read_to_end", read)
    monkeypatch.setattr(explained, "EXPLAINED_SHARE", 1.0)
    monkeypatch.setattr(explained.Reasoned, "_decode", decode)
    testbed: Any = SimpleNamespace(kafka=SimpleNamespace(bootstrap=""))
    explained.Reasoned(reasons=False).check(testbed, Run("r"), sum(sizes))
    assert looked == list(range(0, sum(sizes), 31))


def test_the_champion_changes_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: Bundle
) -> None:
    seen: list[str] = []
    changed = threading.Event()

    class Watched(FolderLocation):
        def promote(self, name: str) -> str | None:
            before = super().promote(name)
            seen.append(name)
            if len(seen) >= 3:
                changed.set()
            return before

    write_bundle(
        tmp_path / "second",
        booster_in(bundle),
        name="b",
        version="second",
        features=bundle.features,
    )
    location = swaps._location(tmp_path / "at", (bundle, load_bundle(tmp_path / "second")))
    location.promote("first")
    monkeypatch.setattr(swaps, "EVERY_S", 0.001)
    with swaps._promoting(Watched(location.folder), itertools.cycle(["second", "first"])):
        assert changed.wait(30), seen
    assert seen[:3] == ["second", "first", "second"]
    assert location.champions().champion == seen[-1]


@pytest.mark.parametrize(("taken", "refused"), [(0, 0), (3, 1)])
def test_swaps_that_do_not_happen_are_no_result(taken: int, refused: int) -> None:
    numbers = {swaps._TAKEN: taken, swaps._REFUSED: refused}
    worker: Any = SimpleNamespace(metrics=lambda: numbers, error=RunError)
    with pytest.raises(RunError, match=f"loaded {taken} models and refused {refused}"):
        swaps._taken(worker)


def test_taken_swaps_are_counted() -> None:
    worker: Any = SimpleNamespace(metrics=lambda: {swaps._TAKEN: 3.0})
    assert swaps._taken(worker) == 3


def latency(p99: float) -> Latency:
    return Latency(p99 / 4, p99, None, 2 * p99, 9, 0, 1000.0, kept_up=True)


def result(devices: tuple[str, ...] = ("cpu",)) -> dict[str, Any]:
    rows = list(itertools.product(devices, (100, 500)))
    scored = [
        Scoring(device, trees, batch, 2.0, *((1.9, 2.2) if device == "cpu" else ()))
        for device, trees in rows
        for batch in (1, 10, 100, 1_000, 4_000, 16_000)
    ]
    reasons = [
        Explaining(device, trees, count, 20.0, 25.0, 5.0, 400.0 if device == "cpu" else None)
        for device, trees in rows
        for count in (1, 4, 40, 400)
    ]
    run = Measured(1000, 1.0, 0.01, 2**20, {"decode": 0.001}, 2000, 0.0)
    swapping = swaps.Swapping([latency(20.0), latency(40.0)], [latency(45.0)] * 2, 6)
    found = {
        "suite": "models",
        "date": "2026-11-25",
        "machine": MACHINE,
        "gpu": "H" if "cuda" in devices else None,
        "no_gpu": None if "cuda" in devices else "no GPU on this machine that XGBoost can use (x)",
        "setting": {
            "partitions": 4,
            "features": 32,
            "trees": 100,
            "xgboost_threads": 2,
            "batch_events": 4000,
            "rounds": 1,
            "rounds_alone": 7,
            "rounds_latency": 2,
            "swap_every_s": 10.0,
        },
        "scoring": [asdict(row) for row in scored],
        "explaining": [asdict(row) for row in reasons],
        "stations": asdict(Stages(0.01, 0.02, 0.03, 0.04, 0.5)),
        "programs": summarise({"worker": [run], explained.BASE: [run]}, explained.BASE),
        "explained_share": 0.0101,
        "latency": swapping.figures(),
    }
    return {**found, "last_line": last_line(found)}


def test_the_last_line_says_what_was_asked_for() -> None:
    line = result()["last_line"]
    assert json.loads(json.dumps(line)) == line
    assert line["us_per_event"]["margins_500_trees"] == 2.0
    assert line["us_per_explained_event"] == {"reasons_100_trees": 30.0, "reasons_500_trees": 30.0}
    assert line["times_as_fast"]["100_trees"] == {
        "dmatrix": 1.1,
        "one_at_a_time": 0.95,
        "reasons": 20.0,
    }
    assert (line["with_reasons_of_without"], line["explained_share"]) == (1.0, 0.0101)
    assert line["latency_ms"]["alone"] == {"p50": 7.5, "p99": 30.0}
    assert (line["p99_swapped_of_alone"], line["swaps"]) == (1.5, 6)
    assert line["gpu"].startswith("no GPU on this machine")


def test_a_gpu_is_reported_beside_the_cpu() -> None:
    found = result(("cpu", "cuda"))
    assert found["last_line"]["gpu"] == {
        "scoring": {"100": 500_000, "500": 500_000},
        "explaining": {"100": 50_000, "500": 50_000},
    }
    page = "\n".join(report.models(found, "r.json"))
    assert "| cuda | 500 | 16,000 | 2.00 | 500,000 |  |  |" in page
    assert "`cuda` is one H" in page
    assert "no GPU" not in page


def test_a_result_is_shown_and_written_down(capsys: pytest.CaptureFixture[str]) -> None:
    table.show(result())
    shown = capsys.readouterr().err
    page = "\n".join(report.models(result(), "2026-11-25-models.json"))
    assert "2026-11-25-models.svg" in page
    for text in ("no GPU on this machine", "16,000", "1.50", "500,000", "400.0", "0.040"):
        assert text in shown
        assert text in page


def test_the_same_figures_draw_the_same_chart(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        chart.draw(result(("cpu", "cuda")), tmp_path / name)
    drawn = (tmp_path / "a.svg").read_bytes()
    assert drawn == (tmp_path / "b.svg").read_bytes()
    assert len(drawn) > 5000
