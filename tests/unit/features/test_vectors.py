"""Looked-up vectors: from stored values and files to columns of the matrix."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from base.errors import ConfigurationError
from features.compute.condition import compile_condition
from features.compute.enrich import enrich
from features.definition import FeatureSet
from features.lookups import golden_answers
from features.lookups.decoded import AGELESS, NEVER, Vector, decode, layout
from features.lookups.kernel.decode import decode_elements, spread_elements
from features.lookups.lookup import LookupRequest
from features.store.memory import MemoryStore
from features.store.protocol import ReadResult
from features.store.stored_values import StoredValues
from schemas.batch import Kind
from tests.support.interpreted import interpreted
from tests.support.making import EVENTS, T0, doubles, events, feature_set, longs, strings

DAY = 86_400_000_000
TEXT = f"""{EVENTS}entities: {{card: card}}
lookups:
  profile:
    by: card
    max_age: 2d
    values:
      small: {{vector: 3, dtype: float16, default: 0.5}}
      risk: {{default: -1}}
      emb: {{vector: 4}}
features:
  - {{name: Z, field: z}}
  - {{name: emb, lookup: profile.emb}}
  - {{name: RISK, lookup: profile.risk}}
  - {{name: SUM, expr: emb_3 + Z if RISK > 0 else emb_0}}
  - {{name: low, lookup: profile.small}}
"""
NAMES = ("Z", "emb_0", "emb_1", "emb_2", "emb_3", "RISK", "SUM", "low_0", "low_1", "low_2")


class Stored(NamedTuple):
    """A stored value in this worker's own layout."""

    at: int
    risk: float
    small: tuple[float, ...]
    emb: tuple[float, ...]

    def packed(self) -> bytes:
        """As the documentation of the store says, without the code that is tested."""
        return struct.pack("<qd3e4f", self.at, self.risk, *self.small, *self.emb)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> FeatureSet:
    return feature_set(tmp_path_factory.mktemp("set"), TEXT)


def stored(made: FeatureSet, **values: bytes) -> MemoryStore:
    store, prefix = MemoryStore(), made.lookups["profile"].prefix
    store.write([(prefix + key.encode(), value) for key, value in values.items()])
    return store


def enriched(made: FeatureSet, store: MemoryStore, cards: list[str], at: int = T0) -> Any:
    rows = len(cards)
    columns = {"card": strings(cards), "z": doubles([2.0] * rows)}
    return enrich(made, events(made, rows, at=longs([at] * rows, Kind.TIME), **columns), store)


# --- the stored value


def test_vectors_are_stored_behind_the_numbers(made: FeatureSet) -> None:
    profile = made.lookups["profile"]
    # sha256("risk\nsmall:float16[3]\nemb:float32[4]"), as sha256sum prints it.
    assert profile.prefix == b"fw:test:lookup:profile:4058d180:"
    value = Stored(T0, 0.5, (1.0, -2.0, 65504.0), (0.1, -0.0, 1e-45, 3e38))
    table = np.zeros(1, profile.layout)
    table["updated_at"], table["values"] = value.at, value.risk
    table["vector small"], table["vector emb"] = value.small, value.emb
    assert table.tobytes() == value.packed()
    assert profile.layout.itemsize == 8 + 8 + 6 + 16


@pytest.mark.parametrize(
    ("change", "other"),
    [
        ("vector: 4", "vector: 5"),
        ("emb: {vector: 4}", "emb: {vector: 4, dtype: float16}"),
        ("dtype: float16, ", ""),
        ("emb: {vector: 4}", "embedding: {vector: 4}"),
    ],
)
def test_a_vector_of_another_shape_has_other_keys(
    made: FeatureSet, tmp_path: Path, change: str, other: str
) -> None:
    text = TEXT.replace(change, other)
    if "embedding" in other:
        text = text.replace("profile.emb}", "profile.embedding}")
    changed = feature_set(tmp_path, text)
    assert changed.lookups["profile"].prefix != made.lookups["profile"].prefix


def test_every_float16_has_the_value_that_numpy_reads() -> None:
    """All 65,536 of them; the infinite ones make their value invalid."""
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    vectors = (Vector("v", 1, "float16", math.nan),)
    packed = [struct.pack("<q", 5) + half.tobytes() for half in halves]
    decoded = decode(StoredValues.of(packed), (), vectors)
    finite = ~np.isinf(halves)
    assert decoded.invalid.tolist() == (~finite).tolist()
    wide = decoded.elements.view(np.float32)[:, 0]
    np.testing.assert_array_equal(wide[finite], halves[finite].astype(np.float32))
    assert np.signbit(wide[finite]).tolist() == np.signbit(halves[finite]).tolist()
    assert decoded.updated_at[finite].tolist() == [5] * int(finite.sum())


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        struct.pack("<qd4f", T0, 1.0, 1, 2, 3, 4),
        struct.pack("<qd3e4f", T0, 1.0, 1, 2, 3, 1, 2, 3, 4)[:-1],
        struct.pack("<qd3e4f", T0, 1.0, 1, 2, 3, 1, 2, 3, 4) + b"\0",
        struct.pack("<qd3e4f", T0, math.inf, 1, 2, 3, 1, 2, 3, 4),
        struct.pack("<qd3e4f", T0, 1.0, 1, -math.inf, 3, 1, 2, 3, 4),
        struct.pack("<qd3e4f", T0, 1.0, 1, 2, 3, 1, 2, 3, math.inf),
    ],
)
def test_without_a_usable_value_all_of_it_is_its_defaults(value: bytes | None) -> None:
    vectors = (Vector("small", 3, "float16", 0.5), Vector("emb", 4, "float32", math.nan))
    good = Stored(7, 1.0, (1, 2, 3), (1, 2, 3, 4)).packed()
    decoded = decode(StoredValues.of([value, good]), (-1.0,), vectors)
    assert decoded.missing.tolist() == [value is None, False]
    assert decoded.invalid.tolist() == [value is not None, False]
    assert decoded.updated_at.tolist() == [AGELESS, 7]
    np.testing.assert_array_equal(decoded.values.view(np.float64), [[-1, 1]])
    np.testing.assert_array_equal(
        decoded.elements.view(np.float32),
        [[0.5, 0.5, 0.5, *[math.nan] * 4], [1, 2, 3, 1, 2, 3, 4]],
    )


def test_the_golden_vectors_are_the_same_without_compilation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiled = golden_answers.golden_vectors()
    kernel = interpreted("features.lookups")["decode"]
    for name in ("decode_values", "decode_elements"):
        monkeypatch.setattr(f"features.lookups.decoded.{name}", getattr(kernel, name))
    monkeypatch.setattr(golden_answers, "spread_elements", kernel.spread_elements)
    assert golden_answers.golden_vectors() == compiled
    golden_answers.prove_lookups()


def test_what_the_installation_compiles_serves_the_worker(made: FeatureSet) -> None:
    """For arrays in another form a worker would compile in its first micro-batch."""
    golden_answers.prove_lookups()
    kernels: Any = (decode_elements, spread_elements)
    compiled = [len(kernel.signatures) for kernel in kernels]
    value = Stored(T0, 0.5, (1, 2, 3), (1, 2, 3, 4)).packed()
    batch = events(made, 2, card=strings(["a", "gone"]), z=doubles([0.0] * 2))
    request = LookupRequest(tuple(made.lookups.values()), batch, {})
    # As the answers of a server lie in memory.
    request.looked_up(ReadResult(StoredValues.of([value, None]), []))
    assert [len(kernel.signatures) for kernel in kernels] == compiled


# --- the columns


def test_a_vector_is_a_column_for_each_element(made: FeatureSet) -> None:
    assert made.names == NAMES
    assert made.irreproducible == tuple(range(1, 10))
    store = stored(made, a=Stored(T0, 0.5, (1, -2, math.nan), (0.1, 0.2, 0.3, 0.4)).packed())
    found = enriched(made, store, ["a", "gone", "a"])
    row = [2, 0.1, 0.2, 0.3, 0.4, 0.5, np.float64(np.float32(0.4)) + 2, 1, -2, math.nan]
    default = [2, *[math.nan] * 4, -1, math.nan, 0.5, 0.5, 0.5]
    np.testing.assert_array_equal(found.matrix, np.array([row, default, row], np.float32))
    assert found.matrix.flags.c_contiguous
    flags = [made.flags.decode(bits) for bits in found.flags.tolist()]
    assert flags == [[], ["lookup_missing:profile"], []]


def test_a_stale_vector_has_its_defaults(made: FeatureSet) -> None:
    value = Stored(T0, 0.5, (1, 2, 3), (1, 2, 3, 4)).packed()
    for at, first in ((T0 + 2 * DAY, 1), (T0 + 2 * DAY + 1, math.nan)):
        found = enriched(made, stored(made, a=value), ["a"], at)
        np.testing.assert_array_equal(found.matrix[0, 1], first)
        assert bool(found.flags[0]) is (first != 1)


def test_a_batch_without_events_has_all_columns(made: FeatureSet) -> None:
    assert enriched(made, MemoryStore(), []).matrix.shape == (0, len(NAMES))


def test_a_condition_of_a_policy_reads_an_element(made: FeatureSet) -> None:
    condition = compile_condition(made, "emb_2 > 0 and low_0 < 1")
    assert condition.features == {"emb_2", "low_0"}
    matrix = np.zeros((2, len(NAMES)), np.float32)
    matrix[1, NAMES.index("emb_2")] = 0.5
    batch = events(made, 2, z=doubles([0.0] * 2))
    assert condition(batch, matrix).tolist() == [False, True]


FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=True)
HALVES = st.floats(width=16, allow_nan=True, allow_infinity=True)
VALUES = st.one_of(
    st.none(),
    st.binary(max_size=37),
    st.builds(
        Stored,
        st.sampled_from([T0, T0 - 2 * DAY, T0 - 2 * DAY - 1, T0 + DAY, NEVER]),
        st.floats(allow_nan=True, allow_infinity=True),
        st.tuples(HALVES, HALVES, HALVES),
        st.tuples(FLOATS, FLOATS, FLOATS, FLOATS),
    ),
)


def expected(value: Stored | bytes | None) -> list[float]:
    """Columns of an event at T0 by numpy, event by event."""
    defaults = [*[math.nan] * 4, -1, 0.5, 0.5, 0.5]
    if not isinstance(value, Stored) or value.at < T0 - 2 * DAY:
        return defaults
    numbers = [*value.emb, value.risk, *value.small]
    return defaults if any(map(math.isinf, numbers)) else numbers


@settings(max_examples=150, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=6), st.lists(st.integers(0, 5), min_size=1))
def test_columns_are_those_of_an_oracle_alone_and_in_any_batch(
    made: FeatureSet, values: list[Stored | bytes | None], picked: list[int]
) -> None:
    rows = [index % len(values) for index in picked]
    packed = {
        f"k{index}": value.packed() if isinstance(value, Stored) else value
        for index, value in enumerate(values)
        if value is not None
    }
    store = stored(made, **packed)
    cards = [f"k{row}" for row in rows]
    found = enriched(made, store, cards).matrix
    wanted = np.array([expected(values[row]) for row in rows])
    with np.errstate(over="ignore"):
        wanted = wanted.astype(np.float32)
    wanted[np.isinf(wanted)] = math.nan
    ours = found[:, [*range(1, 6), 7, 8, 9]]
    wanted[np.isnan(wanted)] = np.float32(math.nan)
    np.testing.assert_array_equal(ours.view(np.int32), wanted.view(np.int32))
    alone = b"".join(enriched(made, store, [card]).matrix.tobytes() for card in cards)
    assert alone == found.tobytes()


# --- definitions


def test_each_element_has_a_fingerprint_of_its_own(made: FeatureSet, tmp_path: Path) -> None:
    own = {feature.name: feature.fingerprint for feature in made.features}
    assert len(set(own.values())) == len(own)
    moved = feature_set(
        tmp_path, TEXT.replace("name: emb,", "name: card_emb,").replace("emb_", "card_emb_")
    )
    renamed = {feature.name: feature.fingerprint for feature in moved.features}
    assert renamed["card_emb_3"] == own["emb_3"]
    assert renamed["RISK"] == own["RISK"]


@pytest.mark.parametrize(
    ("change", "other"),
    [
        ("vector: 4", "vector: 5"),
        ("{vector: 4}", "{vector: 4, dtype: float16}"),
        ("{vector: 4}", "{vector: 4, default: 0}"),
        ("max_age: 2d", "max_age: 3d"),
    ],
)
def test_what_changes_an_element_changes_its_fingerprint(
    made: FeatureSet, tmp_path: Path, change: str, other: str
) -> None:
    changed = feature_set(tmp_path, TEXT.replace(change, other))
    own, new = ({f.name: f.fingerprint for f in one.features} for one in (made, changed))
    assert all(own[f"emb_{element}"] != new[f"emb_{element}"] for element in range(4))
    assert own["Z"] == new["Z"]


def test_a_default_that_is_written_out_changes_nothing(made: FeatureSet, tmp_path: Path) -> None:
    same = "{vector: 4, dtype: float32, default: nan}"
    assert feature_set(tmp_path, TEXT.replace("{vector: 4}", same)).fingerprint == made.fingerprint


@pytest.mark.parametrize(
    ("change", "other", "message"),
    [
        ("vector: 4", "vector: 0", r"emb.vector: .*greater than or equal to 1"),
        ("vector: 4", "vector: 1025", r"emb.vector: .*less than or equal to 1024"),
        ("vector: 4", "vector: 4.5", "emb.vector"),
        ("vector: 4", "vector: true", "emb.vector"),
        ("float16", "int8", "small.dtype.*float32"),
        ("{default: -1}", "{dtype: float32}", "dtype belongs to a vector: remove it, or say vec"),
        (
            "{vector: 4}",
            "{vector: 4, default: 1e39}",
            r"default 1e\+39 is too large for the float32",
        ),
        ("{vector: 4}", "{vector: 4, default: [0, 0]}", "default.*not a finite number"),
        (
            "name: RISK",
            "name: emb_3",
            r"feature emb_3 appears twice \(emb is a vector\): rename one",
        ),
        ("name: Z", "name: emb_0", r"feature emb_0 appears twice \(emb is a vector\): rename one"),
        ("name: RISK", "name: emb", "feature emb appears twice: rename one"),
        ("name: low", "name: emb", "feature emb appears twice: rename one"),
        (
            "name: low",
            "name: emb_1",
            r"feature emb_1 appears twice \(emb is a vector\): rename one",
        ),
        ("lookup: profile.emb", "lookup: profile.emc", "unknown looked-up value .*'profile.emb'"),
        ("expr: emb_3", "expr: emb_4", "unknown name 'emb_4'"),
        ("expr: emb_3", "expr: emb", r"emb is a vector: name an element, emb_0 to emb_3"),
    ],
)
def test_a_wrong_vector_is_refused_at_its_place(
    tmp_path: Path, change: str, other: str, message: str
) -> None:
    text = TEXT.replace(change, other, 1)
    with pytest.raises(ConfigurationError, match=rf"features\.yaml:\d+:\d+: .*{message}"):
        feature_set(tmp_path, text)


def test_an_error_of_a_vector_is_told_once(tmp_path: Path) -> None:
    text = TEXT.replace("- {name: Z, field: z}", "- {name: Z, field: z}\n  - {name: emb, field: z}")
    with pytest.raises(ConfigurationError) as told:
        feature_set(tmp_path, text)
    assert len(str(told.value).splitlines()) == 1


def test_the_columns_of_vectors_count_as_features(tmp_path: Path) -> None:
    values = "".join(f"v{i}: {{vector: 1024}}, " for i in range(4))
    head = f"{EVENTS}entities: {{card: card}}\nlookups: {{l: {{by: card, values: {{{values}}}}}}}\n"
    entries = "".join(f"  - {{name: v{i}, lookup: l.v{i}}}\n" for i in range(4))
    assert len(feature_set(tmp_path, f"{head}features:\n{entries}").names) == 4096
    message = "with the 1024 columns of v3 there are 4,097 features; at most 4,096 are allowed"
    with pytest.raises(ConfigurationError, match=message):
        feature_set(tmp_path, f"{head}features:\n  - {{name: Z, field: z}}\n{entries}")


def test_a_name_like_a_field_of_the_schema_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="x is a field of the schema: give the feature"):
        feature_set(tmp_path, TEXT.replace("name: low", "name: x"))


def test_the_layout_of_numbers_alone_is_as_before() -> None:
    assert layout(3) == np.dtype([("updated_at", "<i8"), ("values", "<f8", (3,))])
