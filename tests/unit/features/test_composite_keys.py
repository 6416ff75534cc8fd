"""Entities whose keys have several parts: their texts, and every place that makes or takes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.errors import ConfigurationError, ErrorCode
from features.compute.bind import bind
from features.compute.enrich import enrich
from features.definition import FeatureSet
from features.history.namespace import Namespace
from features.inspect.explanation import Explainer
from features.inspect.stored_history import key_text, read_history, windows_of
from features.loading import LabelFile, LabelRows
from features.loading.lookup_files import load_lookup
from features.loading.past_lookups import keep_rows, read_past_lookup
from features.store.feast.keys import KeyType, redis_keys
from features.store.memory import MemoryStore
from features.tables import EventTableReader, build
from features.tables.training_table import METADATA
from features.values.key_texts import MAX_KEY_BYTES, NO_PART, PART, are_keys, decode, encode
from features.windows.window import Across
from schemas.batch import Column, Decoded, Refusal
from tests.support.event_files import lines
from tests.support.making import EVENTS, T0, columns, events, feature_set, longs, records, strings

TEXT = f"""{EVENTS}  partition_key: card
  label: {{field: is_fraud, delay: 1d}}
  aliases: {{shop: SHOP, merchant.code: mcc}}
entities:
  card_shop: [card, shop]
  shop_code: [shop, {{field: merchant.code, nullable: true}}]
lookups:
  usual: {{by: card_shop, values: {{mean: }}}}
  place: {{by: shop_code, values: {{risk: }}}}
features:
  - {{name: AT_SHOP, window: count, by: card_shop, over: 30d}}
  - {{name: RISK, window: fraud_share, by: shop_code, over: 30d, delay: 1d}}
  - {{name: MEAN, lookup: usual.mean}}
  - {{name: PLACE, lookup: place.risk}}
"""
NESTED = {"id": "e1", "at": T0, "card": "c", "shop": 7, "merchant": {"code": None, "risk": 1}}
PLAIN = {"amount": 1, "z": 0, "seconds": 0, "cents": 0, "price": 0, "tags": []}


@pytest.fixture
def made(tmp_path: Path) -> FeatureSet:
    return feature_set(tmp_path, TEXT)


def texts(*values: str) -> pa.StringArray:
    return pa.array(values, pa.string())


# texts


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (["4111", "m1"], "4111|m1"),
        (["a|b", "c"], r"a\|b|c"),
        (["a", "b|c"], r"a|b\|c"),
        (["a\\", "b"], r"a\\|b"),
        (["", "b"], r"\N|b"),
        (["a", "", "c"], r"a|\N|c"),
        (["\\N", "N"], r"\\N|N"),
        (["ä", "日本", "🙂", "x", "y", "z", "1", "2"], "ä|日本|🙂|x|y|z|1|2"),
    ],
)
def test_a_key_of_several_parts_has_this_text(parts: list[str], text: str) -> None:
    keys, too_long = encode([texts(part) for part in parts])
    assert (keys.to_pylist(), too_long.tolist()) == ([text], [False])
    assert [part.decode() if part else "" for part in decode(text.encode())] == parts


TEXTS = st.text(st.sampled_from("|\\Nab") | st.characters(exclude_categories=["Cs"]), max_size=5)
KEYS = st.integers(2, 4).flatmap(
    lambda parts: st.lists(st.tuples(*[TEXTS] * parts), min_size=1, max_size=40)
)


@given(KEYS)
def test_no_two_keys_have_one_text_and_the_text_gives_the_parts_back(
    rows: list[tuple[str, ...]],
) -> None:
    sliced = [texts("left out", *column)[1:] for column in zip(*rows, strict=True)]
    keys, _ = encode(sliced)
    found = keys.to_pylist()
    assert [tuple((p or b"").decode() for p in decode(key.encode())) for key in found] == rows
    assert len(set(found)) == len(set(rows))
    assert are_keys(keys, [f"(?:{PART}|{NO_PART})"] * len(rows[0])).all()
    whole = [all(row) for row in rows]
    assert are_keys(keys, [PART] * len(rows[0])).tolist() == whole


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a|",
        "|a",
        "a|b|c",
        r"a\|b",
        "a\\",
        r"a|\x",
        r"a|b\N",
        "a|\\",
        "a||b",
        "\n|",
        "a|b|\n",
    ],
)
def test_a_text_that_is_not_of_two_parts_is_no_key(text: str) -> None:
    assert not are_keys(texts(text), [f"(?:{PART}|{NO_PART})"] * 2).any()


@pytest.mark.parametrize(("extra", "fits"), [(0, True), (1, False)])
def test_the_bound_holds_for_the_whole_text(extra: int, fits: bool) -> None:
    parts = [texts("é" * 500), texts("|" * 5), texts("x" * (12 + extra))]
    keys, too_long = encode(parts)
    assert too_long.tolist() == [not fits]
    assert len(keys[0].as_py().encode()) == (MAX_KEY_BYTES if fits else 0)


def test_an_empty_batch_has_no_keys() -> None:
    keys, too_long = encode([texts(), texts()])
    assert (len(keys), len(too_long)) == (0, 0)


# events


def batch(**given: Column) -> Decoded:
    rows = len(next(iter(given.values())))
    usual = {"card": strings(["c"] * rows), "shop": longs([7] * rows)}
    usual["merchant__code"] = strings(["5411"] * rows)
    return Decoded(columns(rows, **(usual | given)), {})


def test_events_have_the_texts_of_their_keys(made: FeatureSet) -> None:
    found, errors = bind(
        made,
        records(3),
        batch(
            card=strings(["c", "|", "é"]),
            shop=longs([7, -(2**63), 0]),
            merchant__code=strings([None, "", "5411"]),
        ),
    )
    assert errors == {}
    assert found.entity_keys["card_shop"].to_pylist() == ["c|7", r"\||-9223372036854775808", "é|0"]
    assert found.entity_keys["shop_code"].to_pylist() == [
        r"7|\N",
        r"-9223372036854775808|\N",
        "0|5411",
    ]


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        (
            {"card": strings(["c", None, "c"])},
            ErrorCode.ENTITY_KEY_MISSING,
            "the key of card_shop (card) is null or empty",
        ),
        (
            {"card": strings(["c", "", "c"])},
            ErrorCode.ENTITY_KEY_MISSING,
            "the key of card_shop (card) is null or empty",
        ),
        (
            {"shop": longs([1, None, 2])},
            ErrorCode.ENTITY_KEY_MISSING,
            "the key of card_shop (shop) is null or empty",
        ),
        (
            {"merchant__code": strings(["x", "y" * 1023, None])},
            ErrorCode.KEY_TOO_LONG,
            "the key of shop_code (shop, merchant.code) is longer than 1024 bytes",
        ),
    ],
)
def test_a_key_that_lacks_a_part_or_is_too_long_is_a_dead_letter(
    given: dict[str, Column], code: ErrorCode, message: str, made: FeatureSet
) -> None:
    found, errors = bind(made, records(3), batch(**given))
    assert {row: (error.code, error.message) for row, error in errors.items()} == {
        1: (code, message)
    }
    assert [len(keys) for keys in found.entity_keys.values()] == [2, 2]


def test_a_partition_key_may_be_null_in_no_key_alone(tmp_path: Path) -> None:
    text = TEXT.replace("[card, shop]", "[{field: card, nullable: true}, shop]")
    _, errors = bind(feature_set(tmp_path, text), records(1), batch(card=strings([None])))
    assert errors[0].code is ErrorCode.PARTITION_KEY_MISSING


def test_all_events_of_a_key_with_the_partition_key_in_it_are_in_one_partition(
    made: FeatureSet, tmp_path: Path
) -> None:
    assert {w.name: w.across for w in made.histories.windows} == {
        "AT_SHOP": Across.OWN,
        "RISK": Across.ALIGNED,
    }
    assert made.features[0].paths == {"card", "shop"}
    turned = feature_set(tmp_path, TEXT.replace("[card, shop]", "[shop, card]"))
    assert turned.histories.windows[0].across is Across.OWN
    with pytest.raises(ConfigurationError, match="card_shop has the partition key in it, so all"):
        feature_set(tmp_path, TEXT.replace("over: 30d}", "over: 30d, across: best_effort}", 1))


def test_the_parts_and_their_order_are_in_fingerprint_and_layout(tmp_path: Path) -> None:
    def identity(text: str) -> tuple[list[str], list[str]]:
        made = feature_set(tmp_path, text)
        layouts = [made.histories.layouts[entity] for entity in ("card_shop", "shop_code")]
        return [feature.fingerprint for feature in made.features], layouts

    first = identity(TEXT)
    turned = identity(TEXT.replace("[card, shop]", "[shop, card]"))
    assert [a == b for a, b in zip(first[0], turned[0], strict=True)] == [False, True, False, True]
    assert [a == b for a, b in zip(first[1], turned[1], strict=True)] == [False, True]
    # A part that may be null changes no value of an event, but which events are valid.
    required = identity(TEXT.replace(", nullable: true", ""))
    assert required[0] == first[0]
    assert not {*required[1]} & {*first[1]}


# tables, labels and lookups


def test_a_lookup_by_the_same_fields_in_another_order_has_other_keys(tmp_path: Path) -> None:
    prefixes = {
        lookup.prefix
        for text in (TEXT, TEXT.replace("[card, shop]", "[shop, card]"))
        for lookup in feature_set(tmp_path, text).lookups.values()
        if lookup.entity == "card_shop"
    }
    assert len(prefixes) == 2


def event(**changes: Any) -> dict[str, Any]:
    return {**PLAIN, **NESTED, **changes}


def test_a_table_names_the_columns_that_make_a_key(made: FeatureSet, tmp_path: Path) -> None:
    rows = [event(id=f"e{n}", at=T0 + n, SHOP=7 + n % 2, is_fraud=0) for n in range(4)]
    for row in rows:
        del row["shop"]
    path = lines(tmp_path / "events.jsonl", rows)
    build(made, EventTableReader(made, [path]), tmp_path / "table.parquet", None)
    table = pq.read_table(tmp_path / "table.parquet")
    assert table["AT_SHOP"].to_pylist() == [1, 1, 2, 2]
    assert {"card", "SHOP", "mcc"} - set(table.column_names) == {"mcc"}
    described = json.loads(table.schema.metadata[METADATA])["columns"]
    assert described["entities"] == {
        "card_shop": ["card", "SHOP"],
        "shop_code": ["SHOP", "merchant.code"],
    }


LABEL = {"event_id": "e", "event_time": "2018-08-01T00:00:00Z", "fraud": True}


def read(path: Path, made: FeatureSet) -> tuple[LabelRows, list[Refusal]]:
    ((rows, refused),) = LabelFile(made, path)
    return rows, refused


@pytest.mark.parametrize(
    ("given", "keys"),
    [
        ({"entity_keys": {"card_shop": "c|7", "shop_code": r"7|\N"}}, ["c|7", r"7|\N"]),
        ({"card_shop": "c|7", "shop_code": "7|x"}, ["c|7", "7|x"]),
        ({"card": "c", "shop": 7, "merchant": {"code": None}}, ["c|7", r"7|\N"]),
        ({"card": "a|b", "SHOP": "7", "mcc": "x"}, [r"a\|b|7", "7|x"]),
        ({"card": None, "SHOP": 7, "mcc": "x"}, ["", "7|x"]),
        ({"card": "c", "shop": 7}, ["c|7", ""]),
        ({"card_shop": "d|8", "card": "c", "shop": 7}, ["d|8", ""]),
        ({"card_shop": None, "card": "c", "shop": 7}, ["c|7", ""]),
    ],
)
def test_labels_have_keys_of_parts_or_as_one_text(
    given: dict[str, Any], keys: list[str], made: FeatureSet, tmp_path: Path
) -> None:
    rows, refused = read(lines(tmp_path / "labels.jsonl", [{**LABEL, **given}]), made)
    assert refused == []
    assert [rows.keys(entity).to_pylist() for entity in ("card_shop", "shop_code")] == [
        [key] for key in keys
    ]


@pytest.mark.parametrize("text", ["c", "c|7|8", r"\N|7", "c|", r"c|\N"])
def test_a_label_with_another_text_as_its_key_is_refused(
    text: str, made: FeatureSet, tmp_path: Path
) -> None:
    path = lines(tmp_path / "labels.jsonl", [{**LABEL, "card_shop": text}])
    rows, refused = read(path, made)
    assert len(rows) == 0
    assert [(one.code, one.message) for one in refused] == [
        ("body_invalid", "the key of card_shop is not a text made of card, shop")
    ]


def lookup_file(folder: Path, **given: Any) -> Path:
    pq.write_table(pa.table(given), folder / "lookup.parquet")
    return folder / "lookup.parquet"


@pytest.mark.parametrize(
    "keys",
    [
        {"card": ["c", "d|"], "shop": [7, 8]},
        {"card": ["c", "d|"], "SHOP": ["7", "8"]},
        {"card_shop": ["c|7", r"d\||8"]},
    ],
)
def test_a_lookup_file_has_the_parts_or_the_whole_key(
    keys: dict[str, Any], made: FeatureSet, tmp_path: Path
) -> None:
    store = MemoryStore()
    assert load_lookup(made, "usual", lookup_file(tmp_path, mean=[1.5, 2.5], **keys), store) == (
        2,
        2,
    )
    found = events(
        made,
        3,
        card=strings(["d|", "c", "c"]),
        shop=longs([8, 7, 8]),
        merchant__code=strings(["x"] * 3),
    )
    matrix = enrich(made, found, store).matrix
    np.testing.assert_array_equal(matrix[:, 2], [2.5, 1.5, np.nan])


def test_a_part_that_may_be_null_may_be_null_in_a_lookup_file(
    made: FeatureSet, tmp_path: Path
) -> None:
    store = MemoryStore()
    codes = pa.array([None, "x"], pa.string())
    path = lookup_file(tmp_path, shop=[7, 7], mcc=codes, risk=[0.25, 0.5])
    load_lookup(made, "place", path, store)
    given = {"card": strings(["c", "c"]), "shop": longs([7, 7])}
    found = events(made, 2, **given, merchant__code=strings(["x", ""]))
    assert enrich(made, found, store).matrix[:, 3].tolist() == [0.5, 0.25]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"card": ["c"]},
            "has no column for the key of entity card_shop: name exactly one shop or",
        ),
        ({"card_shop": ["c|7"], "card": ["c"]}, "has both card_shop and card of entity card_shop"),
        ({"card_shop": ["c|"]}, "row 1: card_shop is not a text made of card, shop"),
        ({"card": [None], "shop": [7]}, "row 1: card is null"),
        ({"card": ["c" * 1023], "shop": [7]}, "row 1: card and shop is longer than 1024 bytes"),
    ],
)
def test_a_lookup_file_with_other_keys_is_refused(
    given: dict[str, Any], message: str, made: FeatureSet, tmp_path: Path
) -> None:
    given = {k: pa.array(v, pa.string()) if None in v else v for k, v in given.items()}
    with pytest.raises(ConfigurationError, match=message.replace("|", r"\|")):
        load_lookup(made, "usual", lookup_file(tmp_path, mean=[1.0], **given), MemoryStore())


def test_past_values_are_kept_by_the_whole_key(made: FeatureSet, tmp_path: Path) -> None:
    at = pa.array([T0, T0], pa.timestamp("us", "UTC"))
    path = lookup_file(tmp_path, card=["a|", "b"], shop=[7, 8], mean=[1.0, 2.0], updated_at=at)
    kept = tmp_path / "kept.parquet"
    for count in (2, 0):
        with keep_rows(made, "usual", path, kept) as added:
            assert added == count
    assert pq.read_table(kept)["card_shop"].to_pylist() == [r"a\||7", "b|8"]
    past = read_past_lookup(made, "usual", kept).history
    at_shops = past.at(texts(r"a\||7", "b|8", "b|7"), np.array([T0] * 3))
    assert at_shops.missing.tolist() == [False, False, True]


# Feast


FEAST = TEXT.replace(
    "place: {by: shop_code, values: {risk: }}",
    "place: {by: shop_code, values: {risk: }, feast: {project: p, feature_view: v, join_key: %s}}",
)


def test_a_feast_view_has_a_join_key_for_each_part(tmp_path: Path) -> None:
    feast = feature_set(tmp_path, FEAST % "[shop_id, code]").lookups["place"].feast
    assert feast is not None
    keys = feast.keys([rb"7|a\|b", rb"8|\N", b"x|y"])
    join: dict[str, Any] = {
        "shop_id": (KeyType.INT64, [b"7"]),
        "code": (KeyType.STRING, [b"a|b"]),
    }
    assert keys == [*redis_keys(join, "p"), None, None]
    given = feature_set(tmp_path, FEAST % "[shop_id, code], key_type: [string, string]")
    other = given.lookups["place"].feast
    assert other is not None
    assert other.keys([b"x|y"]) != [None]
    assert other.canonical() != feast.canonical()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("shop_id", "join_key has 1 entries, and the key of shop_code has 2 .shop, merchant.code."),
        ("[a, b, c]", "join_key has 3 entries"),
        ("[a, a]", "a join key appears twice"),
        ("[a, b], key_type: int64", "key_type has 1 entries"),
    ],
)
def test_other_join_keys_are_refused(given: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=message):
        feature_set(tmp_path, FEAST % given)


# inspection


@pytest.mark.parametrize(
    ("given", "text"),
    [(["c|7"], "c|7"), (["c", "7"], "c|7"), (["a|b", "7"], r"a\|b|7"), ([r"a\|b|7"], r"a\|b|7")],
)
def test_a_key_is_given_by_its_parts_or_as_one_text(
    given: Sequence[str], text: str, made: FeatureSet
) -> None:
    assert key_text(made, "card_shop", given) == text


@pytest.mark.parametrize(
    ("entity", "given", "message"),
    [
        ("card_shop", ["c", "7", "8"], "is made of card, shop: give 2 values for it, not 3"),
        (
            "card_shop",
            ["c"],
            "this is not a key of card_shop: give the values of card, shop, or a text made of",
        ),
        ("card_shop", ["", "7"], r"is not a key of card_shop"),
    ],
)
def test_other_values_are_no_key(
    entity: str, given: Sequence[str], message: str, made: FeatureSet
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        key_text(made, entity, given)


def test_an_empty_part_is_the_part_without_text(made: FeatureSet) -> None:
    assert key_text(made, "shop_code", ["7", ""]) == r"7|\N"


def test_the_history_of_a_key_is_shown(made: FeatureSet) -> None:
    store, namespace = MemoryStore(), Namespace.local("test")
    found, _ = bind(made, records(3), batch(card=strings(["c", "c", "d"])))
    writes = enrich(made, found, store, namespace=namespace).writes
    store.append(writes.appends)
    history = read_history(windows_of(made, "card_shop"), "c|7", store, namespace)
    assert [member.offset for member in history.members] == [0, 1]


def test_an_explanation_names_the_fields_of_the_key(made: FeatureSet, tmp_path: Path) -> None:
    path = lines(tmp_path / "events.jsonl", [event(is_fraud=0)])
    explained = Explainer(made).explain("RISK", "e1", EventTableReader(made, [path]), None)
    assert explained.feature.fields == {"shop": "7", "merchant.code": None}
