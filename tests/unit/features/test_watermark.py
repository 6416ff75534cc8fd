"""Event times that are wrong: what one event of the future does to the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from base.errors import ConfigurationError
from features.compute.enrich import enrich
from features.definition import FeatureSet
from features.history.watermarks import UNKNOWN, LogState, advance
from features.inspect.explanation import Explainer
from features.store.memory import MemoryStore
from features.tables import EventTableReader, build
from features.tables.history_run import SweptStore
from schemas.batch import EventBatch, Kind
from tests.support import making
from tests.support.making import EVENTS, T0, feature_set

HOUR = 3_600_000_000
DAY = 24 * HOUR
IN_2042 = 2_277_244_800_000_000
HEAD = EVENTS.replace("  time: at\n", "  time: at\n  partition_key: card\n")
COUNT = "entities: {card: card}\nfeatures:\n  - {name: N, window: count, by: card, over: 1d}\n"
# Of card a: two of one day, one a month later, one of an hour behind it. Of card b: 2042.
TIMES = [T0, T0 + HOUR, IN_2042, T0 + 2 * HOUR, T0 + 30 * DAY, T0 + 30 * DAY + HOUR]
CARDS = ["a", "a", "b", "a", "a", "a"]


def history(**rules: Any) -> str:
    return f"{HEAD}history: {json.dumps(rules)}\n{COUNT}"


def batch(made: FeatureSet, times: list[int], cards: list[str], **given: Any) -> EventBatch:
    size = len(times)
    first = given.get("first", 0)
    found = making.events(
        made,
        size,
        id=making.strings([f"e{first + row}" for row in range(size)]),
        at=making.longs(times, Kind.TIME),
        card=making.strings(cards),
    )
    found.records.offsets[:] += first
    found.records.timestamps[:] = given.get("recorded", -1)
    return found


def file(folder: Path, times: list[int], cards: list[str], **more: list[Any]) -> Path:
    """JSON lines of all that the schema has no default for."""
    path = folder / "events.jsonl"
    rest = {
        "seconds": 0,
        "shop": 1,
        "amount": 1.0,
        "cents": 1,
        "price": "1",
        "z": 1.0,
        "merchant": {"code": "1", "risk": 0.1},
    }
    with path.open("w") as out:
        for number, (time, card) in enumerate(zip(times, cards, strict=True)):
            event = {"id": f"e{number}", "at": time, "card": card, **rest}
            event |= {name: values[number] for name, values in more.items()}
            out.write(json.dumps(event) + "\n")
    return path


def flags(made: FeatureSet, masks: Any) -> list[list[str]]:
    """The flags of each event but those of short histories: the log of each test begins with it."""
    return [without_short(made.flags.decode(mask)) for mask in masks.tolist()]


def without_short(names: list[str]) -> list[str]:
    return [name for name in names if not name.startswith("history_short:")]


# the watermark


def test_the_watermark_is_the_lowest_of_the_highest_times() -> None:
    rng = np.random.default_rng(5)
    for _ in range(300):
        support = int(rng.integers(1, 5))
        known = sorted(rng.integers(0, 30, rng.integers(0, support + 1)).tolist(), reverse=True)
        times = rng.integers(0, 30, rng.integers(1, 12))
        times[rng.random(len(times)) < 0.2] = UNKNOWN
        before, behind, kept = advance(times, known, support)
        seen = list(known)
        for row, time in enumerate(times.tolist()):
            expected = sorted(seen)[-support] if len(seen) >= support else UNKNOWN
            assert before[row] == expected
            seen += [time] if time != UNKNOWN else []
            expected = sorted(seen)[-support] if len(seen) >= support else UNKNOWN
            assert behind[row] == expected
        assert list(kept) == sorted(seen, reverse=True)[:support]


def test_watermarks_are_of_partitions_that_have_had_enough_events() -> None:
    log = LogState({0: (9, 7, 3), 1: (5, 4), 2: (8, 8, 8, 1)})
    assert log.watermarks(3) == {0: 3, 2: 8}
    assert log.watermarks(1) == {0: 9, 1: 5, 2: 8}


# events of the far future


def test_one_event_of_the_future_leaves_the_windows_of_the_others_as_they_are(
    tmp_path: Path,
) -> None:
    made = feature_set(tmp_path, HEAD + COUNT)
    path = file(tmp_path, TIMES, CARDS)
    result = build(made, EventTableReader(made, [path], chunk_rows=2), tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    assert table["N"].to_pylist() == [1, 2, 1, 3, 1, 2]
    assert dict(result.flagged).get("late", 0) == 0
    enriched = enrich(made, batch(made, TIMES, CARDS), MemoryStore())
    assert enriched.matrix[:, 0].tolist() == [1, 2, 1, 3, 1, 2]
    explainer = Explainer(made)
    for event, value in (("e3", 3), ("e4", 1), ("e5", 2)):
        explained = explainer.explain(
            "N", event, EventTableReader(made, [path], chunk_rows=2), None
        )
        assert explained.feature.value == value


def test_two_leave_them_and_a_third_of_the_same_time_moves_the_watermark(tmp_path: Path) -> None:
    made = feature_set(tmp_path, HEAD + COUNT)
    times = [T0, T0 + 1, T0 + 2, IN_2042, IN_2042 + 1, T0 + 3, IN_2042 + 2, T0 + 4]
    enriched = enrich(made, batch(made, times, ["a"] * 8), MemoryStore())
    ahead, late = ["ahead"], ["late"]
    assert flags(made, enriched.flags) == [[], [], [], ahead, ahead, [], ahead, late]
    assert enriched.matrix[:6, 0].tolist() == [1, 2, 3, 1, 2, 4]


def test_ahead_is_more_than_a_day_above_the_watermark(tmp_path: Path) -> None:
    made = feature_set(tmp_path, history(watermark_support=1))
    times = [T0, T0 + DAY, T0 + 2 * DAY + 1]
    enriched = enrich(made, batch(made, times, ["a"] * 3), MemoryStore())
    assert flags(made, enriched.flags) == [[], [], ["ahead"]]


def test_a_wild_event_joins_its_own_history(tmp_path: Path) -> None:
    made = feature_set(tmp_path, HEAD + COUNT)
    times, cards = [T0, T0 + 1, T0 + 2, IN_2042, T0 + 3, IN_2042 + 1], [*"aaabab"]
    store = MemoryStore()
    first = enrich(made, batch(made, times[:4], cards[:4]), store)
    store.append(first.writes.appends)
    second = enrich(made, batch(made, times[4:], cards[4:], first=4), store, first.after)
    assert second.matrix[:, 0].tolist() == [4, 2]


# events that are ahead of their records


def test_however_many_are_early_for_their_records_they_move_no_watermark(tmp_path: Path) -> None:
    made = feature_set(tmp_path, history(max_ahead="1h"))
    times = [T0, T0 + 1, T0 + 2, *[T0 + 2 * DAY] * 9, T0 + 3]
    events = batch(made, times, ["a"] * 13, recorded=T0 // 1000)
    enriched = enrich(made, events, MemoryStore())
    assert flags(made, enriched.flags) == [[]] * 3 + [["ahead"]] * 9 + [[]]
    assert enriched.matrix[-1, 0] == 4
    without = enrich(made, batch(made, times, ["a"] * 13), MemoryStore())
    assert flags(made, without.flags)[-1] == ["late"]


@pytest.mark.parametrize("recorded", [-1, 0, 2**63 - 1])
def test_a_record_without_a_usable_timestamp_is_not_judged(recorded: int, tmp_path: Path) -> None:
    made = feature_set(tmp_path, history(max_ahead="1s"))
    enriched = enrich(made, batch(made, [T0], ["a"], recorded=recorded), MemoryStore())
    assert flags(made, enriched.flags) == [[]]


def test_max_ahead_is_of_microseconds(tmp_path: Path) -> None:
    made = feature_set(tmp_path, history(max_ahead="1s"))
    for more, ahead in ((1_000_000, False), (1_000_001, True)):
        events = batch(made, [T0 + more], ["a"], recorded=T0 // 1000)
        found = flags(made, enrich(made, events, MemoryStore()).flags)
        assert found == [["ahead"] if ahead else []]


def test_a_file_may_have_a_column_of_the_records_times(tmp_path: Path) -> None:
    made = feature_set(tmp_path, history(max_ahead="1h"))
    recorded = [T0 // 1000, "2018-08-01T00:00:00Z", None, 0, -1]
    path = file(tmp_path, [T0 + DAY] * 5, ["a"] * 5, kafka_time=recorded)
    source = EventTableReader(made, [path], record_time="kafka_time")
    assert build(made, source, tmp_path / "out.parquet").without_timestamp == 3
    table = pq.read_table(tmp_path / "out.parquet")
    found = [without_short(names) for names in table["flags"].to_pylist()]
    assert found == [["ahead"], ["ahead"], [], [], []]
    source = EventTableReader(made, [path], record_time="kafka_tim")
    with pytest.raises(ConfigurationError, match=r"--record-time: .* no column 'kafka_tim'"):
        build(made, source, tmp_path / "out.parquet")


@pytest.mark.parametrize("value", ["01.03.2024 10:00", "no time", 5, 1e30, True, "5"])
@pytest.mark.parametrize("others", [T0 // 1000, "2018-08-01T00:00:00Z", None, 0])
def test_a_value_of_that_column_that_is_no_time_is_named(
    value: Any, others: Any, tmp_path: Path
) -> None:
    made = feature_set(tmp_path, history(max_ahead="1h"))
    recorded = [others] * 4
    recorded[2] = value
    path = file(tmp_path, [T0] * 4, ["a"] * 4, kafka_time=recorded)
    source = EventTableReader(made, [path], chunk_rows=2, record_time="kafka_time")
    named = r"events.jsonl, row 2: .* in column 'kafka_time' is not a time"
    with pytest.raises(ConfigurationError, match=named):
        build(made, source, tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize("arrival", [True, False])
def test_events_that_arrive_later_than_the_delay_join_no_shared_history(
    tmp_path: Path, *, arrival: bool
) -> None:
    text = COUNT.replace("over: 1d", "over: 1d, delay: 1h, across: aligned")
    rules = {"arrival": "record_timestamp"} if arrival else {"cap": 100}
    made = feature_set(tmp_path, f"{EVENTS}history: {json.dumps(rules)}\n{text}")
    # To the millisecond; a record without a timestamp is not judged.
    recorded = [(T0 + HOUR) // 1000, (T0 + HOUR) // 1000 + 1, None, 0, (T0 + 4 * HOUR) // 1000]
    path = file(tmp_path, [T0] * 4 + [T0 + 2 * HOUR], ["a"] * 5, kafka_time=recorded)
    source = EventTableReader(made, [path], record_time="kafka_time")
    built = build(made, source, tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    found = [without_short(names) for names in table["flags"].to_pylist()]
    across_late = ["across_late"] if arrival else []
    assert found == [[], across_late, [], [], across_late]
    assert table["N"].to_pylist() == [0, 0, 0, 0, 3 if arrival else 4]
    assert built.without_timestamp == (2 if arrival else 0)


# flags


def test_a_feature_set_has_64_flags(tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text(
        "".join(
            f"def f{i}(x):\n    if (x == {i}.0625).any():\n        raise ValueError\n    return x\n"
            for i in range(59)
        )
    )
    hooks = "".join(f"  - {{name: P{i}, python: './f.py:f{i}', args: [x]}}\n" for i in range(59))
    made = feature_set(tmp_path, HEAD + COUNT + hooks)
    assert len(made.flags.names) == 64
    events = making.events(made, 3, x=making.doubles([58.0625, 7.0625, 77.0]))
    enriched = enrich(made, events, MemoryStore())
    found = flags(made, enriched.flags)
    assert [one[:1] for one in found] == [["python_failed:P58"], ["python_failed:P7"], []]
    assert made.flags.count(enriched.flags)["python_failed:P58"] == 1


def test_a_table_has_the_flags_of_each_row_and_says_how_many_there_are(tmp_path: Path) -> None:
    made = feature_set(tmp_path, HEAD + COUNT)
    path = file(tmp_path, [*[T0 + DAY] * 3, T0, IN_2042], ["a"] * 5)
    result = build(made, EventTableReader(made, [path], chunk_rows=2), tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    found = [without_short(names) for names in table["flags"].to_pylist()]
    assert found == [[], [], [], ["late"], ["ahead"]]
    told = pq.read_metadata(tmp_path / "out.parquet").metadata[b"fraud_worker_flagged"]
    assert json.loads(told) == dict(result.flagged)
    assert (result.flagged["late"], result.flagged["ahead"]) == (1, 1)


# memory of a build


def test_members_of_a_wild_event_stay_and_others_are_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("features.tables.history_run._MIN_KEYS_TO_SWEEP", 10)
    stores: list[SweptStore] = []

    def make() -> SweptStore:
        stores.append(SweptStore())
        stores[-1]._due = 10
        return stores[-1]

    monkeypatch.setattr("features.tables.history_run.SweptStore", make)
    made = feature_set(tmp_path, HEAD + COUNT)
    days = 400
    times = [T0 + day * DAY for day in range(days)]
    cards = [f"c{day}" for day in range(days)]
    times[5], times[-1] = IN_2042, IN_2042 + 1
    cards[5] = cards[-1] = "wild"
    build(
        made,
        EventTableReader(made, [file(tmp_path, times, cards)], chunk_rows=20),
        tmp_path / "out",
    )
    assert len(stores[0]._slots) < 100
    assert pq.read_table(tmp_path / "out")["N"].to_pylist() == [1] * (days - 1) + [2]
