"""Files that are put in the order of time: the table of the same rows, sorted before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from base.errors import ConfigurationError
from features.tables import EventTableReader, Partitioning, SortedEvents, build
from features.tables import sort as sorting
from tests.support.event_files import Row, lines, row
from tests.support.transactions import handbook, transactions, write

ROWS = 500


def shuffled(seed: int) -> tuple[pa.Table, pa.Table]:
    """Rows of which some have one time, in the order of cards, and in that of time."""
    raw = transactions(ROWS, seed)
    times = raw["TX_DATETIME"].to_pylist()
    for place in range(0, ROWS - 1, 7):
        times[place + 1] = times[place]
    kind = raw.schema.field("TX_DATETIME").type
    raw = raw.set_column(
        raw.schema.get_field_index("TX_DATETIME"), "TX_DATETIME", pa.array(times, kind)
    )
    by_card = raw.take(pa.array(np.argsort(raw["CUSTOMER_ID"].to_numpy(), kind="stable")))
    order = np.argsort(by_card["TX_DATETIME"].to_numpy(), kind="stable")
    return by_card, by_card.take(pa.array(order))


@pytest.mark.parametrize("chunk_rows", [16, 90, 10_000])
@pytest.mark.parametrize("partitions", [1, 3])
def test_a_sorted_build_is_that_of_the_sorted_file(
    chunk_rows: int, partitions: int, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sorting, "_MIN_BLOCK_ROWS", 3)
    made = handbook()
    by_card, by_time = shuffled(seed)
    half = ROWS // 2
    files = [
        write(tmp_path / "a.parquet", by_card.slice(0, half)),
        write(tmp_path / "b.parquet", by_card.slice(half)),
    ]
    by = Partitioning.by(made, "TERMINAL_ID", partitions) if partitions > 1 else None
    source = SortedEvents(EventTableReader(made, files, by, chunk_rows), chunk_rows)
    assert source.count() == ROWS
    done: list[int] = []
    build(
        made,
        source,
        tmp_path / "sorted.parquet",
        partitions=partitions,
        advance=lambda rows, _: done.append(rows),
    )
    assert done[-1] == ROWS
    whole = write(tmp_path / "whole.parquet", by_time)
    build(
        made,
        EventTableReader(made, [whole], by, 64),
        tmp_path / "out.parquet",
        partitions=partitions,
    )
    assert pq.read_table(tmp_path / "sorted.parquet") == pq.read_table(tmp_path / "out.parquet")
    offsets = [events.batch.records.offsets for events in source if len(events.batch)]
    if by is None:
        assert np.concatenate(offsets).tolist() == list(range(ROWS))


def test_rows_that_are_no_events_are_told_and_the_others_sorted(tmp_path: Path) -> None:
    rows: list[Row | str] = [row(5), "{broken", row(3), row(9, transaction_id=""), row(4), row(1)]
    path = lines(tmp_path / "events.jsonl", rows)
    source = SortedEvents(EventTableReader(handbook(), [path], chunk_rows=2), 2)
    parts = list(source)
    assert [name for part in parts for name in part.batch.event_id.to_pylist()] == [
        "t-1",
        "t-3",
        "t-4",
        "t-5",
    ]
    assert [refusal.where for part in parts for refusal in part.refused] == [
        f"{path}, row 1",
        f"{path}, row 3",
    ]
    assert sum(part.rows for part in parts) == 6


def test_times_of_the_records_are_sorted_with_them(tmp_path: Path) -> None:
    rows = [row(i, kafka_ms=1_522_540_800_000 + i) for i in (3, 1, 2)]
    path = lines(tmp_path / "events.jsonl", rows)
    source = SortedEvents(EventTableReader(handbook(), [path], record_time="kafka_ms"))
    (events,) = source
    assert (events.batch.records.timestamps - 1_522_540_800_000).tolist() == [1, 2, 3]


def test_a_column_of_two_types_is_refused_as_it_is_unsorted(tmp_path: Path) -> None:
    first = transactions(9, 1)
    other = first.set_column(
        first.schema.get_field_index("CUSTOMER_ID"), "CUSTOMER_ID", pa.array(["x"] * 9)
    )
    files = [write(tmp_path / "a.parquet", first), write(tmp_path / "b.parquet", other)]
    with pytest.raises(ConfigurationError, match="column CUSTOMER_ID is int"):
        list(SortedEvents(EventTableReader(handbook(), files)))
