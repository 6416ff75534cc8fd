"""The pure parts of the suite ``features``."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.features import building, chart, lengths, memory, report, source, states, table
from benchmarks.features.suite import last_line
from benchmarks.features.testbed import PIPELINE
from benchmarks.programs import RunError
from benchmarks.rivals import sorted_sets
from benchmarks.summary import summarise
from benchmarks.throughput import Measured
from features.compute.enrich import enrich
from features.definition import FeatureSet, load_feature_set
from features.history.watermarks import LogState
from features.store.memory import MemoryStore
from tests.support.benchmark_results import MACHINE

START = datetime(2018, 4, 1)  # noqa: DTZ001 - as the Handbook's file has them


@pytest.fixture(scope="module")
def handbook() -> FeatureSet:
    return load_feature_set(PIPELINE / "features.yaml")


def payments(customers: list[int], days: list[float]) -> pa.Table:
    moments = [START + timedelta(days=at) for at in days]
    columns = (
        list(range(len(days))),
        pa.array(moments, pa.timestamp("ms")),
        customers,
        [1] * len(days),
        [1.0] * len(days),
        [0] * len(days),
    )
    return pa.table(dict(zip(source.COLUMNS, columns, strict=True)))


def test_fewer_events_are_fewer_customers_with_all_their_events() -> None:
    everything = payments([0, 1, 2, 0, 1, 2, 0], list(range(7)))
    some = source.share(everything, 5)
    assert some["CUSTOMER_ID"].to_pylist() == [0, 1, 0, 1, 0]
    assert source.share(everything, 100).num_rows == 7


def test_the_history_ends_before_its_last_day_is_over() -> None:
    assert source.days_end(payments([0] * 4, [0.5, 38.4, 38.5, 38.6]), 38) == 2


def test_a_key_keeps_what_is_younger_than_its_last_event_by_less_than_the_span() -> None:
    keys = np.array([7, 3, 7, 7, 3])
    times = np.array([0, 5, 1, 10, 6])
    assert states.by_key(keys, times, 10) == [(3, [1, 4]), (7, [2, 3])]
    assert states.by_key(keys, times, None) == [(3, [1, 4]), (7, [0, 2, 3])]
    assert states.by_key(keys[:0], times[:0], None) == []


def test_keys_of_a_store_have_kinds() -> None:
    assert memory.kind_of(b"fw:handbook:group-1:history:customer:0f3a:17") == "history:customer"
    assert memory.kind_of(sorted_sets.customer_key("17").encode()) == "c"


def kept() -> dict[str, memory.State]:
    worker = {
        "history:customer": memory.KeyUsage(keys=2, bytes=1000, payload=360, members=0),
        "history:terminal": memory.KeyUsage(keys=4, bytes=400, payload=280, members=0),
    }
    rival = {"c": memory.KeyUsage(2, 3000, 0, 12), "t": memory.KeyUsage(4, 800, 0, 8)}
    return {"worker": memory.State(1500, worker), "sorted_sets": memory.State(4000, rival)}


def test_what_a_million_cards_need_is_what_these_need_times_as_many() -> None:
    sizes = {"history:customer": 36, "history:terminal": 28}
    found = memory.report(kept(), sizes)
    customers = found["states"]["worker"]["kinds"]["history:customer"]
    assert (customers["members"], customers["bytes_per_member"]) == (10, 100.0)
    million = found["million_cards"]["worker"]
    assert million["gib"] * 2**30 == pytest.approx(1e6 * 500 + 2e6 * 100)
    assert million["events_per_card"] == 5
    assert found["million_cards"]["sorted_sets"]["gib"] > million["gib"]


def test_the_size_of_a_member_is_that_of_the_feature_set(handbook: FeatureSet) -> None:
    sizes = memory.member_bytes(handbook)
    # The customer's members keep an amount, the terminal's nothing beside position, time and id.
    assert sizes["history:customer"] == sizes["history:terminal"] + 8


def built(folder: Path, name: str, risk: list[float]) -> Path:
    path = folder / name
    pq.write_table(pa.table({"A_1DAY_WINDOW": risk, "OTHER": risk}), path)
    return path


def test_tables_may_differ_in_a_row_of_ten_thousand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = np.linspace(1, 2, 10_000)
    ours = built(tmp_path, "ours", values.tolist())
    values *= 1 + 5e-7
    assert building.compare(ours, built(tmp_path, "close", values.tolist())) == (1, 0)
    values[3] *= 1.1
    assert building.compare(ours, built(tmp_path, "one", values.tolist())) == (1, 1)
    values[4] *= 1.1
    with pytest.raises(RunError, match="2 of 10000"):
        building.compare(ours, built(tmp_path, "two", values.tolist()))
    assert "columns compared" in capsys.readouterr().err


def found_building() -> building.Building:
    runs = [building.Timed(s, s - 1.0, 8.0, 2**30) for s in (9.0, 5.0, 6.0)]
    pandas = building.Timed(120.0, 100.0, 120.0, 2**20)
    return building.Building(5_000_000, runs, pandas, 14, 3)


def test_a_build_is_compared_whole_and_inside() -> None:
    figures = found_building().figures()
    assert figures["build"]["seconds"] == 6.0
    assert figures["build"]["events_per_s_inside"] == 1_000_000
    assert (figures["ratio"], figures["ratio_inside"]) == (20.0, 20.0)


def test_made_up_histories_have_their_length_and_give_both_the_same_events(
    handbook: FeatureSet,
) -> None:
    length, store, log = 5, MemoryStore(), LogState()
    batch = lengths.batch_of(handbook, 0, range(length), length)
    enriched = enrich(handbook, batch, store, log)
    store.append(enriched.writes.appends)
    size = memory.member_bytes(handbook)["history:customer"]
    histories = [data for key, data in enriched.writes.appends if b":customer:" in key]
    assert {len(data) for data in histories} == {length * size}
    assert len(histories) == lengths.KEYS
    last = lengths.batch_of(handbook, length * lengths.KEYS, range(length, length + 1), length)
    matrix = enrich(handbook, last, store, enriched.after).matrix
    assert set(matrix[:, handbook.names.index("CUSTOMER_ID_NB_TX_30DAY_WINDOW")]) == {length + 1}
    some = lengths.events(length)
    assert [one["transaction_id"] for one in some] == last.event_id.to_pylist()
    assert [one["tx_time"] * 1000 for one in some] == last.event_time.tolist()
    assert [round(one["amount"] * 100) for one in some] == np.array(last.amount_minor).tolist()
    assert [one["customer_id"] for one in some] == last.entity_keys["customer"].to_pylist()


def result() -> dict[str, Any]:
    run = Measured(1000, 1.0, 0.01, 2**20, {"decode": 0.001}, 2000, 0.0)
    names = ("worker", "sorted_sets", "sorted_sets_batched")
    costs = [lengths.Cost(length, 1.0, 2.0, 3.0, 60.0, 30.0) for length in lengths.LENGTHS]
    programs = summarise({name: [run] for name in names}, "sorted_sets")
    found = memory.report(kept(), {"history:customer": 36, "history:terminal": 28})
    built_of = found_building().figures()
    return {
        "suite": "features",
        "date": "2026-11-24",
        "machine": MACHINE,
        "setting": {
            "source": "simulated",
            "history_days": 38,
            "history_events": 1000,
            "partitions": 1,
            "features": 15,
            "windows": 12,
            "trees": 100,
            "xgboost_threads": 2,
            "batch_events": 4000,
            "rounds": 1,
            "length_batch_events": lengths.KEYS,
        },
        "programs": programs,
        "lengths": [{**asdict(cost), "worker": cost.worker} for cost in costs],
        "building": built_of,
        "memory": found,
        "last_line": last_line(programs, costs, built_of, found),
    }


def test_the_last_line_says_what_was_asked_for() -> None:
    assert result()["last_line"] == {
        "worker": 1000,
        "sorted_sets": 1000,
        "sorted_sets_batched": 1000,
        "ratio": 1.0,
        "us_by_history_length": {"10": 6.0, "100": 6.0, "1000": 6.0, "10000": 6.0},
        "build": {"events_per_s": 833_333, "events_per_s_inside": 1_000_000, "ratio": 20.0},
        "bytes_per_event_kept": {"customer": 100.0, "terminal": 40.0},
        "million_cards_gib": 0.65,
    }


def test_a_result_is_shown_and_written_down(capsys: pytest.CaptureFixture[str]) -> None:
    table.show(result(), "sorted_sets")
    shown = capsys.readouterr().err
    page = "\n".join(report.features(result(), "2026-11-24-features.json"))
    assert "2026-11-24-features.svg" in page
    for text in ("833,333", "10,000", "0.65 GiB"):
        assert text in shown
        assert text in page


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_the_same_figures_draw_the_same_chart(tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        chart.draw_lengths(result()["lengths"], tmp_path / f"{name}{suffix}", "caption")
    drawn = (tmp_path / f"a{suffix}").read_bytes()
    assert drawn == (tmp_path / f"b{suffix}").read_bytes()
    assert len(drawn) > 5000
