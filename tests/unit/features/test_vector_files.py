"""Files with vectors: loaded into a store, kept, and joined to a training table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from base.errors import ConfigurationError
from features.compute.enrich import enrich
from features.definition import FeatureSet
from features.loading.lookup_files import ROWS_AT_A_TIME, load_lookup
from features.loading.past_lookups import keep_rows, read_past_lookup
from features.store.memory import MemoryStore
from features.tables import EventTableReader, build
from schemas.batch import Kind
from tests.support.making import EVENTS, T0, doubles, events, feature_set, longs, strings

DAY = 86_400_000_000
NAN = math.nan
TEXT = f"""{EVENTS}entities: {{card: card}}
lookups:
  profile:
    by: card
    max_age: 2d
    values: {{emb: {{vector: 3}}, risk: {{default: 0.25}}, low: {{vector: 2, dtype: float16, default: 1}}}}
features:
  - {{name: emb, lookup: profile.emb}}
  - {{name: RISK, lookup: profile.risk}}
  - {{name: low, lookup: profile.low}}
  - {{name: SUM, expr: emb_0 + low_1 + RISK}}
"""
TIMES = pa.array([T0, T0], pa.timestamp("us", "UTC"))


def f32(values: Any) -> npt.NDArray[np.float32]:
    return np.array(values, np.float32)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> FeatureSet:
    return feature_set(tmp_path_factory.mktemp("set"), TEXT)


def parquet(folder: Path, **columns: Any) -> Path:
    given: dict[str, Any] = {
        "card": ["a", "b"],
        "emb": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]],
        "risk": [0.5, None],
        "low": [[0.5, -2.0], [1.0, 2.0]],
        "updated_at": TIMES,
    }
    path = folder / "lookup.parquet"
    pq.write_table(pa.table(given | columns), path)
    return path


def looked_up(made: FeatureSet, store: MemoryStore, *cards: str) -> Any:
    rows = len(cards)
    columns = {"card": strings(cards), "at": longs([T0] * rows, Kind.TIME)}
    return enrich(made, events(made, rows, z=doubles([0.0] * rows), **columns), store).matrix


def test_loaded_vectors_are_looked_up(made: FeatureSet, tmp_path: Path) -> None:
    store = MemoryStore()
    path = parquet(tmp_path, emb=[[0.1, NAN, -0.0], None])
    assert load_lookup(made, "profile", path, store) == (2, 2)
    wanted = [
        [0.1, NAN, 0, 0.5, 0.5, -2, np.float64(np.float32(0.1)) - 2 + 0.5],
        [NAN, NAN, NAN, NAN, 1, 2, NAN],
        [NAN, NAN, NAN, 0.25, 1, 1, NAN],
    ]
    np.testing.assert_array_equal(looked_up(made, store, "a", "b", "c"), f32(wanted))


ROWS = [[1.5, 2.0, -3.0], [4.0, 5.0, 6.0]]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(ROWS, pa.list_(pa.float64())),
        pa.array(ROWS, pa.list_(pa.float32())),
        pa.array(np.array(ROWS, np.float16).tolist(), pa.list_(pa.float16())),
        pa.array(ROWS, pa.large_list(pa.float64())),
        pa.array(ROWS, pa.list_(pa.float32(), 3)),
        pa.array([[Decimal(str(x)) for x in row] for row in ROWS], pa.list_(pa.decimal128(5, 2))),
        pa.chunked_array([pa.array([[0.0] * 3, *ROWS, None], pa.list_(pa.float64()))[1:3]]),
        pa.ExtensionArray.from_storage(
            pa.fixed_shape_tensor(pa.float64(), [3]), pa.array(ROWS, pa.list_(pa.float64(), 3))
        ),
    ],
    ids=lambda column: str(column.type),
)
def test_lists_of_every_type_are_vectors(
    made: FeatureSet, tmp_path: Path, column: pa.Array
) -> None:
    store = MemoryStore()
    load_lookup(made, "profile", parquet(tmp_path, emb=column), store)
    np.testing.assert_array_equal(looked_up(made, store, "a", "b")[:, :3], ROWS)


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.list_(pa.float32(), 3)])
def test_a_null_among_lists_is_a_missing_vector(
    made: FeatureSet, tmp_path: Path, kind: pa.DataType
) -> None:
    rows = [[1.0] * 3, None, [2.0] * 3]
    times = pa.array([T0] * 3, pa.timestamp("us", "UTC"))
    others = {"card": ["a", "b", "c"], "risk": [0.0] * 3, "low": pa.nulls(3), "updated_at": times}
    store = MemoryStore()
    load_lookup(made, "profile", parquet(tmp_path, emb=pa.array(rows, kind), **others), store)
    found = looked_up(made, store, "a", "b", "c")[:, :3]
    np.testing.assert_array_equal(found, [[1.0] * 3, [NAN] * 3, [2.0] * 3])


def test_lists_of_whole_numbers_and_nulls_are_vectors(made: FeatureSet, tmp_path: Path) -> None:
    store = MemoryStore()
    path = parquet(tmp_path, emb=pa.array([[1, 2, 2**24 + 1], [0, 0, 0]]), low=pa.nulls(2))
    load_lookup(made, "profile", path, store)
    found = looked_up(made, store, "a")[0]
    np.testing.assert_array_equal(found[:6], [1, 2, 2**24, 0.5, NAN, NAN])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"emb": [[1.0, 2.0], [1.0, 2.0, 3.0]]},
            "row 1: emb has 2 elements, and the vector 3; 1 such",
        ),
        ({"emb": [[1.0, 2.0, 3.0], []]}, "row 2: emb has 0 elements, and the vector 3"),
        ({"emb": [[1.0] * 3, [1.0] * 4]}, "row 2: emb has 4 elements, and the vector 3"),
        ({"emb": [None, [1.0] * 4]}, "row 2: emb has 4 elements, and the vector 3"),
        (
            {"emb": pa.array([[1.0] * 4] * 2, pa.list_(pa.float32(), 4))},
            "row 1: emb has 4 elements",
        ),
        ({"emb": [None, [1.0, None, 3.0]]}, "row 2: emb has an element that is null; write NaN"),
        ({"emb": [[1.0] * 3, [1.0, math.inf, 3.0]]}, "row 2: emb has an element that is infinite"),
        (
            {"emb": [[1.0] * 3, [1.0, -3.5e38, 3.0]]},
            r"row 2: .* is -3.5e\+38, too large for float32",
        ),
        ({"low": [[1.0] * 2, [65520.0, 3.0]]}, "row 2: low has .* is 65520, too large for float16"),
        ({"emb": [["1"] * 3] * 2}, "column emb is list<.*string>, not a list of numbers"),
        ({"emb": [[[1.0] * 3]] * 2}, "column emb is list<.*>, not a list of numbers"),
        ({"emb": [1.0, 2.0]}, "column emb is double, not a list of numbers"),
        ({"risk": [[1.0], [2.0]]}, "column risk is list<.*double>, not a number"),
    ],
)
def test_a_bad_vector_is_refused_before_anything_is_written(
    columns: dict[str, Any], message: str, made: FeatureSet, tmp_path: Path
) -> None:
    store = MemoryStore()
    with pytest.raises(ConfigurationError, match=rf"lookup\.parquet.* {message}"):
        load_lookup(made, "profile", parquet(tmp_path, **columns), store)
    assert store.read([made.lookups["profile"].prefix + b"a"]) == [None]


def test_a_file_without_the_vector_is_refused(made: FeatureSet, tmp_path: Path) -> None:
    path = parquet(tmp_path)
    pq.write_table(pq.read_table(path).drop_columns(["emb"]), path)
    with pytest.raises(
        ConfigurationError, match="no column emb, a value of lookup profile: add it"
    ):
        load_lookup(made, "profile", path, MemoryStore())


def test_a_bad_vector_far_down_is_found_first(made: FeatureSet, tmp_path: Path) -> None:
    rows = ROWS_AT_A_TIME + 5
    emb = [[1.0] * 3] * (rows - 1) + [[1.0] * 2]
    times = pa.array([T0] * rows, pa.timestamp("us", "UTC"))
    columns = {"risk": [0.0] * rows, "low": [[0.0] * 2] * rows, "updated_at": times}
    path = parquet(tmp_path, card=[f"k{row}" for row in range(rows)], emb=emb, **columns)
    with pytest.raises(ConfigurationError, match=f"row {rows}: emb has 2 elements"):
        load_lookup(made, "profile", path, MemoryStore())


# --- past values


class Row(NamedTuple):
    """A past value of a card."""

    card: str
    at: int
    emb: tuple[float, ...] | None
    risk: float | None
    low: tuple[float, ...] | None


def write(path: Path, rows: Sequence[Row]) -> Path:
    columns = {
        "card": pa.array([row.card for row in rows], pa.string()),
        "emb": pa.array([row.emb for row in rows], pa.list_(pa.float32())),
        "risk": pa.array([row.risk for row in rows], pa.float64()),
        "low": pa.array([row.low for row in rows], pa.list_(pa.float32())),
        "updated_at": pa.array([row.at for row in rows], pa.timestamp("us", "UTC")),
    }
    pq.write_table(pa.table(columns), path)
    return path


def table_of(made: FeatureSet, folder: Path, past: Path, found: Sequence[tuple[str, int]]) -> Any:
    """The features of events, each a card and a time, as float32[N, F]."""
    path = folder / "events.parquet"
    columns = {
        "id": [f"e{row}" for row in range(len(found))],
        "at": pa.array([at for _, at in found], pa.timestamp("us", "UTC")),
        "card": [card for card, _ in found],
    }
    pq.write_table(pa.table(columns), path)
    out = folder / "table.parquet"
    lookups = {"profile": read_past_lookup(made, "profile", past)}
    build(made, EventTableReader(made, [path], chunk_rows=5), out, lookups=lookups)
    table = pq.read_table(out)
    return np.column_stack([table[name].to_numpy() for name in made.names])


def served(
    made: FeatureSet, folder: Path, rows: Sequence[Row], found: Sequence[tuple[str, int]]
) -> Any:
    """Features of each event, alone, from a store that each value was loaded to in time."""
    matrix = []
    for card, at in found:
        store = MemoryStore()
        due = sorted((row for row in rows if row.at <= at), key=lambda row: row.at)
        if due:
            load_lookup(made, "profile", write(folder / "due.parquet", due), store)
        one = {"card": strings([card]), "at": longs([at], Kind.TIME)}
        matrix.append(enrich(made, events(made, 1, **one), store).matrix[0])
    return np.array(matrix)


MOMENTS = st.sampled_from([T0 + hours * 3_600_000_000 for hours in range(0, 100, 7)])
CARDS = st.sampled_from(["a", "b"])
SINGLE = st.floats(width=32, allow_nan=True, allow_infinity=False)
# Between 65,504 and 65,520 a float rounds to the largest float16.
HALF = st.floats(min_value=-65519, max_value=65519, width=32) | st.just(NAN)
PAST = st.builds(
    Row,
    CARDS,
    MOMENTS,
    st.none() | st.tuples(SINGLE, SINGLE, SINGLE),
    st.none() | st.floats(allow_nan=True, allow_infinity=False),
    st.none() | st.tuples(HALF, HALF),
)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(PAST, min_size=1, max_size=8),
    st.lists(st.tuples(CARDS, MOMENTS), min_size=1, max_size=8),
)
def test_a_table_has_the_vectors_that_were_served(
    made: FeatureSet,
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[Row],
    found: list[tuple[str, int]],
) -> None:
    folder = tmp_path_factory.mktemp("past")
    found = sorted(found, key=lambda event: event[1])
    offline = table_of(made, folder, write(folder / "past.parquet", rows), found)
    online = served(made, folder, rows, found)
    np.testing.assert_array_equal(offline.view(np.int32), online.view(np.int32))


def test_kept_vectors_are_those_that_were_loaded(made: FeatureSet, tmp_path: Path) -> None:
    kept = tmp_path / "kept.parquet"
    first = [
        Row("a", T0, (0.1, NAN, -0.0), 0.5, (0.1, 65504)),
        Row("b", T0, None, None, None),
    ]
    second = [*first, Row("a", T0 + DAY, (0.1, NAN, 1e-45), 0.5, (6e-8, NAN))]
    changed = [first[0]._replace(emb=(0.1, NAN, 0.0)), first[1], second[2]._replace(low=(0.0, NAN))]
    for rows, added in ((first, 2), (first, 0), (second, 1), (changed, 2), (changed, 0)):
        path = write(tmp_path / "day.parquet", rows)
        with keep_rows(made, "profile", path, kept) as new:
            assert new == added
    assert pq.read_table(kept).num_rows == 5
    found = [("a", T0), ("a", T0 + DAY), ("b", T0 + DAY), ("b", T0 + 3 * DAY)]
    all_rows = [*second, *changed]
    online = served(made, tmp_path, all_rows, found)
    offline = table_of(made, tmp_path, kept, found)
    np.testing.assert_array_equal(offline.view(np.int32), online.view(np.int32))
    assert online[0, :3].tobytes() == f32([0.1, NAN, 0.0]).tobytes()


def test_a_history_of_a_vector_of_another_width_is_refused(
    made: FeatureSet, tmp_path: Path
) -> None:
    kept, day = (
        tmp_path / "kept.parquet",
        write(tmp_path / "day.parquet", [Row("a", T0, None, 1, None)]),
    )
    with keep_rows(made, "profile", day, kept) as new:
        assert new == 1
    wider = feature_set(tmp_path, TEXT.replace("vector: 3", "vector: 4"))
    message = "--keep: .*kept.parquet: row 1: emb has 3 elements, and the vector 4|has the columns"
    with (
        pytest.raises(ConfigurationError, match=message),
        keep_rows(wider, "profile", day, kept),
    ):
        pass
