"""Lookups, categories, casts: from events and a store to the matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.compute.enrich import enrich
from features.definition import FeatureSet
from features.lookups.lookup import NEVER
from features.store.memory import MemoryStore
from features.store.protocol import Hashes, ReadResult
from features.values.keys import Keys
from schemas.batch import Kind
from tests.support.making import (
    EVENTS,
    T0,
    booleans,
    doubles,
    events,
    feature_set,
    longs,
    matrix,
    strings,
)

NAN = math.nan
DAY = 86_400_000_000
LOOKUPS = """\
entities: {card: card, shop: shop}
lookups:
  profile: {by: card, values: {mean: {default: -1}, peak: }, max_age: 2d}
  place: {by: shop, values: {risk: {default: 0.25}}}
features:
  - {name: MEAN, lookup: profile.mean}
  - {name: PEAK, lookup: profile.peak}
  - {name: RISK, lookup: place.risk}
  - {name: RATIO, expr: z / MEAN}
"""


class CountingStore(MemoryStore):
    """Remembers what was asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[bytes]] = []

    def read_all(
        self, keys: Sequence[Keys], hashes: Sequence[Hashes] = (), marks: Sequence[bytes] = ()
    ) -> ReadResult:
        self.asked.append([key for some in keys for key in some.to_list()])
        return super().read_all(keys, hashes, marks)


@pytest.fixture
def made(tmp_path: Path) -> FeatureSet:
    return feature_set(tmp_path, EVENTS + LOOKUPS)


def put(
    made: FeatureSet, store: MemoryStore, lookup: str, key: str, at: int, *values: float
) -> None:
    layout = made.lookups[lookup]
    value = np.array([(at, values)], dtype=layout.layout).tobytes()
    store.write([(layout.prefix + key.encode(), value)])


def test_keys_and_values_are_laid_out_as_documented(made: FeatureSet) -> None:
    assert made.lookups["profile"].prefix == b"fw:test:lookup:profile:ffdc328b:"
    store = MemoryStore()
    put(made, store, "profile", "c0", T0, 1.5, -2.0)
    value = store.read([b"fw:test:lookup:profile:ffdc328b:c0"])[0]
    assert value == T0.to_bytes(8, "little") + bytes.fromhex("000000000000f83f00000000000000c0")


def test_lookups_of_another_layout_have_other_keys(tmp_path: Path, made: FeatureSet) -> None:
    renamed = feature_set(tmp_path, EVENTS + LOOKUPS.replace("peak", "top"))
    swapped = feature_set(
        tmp_path, EVENTS + LOOKUPS.replace("mean: {default: -1}, peak: ", "peak: , mean: ")
    )
    other_default = feature_set(tmp_path, EVENTS + LOOKUPS.replace("-1", "-2"))
    prefixes = {m.lookups["profile"].prefix for m in (made, renamed, swapped)}
    assert len(prefixes) == 3
    assert other_default.lookups["profile"].prefix == made.lookups["profile"].prefix


def test_one_read_of_unique_keys_gives_every_event_its_values(made: FeatureSet) -> None:
    store = CountingStore()
    put(made, store, "profile", "a", T0, 10.0, 20.0)
    put(made, store, "profile", "b", T0, 30.0, NAN)
    put(made, store, "place", "7", NEVER, 0.5)
    batch = events(
        made,
        4,
        card=strings(["a", "b", "a", "gone"]),
        shop=longs([7, 7, 7, 8]),
        z=doubles([1.0, 3.0, 5.0, 2.0]),
    )
    enriched = enrich(made, batch, store)
    assert len(store.asked) == 1
    assert len(store.asked[0]) == 5
    np.testing.assert_array_equal(
        enriched.matrix,
        np.array(
            [[10, 20, 0.5, 0.1], [30, NAN, 0.5, 0.1], [10, 20, 0.5, 0.5], [-1, NAN, 0.25, -2]],
            np.float32,
        ),
    )
    assert enriched.matrix.dtype == np.float32
    assert enriched.matrix.flags.c_contiguous
    assert flags(made, enriched.flags) == [
        set(),
        set(),
        set(),
        {"lookup_missing:profile", "lookup_missing:place"},
    ]


def flags(made: FeatureSet, found: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> list[set[str]]:
    assert found.dtype == np.uint64
    return [{*made.flags.decode(value)} for value in found.tolist()]


def test_age_is_event_time_less_the_values_own_time(made: FeatureSet) -> None:
    store = MemoryStore()
    for key, at in [("old", -2 * DAY - 1), ("edge", -2 * DAY), ("newer", 99 * DAY)]:
        put(made, store, "profile", key, T0 + at, 5.0, 6.0)
    put(made, store, "profile", "undated", NEVER, 5.0, 6.0)
    put(made, store, "place", "1", T0 - 900 * DAY, 0.75)
    batch = events(
        made,
        4,
        at=longs([T0] * 4, Kind.TIME),
        card=strings(["old", "edge", "newer", "undated"]),
        shop=longs([1] * 4),
        z=doubles([1.0] * 4),
    )
    enriched = enrich(made, batch, store)
    assert enriched.matrix[:, 0].tolist() == [-1, 5, 5, -1]
    assert enriched.matrix[:, 2].tolist() == [0.75] * 4
    stale = {"lookup_stale:profile"}
    assert flags(made, enriched.flags) == [stale, set(), set(), stale]


def test_a_value_that_is_not_in_the_layout_is_flagged_and_replaced(made: FeatureSet) -> None:
    store = MemoryStore()
    prefix = made.lookups["profile"].prefix
    put(made, store, "profile", "good", T0, 5.0, 6.0)
    put(made, store, "profile", "infinite", T0, math.inf, 6.0)
    store.write(
        [(prefix + b"short", b"x"), (prefix + b"empty", b""), (prefix + b"long", b"y" * 25)]
    )
    # One too short and one too long: together as long as two good ones.
    store.write([(prefix + b"less", b"z" * 23)])
    cards = ["good", "infinite", "short", "empty", "long", "less"]
    batch = events(made, 6, card=strings(cards), shop=longs([1] * 6), z=doubles([1.0] * 6))
    enriched = enrich(made, batch, store)
    assert enriched.matrix[:, 0].tolist() == [5, -1, -1, -1, -1, -1]
    found = [names - {"lookup_missing:place"} for names in flags(made, enriched.flags)]
    assert found == [set(), *[{"lookup_invalid:profile"}] * 5]


def test_lengths_that_make_up_for_each_other_are_seen(made: FeatureSet) -> None:
    store = MemoryStore()
    prefix = made.lookups["place"].prefix
    store.write([(prefix + b"1", b"x" * 15), (prefix + b"2", b"x" * 17)])
    batch = events(made, 2, shop=longs([1, 2]), z=doubles([1.0] * 2))
    enriched = enrich(made, batch, store)
    assert enriched.matrix[:, 2].tolist() == [0.25, 0.25]
    assert all("lookup_invalid:place" in names for names in flags(made, enriched.flags))


def test_each_of_many_lookups_gets_its_own_part_of_the_answer(tmp_path: Path) -> None:
    names = ["one", "two", "three", "four"]
    lookups = "".join(f"  {name}: {{by: card, values: {{v: }}}}\n" for name in names)
    features = "".join(f"  - {{name: {name}, lookup: {name}.v}}\n" for name in names)
    made = feature_set(
        tmp_path, f"{EVENTS}entities: {{card: card}}\nlookups:\n{lookups}features:\n{features}"
    )
    store = MemoryStore()
    for place, name in enumerate(names):
        put(made, store, name, "a", NEVER, place)
        put(made, store, name, "b", NEVER, 10 + place)
    batch = events(made, 3, card=strings(["b", "a", "b"]))
    found = enrich(made, batch, store).matrix
    assert found.tolist() == [[10, 11, 12, 13], [0, 1, 2, 3], [10, 11, 12, 13]]


def test_an_empty_batch_asks_nothing(made: FeatureSet) -> None:
    store = CountingStore()
    enriched = enrich(made, events(made, 0, shop=longs([]), z=doubles([])), store)
    assert enriched.matrix.shape == (0, 4)
    assert store.asked == []


def test_without_lookups_the_store_is_not_asked(tmp_path: Path) -> None:
    made = feature_set(tmp_path, f"{EVENTS}features: [{{name: A, field: z}}]\n")
    store = CountingStore()
    enrich(made, events(made, 1, z=doubles([1.0])), store)
    assert store.asked == []
    assert made.irreproducible == ()


def test_fields_categories_and_expressions_become_columns(tmp_path: Path) -> None:
    made = feature_set(
        tmp_path,
        f"""{EVENTS}  amount: {{field: price, scale: 2}}
features:
  - {{name: AMOUNT, field: price}}
  - {{name: X, field: x}}
  - {{name: ONLINE, field: online}}
  - {{name: CODE, category: {{field: merchant.code, values: [b, a]}}}}
  - {{name: CODE_OTHER, category: {{field: merchant.code, values: [b, a], other: true}}}}
  - {{name: SHOP, category: {{field: shop, values: [30, 10]}}}}
  - {{name: TWICE, expr: AMOUNT * 2}}
  - {{name: NIGHT, expr: hour(at) <= 6 and not ONLINE}}
  - {{name: CONSTANT, expr: 1 + 1}}
  - {{name: HUGE, expr: x * 1e39}}
  - {{name: SAME_DAY, expr: day(later) == day(at)}}
""",
    )
    found = matrix(
        made,
        3,
        price=longs([12345, 10050, 0], Kind.DECIMAL, 4),
        x=doubles([1.0, None, -0.5]),
        online=booleans([True, False, None]),
        merchant__code=strings(["a", "c", None]),
        shop=longs([10, 20, 30]),
        later=longs([T0, T0 + DAY, None], Kind.TIME),
    )
    expected = [
        [1.23, 1.0, 1.0, 1.0, 1.0, 1.0, 2.46, 0.0, 2.0, NAN, 1.0],
        [1.0, NAN, 0.0, NAN, 2.0, NAN, 2.0, 1.0, 2.0, NAN, 0.0],
        [0.0, -0.5, NAN, NAN, NAN, 0.0, 0.0, NAN, 2.0, NAN, NAN],
    ]
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


def test_an_amount_is_the_same_number_from_every_kind_of_source(tmp_path: Path) -> None:
    sources = {
        "amount": doubles([0.29, 1234.56, -3.0]),
        "cents": longs([29, 123456, -300]),
        "price": longs([2900, 12345600, -30000], Kind.DECIMAL, 4),
    }
    seen = []
    for path, column in sources.items():
        made = feature_set(
            tmp_path,
            f"{EVENTS}  amount: {{field: {path}, scale: 2}}\n"
            f"features: [{{name: A, field: {path}}}, {{name: B, expr: '{path} / 3'}},\n"
            f"  {{name: C, expr: '{path} in [0.29, 1234.56, -3]'}}]\n",
        )
        found = matrix(made, 3, **{path: column})
        assert found[:, 2].tolist() == [1, 1, 1]
        seen.append(found.tobytes())
    assert len(set(seen)) == 1


ROW = st.tuples(
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from(["a", "b", "gone", "bad"]),
    st.sampled_from(["ecom", "pos", None]),
    st.integers(0, 40 * 24),
)
BITS = f"""{EVENTS}entities: {{card: card}}
lookups: {{profile: {{by: card, values: {{mean: {{default: 3}}}}, max_age: 10d}}}}
features:
  - {{name: Z, field: z}}
  - {{name: MEAN, lookup: profile.mean}}
  - {{name: LOG, expr: log1p(abs(z)) / MEAN}}
  - {{name: POWER, expr: z ** 7 - exp(-z)}}
  - {{name: LEAST, expr: "min(z, 0 * z, MEAN)"}}
  - {{name: CHANNEL, category: {{field: channel, values: [pos]}}}}
  - {{name: NIGHT, expr: hour(at) <= 6 or channel == 'ecom'}}
"""


@settings(max_examples=100, deadline=None)
@given(st.lists(ROW, min_size=1, max_size=30))
def test_a_vector_has_the_same_bits_alone_and_in_any_batch(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float, str, str | None, int]]
) -> None:
    made = feature_set(tmp_path_factory.mktemp("bits"), BITS)
    store = MemoryStore()
    put(made, store, "profile", "a", T0, 7.7)
    put(made, store, "profile", "b", T0 + 20 * DAY, -0.1)
    store.write([(made.lookups["profile"].prefix + b"bad", b"?")])

    def vectors(some: list[tuple[float, str, str | None, int]]) -> tuple[bytes, bytes]:
        z, cards, channels, hours = zip(*some, strict=True)
        batch = events(
            made,
            len(some),
            z=doubles(z),
            card=strings(cards),
            channel=strings(channels),
            at=longs([T0 + hour * 3_600_000_000 for hour in hours], Kind.TIME),
        )
        enriched = enrich(made, batch, store)
        assert not np.isinf(enriched.matrix).any()
        return enriched.matrix.tobytes(), enriched.flags.tobytes()

    alone = [vectors([row]) for row in rows]
    assert vectors(rows) == (b"".join(a for a, _ in alone), b"".join(b for _, b in alone))
    backwards = alone[::-1]
    assert vectors(rows[::-1])[0] == b"".join(a for a, _ in backwards)
