"""Tokens in place of keys: what they are made of, and that no value leaves beside them."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.errors import ConfigurationError
from features.compute.bind import bind
from features.compute.condition import compile_condition
from features.compute.enrich import enrich
from features.definition import FeatureSet
from features.expression import ExpressionError
from features.inspect.explanation import Explainer
from features.inspect.stored_history import key_text
from features.loading import LabelFile
from features.loading.lookup_files import load_lookup
from features.loading.past_lookups import keep_rows, read_past_lookup
from features.store.memory import MemoryStore
from features.tables import EventTableReader, build
from features.tables.training_table import METADATA
from features.values.tokens import TokenKey
from schemas.batch import Column, Decoded
from tests.support.event_files import lines
from tests.support.making import EVENTS, T0, columns, events, feature_set, longs, records, strings

KEY = b"0123456789abcdef0123456789abcdef"
TEXT = f"""{EVENTS}  partition_key: card
  label: {{field: is_fraud, delay: 1d}}
  aliases: {{card: cc_num}}
entities:
  payer: {{field: card, token: {{key_file: token.key}}}}
  shop: shop
  payer_shop: [card, shop]
lookups:
  usual: {{by: payer, values: {{mean: }}}}
  pair: {{by: payer_shop, values: {{mean: }}}}
features:
  - {{name: COUNT, window: count, by: payer, over: 30d}}
  - {{name: AT_SHOP, window: count, by: payer_shop, over: 30d}}
  - {{name: RISK, window: fraud_share, by: payer, over: 30d}}
  - {{name: PAYERS, window: distinct, of: card, by: shop, over: 30d, across: best_effort}}
  - {{name: SAME, window: count, by: shop, over: 30d, same: card, across: best_effort}}
  - {{name: MEAN, lookup: usual.mean}}
  - {{name: PAIR, lookup: pair.mean}}
  - {{name: UNKNOWN, expr: is_null(card)}}
"""
PAN = "4111111111111111"
PLAIN = TEXT.replace("payer: {field: card, token: {key_file: token.key}}", "payer: card")


def token(text: str, key: bytes = KEY) -> str:
    """The token, by Python's own HMAC."""
    key_id = hashlib.sha256(b"fraud-worker:" + key).hexdigest()[:8]
    return f"{key_id}.{hmac.digest(key, text.encode(), 'sha256').hex()}"


def make(folder: Path, text: str = TEXT, key: bytes = KEY + b"\n") -> FeatureSet:
    (folder / "token.key").write_bytes(key)
    return feature_set(folder, text)


@pytest.fixture
def made(tmp_path: Path) -> FeatureSet:
    return make(tmp_path)


def texts(*values: str) -> pa.StringArray:
    return pa.array(values, pa.string())


# tokens


@pytest.mark.parametrize(
    ("key", "data", "expected"),
    [
        (
            b"\x0b" * 20,
            b"Hi There",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        ),
        (
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (
            b"\xaa" * 131,
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
    ],
)
def test_the_published_values_of_hmac_sha_256(key: bytes, data: bytes, expected: str) -> None:
    """RFC 4231, test cases 1, 2 and 6."""
    assert TokenKey(key).token(data).partition(".")[2] == expected


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), max_size=30))
def test_a_column_has_the_token_of_each_text_alone(values: list[str]) -> None:
    found = TokenKey(KEY).tokens(texts("left out", *values)[1:])
    assert found.to_pylist() == [token(value) if value else "" for value in values]
    assert found.type == pa.string()


def test_keys_of_records_have_tokens_and_none_stays_none() -> None:
    keys = [PAN.encode(), None, b"\xff", PAN.encode()]
    found = TokenKey(KEY).of_record_keys(keys)
    assert found[0] == found[3] == token(PAN).encode()
    assert (found[1], len(found[2] or b"")) == (None, 73)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (None, r"token\.key cannot be read \(No such file or directory\); mount the key there"),
        (b"", "holds a key of 0 bytes, and at least 32 are needed: make one with openssl rand"),
        (b"x" * 31 + b"\n", "holds a key of 31 bytes"),
    ],
)
def test_a_key_that_is_not_there_or_short_is_refused(
    key: bytes | None, message: str, tmp_path: Path
) -> None:
    make(tmp_path)
    if key is None:
        (tmp_path / "token.key").unlink()
    else:
        (tmp_path / "token.key").write_bytes(key)
    with pytest.raises(ConfigurationError, match=message) as refused:
        feature_set(tmp_path, TEXT)
    assert "features.yaml:10:42: " in str(refused.value)


def test_line_ends_behind_a_key_are_no_part_of_it(tmp_path: Path) -> None:
    keys = [make(tmp_path, key=KEY + end).bindings.token_key for end in (b"", b"\n", b"\r\n")]
    assert len({key.fingerprint for key in keys if key is not None}) == 1


# events


def batch(**given: Column) -> Decoded:
    rows = len(next(iter(given.values())))
    return Decoded(columns(rows, **({"shop": longs([7] * rows)} | given)), {})


def test_tokens_take_the_place_of_the_field_everywhere(made: FeatureSet) -> None:
    found, errors = bind(made, records(3), batch(card=strings([PAN, "b|", PAN])))
    assert errors == {}
    wanted = [token(PAN), token("b|"), token(PAN)]
    assert found.columns["card"].values == texts(*wanted)
    assert found.entity_keys["payer"].to_pylist() == wanted
    assert found.entity_keys["payer_shop"].to_pylist() == [f"{one}|7" for one in wanted]
    assert PAN not in repr([column.values for column in found.columns.values()])


@pytest.mark.parametrize("card", [None, ""])
def test_what_is_missing_has_no_token(card: str | None, made: FeatureSet) -> None:
    _, errors = bind(made, records(2), batch(card=strings([PAN, card])))
    assert errors[1].message == "the key of payer (card) is null or empty"


def test_a_number_has_the_token_of_its_digits(tmp_path: Path) -> None:
    entities = (
        "entities: {store: {field: shop, token: {key_file: token.key}}, pair: [shop, card]}\n"
    )
    made = make(tmp_path, f"{EVENTS}{entities}features: [{{name: A, field: amount}}]\n")
    found, _ = bind(made, records(1), batch(card=strings(["c"]), shop=longs([-42])))
    assert found.entity_keys["store"].to_pylist() == [token("-42")]
    assert found.entity_keys["pair"].to_pylist() == [f"{token('-42')}|c"]


def test_values_are_those_without_tokens(made: FeatureSet, tmp_path: Path) -> None:
    plain = feature_set(tmp_path, PLAIN)
    given = {"card": strings(["a", "b", "a", "a"]), "shop": longs([7, 7, 7, 8])}
    hidden, shown = (
        enrich(one, events(one, 4, **given), MemoryStore()).matrix for one in (made, plain)
    )
    np.testing.assert_array_equal(hidden, shown)
    assert hidden[:, 3].tolist() == [1, 2, 2, 1]
    assert [f.fingerprint for f in made.features][:3] == [f.fingerprint for f in plain.features][:3]


def test_another_key_is_another_state(made: FeatureSet, tmp_path: Path) -> None:
    other = make(tmp_path, key=b"x" * 32)
    plain = feature_set(tmp_path, PLAIN)
    for entity in ("payer", "shop", "payer_shop"):
        layouts = {one.histories.layouts[entity] for one in (made, other, plain)}
        assert len(layouts) == 3
    assert len({*made.label_sets.values(), *other.label_sets.values()}) == 2
    assert plain.label_sets == {"payer": "payer"}


@pytest.mark.parametrize(
    ("found", "instead", "message"),
    [
        ("payer: {field: card,", "card: {field: card,", "card is a field of the events, and in"),
        ("payer: {field: card,", "cc_num: {field: card,", "cc_num is a field of the events, and"),
        ("  payer_shop:", "  amount:", "amount is a field of the events, and in files the name"),
        ("shop: shop\n", "shop: {field: card, token: {key_file: token.key}}\n", "card has a token"),
        (
            "shop: shop\n",
            "store: {field: shop, token: {key_file: other.key}}\n",
            "all tokens have one key: name token.key here, too",
        ),
        ("[card, shop]", "{fields: [card, shop], token: {key_file: k}}", "a token belongs to one"),
        ("shop: shop\n", "shop: {field: shop}\n", "a field without a token is written by its name"),
        ("{field: card, token:", "{token:", "token needs a field: write {field: …, token: "),
        ("{key_file: token.key}", "{key_fil: token.key}", "unknown key 'key_fil'; did you mean"),
        ("{key_file: token.key}", "{}", "token.key_file is missing: add it"),
        ("expr: is_null(card)", "expr: card == 'a'", "a token stands for a value that is not"),
        (
            "expr: is_null(card)",
            "expr: \"card in ['a']\"",
            "a token stands for a value that is not",
        ),
        ("expr: is_null(card)", "expr: card + 1", "a token stands for a value that is not there"),
        ("expr: is_null(card)", "field: card", "card has a token (entities.payer), which stands"),
        (
            "expr: is_null(card)",
            "category: {field: card, values: ['4111']}",
            "card has a token (entities.payer), which stands for a value",
        ),
        (
            "{by: payer, values: {mean: }}",
            FEAST := "{by: payer, values: {mean: }, feast: "
            "{project: p, feature_view: v, join_key: k, key_type: int64}}",
            "card has a token, which",
        ),
    ],
)
def test_what_would_let_a_value_out_or_means_nothing_is_refused(
    found: str, instead: str, message: str, tmp_path: Path
) -> None:
    assert TEXT.count(found) == 1
    with pytest.raises(ConfigurationError) as refused:
        make(tmp_path, TEXT.replace(found, instead))
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("bound", "instead"),
    [
        ("  id: id", "  id: cents"),
        ("  time: at", "  time: {field: cents, unit: s}"),
        ("  time: at", "  time: at\n  amount: {field: cents, scale: 2}"),
    ],
)
def test_no_id_and_no_number_of_an_event_has_a_token(
    bound: str, instead: str, tmp_path: Path
) -> None:
    text = TEXT.replace("field: card, token", "field: cents, token").replace(bound, instead)
    with pytest.raises(ConfigurationError, match=r"cents has a token in entities\.payer: bind an"):
        make(tmp_path, text)


def test_a_policy_cannot_compare_a_token(made: FeatureSet) -> None:
    with pytest.raises(ExpressionError, match="a token stands for a value"):
        compile_condition(made, f"card == '{PAN}'")


# files


def event(**changes: Any) -> dict[str, Any]:
    nested = {"merchant": {"code": None, "risk": 1}}
    plain = {"amount": 1, "z": 0, "seconds": 0, "cents": 0, "price": 0, "tags": []}
    return {"id": "e1", "at": T0, "cc_num": PAN, "shop": 7, **nested, **plain, **changes}


def test_a_table_has_the_tokens_under_the_name_of_the_entity(
    made: FeatureSet, tmp_path: Path
) -> None:
    bad = event(id="e2", shop=None)
    path = lines(tmp_path / "events.jsonl", [event(is_fraud=1), bad, event(id="e3", is_fraud=0)])
    out = tmp_path / "table.parquet"
    build(made, EventTableReader(made, [path]), out, None)
    table = pq.read_table(out)
    assert table["payer"].to_pylist() == [token(PAN)] * 2
    assert {"card", "cc_num"}.isdisjoint(table.column_names)
    described = json.loads(table.schema.metadata[METADATA])["columns"]
    assert described["entities"] == {
        "payer": "payer",
        "shop": "shop",
        "payer_shop": ["payer", "shop"],
    }
    assert described["partition_key"] == "payer"
    assert PAN not in f"{table.to_pylist()} {table.schema}"
    # It is a file of labels, as other tables are.
    ((rows, refused),) = LabelFile(made, out)
    assert refused == []
    assert rows.keys("payer").to_pylist() == [token(PAN)] * 2
    assert rows.keys("payer_shop").to_pylist() == [f"{token(PAN)}|7"] * 2


@pytest.mark.parametrize(
    "given",
    [
        {"card": PAN, "shop": 7},
        {"cc_num": PAN, "shop": 7},
        {"entity_keys": {"payer": token(PAN), "payer_shop": f"{token(PAN)}|7"}},
        {"payer": token(PAN), "shop": "7"},
        {"payer": token(PAN), "card": "another", "shop": "7"},
    ],
)
def test_labels_name_the_field_or_the_token(
    given: dict[str, Any], made: FeatureSet, tmp_path: Path
) -> None:
    label = {"event_id": "e", "event_time": "2018-08-01T00:00:00Z", "fraud": True}
    ((rows, refused),) = LabelFile(made, lines(tmp_path / "labels.jsonl", [{**label, **given}]))
    assert refused == []
    assert rows.keys("payer").to_pylist() == [token(PAN)]
    assert rows.keys("payer_shop").to_pylist() == [f"{token(PAN)}|7"]


@pytest.mark.parametrize("key", [PAN, token(PAN, b"x" * 32), token(PAN)[:-1], f"{token(PAN)}0"])
def test_a_label_with_another_text_for_a_token_is_refused_and_not_shown(
    key: str, made: FeatureSet, tmp_path: Path
) -> None:
    label = {"event_id": "e", "event_time": "2018-08-01T00:00:00Z", "fraud": True, "payer": key}
    ((rows, refused),) = LabelFile(made, lines(tmp_path / "labels.jsonl", [label]))
    assert len(rows) == 0
    key_id = token("").partition(".")[0]
    assert [one.message for one in refused] == [f"the key of payer is not a token of key {key_id}"]


def lookup_file(folder: Path, **given: Any) -> Path:
    pq.write_table(pa.table(given), folder / "lookup.parquet")
    return folder / "lookup.parquet"


@pytest.mark.parametrize(
    "keys", [{"card": [PAN, "b"]}, {"cc_num": [PAN, "b"]}, {"payer": [token(PAN), token("b")]}]
)
def test_a_lookup_is_stored_and_found_by_tokens(
    keys: dict[str, Any], made: FeatureSet, tmp_path: Path
) -> None:
    store = MemoryStore()
    load_lookup(made, "usual", lookup_file(tmp_path, mean=[1.5, 2.5], **keys), store)
    (stored,) = store.read([made.lookups["usual"].prefix + token(PAN).encode()])
    assert stored is not None
    matrix = enrich(
        made, events(made, 2, card=strings(["b", PAN]), shop=longs([7, 7])), store
    ).matrix
    assert matrix[:, 5].tolist() == [2.5, 1.5]


def test_a_lookup_of_several_fields_has_the_token_in_its_key(
    made: FeatureSet, tmp_path: Path
) -> None:
    store = MemoryStore()
    at = pa.array([T0], pa.timestamp("us", "UTC"))
    path = lookup_file(tmp_path, card=[PAN], shop=[7], mean=[1.5], updated_at=at)
    load_lookup(made, "pair", path, store)
    matrix = enrich(made, events(made, 1, card=strings([PAN]), shop=longs([7])), store).matrix
    assert matrix[0, 6] == 1.5
    kept = tmp_path / "kept.parquet"
    with keep_rows(made, "pair", path, kept) as added:
        assert added == 1
    assert PAN not in f"{pq.read_table(kept).to_pylist()}"
    past = read_past_lookup(made, "pair", kept).history
    assert not past.at(texts(f"{token(PAN)}|7"), np.array([T0])).missing.any()


def test_an_invalid_token_in_a_lookup_file_is_refused_and_not_shown(
    made: FeatureSet, tmp_path: Path
) -> None:
    path = lookup_file(tmp_path, payer=[PAN], mean=[1.0])
    with pytest.raises(ConfigurationError, match="row 1: payer is not a token of key") as refused:
        load_lookup(made, "usual", path, MemoryStore())
    assert PAN not in str(refused.value)


# inspection


def test_a_key_is_asked_for_by_its_value_or_its_token(made: FeatureSet) -> None:
    assert key_text(made, "payer", [PAN]) == key_text(made, "payer", [token(PAN)]) == token(PAN)
    pair = f"{token(PAN)}|7"
    assert key_text(made, "payer_shop", [PAN, "7"]) == key_text(made, "payer_shop", [pair]) == pair
    with pytest.raises(ConfigurationError) as refused:
        key_text(made, "payer_shop", [f"{PAN}|7"])
    assert "with a token of key" in str(refused.value)
    assert PAN not in str(refused.value)


def test_an_explanation_shows_the_token(made: FeatureSet, tmp_path: Path) -> None:
    path = lines(tmp_path / "events.jsonl", [event(is_fraud=0)])
    explained = Explainer(made).explain("AT_SHOP", "e1", EventTableReader(made, [path]), None)
    assert explained.feature.fields == {"card": token(PAN), "shop": "7"}
