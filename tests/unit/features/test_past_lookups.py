"""Past values of lookups: a table has what an online store would have said at each event."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from base.errors import ConfigurationError
from features.compute.enrich import enrich
from features.definition import FeatureSet
from features.loading import PastLookup
from features.loading.lookup_files import ROWS_AT_A_TIME, load_lookup
from features.loading.past_lookups import read_past_lookup
from features.store.memory import MemoryStore
from features.tables import EventTableReader, build
from features.tables.training_table import METADATA
from schemas.batch import Kind
from tests.support.making import EVENTS, T0, events, feature_set, longs, strings

DAY = 86_400_000_000
TEXT = f"""{EVENTS}  aliases: {{card: CARD_NO}}
entities: {{customer: card, shop: shop}}
lookups:
  profile: {{by: customer, values: {{mean: , count: {{default: -3.5}}}}, max_age: 2d}}
  place: {{by: shop, values: {{risk: {{default: 0.25}}}}}}
  spare: {{by: shop, values: {{v: }}}}
features:
  - {{name: MEAN, lookup: profile.mean}}
  - {{name: COUNT, lookup: profile.count}}
  - {{name: RISK, lookup: place.risk}}
  - {{name: RATIO, expr: MEAN / (COUNT + RISK)}}
"""


class Row(NamedTuple):
    """A past value, or an event if it has no values."""

    card: str
    shop: int
    at: int
    values: tuple[float | None, ...] = ()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> FeatureSet:
    return feature_set(tmp_path_factory.mktemp("set"), TEXT)


def times(rows: Sequence[Row]) -> pa.Array:
    return pa.array([row.at for row in rows], pa.timestamp("us", "UTC"))


def write_profile(path: Path, rows: Sequence[Row]) -> Path:
    means, counts = ([row.values[place] for row in rows] for place in (0, 1))
    numbers = {"mean": pa.array(means, pa.float64()), "count": pa.array(counts, pa.float64())}
    keys = pa.array([row.card for row in rows], pa.string())
    pq.write_table(pa.table({"card": keys, **numbers, "updated_at": times(rows)}), path)
    return path


def write_place(path: Path, rows: Sequence[Row]) -> Path:
    risks = pa.array([row.values[0] for row in rows], pa.float64())
    keys = pa.array([row.shop for row in rows], pa.int64())
    pq.write_table(pa.table({"shop": keys, "risk": risks, "updated_at": times(rows)}), path)
    return path


def write_events(path: Path, rows: Sequence[Row]) -> Path:
    columns = {
        "id": [f"e{row}" for row in range(len(rows))],
        "at": times(rows),
        "CARD_NO": [row.card for row in rows],
        "shop": [row.shop for row in rows],
    }
    pq.write_table(pa.table(columns), path)
    return path


WRITERS = {"profile": write_profile, "place": write_place}


def read(
    made: FeatureSet, folder: Path, past: Mapping[str, Sequence[Row]]
) -> dict[str, PastLookup]:
    return {
        name: read_past_lookup(made, name, WRITERS[name](folder / f"{name}.parquet", rows))
        for name, rows in past.items()
    }


def built(
    made: FeatureSet, folder: Path, rows: Sequence[Row], past: Mapping[str, PastLookup]
) -> pa.Table:
    source = EventTableReader(made, [write_events(folder / "events.parquet", rows)], chunk_rows=5)
    build(made, source, folder / "table.parquet", lookups=past)
    return pq.read_table(folder / "table.parquet")


def bits(made: FeatureSet, table: pa.Table) -> Any:
    return np.column_stack([table[name].to_numpy() for name in made.names]).view(np.int32)


def served(
    made: FeatureSet, folder: Path, rows: Sequence[Row], past: Mapping[str, Sequence[Row]]
) -> tuple[np.ndarray[Any, Any], list[list[str]]]:
    """Features and flags of each event, alone, from a store that each value was loaded to in time.

    Before each event the values that are not newer are loaded in the order of their times, and
    those of one time in the order of the file.
    """
    store = MemoryStore()
    waiting = {name: sorted(values, key=lambda row: row.at) for name, values in past.items()}
    matrix, flags = [], []
    for event in rows:
        for name, values in waiting.items():
            due = [row for row in values if row.at <= event.at]
            if due:
                load_lookup(made, name, WRITERS[name](folder / "due.parquet", due), store)
            waiting[name] = values[len(due) :]
        one = {
            "at": longs([event.at], Kind.TIME),
            "card": strings([event.card]),
            "shop": longs([event.shop]),
        }
        enriched = enrich(made, events(made, 1, **one), store)
        matrix.append(enriched.matrix[0])
        flags.append(made.flags.decode(int(enriched.flags[0])))
    return np.array(matrix), flags


CARDS, SHOPS = st.sampled_from(["a", "b", "ä" * 70, "007"]), st.integers(-1, 2)
TIMES = st.sampled_from([T0 + unit * n for unit in (1, DAY) for n in range(-3, 4)])
NUMBERS = st.none() | st.sampled_from([0.0, -0.0, 1.5, math.nan]) | st.floats(allow_infinity=False)


def past_values(count: int) -> st.SearchStrategy[list[Row]]:
    values = st.tuples(*[NUMBERS] * count)
    return st.lists(st.builds(Row, CARDS, SHOPS, TIMES, values), max_size=12)


@settings(max_examples=50)
@given(
    rows=st.lists(st.builds(Row, CARDS, SHOPS, TIMES), min_size=1, max_size=12),
    profile=past_values(2),
    place=past_values(1),
)
def test_a_table_has_what_the_store_would_have_said(
    rows: list[Row],
    profile: list[Row],
    place: list[Row],
    made: FeatureSet,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("case")
    rows.sort(key=lambda row: row.at)
    given = {name: some for name, some in (("profile", profile), ("place", place)) if some}
    table = built(made, folder, rows, read(made, folder, given))
    matrix, flags = served(made, folder, rows, given)
    np.testing.assert_array_equal(bits(made, table), matrix.view(np.int32))
    assert table["flags"].to_pylist() == flags


NOON = T0 + DAY // 2
EVENT = Row("a", 1, NOON)


def test_a_value_counts_from_its_time_on(made: FeatureSet, tmp_path: Path) -> None:
    rows = [Row("a", 1, NOON + late) for late in (-1, 0, 1)]
    past = read(made, tmp_path, {"place": [Row("", 1, NOON - 9, (1.0,)), Row("", 1, NOON, (2.0,))]})
    assert built(made, tmp_path, rows, past)["RISK"].to_pylist() == [1.0, 2.0, 2.0]


def test_of_one_time_the_last_row_counts(made: FeatureSet, tmp_path: Path) -> None:
    some = [Row("", 1, NOON, (float(number),)) for number in range(50)]
    assert built(made, tmp_path, [EVENT], read(made, tmp_path, {"place": some}))[
        "RISK"
    ].to_pylist() == [49.0]


def test_events_need_not_be_in_order(made: FeatureSet, tmp_path: Path) -> None:
    some = [Row("", 1, NOON + DAY * day, (float(day),)) for day in (2, 0, 1)]
    rows = [Row("a", 1, NOON + DAY * day) for day in (1, 5, 0, -1, 2)]
    table = built(made, tmp_path, rows, read(made, tmp_path, {"place": some}))
    assert table["RISK"].to_pylist() == [1.0, 2.0, 0.0, 0.25, 2.0]


def test_a_file_of_several_parts_is_one_history(made: FeatureSet, tmp_path: Path) -> None:
    rows = 2 * ROWS_AT_A_TIME + 7
    some = pa.table(
        {
            "shop": pa.array(np.arange(rows) % 1_000),
            "risk": pa.array(np.arange(rows), pa.float64()),
            "updated_at": pa.array(NOON + np.arange(rows) // 2_000, pa.timestamp("us")),
        }
    )
    pq.write_table(some, tmp_path / "place.parquet", row_group_size=999)
    past = {"place": read_past_lookup(made, "place", tmp_path / "place.parquet")}
    events = [Row("a", 6, NOON + rows), Row("a", 7, NOON + rows), Row("a", 999, NOON + 3)]
    # Each shop has two rows of each time; shop 6 is in the last part too, and shop 7 is not.
    values = built(made, tmp_path, events, past)["RISK"].to_pylist()
    assert values == [rows - 1, rows - 1_000, 7_999]


def test_a_table_names_the_files_of_past_values(made: FeatureSet, tmp_path: Path) -> None:
    past = read(made, tmp_path, {"place": [Row("", 1, NOON, (1.0,))]})
    table = built(made, tmp_path, [EVENT], past)
    digest = hashlib.sha256((tmp_path / "place.parquet").read_bytes()).hexdigest()
    assert json.loads(table.schema.metadata[METADATA])["lookups"] == {
        "place": {"file": "place.parquet", "sha256": digest, "rows": 1},
        "profile": None,
    }


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"updated_at": None}, "no column updated_at, and past values are found by it: add the"),
        ({"updated_at": [NOON, None]}, "row 2: updated_at is null, and past values are found by"),
        ({"risk": [1.0, -math.inf]}, "row 2: risk is infinite"),
        ({"shop": [1, None]}, "row 2: shop is null"),
    ],
)
def test_a_row_that_cannot_be_found_by_its_time_is_refused(
    columns: dict[str, Any], message: str, made: FeatureSet, tmp_path: Path
) -> None:
    base: dict[str, Any] = {"shop": [1, 2], "risk": [1.0, 2.0], "updated_at": [NOON, NOON]}
    given = {name: values for name, values in (base | columns).items() if values is not None}
    if "updated_at" in given:
        given["updated_at"] = pa.array(given["updated_at"], pa.timestamp("us"))
    pq.write_table(pa.table(given), tmp_path / "place.parquet")
    with pytest.raises(ConfigurationError, match=rf"place\.parquet.* {message}"):
        read_past_lookup(made, "place", tmp_path / "place.parquet")


def test_a_lookup_that_feast_fills_has_past_values_too(tmp_path: Path) -> None:
    feast = "{project: p, feature_view: v, join_key: shop}"
    made = feature_set(
        tmp_path, TEXT.replace("place: {by: shop,", f"place: {{by: shop, feast: {feast},")
    )
    assert made.lookups["place"].feast is not None
    past = read(made, tmp_path, {"place": [Row("", 1, NOON, (7.0,))]})
    assert built(made, tmp_path, [EVENT], past)["RISK"].to_pylist() == [7.0]


def test_features_know_the_lookups_that_they_need(made: FeatureSet) -> None:
    assert {feature.name: feature.lookups for feature in made.features} == {
        "MEAN": {"profile"},
        "COUNT": {"profile"},
        "RISK": {"place"},
        "RATIO": {"profile", "place"},
    }
