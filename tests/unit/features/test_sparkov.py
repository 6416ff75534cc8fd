"""The example that uses every kind of feature."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from base.errors import ConfigurationError
from base.yaml_document import YamlDocument
from features.compute.bind import bind
from features.compute.enrich import enrich
from features.definition import FeatureSet, load_feature_set
from features.definition.spec import KINDS, WINDOW_KEYS, FeaturesFile, FeatureSpec
from features.history.watermarks import LogState
from features.store.memory import MemoryStore
from features.tables.event_records import EventRecordReader
from features.windows.window import Across, Aggregate
from schemas.batch import Decoded, EventBatch, Kind
from tests.support.making import T0, longs, records, strings

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "sparkov" / "features.yaml"
WIDE = EXAMPLE.with_name("features-wide.yaml")
DOCUMENTED = "".join(
    (ROOT / "docs" / "reference" / page).read_text("utf-8") for page in ("features.md", "store.md")
)
HOUR = 3_600_000_000


@pytest.fixture(scope="module")
def made() -> FeatureSet:
    return load_feature_set(EXAMPLE)


@pytest.fixture(scope="module")
def specs() -> list[FeatureSpec]:
    return YamlDocument.read(EXAMPLE).validate(FeaturesFile).features


def test_the_sparkov_example_uses_every_kind_of_feature(
    made: FeatureSet, specs: list[FeatureSpec]
) -> None:
    assert {kind for spec in specs for kind in KINDS if getattr(spec, kind) is not None} == {*KINDS}
    assert {window.across for window in made.histories.windows} == {*Across}
    assert {window.entity for window in made.histories.windows} == {*made.bindings.entities}
    assert 20 <= len(specs) <= 30


def test_the_wide_sparkov_example_has_the_features_of_the_other_and_every_aggregate(
    made: FeatureSet, specs: list[FeatureSpec]
) -> None:
    wide = YamlDocument.read(WIDE).validate(FeaturesFile).features
    assert wide[: len(specs)] == specs
    assert {spec.window for spec in wide} - {None} == {*Aggregate}
    used = {key for spec in wide for key in spec.model_fields_set}
    assert used == {"name", "args", *KINDS, *WINDOW_KEYS}
    fingerprints = [feature.fingerprint for feature in load_feature_set(WIDE).features]
    assert fingerprints[: len(specs)] == [feature.fingerprint for feature in made.features]


def test_the_rules_of_the_sparkov_example_are_not_the_defaults_only() -> None:
    file = YamlDocument.read(EXAMPLE).validate(FeaturesFile)
    assert file.history.cap != type(file.history)().cap
    assert file.lookups["card_holder"].max_age is not None


def event_batch(
    made: FeatureSet, rows: list[tuple[int, str, str, str, int, int, int]]
) -> EventBatch:
    """Hours since T0, card, merchant, category, latitude, longitude (both times 10,000), cents."""
    hours, cards, merchants, categories, lats, longs_, cents = zip(*rows, strict=True)
    given = {
        "transaction_id": longs(list(range(len(rows)))),
        "event_time": longs([T0 + hour * HOUR for hour in hours], Kind.TIME),
        "card": strings(cards),
        "merchant": strings(merchants),
        "category": strings(categories),
        "merch_lat_e4": longs(lats),
        "merch_long_e4": longs(longs_),
        "amount": longs(cents),
    }
    batch, errors = bind(made, records(len(rows)), Decoded(given, {}))
    assert errors == {}
    return batch


PARIS, LONDON = (488566, 23522), (515074, -1278)


def test_a_card_is_followed(made: FeatureSet) -> None:
    batch = event_batch(
        made,
        [
            (0, "a", "m", "travel", *PARIS, 1000),
            (0, "b", "m", "travel", *PARIS, 9900),
            (2, "a", "n", "misc_net", *LONDON, 3000),
            (30, "a", "m", "a new one", *LONDON, 500),
        ],
    )
    matrix = enrich(made, batch, MemoryStore()).matrix
    of = {name: matrix[:, place] for place, name in enumerate(made.names)}
    card = [0, 2, 3]

    def expect(name: str, *values: float) -> None:
        np.testing.assert_allclose(of[name][card], values, rtol=1e-6, err_msg=name)

    expect("CATEGORY", 13, 8, 14)
    expect("ONLINE", 0, 1, 0)
    expect("AT_NIGHT", 1, 1, 0)
    expect("CARD_COUNT_1D", 1, 2, 1)
    expect("CARD_SPENT_1D", 10, 40, 5)
    expect("CARD_SPENT_ONLINE_7D", 0, 30, 30)
    expect("CARD_MEAN_30D", math.nan, 10, 20)
    expect("AMOUNT_TO_MEAN", math.nan, 3, 0.25)
    expect("CARD_LOG_MEAN_30D", math.nan, math.log(11), (math.log(11) + math.log(31)) / 2)
    deviation = (math.log(31) - math.log(11)) / math.sqrt(2)
    expect("CARD_LOG_STD_30D", math.nan, math.nan, deviation)
    expect("CARD_MIN_30D", 10, 10, 5)
    expect("CARD_MAX_30D", 10, 30, 30)
    expect("CARD_MERCHANTS_7D", 1, 2, 2)
    expect("SECONDS_SINCE_LAST", 2592000, 7200, 28 * 3600)
    expect("LAST_LAT_E4", math.nan, PARIS[0], LONDON[0])
    expect("KM_FROM_LAST", math.nan, 343.55653, 0)
    expect("KM_PER_HOUR", math.nan, 343.55653 / 2, 0)
    np.testing.assert_array_equal(of["MERCHANT_COUNT_1H"], [1, 2, 1, 1])


def test_the_way_from_home_needs_the_lookup(made: FeatureSet) -> None:
    store = MemoryStore()
    lookup = made.lookups["card_holder"]
    (key,) = lookup.keys(pa.array(["a"]))
    home = {"home_lat": PARIS[0] / 1e4, "home_long": PARIS[1] / 1e4, "age": 33.0}
    store.write([(key, _stored(T0, [home[name] for name in lookup.names]))])
    rows = [(hour, "a", "m", "travel", *LONDON, 100) for hour in (1, 24 * 401)]
    enriched = enrich(made, event_batch(made, rows), store)
    place = made.names.index("KM_FROM_HOME")
    np.testing.assert_allclose(enriched.matrix[:, place], [343.55653, np.nan], rtol=1e-6)
    np.testing.assert_array_equal(enriched.matrix[:, made.names.index("AGE")], [33, 45])
    stale = made.flags.carries("lookup_stale:card_holder", enriched.flags)
    assert stale.tolist() == [False, True]


def _stored(updated_at: int, values: list[float]) -> bytes:
    return np.array([updated_at], "<i8").tobytes() + np.array(values, "<f8").tobytes()


def batches(made: FeatureSet, path: Path) -> Iterator[EventBatch]:
    for chunk in EventRecordReader(made, "events", b"").read(path):
        batch, errors = bind(made, chunk.records, Decoded(chunk.columns, {}))
        assert errors == {}
        assert not chunk.errors
        yield batch


def test_the_sparkov_example_reads_the_generators_file(made: FeatureSet, data_dir: Path) -> None:
    path = data_dir / "sparkov_transactions.parquet"
    store, log = MemoryStore(), LogState()
    parts, cards, times = [], [], []
    for batch in islice(batches(made, path), 2):
        enriched = enrich(made, batch, store, log)
        store.append(enriched.writes.appends, enriched.writes.compactions)
        log = enriched.after
        parts.append(enriched.matrix)
        cards += batch.entity_keys["card"].to_pylist()
        times.append(batch.event_time)
    matrix = dict(zip(made.names, np.concatenate(parts).T, strict=True))
    assert set(matrix["CATEGORY"].tolist()) == set(range(14))
    assert np.isfinite(matrix["KM_PER_HOUR"]).mean() > 0.9
    card, time = np.array(cards), np.concatenate(times)
    for row in range(0, len(time), 9_973):
        seen = (card[: row + 1] == card[row]) & (time[: row + 1] > time[row] - 24 * HOUR)
        assert matrix["CARD_COUNT_1D"][row] == seen.sum()


def test_the_wide_sparkov_example_has_the_same_bits_in_batches_of_any_size(data_dir: Path) -> None:
    wide = load_feature_set(WIDE)
    whole = next(batches(wide, data_dir / "sparkov_transactions.parquet"))
    rows, found = 1_500, []
    for size in (rows, 23):
        store, log, parts = MemoryStore(), LogState(), []
        for first in range(0, rows, size):
            batch = whole.take(np.arange(first, min(first + size, rows)))
            enriched = enrich(wide, batch, store, log)
            store.append(enriched.writes.appends, enriched.writes.compactions)
            log = enriched.after
            parts.append(enriched.matrix)
        found.append(np.concatenate(parts))
    np.testing.assert_array_equal(found[0].view(np.int32), found[1].view(np.int32))
    of = dict(zip(wide.names, found[0].T, strict=True))
    for name in wide.names[-12:]:
        assert len(np.unique(of[name])) > 1, f"{name} is always the same"
    assert (of["CARD_COUNT_1D"] >= of["CARD_BURST"]).all()


def test_the_sparkov_pipeline_folder_is_whole() -> None:
    names = {path.name for path in EXAMPLE.parent.iterdir()}
    assert names >= {"worker.yaml", "policy.yaml", "features.yaml", "transaction.avsc", "geo.py"}


def test_the_sparkov_test_knows_every_field_of_a_spec() -> None:
    """A new key of the language needs its place in the example."""
    assert {*FeatureSpec.model_fields} == {"name", "args", *KINDS, *WINDOW_KEYS}


def test_the_documented_key_is_the_key(made: FeatureSet) -> None:
    (key,) = made.lookups["card_holder"].keys(pa.array(["4827286956139057"]))
    assert f"    {key.decode()}\n" in DOCUMENTED


def test_the_documented_refusal_is_what_is_said(tmp_path: Path) -> None:
    folder = shutil.copytree(EXAMPLE.parent, tmp_path / "sparkov")
    path = folder / "features.yaml"
    text = path.read_text()
    assert text.count("AMOUNT / CARD_MEAN_30D") == 1
    path.write_text(text.replace("AMOUNT / CARD_MEAN_30D", "AMOUNT / CARD_MEAN"))
    with pytest.raises(ConfigurationError) as refusal:
        load_feature_set(path)
    assert str(refusal.value).replace(f"{tmp_path}", "examples") in DOCUMENTED
