"""Lookups of feature views that Feast keeps: keys, values, and what is wrong with them."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.errors import ConfigurationError, MalformedError
from features.compute.enrich import enrich
from features.definition import FeatureSet
from features.loading.lookup_files import load_lookup
from features.store.feast import numbers, timestamps
from features.store.feast.keys import KeyType, murmur3, redis_keys
from features.store.feast.protobuf_values import number, timestamp
from features.store.memory import MemoryStore
from schemas.batch import Kind
from tests.support.making import EVENTS, T0, events, feature_set, longs, strings

NAN = math.nan
DAY = 86_400_000_000

TEXT = f"""{EVENTS}entities: {{card: card}}
lookups:
  velocity:
    by: card
    max_age: 1d
    feast: {{project: fraud, feature_view: card_velocity, join_key: card_id}}
    values: {{count: {{default: 7}}, mean: {{default: -1}}}}
features:
  - {{name: COUNT, lookup: velocity.count}}
  - {{name: MEAN, lookup: velocity.mean}}
"""


def double(value: float) -> bytes:
    return b"\x29" + struct.pack("<d", value)


def whole(value: int) -> bytes:
    return b"\x20" + varint(value & (1 << 64) - 1)


def varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def stamp(micros: int) -> bytes:
    seconds, rest = divmod(micros, 1_000_000)
    return b"\x08" + varint(seconds & (1 << 64) - 1) + b"\x10" + varint(rest * 1000)


# --- keys


@pytest.mark.parametrize(
    ("text", "hashed"),
    [
        (b"", 0),
        (b"a", 0x3C2569B2),
        (b"test", 0xBA6BD213),
        (b"Hello, world!", 0xC0363E43),
        (b"The quick brown fox jumps over the lazy dog", 0x2E4FF723),
    ],
)
def test_the_published_values_of_murmur3(text: bytes, hashed: int) -> None:
    assert murmur3(text) == hashed


@pytest.mark.parametrize(
    ("kind", "fits", "does_not"),
    [
        (
            KeyType.INT64,
            [b"0", b"-1", b"9223372036854775807", b"-9223372036854775808"],
            [b"9223372036854775808", b"-9223372036854775809", b"1" * 1000],
        ),
        (KeyType.INT32, [b"2147483647", b"-2147483648"], [b"2147483648", b"-2147483649"]),
    ],
)
def test_a_text_that_is_no_number_of_its_type_has_no_key(
    kind: KeyType, fits: list[bytes], does_not: list[bytes]
) -> None:
    wrong = [*does_not, b"", b"-", b"x", b"1.0", b" 1", b"1\n", b"1_0", "\uff11".encode()]
    found = redis_keys({"id": (kind, [*fits, *wrong])}, "fraud")
    width = 4 if kind is KeyType.INT32 else 8
    wanted = [int(text).to_bytes(width, "little", signed=True) + b"fraud" for text in fits]
    assert [key[-width - 5 :] for key in found[: len(fits)] if key is not None] == wanted
    assert found[len(fits) :] == [None] * len(wrong)


def test_each_of_several_feast_join_keys_has_to_fit() -> None:
    join = {"b": (KeyType.INT64, [b"1", b"x"]), "a": (KeyType.STRING, [b"s", b"t"])}
    one, none = redis_keys(join, "p")
    assert none is None
    assert one is not None
    assert one.index(b"a") < one.index(b"b")


# --- values


@pytest.mark.parametrize(
    ("message", "value"),
    [
        pytest.param(b"", NAN, id="null"),
        pytest.param(b"\x98\x01\x00", NAN, id="null by name"),
        pytest.param(whole(2**53 + 1), 2.0**53, id="beyond a double"),
        pytest.param(b"\x18\xff\xff\xff\xff\x0f", -1, id="int32 in five bytes"),
        pytest.param(whole(1) + double(2.5), 2.5, id="the last of two"),
        pytest.param(b"\x20\x80\x00", 0, id="more bytes than needed"),
    ],
)
def test_a_message_is_read_as_protobuf_reads_it(message: bytes, value: float) -> None:
    np.testing.assert_array_equal(number(message), value)


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b"\x20", id="no value"),
        pytest.param(b"\x20\xff", id="a varint that does not end"),
        pytest.param(b"\x20" + b"\xff" * 10 + b"\x01", id="a varint of eleven bytes"),
        pytest.param(double(1)[:-1], id="a double cut off"),
        pytest.param(b"\x12\x05abc", id="text cut off"),
        pytest.param(b"\x12\x03abc", id="text"),
        pytest.param(b"\x21" + bytes(8), id="an integer of fixed width"),
        pytest.param(b"\xa0\x06\x01", id="an unknown field"),
        pytest.param(b"\x23\x24", id="a group"),
    ],
)
def test_a_message_that_is_no_number_is_invalid(message: bytes) -> None:
    with pytest.raises(MalformedError):
        number(message)
    found = numbers([whole(1), message, None])
    assert found.invalid.tolist() == [False, True, False]
    assert found.absent.tolist() == [False, False, True]


@pytest.mark.parametrize(
    "message",
    [
        b"\x08",
        b"\x09" + bytes(8),
        b"\x18\x01",
        b"\x10" + varint(1_000_000_000),
        b"\x10" + varint((1 << 64) - 1),
        b"\x08" + varint(253_402_300_800),
        b"\x08" + varint(1_522_540_831) + b"\x10",
        b"\x08" + varint(1_522_540_831) + b"\x10" + varint(1_000_000_000),
        b"\x00" + varint(1_522_540_831),
        b"\x08" + varint((1 << 64) - 62_135_596_801),
    ],
)
def test_a_timestamp_that_is_none_is_invalid(message: bytes) -> None:
    with pytest.raises(MalformedError):
        timestamp(message)
    found = timestamps([message, b"", None])
    assert found.invalid.tolist() == [True, False, False]
    assert found.absent.tolist() == [False, False, True]
    assert found.micros.tolist() == [0, 0, 0]


MESSAGES = st.one_of(
    st.none(),
    st.binary(max_size=24),
    st.integers(-(2**63), 2**63 - 1).map(whole),
    st.floats().map(double),
)


@given(st.lists(MESSAGES, max_size=20))
def test_any_bytes_are_a_number_or_invalid_and_alone_as_in_company(
    messages: list[bytes | None],
) -> None:
    together = numbers(messages)
    for row, message in enumerate(messages):
        alone = numbers([message])
        assert [column[row].tobytes() for column in together] == [
            column[0].tobytes() for column in alone
        ]
        assert not math.isinf(alone.values[0])
        timestamps([message])


@given(st.integers(-(2**63), 2**63 - 1), st.floats(), st.integers(0, 4_102_444_800_000_000))
def test_values_in_feasts_format_are_read(integer: int, real: float, micros: int) -> None:
    assert number(whole(integer)) == float(integer)
    np.testing.assert_array_equal(number(double(real)), real)
    assert timestamp(stamp(micros)) == micros


TIMES = st.integers(-(10**17), 253_402_300_799_999_999).map(stamp)


@given(
    st.one_of(TIMES, st.integers(0, 2**36).map(lambda seconds: b"\x08" + varint(seconds))),
    st.integers(0, 16),
    st.one_of(st.none(), st.integers(0, 255)),
    st.binary(max_size=2),
)
def test_times_together_are_read_as_alone(
    message: bytes, place: int, byte: int | None, more: bytes
) -> None:
    """Also one that is damaged in a byte, cut off or too long."""
    if byte is not None:
        message = message[:place] + bytes([byte]) + message[place + 1 :]
    else:
        message = message[: len(message) - place % 3]
    found = timestamps([stamp(T0), message + more, None])
    try:
        micros = timestamp(message + more)
    except MalformedError:
        assert found.invalid.tolist() == [False, True, False]
        micros = 0
    else:
        assert not found.invalid.any()
    assert found.micros.tolist() == [T0, micros, 0]


# --- lookups


def put(made: FeatureSet, store: MemoryStore, card: str, *values: bytes | None) -> None:
    """A hash of Feast's: of count, mean and time what is not None."""
    view = made.lookups["velocity"].feast
    assert view is not None
    (key,) = view.keys([card.encode()])
    assert key is not None
    fields = zip(view.fields(["count", "mean"]), values, strict=True)
    store.write_hash(key, {field: value for field, value in fields if value is not None})


def flags(made: FeatureSet, found: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> list[set[str]]:
    return [{name.split(":")[0] for name in made.flags.decode(value)} for value in found.tolist()]


MISSING, STALE, INVALID = "lookup_missing", "lookup_stale", "lookup_invalid"
FRESH = stamp(T0 - DAY)
OLD = stamp(T0 - DAY - 1)


@pytest.mark.parametrize(
    ("stored", "values", "flagged"),
    [
        pytest.param((whole(3), double(1.5), FRESH), [3, 1.5], set(), id="all"),
        pytest.param((whole(3), b"", FRESH), [3, NAN], set(), id="a null"),
        pytest.param((None, None, None), [7, -1], {MISSING}, id="nothing"),
        pytest.param((whole(3), None, FRESH), [3, -1], {MISSING}, id="one is missing"),
        pytest.param((None, None, OLD), [7, -1], {MISSING}, id="a time alone"),
        pytest.param((b"\x12\x01a", double(1.5), FRESH), [7, 1.5], {INVALID}, id="one is text"),
        pytest.param((None, b"\xff", FRESH), [7, -1], {MISSING, INVALID}, id="both"),
        pytest.param((whole(3), double(math.inf), FRESH), [3, -1], {INVALID}, id="infinite"),
        pytest.param((whole(3), double(1.5), OLD), [7, -1], {STALE}, id="old"),
        pytest.param((whole(3), None, OLD), [7, -1], {MISSING, STALE}, id="old and missing"),
        pytest.param((whole(3), double(1.5), b""), [7, -1], {STALE}, id="of 1970"),
        pytest.param((whole(3), double(1.5), stamp(T0 + DAY)), [3, 1.5], set(), id="newer"),
        pytest.param((whole(3), double(1.5), None), [7, -1], {STALE}, id="of no time"),
        pytest.param((whole(3), double(1.5), b"\xff"), [7, -1], {INVALID}, id="of a broken time"),
        pytest.param((whole(3), None, b"\xff"), [7, -1], {INVALID}, id="a broken time, no value"),
    ],
)
def test_missing_stale_and_malformed_feast_values_have_flags(
    tmp_path: Path,
    stored: tuple[bytes | None, ...],
    values: list[float],
    flagged: set[str],
) -> None:
    made = feature_set(tmp_path, TEXT)
    store = MemoryStore()
    put(made, store, "good", whole(1), double(2.0), FRESH)
    put(made, store, "card", *stored)
    cards = ["good", "card", "good", "card"]
    at = longs([T0] * 4, Kind.TIME)
    found = enrich(made, events(made, 4, card=strings(cards), at=at), store)
    wanted = [[1, 2.0], values, [1, 2.0], values]
    np.testing.assert_array_equal(found.matrix, np.array(wanted, np.float32))
    assert flags(made, found.flags) == [set(), flagged, set(), flagged]


def test_feast_values_without_a_max_age_are_never_stale(tmp_path: Path) -> None:
    made = feature_set(tmp_path, TEXT.replace("    max_age: 1d\n", ""))
    store = MemoryStore()
    put(made, store, "a", whole(3), double(1.5), OLD)
    put(made, store, "b", whole(4), double(2.5), None)
    found = enrich(made, events(made, 2, card=strings(["a", "b"])), store)
    np.testing.assert_array_equal(found.matrix, np.array([[3, 1.5], [4, 2.5]], np.float32))
    assert found.flags.tolist() == [0, 0]


def test_a_key_of_another_kind_than_a_hash_is_invalid(tmp_path: Path) -> None:
    made = feature_set(tmp_path, TEXT)
    store = MemoryStore()
    view = made.lookups["velocity"].feast
    assert view is not None
    store.write([(view.keys([b"a"])[0] or b"", b"text")])
    found = enrich(made, events(made, 1, card=strings(["a"])), store)
    assert found.matrix.tolist() == [[7, -1]]
    assert flags(made, found.flags) == [{INVALID}]


def test_a_key_that_feast_cannot_have_is_missing(tmp_path: Path) -> None:
    made = feature_set(tmp_path, TEXT.replace("card_id}", "card_id, key_type: int64}"))
    store = MemoryStore()
    put(made, store, "12", whole(3), double(1.5), FRESH)
    put(made, store, "13", whole(4), double(2.5), FRESH)
    cards = strings(["x", "12", "9" * 30, "13", "x"])
    at = longs([T0] * 5, Kind.TIME)
    found = enrich(made, events(made, 5, card=cards, at=at), store)
    wanted = [[7, -1], [3, 1.5], [7, -1], [4, 2.5], [7, -1]]
    np.testing.assert_array_equal(found.matrix, np.array(wanted, np.float32))
    nothing = {MISSING}
    assert flags(made, found.flags) == [nothing, set(), nothing, set(), nothing]


def test_the_type_of_the_key_is_that_of_the_field_unless_it_is_given(tmp_path: Path) -> None:
    kinds = {}
    for field, key_type in [("card", ""), ("shop", ""), ("shop", ", key_type: string")]:
        text = TEXT.replace("{card: card}", f"{{card: {field}}}")
        text = text.replace("card_id}", f"card_id{key_type}}}")
        view = feature_set(tmp_path, text).lookups["velocity"].feast
        assert view is not None
        kinds[field, key_type] = view.key_types
    assert list(kinds.values()) == [(KeyType.STRING,), (KeyType.INT64,), (KeyType.STRING,)]


def test_fingerprints_tell_sources_apart(tmp_path: Path) -> None:
    own = TEXT.replace(
        "    feast: {project: fraud, feature_view: card_velocity, join_key: card_id}\n", ""
    )
    assert own != TEXT
    texts = [
        TEXT,
        own,
        TEXT.replace("project: fraud", "project: other"),
        TEXT.replace("card_velocity", "other"),
        TEXT.replace("card_id", "other"),
        TEXT.replace("card_id}", "card_id, key_type: int64}"),
    ]
    assert len({feature_set(tmp_path, text).fingerprint for text in texts}) == len(texts)
    spelt_out = TEXT.replace("card_id}", "card_id, key_type: string}")
    assert feature_set(tmp_path, spelt_out).fingerprint == feature_set(tmp_path, TEXT).fingerprint


def test_a_batch_without_events_has_no_values(tmp_path: Path) -> None:
    made = feature_set(tmp_path, TEXT)
    found = enrich(made, events(made, 0), MemoryStore())
    assert found.matrix.shape == (0, 2)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("{project: fraud, feature_view: v}", "join_key is missing"),
        ("{project: fraud, feature_view: v, joinkey: k}", "did you mean 'join_key'"),
        ("{project: fraud, feature_view: v, join_key: k, key_type: text}", "key_type"),
        ("{project: '', feature_view: v, join_key: k}", "project"),
    ],
)
def test_an_invalid_feast_lookup_is_refused_at_its_place(
    tmp_path: Path, written: str, message: str
) -> None:
    right = "{project: fraud, feature_view: card_velocity, join_key: card_id}"
    with pytest.raises(ConfigurationError, match=rf"features\.yaml:11:\d+: .*{message}"):
        feature_set(tmp_path, TEXT.replace(right, written))


def test_feast_lookups_are_not_loaded_by_this_project(tmp_path: Path) -> None:
    made = feature_set(tmp_path, TEXT)
    with pytest.raises(ConfigurationError, match=r"feature view card_velocity .*feast materialize"):
        load_lookup(made, "velocity", tmp_path / "none.parquet", MemoryStore())
