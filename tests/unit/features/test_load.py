from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from base.errors import ConfigurationError
from features.compute.enrich import enrich
from features.definition import FeatureSet
from features.loading.lookup_files import ROWS_AT_A_TIME, load_lookup
from features.store.memory import MemoryStore
from tests.support.making import EVENTS, doubles, events, feature_set, longs, strings

TEXT = f"""{EVENTS}  aliases: {{card: CARD_NO}}
entities: {{customer: card, shop: shop}}
lookups:
  profile: {{by: customer, values: {{mean: , count: }}, max_age: 30d}}
  place: {{by: shop, values: {{risk: {{default: 0}}}}}}
features:
  - {{name: MEAN, lookup: profile.mean}}
  - {{name: COUNT, lookup: profile.count}}
  - {{name: RISK, lookup: place.risk}}
"""
NOON = dt.datetime(2018, 8, 1, 12, tzinfo=dt.UTC)


@pytest.fixture
def made(tmp_path: Path) -> FeatureSet:
    return feature_set(tmp_path, TEXT)


def parquet(folder: Path, **columns: Any) -> Path:
    path = folder / "lookup.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def profile(folder: Path, **columns: Any) -> Path:
    base: dict[str, Any] = {
        "card": ["a", "b"],
        "mean": [1.5, None],
        "count": [3, 4],
        "updated_at": [NOON, NOON],
    }
    given = {name: values for name, values in (base | columns).items() if values is not None}
    return parquet(folder, **given)


def enriched(made: FeatureSet, store: MemoryStore, cards: list[str], shops: list[int]) -> Any:
    rows = len(cards)
    batch = events(made, rows, card=strings(cards), shop=longs(shops), z=doubles([0.0] * rows))
    return enrich(made, batch, store)


def test_loaded_lookup_values_are_looked_up(made: FeatureSet, tmp_path: Path) -> None:
    store = MemoryStore()
    assert load_lookup(made, "profile", profile(tmp_path), store) == (2, 2)
    path = parquet(tmp_path, shop=pa.array([7, 8]), risk=[0.5, 0.75])
    assert load_lookup(made, "place", path, store) == (2, 2)
    found = enriched(made, store, ["a", "b", "c"], [7, 8, 9])
    nan = math.nan
    np.testing.assert_array_equal(found.matrix, [[1.5, 3, 0.5], [nan, 4, 0.75], [nan, nan, 0]])
    assert found.flags.tolist()[:2] == [0, 0]


def test_a_file_without_rows_is_refused(made: FeatureSet, tmp_path: Path) -> None:
    path = parquet(tmp_path, shop=pa.array([], pa.int64()), risk=pa.array([], pa.float64()))
    with pytest.raises(ConfigurationError, match="has no rows, so nothing was written; give a"):
        load_lookup(made, "place", path, MemoryStore())


@pytest.mark.parametrize("column", ["card", "CARD_NO", "customer"])
def test_the_key_column_has_any_of_its_names(column: str, made: FeatureSet, tmp_path: Path) -> None:
    path = profile(tmp_path, **{"card": None, column: ["a", "b"]})
    assert load_lookup(made, "profile", path, MemoryStore()) == (2, 2)


def test_keys_that_are_categories_are_their_texts(made: FeatureSet, tmp_path: Path) -> None:
    store = MemoryStore()
    keys = pa.array(["a", "b", "a"]).dictionary_encode()
    path = profile(
        tmp_path, card=keys, mean=[1.0, 2.0, 3.0], count=[1, 2, 3], updated_at=[NOON] * 3
    )
    assert load_lookup(made, "profile", path, store) == (3, 2)
    found = enriched(made, store, ["a", "b"], [7, 8])
    assert found.matrix[:, 0].tolist() == [3.0, 2.0]


def test_times_are_utc_whatever_their_unit(made: FeatureSet, tmp_path: Path) -> None:
    prefix = made.lookups["profile"].prefix
    at = int(NOON.timestamp() * 1_000_000)
    for kind in (pa.timestamp("ns"), pa.timestamp("ms", "UTC"), pa.timestamp("us", "+00:00")):
        store = MemoryStore()
        naive = pa.array([at, at], pa.timestamp("us")).cast(pa.timestamp(kind.unit))
        path = profile(tmp_path, updated_at=naive.cast(pa.int64()).cast(kind))
        load_lookup(made, "profile", path, store)
        value = store.read([prefix + b"a"])[0]
        assert value is not None
        assert int.from_bytes(value[:8], "little") == at


@pytest.mark.parametrize(
    "cards",
    [
        pa.array([4_275_982_953_449_306.0, 7.0]),
        pa.array([Decimal("4275982953449306.00"), Decimal("7.00")]),
    ],
)
def test_whole_numbers_stored_otherwise_are_keys_by_their_digits(
    made: FeatureSet, tmp_path: Path, cards: pa.Array
) -> None:
    store = MemoryStore()
    assert load_lookup(made, "profile", profile(tmp_path, card=cards), store) == (2, 2)
    assert enriched(made, store, ["4275982953449306", "7"], [1, 1]).matrix[0, 0] == 1.5


@pytest.mark.parametrize(
    ("cards", "keys"),
    [
        (pa.array([UUID(int=5).bytes, UUID(int=6).bytes], pa.uuid()),
         ["00000000-0000-0000-0000-000000000005", "00000000-0000-0000-0000-000000000006"]),
        (pa.array(["a", "b"], pa.string_view()), ["a", "b"]),
        (pa.array(["a", "b"], pa.large_string()), ["a", "b"]),
        (pa.array(["a", "b"]).dictionary_encode(), ["a", "b"]),
    ],
)  # fmt: skip
def test_text_of_every_type_and_uuids_are_keys(
    made: FeatureSet, tmp_path: Path, cards: pa.Array, keys: list[str]
) -> None:
    store = MemoryStore()
    assert load_lookup(made, "profile", profile(tmp_path, card=cards), store) == (2, 2)
    assert enriched(made, store, keys, [1, 1]).matrix[0, 0] == 1.5


def test_the_last_of_several_lookup_rows_with_one_key_stands(
    made: FeatureSet, tmp_path: Path
) -> None:
    path = profile(tmp_path, card=["a", "a"], mean=[1.0, 2.0])
    store = MemoryStore()
    assert load_lookup(made, "profile", path, store) == (2, 1)
    assert enriched(made, store, ["a"], [1]).matrix[0, 0] == 2.0


def test_progress_is_told(made: FeatureSet, tmp_path: Path) -> None:
    rows = ROWS_AT_A_TIME + 5
    path = parquet(tmp_path, shop=np.arange(rows), risk=np.zeros(rows))
    told: list[tuple[int, int]] = []
    load_lookup(made, "place", path, MemoryStore(), lambda *now: told.append(now))
    assert told == [(ROWS_AT_A_TIME, rows), (rows, rows)]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"card": None}, "no column for the key of entity customer: .*card or CARD_NO or customer"),
        ({"CARD_NO": ["a", "b"]}, "has both card and CARD_NO"),
        ({"card": [True, False]}, "column card is bool, not text or a whole number"),
        ({"card": [1.0, 2.5]}, "row 2: card is not a whole number, or one that a float does not"),
        ({"card": [1e16, 2.0]}, "row 1: card is not a whole number, or one that a float does not"),
        ({"card": ["a", None]}, "row 2: card is null; 1 such rows"),
        ({"card": ["a", ""]}, "row 2: card is empty"),
        ({"card": ["a" * 1025, "b"]}, "row 1: card is longer than 1024 bytes"),
        ({"mean": None}, "no column mean, a value of lookup profile"),
        ({"mean": ["1", "2"]}, "column mean is string, not a number"),
        ({"mean": [1.0, math.inf]}, "row 2: mean is infinite"),
        ({"updated_at": None}, "no column updated_at, and the lookup has a max_age"),
        ({"updated_at": [NOON, None]}, "row 2: updated_at is null"),
        ({"updated_at": [1, 2]}, "column updated_at is int64, not a timestamp in UTC"),
        (
            {"updated_at": pa.array([0, 0], pa.timestamp("us", "Europe/Paris"))},
            "not a timestamp in UTC",
        ),
    ],
)
def test_a_bad_file_is_refused_before_anything_is_written(
    columns: dict[str, Any], message: str, made: FeatureSet, tmp_path: Path
) -> None:
    store = MemoryStore()
    with pytest.raises(ConfigurationError, match=rf"lookup\.parquet.* {message}"):
        load_lookup(made, "profile", profile(tmp_path, **columns), store)
    assert store.read([made.lookups["profile"].prefix + b"a"]) == [None]


def test_a_bad_row_far_down_is_found_first(made: FeatureSet, tmp_path: Path) -> None:
    rows = ROWS_AT_A_TIME + 5
    risk = np.zeros(rows)
    risk[-1] = math.inf
    path = parquet(tmp_path, shop=np.arange(rows), risk=risk)
    store = MemoryStore()
    with pytest.raises(ConfigurationError, match=f"row {rows}: risk is infinite"):
        load_lookup(made, "place", path, store)
    assert store.read([made.lookups["place"].prefix + b"0"]) == [None]


def test_names_and_files_that_are_not_there(made: FeatureSet, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="unknown lookup 'profil'; did you mean 'profile'"):
        load_lookup(made, "profil", tmp_path / "x.parquet", MemoryStore())
    with pytest.raises(ConfigurationError, match=r"x\.parquet: no such file"):
        load_lookup(made, "profile", tmp_path / "x.parquet", MemoryStore())
    (tmp_path / "x.parquet").write_bytes(b"no parquet")
    with pytest.raises(ConfigurationError, match="cannot be read as Parquet"):
        load_lookup(made, "profile", tmp_path / "x.parquet", MemoryStore())


def test_a_value_loaded_is_dated_for_its_age(made: FeatureSet, tmp_path: Path) -> None:
    long_ago = NOON - dt.timedelta(days=31)
    path = profile(tmp_path, updated_at=[NOON, long_ago])
    store = MemoryStore()
    load_lookup(made, "profile", path, store)
    flags = enriched(made, store, ["a", "b"], [1, 1]).flags
    assert made.flags.carries("lookup_stale:profile", flags).tolist() == [False, True]
