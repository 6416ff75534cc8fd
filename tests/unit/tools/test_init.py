"""``fraud-worker init``: what it writes loads, its guesses are marked, what it cannot guess is open."""

from __future__ import annotations

import json
import os
import re
import shlex
import tempfile
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from base.errors import ConfigurationError
from features.definition import FeatureSet, load_feature_set
from features.windows.window import Across
from models.policy import Policy, load_policy
from schemas.batch import Kind
from tools.cli.init import init
from tools.init.guess import Guesses, guess
from tools.init.leaves import read_record, words
from tools.init.pipeline_folder import Written, write_pipeline
from tools.init.yaml_text import OPEN, open_places
from worker.settings import load_settings
from worker.settings.reference import groups

ROOT = Path(__file__).parents[3]
TRANSACTION = ROOT / "schemas" / "transaction.avsc"
TIMESTAMP = {"type": "long", "logicalType": "timestamp-millis"}


def record(*fields: tuple[str, Any], name: str = "Event") -> dict[str, Any]:
    return {
        "type": "record",
        "name": name,
        "fields": [{"name": field, "type": kind} for field, kind in fields],
    }


def save(folder: Path, schema: dict[str, Any]) -> Path:
    path = folder / "event.avsc"
    path.write_text(json.dumps(schema))
    return path


def guesses_of(folder: Path, *fields: tuple[str, Any], name: str = "Event") -> Guesses:
    return guess(read_record(save(folder, record(*fields, name=name))), "event.avsc")


def made(folder: Path, *fields: tuple[str, Any]) -> Written:
    return write_pipeline(folder / "pipeline", save(folder, record(*fields)), force=False)


def test_the_projects_own_schema_is_ready_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "cards"
    written = write_pipeline(folder, TRANSACTION, force=False)

    assert written.still_open == ()
    assert {str(path.relative_to(folder)) for path in written.files} == {
        "worker.yaml",
        "features.yaml",
        "policy.yaml",
        "transaction.avsc",
        ".schemas/worker.schema.json",
        ".schemas/features.schema.json",
        ".schemas/policy.schema.json",
    }
    assert load_settings(folder).kafka.group == "fraud-cards"
    assert load_policy(folder / "policy.yaml").default == "approve"
    feature_set = load_feature_set(folder / "features.yaml")
    bindings = feature_set.bindings
    assert bindings.event_id.path == "transaction_id"
    assert bindings.event_time.path == "tx_time"
    assert bindings.amount is not None
    assert bindings.amount.source.path == "amount"
    assert bindings.partition_key is not None
    assert bindings.partition_key.path == "customer_id"
    assert {name: key.paths for name, key in bindings.entities.items()} == {
        "customer": ("customer_id",),
        "terminal": ("terminal_id",),
    }
    assert feature_set.names == ("amount", "hour", "weekday", "channel_code")


def test_init_marks_every_guess_and_explains_every_setting(tmp_path: Path) -> None:
    write_pipeline(tmp_path, TRANSACTION, force=False)
    features = (tmp_path / "features.yaml").read_text()
    for line in features.split("entities:")[0].splitlines():
        if re.match(r"(name|  (id|time|amount|partition_key)):", line):
            assert "# guessed: " in line, line
    text = (tmp_path / "worker.yaml").read_text()
    for group in groups():
        assert f"# {group.meaning}" in text
        for setting in group.settings:
            found = re.search(rf"# {re.escape(setting.meaning)}.*\n *#?{setting.key}: (.*)", text)
            assert found, setting.name
            if setting.required and group.required:
                assert "# guessed" in found[1], setting.name


def test_commented_lines_of_an_init_folder_load_when_uncommented(tmp_path: Path) -> None:
    """But for the registry, which excludes wire, and for model.location, which bundle excludes."""
    write_pipeline(tmp_path, TRANSACTION, force=False)
    path = tmp_path / "worker.yaml"
    before, registry, after = re.split(r"(\n#registry:\n(?: .*\n)+)", path.read_text())
    path.write_text(re.sub(r"(?m)^( *)#(?=(?!location:)[a-z_]+:)", r"\1", before + after))
    found = load_settings(tmp_path)
    for group in groups():
        section = getattr(found, group.name) if group.name else found
        if group.name != "registry":
            keys = {setting.key for setting in group.settings}
            assert keys - {"location"} <= section.model_fields_set
    without_wire = re.sub(r"\nwire:\n(?: .*\n)+", "\n", path.read_text())
    path.write_text(without_wire + re.sub(r"(?m)^( *)#(?=[a-z_]+:)", r"\1", registry))
    assert load_settings(tmp_path).registry is not None
    path.write_text(
        re.sub(r"(?m)^  bundle:.*\n", "", path.read_text().replace("#location", "location"))
    )
    assert load_settings(tmp_path).model.location is not None


def test_windows_that_are_commented_out_can_be_taken_as_they_stand(tmp_path: Path) -> None:
    write_pipeline(tmp_path, TRANSACTION, force=False)
    path = tmp_path / "features.yaml"
    assert not load_feature_set(path).histories.windows
    path.write_text(re.sub(r"(?m)^( *)#(?=- |history:)", r"\1", path.read_text()))
    windows = [(w.name, w.entity, w.across) for w in load_feature_set(path).histories.windows]
    assert windows == [
        ("customer_count_7d", "customer", Across.OWN),
        ("customer_mean_30d", "customer", Across.OWN),
    ]


def test_nested_nullable_and_decimal_fields_are_bound(tmp_path: Path) -> None:
    decimal = {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 3}
    written = made(
        tmp_path,
        ("header", record(("eventId", "string"), ("occurredAt", TIMESTAMP), name="Header")),
        ("amt", ["null", decimal]),
        ("card", record(("number", "string"), ("brand", "string"), name="Card")),
        ("merchant", ["null", record(("id", "string"), name="Merchant")]),
    )
    assert written.still_open == ()
    feature_set = load_feature_set(written.files[1])
    bindings = feature_set.bindings
    assert bindings.event_id.path == "header.eventId"
    assert bindings.event_time.path == "header.occurredAt"
    assert bindings.amount is not None
    assert (bindings.amount.source.path, bindings.amount.scale) == ("amt", 3)
    assert bindings.partition_key is not None
    assert bindings.partition_key.path == "card.number"
    assert list(bindings.entities) == ["card"], "an entity key that may be null is left out"
    assert "#merchant: merchant.id" in written.files[1].read_text()


def test_a_label_becomes_no_feature(tmp_path: Path) -> None:
    written = made(
        tmp_path, ("id", "string"), ("time", TIMESTAMP), ("is_fraud", "boolean"), ("vip", "boolean")
    )
    feature_set = load_feature_set(written.files[1])
    assert "vip" in feature_set.names
    assert "is_fraud" not in feature_set.names
    assert feature_set.bindings.label is not None
    assert feature_set.bindings.label.field == "is_fraud"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("epoch_ms", "{field: epoch_ms, unit: ms}"),
        ("ts_seconds", "{field: ts_seconds, unit: s}"),
        ("unix_time", f"{{field: unix_time, unit: {OPEN}}}"),
    ],
)
def test_the_unit_of_a_plain_number_is_open_unless_its_name_tells(
    name: str, path: str, tmp_path: Path
) -> None:
    written = made(tmp_path, ("id", "string"), (name, "long"), ("vip", "boolean"))
    assert f"time: {path}" in written.files[1].read_text()
    assert written.still_open == (("events.time.unit",) if OPEN in path else ())


def test_a_field_that_is_a_word_of_the_expressions_is_not_used_in_one(tmp_path: Path) -> None:
    written = made(tmp_path, ("id", "string"), ("from", TIMESTAMP), ("is", "boolean"))
    assert load_feature_set(written.files[1]).names == ("is",)


def test_values_that_init_cannot_guess_are_open_and_refused_by_name(tmp_path: Path) -> None:
    written = made(tmp_path, ("a", "string"), ("b", ["int", "string"]))
    assert written.still_open == ("events.id", "events.time", "features[0].field")
    text = written.files[1].read_text()
    assert "#amount:" in text, "an optional binding without a field is commented out"
    assert "#partition_key:" in text
    with pytest.raises(ConfigurationError, match=re.escape(OPEN)):
        load_feature_set(written.files[1])


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["merchant_id", "trans_num"], "trans_num"),
        (["id", "transactionId"], "transactionId"),
        (["paymentId", "card.id"], "paymentId"),
        (["order_line_no", "uuid"], "uuid"),
        (["customer_id", "card_number"], None),
    ],
)
def test_the_id_of_an_event_is_told_from_other_ids(
    names: list[str], chosen: str | None, tmp_path: Path
) -> None:
    fields: list[tuple[str, Any]] = []
    for name in names:
        outer, dot, inner = name.partition(".")
        kind: Any = record((inner, "string"), name=outer.title()) if dot else "string"
        fields.append((outer, kind))
    leaf = guesses_of(tmp_path, *fields).event_id.leaf
    assert (leaf.path if leaf else None) == chosen


def test_times_of_something_else_are_not_taken(tmp_path: Path) -> None:
    date = {"type": "int", "logicalType": "date"}
    names = ("updated_at", "card_expiry", "date_of_birth", "settlement_time")
    others = [(name, TIMESTAMP) for name in names]
    assert guesses_of(tmp_path, *others).time.leaf is None
    found = guesses_of(tmp_path, *others, ("day", date), ("purchased", TIMESTAMP)).time.leaf
    assert found is not None
    assert found.path == "purchased"


def test_other_candidates_are_named(tmp_path: Path) -> None:
    found = guesses_of(tmp_path, ("created", TIMESTAMP), ("seen", TIMESTAMP))
    assert "it could also be seen" in found.time.why


def test_words_of_names() -> None:
    assert words("cust_txid") == ("customer", "transaction", "id")
    assert words("header.eventID") == ("header", "event", "id")
    assert words("HTTPStatus2") == ("http", "status", "2")
    assert words("paid") == ("paid",)


KINDS = st.sampled_from(
    [
        *("string", "int", "long", "float", "double", "boolean", "bytes", "null"),
        TIMESTAMP,
        {"type": "int", "logicalType": "date"},
        {"type": "long", "logicalType": "time-micros"},
        {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 18},
        {"type": "array", "items": "string"},
        {"type": "map", "values": "long"},
        ["null", "string"],
        ["long", "null"],
        ["null", TIMESTAMP],
        ["null", "int", "string"],
    ]
)
NAMES = st.one_of(
    st.sampled_from(
        [
            *("id", "transaction_id", "event_time", "ts", "amount", "total", "customer_id", "card"),
            *("from", "None", "null", "no", "true", "hour", "weekday", "hour_code", "is_fraud"),
            *("y", "_", "__x", "features", "x" * 130, "channel", "channel_code", "first", "unit"),
        ]
    ),
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True),
)
SYMBOLS = st.lists(
    st.sampled_from(["NO", "yes", "null", "nan", "A", "b1", "on", "E1"]), min_size=1, unique=True
)


@st.composite
def records(draw: st.DrawFn, depth: int = 0) -> dict[str, Any]:
    counter = draw(st.uuids()).hex
    fields: list[tuple[str, Any]] = []
    if depth == 0 and draw(st.booleans()):
        fields = [("payment_id", "string"), ("occurred_at", TIMESTAMP)]
    for number, name in enumerate(draw(st.lists(NAMES, min_size=1, max_size=7, unique=True))):
        choice = draw(st.integers(0, 9))
        kind: Any = draw(KINDS)
        if choice == 0:
            kind = {"type": "enum", "name": f"E{number}{counter}", "symbols": draw(SYMBOLS)}
        elif choice <= 2 and depth < 3:
            kind = draw(records(depth + 1))
        if isinstance(kind, dict) and kind["type"] in ("enum", "record") and draw(st.booleans()):
            kind = ["null", kind]
        fields.append((name, kind))
    return record(*fields, name=f"R{counter}")


@settings(max_examples=100, deadline=None)
@given(records())
def test_an_init_folder_of_any_schema_loads_or_names_what_is_open(schema: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written = write_pipeline(folder / "pipeline", save(folder, schema), force=False)
        load_settings(folder / "pipeline")
        load_policy(folder / "pipeline" / "policy.yaml")
        features = folder / "pipeline" / "features.yaml"
        if written.still_open:
            with pytest.raises(ConfigurationError, match=re.escape(str(features))):
                load_feature_set(features)
        else:
            feature_set = load_feature_set(features)
            check_guesses(feature_set)
            check_catalogue(load_policy(folder / "pipeline" / "policy.yaml"), feature_set)


def check_guesses(feature_set: FeatureSet) -> None:
    bindings = feature_set.bindings
    assert bindings.event_id.kind in (Kind.STRING, Kind.LONG)
    assert bindings.event_time.kind in (Kind.TIME, Kind.LONG)
    assert bindings.event_id.path not in {
        path for key in bindings.entities.values() for path in key.paths
    }
    label = bindings.label.field if bindings.label else None
    assert all(label not in feature.paths for feature in feature_set.features)


def check_catalogue(policy: Policy, feature_set: FeatureSet) -> None:
    assert policy.catalogue is not None
    policy.catalogue.check(feature_set.names)
    coding = policy.catalogue.coding(feature_set.names, "small 1")
    assert coding.codes[-1] == "R99"


def test_the_first_policy_has_reasons_for_the_starter_features(tmp_path: Path) -> None:
    write_pipeline(tmp_path, TRANSACTION, force=False)
    catalogue = load_policy(tmp_path / "policy.yaml").catalogue
    assert catalogue is not None
    names = load_feature_set(tmp_path / "features.yaml").names
    coding = catalogue.coding(names, "small 1")
    codes = [coding.codes[code] for code in coding.code_of]
    assert dict(zip(names, codes, strict=True)) == {
        "amount": "R01",
        "hour": "R02",
        "weekday": "R02",
        "channel_code": "R99",
    }


def test_init_overwrites_nothing_without_force(tmp_path: Path) -> None:
    write_pipeline(tmp_path, TRANSACTION, force=False)
    path = tmp_path / "policy.yaml"
    path.write_text("mine")
    (tmp_path / "worker.yaml").unlink()
    with pytest.raises(ConfigurationError, match=r"policy\.yaml is there already; .*--force"):
        write_pipeline(tmp_path, TRANSACTION, force=False)
    assert path.read_text() == "mine"
    assert not (tmp_path / "worker.yaml").exists()
    write_pipeline(tmp_path, TRANSACTION, force=True)
    assert path.read_text() != "mine"


@pytest.mark.parametrize("name", ["worker.yaml", "features.yaml", "policy.yaml", "Policy.yaml"])
def test_a_schema_with_the_name_of_a_file_that_is_written_is_refused(
    name: str, tmp_path: Path
) -> None:
    schema = save(tmp_path, record(("id", "string"))).rename(tmp_path / name)
    folder = tmp_path / "pipeline"
    with pytest.raises(ConfigurationError, match=r"--schema: .* has the name of a file that init"):
        write_pipeline(folder, schema, force=True)
    assert not folder.exists()


@pytest.mark.parametrize("force", [False, True])
def test_init_writes_to_regular_files_only(force: bool, tmp_path: Path) -> None:
    """A write into a pipe would wait for its reader for ever."""
    os.mkfifo(tmp_path / "policy.yaml")
    with pytest.raises(
        ConfigurationError, match=r"policy\.yaml is a named pipe; name another folder"
    ):
        write_pipeline(tmp_path, TRANSACTION, force=force)
    assert [path.name for path in tmp_path.iterdir()] == ["policy.yaml"]


def test_the_schema_may_stand_in_the_folder_already(tmp_path: Path) -> None:
    path = save(tmp_path, record(("id", "string"), ("time", TIMESTAMP)))
    before = path.read_bytes()
    write_pipeline(tmp_path, path, force=False)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "cannot be read"),
        ("{", "not JSON"),
        ('"string"', "top level is string"),
        (json.dumps(record(("next", "Event"))), "contains itself"),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused(
    text: str | None, told: str, tmp_path: Path
) -> None:
    path = tmp_path / "event.avsc"
    if text is not None:
        path.write_text(text)
    folder = tmp_path / "pipeline"
    with pytest.raises(ConfigurationError, match=told):
        write_pipeline(folder, path, force=False)
    assert not folder.exists()


def test_open_places() -> None:
    values = {"a": OPEN, "b": [{"c": OPEN}, "x"], "d": {"e": "open"}}
    assert [*open_places(values)] == ["a", "b[0].c"]


def test_the_command_says_what_is_next(tmp_path: Path) -> None:
    schema = save(tmp_path, record(("a", "string"), ("time", TIMESTAMP)))
    app = typer.Typer()
    app.command()(init)
    result = CliRunner().invoke(app, [str(tmp_path / "p"), "--schema", str(schema)])
    assert result.exit_code == 0, result.output
    assert f"fill in events.id in {tmp_path / 'p' / 'features.yaml'}" in result.output
    assert f"fraud-worker check --pipeline {tmp_path / 'p'}" in result.output


def test_the_next_steps_can_be_pasted_into_a_shell_whatever_the_folder_is_called(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "my payments; rm"
    app = typer.Typer()
    app.command()(init)
    result = CliRunner().invoke(app, [str(folder), "--schema", str(TRANSACTION)])
    commands = [line for line in result.stdout.splitlines() if "fraud-worker" in line]
    assert len(commands) == 3
    for line in commands:
        words = shlex.split(line.partition(". ")[2])
        assert words[words.index("--pipeline") + 1] == str(folder)
