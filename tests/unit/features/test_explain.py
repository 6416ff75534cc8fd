"""What a value was made from: the members of windows, and the inputs of expressions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from base.errors import ConfigurationError
from features.definition import load_feature_set
from features.inspect.explanation import ExplainedValue, Explainer, Explanation
from features.loading import KnownLabels, LabelFile
from features.tables import EventTableReader, build
from tests.support.making import EVENTS, T0, write_pipeline
from tests.support.transactions import DAY_US, SET, transactions, write

HEAD = f"{EVENTS}  partition_key: card\n  amount: {{field: amount, scale: 2}}\n"


@pytest.fixture
def file(tmp_path: Path, seed: int) -> Path:
    return write(tmp_path / "events.parquet", transactions(400, seed))


def explain(path: Path, event: int | str, feature: str, file: Path, **more: int) -> Explanation:
    made = load_feature_set(path)
    source = EventTableReader(made, [file], chunk_rows=more.get("chunk_rows", 90))
    return Explainer(made).explain(feature, str(event), source, None)


def id_of(file: Path, row: int) -> str:
    return str(pq.read_table(file)["TRANSACTION_ID"][row].as_py())


@pytest.mark.parametrize(
    ("feature", "aggregate"),
    [
        ("CUSTOMER_ID_NB_TX_7DAY_WINDOW", "count"),
        ("CUSTOMER_ID_AVG_AMOUNT_7DAY_WINDOW", "mean"),
        ("TERMINAL_ID_RISK_30DAY_WINDOW", "fraud_share"),
    ],
)
def test_the_members_make_the_value_that_the_table_has(
    file: Path, tmp_path: Path, seed: int, feature: str, aggregate: str
) -> None:
    made = load_feature_set(SET)
    build(made, EventTableReader(made, [file]), tmp_path / "table.parquet")
    table = pq.read_table(tmp_path / "table.parquet")
    raw = pq.read_table(file)
    ids = raw["TRANSACTION_ID"].to_pylist()
    for row in np.random.default_rng(seed).choice(400, 8, replace=False).tolist():
        first = ids.index(ids[row])
        told = explain(SET, ids[row], feature, file)
        value = table[feature][first].as_py()
        assert told.feature.value == value
        assert (told.partition, told.offset) == (0, first)
        counted = told.feature.counted
        assert counted is not None
        members = counted.members
        assert [m.event_id for m in members] == [str(ids[m.offset]) for m in members]
        assert all(counted.after < m.time <= counted.until for m in members)
        by_hand = {
            "count": len(members),
            "mean": sum(m.value or 0 for m in members) / len(members) if members else np.nan,
            "fraud_share": sum(bool(m.fraud) for m in members) / max(len(members), 1),
        }[aggregate]
        assert value == pytest.approx(by_hand, rel=1e-6)
        if aggregate == "mean":
            amounts = raw["TX_AMOUNT"].to_pylist()
            assert [m.value for m in members] == [amounts[m.offset] for m in members]
        keys = raw["CUSTOMER_ID" if aggregate != "fraud_share" else "TERMINAL_ID"].to_pylist()
        assert {keys[m.offset] for m in members} <= {keys[first]}


def test_bounds_and_the_event_itself(file: Path) -> None:
    event = id_of(file, 300)
    told = explain(SET, event, "CUSTOMER_ID_NB_TX_7DAY_WINDOW", file)
    assert told.feature.counted is not None
    assert told.feature.counted.until == told.event_time
    assert [m.event_id for m in told.feature.counted.members if m.current] == [event]
    delayed = explain(SET, event, "TERMINAL_ID_NB_TX_7DAY_WINDOW", file).feature.counted
    assert delayed is not None
    assert delayed.until == told.event_time - 7 * DAY_US
    assert not any(member.current for member in delayed.members)
    # Only a window that asks for frauds knows of them.
    assert {m.fraud for m in delayed.members} <= {None}


def test_an_expression_is_explained_down_to_its_windows(file: Path, tmp_path: Path) -> None:
    schema = SET.parents[2] / "schemas" / "transaction.avsc"
    path = tmp_path / "features.yaml"
    path.write_text(
        SET.read_text().replace("../../schemas/transaction.avsc", str(schema))
        + "  - {name: RATIO, expr: 'amount / max(CUSTOMER_ID_AVG_AMOUNT_7DAY_WINDOW, 0.01)'}\n"
        + "  - {name: TWICE, expr: 2 * RATIO + TX_DURING_NIGHT}\n"
    )
    told = explain(path, id_of(file, 250), "TWICE", file).feature
    assert (told.kind, told.definition, told.counted) == (
        "expr",
        "2 * RATIO + TX_DURING_NIGHT",
        None,
    )
    ratio, night = told.features
    assert (ratio.name, night.name) == ("RATIO", "TX_DURING_NIGHT")
    assert told.value == pytest.approx(2 * (ratio.value or 0) + (night.value or 0))
    assert list(ratio.fields) == ["amount"]
    (average,) = ratio.features
    assert average.counted is not None
    assert ratio.value == pytest.approx(float(ratio.fields["amount"] or 0) / (average.value or 0))
    assert list(night.fields) == ["tx_time"]


def test_the_inputs_of_every_kind_are_named(tmp_path: Path) -> None:
    features = write_pipeline(
        tmp_path,
        HEAD
        + "entities: {card: card}\n"
        + "lookups: {profile: {by: card, values: {v: {default: 2}}}}\n"
        + "features:\n"
        + "  - {name: FIELD, field: cents}\n"
        + "  - {name: CATEGORY, category: {field: channel, values: [a]}}\n"
        + "  - {name: CONSTANT, expr: 1 + 1}\n"
        + "  - {name: INNER, expr: merchant.risk * x}\n"
        + "  - {name: LOOKUP, lookup: profile.v}\n"
        + "  - {name: SOME, window: sum, of: cents, by: card, over: 1d, where: \"channel == 'a'\"}\n"
        + "  - {name: SAME, window: count, by: card, over: 1d, same: channel, half_life: 1h}\n",
    )
    event = {
        "id": "e",
        "at": T0,
        "seconds": 1,
        "card": "k",
        "shop": 1,
        "amount": 2.5,
        "cents": 7,
        "price": 1,
        "z": 0,
        "channel": "a",
        "merchant": {"risk": 0.5},
    }
    path = tmp_path / "events.jsonl"
    path.write_text(json.dumps(event) + "\n")

    def told(name: str) -> ExplainedValue:
        return explain(features, "e", name, path).feature

    assert told("FIELD").fields == {"cents": "7"}
    assert told("CATEGORY").fields == {"channel": "a"}
    assert told("CONSTANT").fields == {}
    assert told("INNER").fields == {"merchant.risk": "0.5", "x": None}
    assert told("INNER").value is None
    assert (told("LOOKUP").value, told("LOOKUP").kind) == (2, "lookup")
    some = told("SOME")
    assert some.fields == {"card": "k", "cents": "7", "channel": "a"}
    assert some.counted is not None
    assert [m.value for m in some.counted.members] == [7]
    same = told("SAME")
    assert (same.value, same.fields) == (1, {"card": "k", "channel": "a"})
    assert same.definition == "count by card over 1d, half-life 1h, same channel"


def test_labels_can_come_from_a_file(file: Path, tmp_path: Path) -> None:
    raw = pq.read_table(file)
    made = load_feature_set(SET)
    explainer = Explainer(made)
    labels = KnownLabels(made, [rows for rows, _ in LabelFile(made, file)])
    bare = write(tmp_path / "bare.parquet", raw.drop_columns(["TX_FRAUD"]))
    feature = "TERMINAL_ID_RISK_30DAY_WINDOW"
    last = id_of(file, 399)
    with_labels = explainer.explain(feature, last, EventTableReader(made, [bare]), labels)
    without = explainer.explain(feature, last, EventTableReader(made, [bare]), None)
    assert with_labels.feature == explain(SET, last, feature, file).feature
    assert without.feature.value == 0


def test_ids_and_keys_that_a_file_stores_as_floats_are_their_digits(tmp_path: Path) -> None:
    """Data frames store whole numbers with gaps as floats: events and labels still meet."""
    features = (
        f"{HEAD}  label: {{field: fraud, delay: 1d}}\nentities: {{card: card}}\nfeatures:\n"
        "  - {name: N, window: count, by: card, over: 7d}\n"
        "  - {name: F, window: fraud_share, by: card, over: 7d}\n"
    )
    path = write_pipeline(tmp_path, features)
    ids = [900_000_000_000_001.0, 900_000_000_000_002.0, 0.5]
    one_day = 86_400_000_000
    columns = {
        "id": pa.array(ids),
        "at": pa.array([T0, T0 + 2 * one_day, T0], pa.timestamp("us", "UTC")),
        "card": pa.array([4_275_982_953_449_306.0] * 3),
        "amount": pa.array([1.0] * 3),
    }
    others = {"seconds": 1, "shop": 1, "cents": 1, "price": "1", "z": 1.0}
    columns |= {name: pa.array([value] * 3) for name, value in others.items()}
    events = write(tmp_path / "float.parquet", pa.table(columns))
    labels = write(
        tmp_path / "labels.parquet",
        pa.table({"event_id": ids, "fraud": [True, False, False]}),
    )
    made = load_feature_set(path)
    parts, refused = zip(*LabelFile(made, labels), strict=True)
    assert [(told.where, told.code) for told in refused[0]] == [
        (f"{labels}, row 2", "body_invalid")
    ]
    known = KnownLabels(made, parts)
    source = EventTableReader(made, [events])
    told = Explainer(made).explain("N", "900000000000002", source, known).feature
    assert (told.value, told.fields) == (2.0, {"card": "4275982953449306"})
    assert told.counted is not None
    assert [m.event_id for m in told.counted.members] == ["900000000000001", "900000000000002"]
    source = EventTableReader(made, [events])
    result = build(made, source, tmp_path / "table.parquet", known)
    assert (result.rows, result.labelled, result.refused) == (2, 2, {"body_invalid": 1})


def test_explain_names_events_and_features_that_are_not_there(file: Path) -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'TX_AMOUNT'"):
        explain(SET, 1, "TX_AMONT", file)
    with pytest.raises(ConfigurationError, match=r"no event has the id '4711', of 400 "):
        explain(SET, 4711, "TX_AMOUNT", file)
