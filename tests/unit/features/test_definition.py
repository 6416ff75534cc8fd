from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from base.errors import ConfigurationError
from features.definition import load_feature_set
from schemas.batch import Kind
from tests.support.making import EVENTS, feature_set, write_pipeline

ROOT = Path(__file__).parents[3]
HANDBOOK = ROOT / "examples" / "handbook" / "features.yaml"

FEATURES = "features:\n  - {name: A, field: amount}\n"

FULL = """\
name: full
events:
  schema: event.avsc
  id: id
  time: {field: seconds, unit: s}
  amount: {field: amount, scale: 2, min: 0.01}
  partition_key: card
  label: {field: is_fraud, delay: 7d}
  aliases: {id: ID, is_fraud: FRAUD}
entities: {card: card, shop: shop}
lookups:
  profile: {by: card, values: {mean: {default: 0.5}, count: {default: nan}, peak: }, max_age: 30d}
features:
  - {name: A, field: amount}
  - {name: B, category: {field: channel, values: [ecom, pos], other: true}}
  - {name: C, expr: "A / coalesce(D0, 1)"}
  - {name: D, lookup: profile.mean}
  - {name: E, expr: A / D}
"""


def test_the_whole_file_resolves(tmp_path: Path) -> None:
    made = feature_set(tmp_path, FULL.replace("D0", "x"))
    assert made.names == ("A", "B", "C", "D", "E")
    assert made.paths == {"id", "seconds", "amount", "card", "shop", "channel", "x"}
    assert made.irreproducible == (3, 4)
    assert made.bindings.label is not None
    assert made.bindings.label.delay == 7 * 86_400_000_000
    assert made.bindings.amount is not None
    assert made.bindings.amount.minimum == 1
    assert made.bindings.event_time.unit == "s"
    assert made.bindings.entities["shop"].parts[0].field.kind is Kind.LONG
    assert made.aliases == {"id": "ID", "is_fraud": "FRAUD"}
    profile = made.lookups["profile"]
    assert profile.names == ("mean", "count", "peak")
    assert profile.defaults[0] == 0.5
    assert all(math.isnan(default) for default in profile.defaults[1:])
    assert profile.max_age == 30 * 86_400_000_000
    assert made.flags.names == (
        "lookup_missing:profile",
        "lookup_stale:profile",
        "lookup_invalid:profile",
    )
    assert made.schema_path == (tmp_path / "event.avsc").resolve()
    assert made.reader_schema["name"] == "Event"


def test_a_label_that_is_known_at_once_has_a_delay_of_0(tmp_path: Path) -> None:
    made = feature_set(tmp_path, FULL.replace("delay: 7d", "delay: 0s").replace("D0", "x"))
    assert made.bindings.label is not None
    assert made.bindings.label.delay == 0


@pytest.mark.parametrize(
    ("kind", "named", "found"),
    [
        ({"type": "array", "items": "string"}, "cards", "cards is of type array, not a value"),
        (["null", {"type": "array", "items": "string"}], "cards", "cards is of type array, not a"),
        ({"type": "map", "values": "string"}, "cards", "cards is of type map, not a value that a"),
        ("bytes", "cards", "cards is of type bytes, not a value that a column holds; an id"),
        (["string", "long"], "cards", "cards is of type union, not a value that a column holds; "),
        ({"type": "array", "items": "string"}, "cards.n", "cards is of type array, which has no"),
        (
            {"type": "record", "name": "C", "fields": [{"name": "card_no", "type": "string"}]},
            "cards",
            "column holds: name a field in it, such as cards.card_no; an id or key",
        ),
        (
            {"type": "record", "name": "C", "fields": []},
            "cards",
            "cards is of type record, not a value that a column holds; an id or key",
        ),
    ],
)
def test_a_field_of_another_type_is_not_taken_for_a_misspelt_one(
    kind: Any, named: str, found: str, tmp_path: Path
) -> None:
    path = write_pipeline(tmp_path, f"{EVENTS}entities: {{card: {named}}}\n{FEATURES}")
    schema = json.loads((tmp_path / "event.avsc").read_text())
    schema["fields"].append({"name": "cards", "type": kind})
    (tmp_path / "event.avsc").write_text(json.dumps(schema))
    with pytest.raises(ConfigurationError) as caught:
        load_feature_set(path)
    assert f"{path}:6:" in str(caught.value)
    assert found in str(caught.value)
    assert str(caught.value).endswith("; an id or key is text or a whole number")


@pytest.mark.parametrize(
    ("found", "instead", "place", "message"),
    [
        ("name: full", "nam: full", "1:1", "unknown key 'nam'; did you mean 'name'?"),
        ("name: full", "name: full\nname: x", "2:1", "'name' appears twice"),
        ("name: full", "name: a b", "1:7", "name:"),
        ("name: full", "name: [full", "2:7", "not valid YAML"),
        ("name: full", "name: &n full\nx: *n", "2:4", "aliases are not supported"),
        ("event.avsc", "evnt.avsc", "3:11", "cannot be read: No such file"),
        ("schema: event.avsc", "subject: events", "3:3", "subject is not supported"),
        ("  id: id\n", "", "3:3", "events.id is missing: add it"),
        ("  id: id\n", "  id: idd\n", "4:7", "unknown field 'idd'; did you mean 'id'?"),
        (
            "  id: id\n",
            "  id: [id, tags]\n",
            "4:7",
            "events.id: ['id', 'tags'] is a list; name one",
        ),
        ("card: card,", "card: [card],", "10:18", "write one field without a list"),
        ("card: card,", "card: 7,", "10:18", "entities.card: 7 is not a field or a list of"),
        ("card: card,", "card: [card, [shop]],", "10:25", "['shop'] is not a field: write field"),
        (
            "card: card,",
            "card: [card, shop, card],",
            "10:18",
            "entities.card.fields: card appears twice",
        ),
        ("card: card,", "card: [country, shop],", "10:12", "card is a field of the events, and"),
        ("card: card,", "ID: [country, shop],", "10:12", "ID is a field of the events, and"),
        ("card: card,", "c: [card, crad],", "10:22", "unknown field 'crad'; did you mean 'card'"),
        ("card: card,", "c: [card, amount],", "10:22", "an id or key is text or a whole number"),
        ("card: card,", "c: [card, {field: shop, nul: true}],", "10:36", "unknown key 'nul'"),
        ("card: card,", "c: [card, {field: shop, nullable: 1}],", "10:46", "valid boolean"),
        (
            "card: card,",
            "c: [card, shop, id, channel, country, merchant.code, cents, seconds, x],",
            "10:15",
            "entities.c.fields has 9 entries; at most 8 are allowed",
        ),
        ("{card: card, shop: shop}", "[card, shop]", "10:11", "name each entity with the field"),
        ("  id: id\n", "  id: tags\n", "4:7", "not a value that a column holds"),
        ("  id: id\n", "  id: amount\n", "4:7", "an id or key is text or a whole number"),
        ("{field: seconds, unit: s}", "seconds", "5:9", "is a plain number: add its unit"),
        ("{field: seconds, unit: s}", "{field: at, unit: s}", "5:27", "remove unit"),
        ("{field: seconds, unit: s}", "amount", "5:9", "an event time is a timestamp or a long"),
        ("unit: s}", "unit: h}", "5:32", "'s', 'ms', 'us' or 'ns'"),
        ("field: amount, scale: 2", "field: channel, scale: 2", "6:11", "an amount is a number"),
        ("scale: 2", "scale: 2.0", "6:34", "valid integer; found 2.0"),
        ("min: 0.01", "min: 0.001", "6:42", "not a whole number of minor units"),
        ("min: 0.01", "max: 0.01", "6:37", "unknown key 'max'"),
        ("delay: 7d", "delay: 7 days", "8:35", "is not a duration"),
        ("aliases: {id: ID", "aliases: {idd: ID", "9:13", "unknown field 'idd'"),
        ("aliases: {id: ID", "aliases: {tags: ID", "9:13", "tags is of type array, not a value"),
        ("is_fraud: FRAUD", "is_fraud: ID", "3:3", "stands for both id and is_fraud"),
        ("is_fraud: FRAUD", "is_fraud: card", "9:31", "is itself a field"),
        ("card: card, shop", "card: cart, shop", "10:18", "did you mean 'card'?"),
        ("by: card", "by: crad", "12:17", "unknown entity 'crad'; did you mean 'card'?"),
        ("default: 0.5", "default: .inf", "12:48", "not a finite number"),
        ("default: 0.5", "defualt: 0.5", "12:39", "unknown key 'defualt'; did you mean"),
        ("max_age: 30d", "max_age: 0d", "12:95", "is not a duration"),
        ("field: amount}\n", "field: channel}\n", "14:22", "use category:"),
        ("field: amount}\n", "field: at}\n", "14:22", "use an expr such as hour(at)"),
        ("name: A, field", "name: A, window: count, field", "14:5", "field and window exclude"),
        ("name: A, field", "name: A, over: 1d, field", "14:5", "over belongs to a window"),
        ("name: A, field", "name: A, feild", "14:15", "unknown key 'feild'; did you mean"),
        (
            "name: A, field: amount",
            "name: A",
            "14:5",
            "add field, category, expr, python, lookup or window",
        ),
        ("{name: A, field", "{name: A, expr: x, field", "14:5", "field and expr exclude"),
        ("name: B", "name: A", "15:12", "feature A appears twice"),
        ("name: B", "name: card", "15:12", "card is a field of the schema"),
        ("name: B", "name: 9B", "15:12", "name:"),
        ("[ecom, pos]", "[ecom, 7]", "15:25", "values mix text and numbers"),
        ("[ecom, pos]", "[ecom, ecom]", "15:25", "'ecom' more than once"),
        ("[ecom, pos]", "[1, 2]", "15:51", "1 is not text: quote it"),
        ("[ecom, pos]", "[true, pos]", "15:51", ""),
        ("field: channel, values", "field: amount, values", "15:33", "a category is text or long"),
        ("lookup: profile.mean", "lookup: profile.maen", "17:23", "did you mean 'profile.mean'?"),
        ("expr: A / D}", "expr: max(A, D)}", "18:5", "cut off after 'max(A': put it in quotes"),
        ("expr: A / D}", "expr: A in [1]}", "18:26", "quote text that contains brackets"),
        ("expr: A / D}", "expr: A / DD}", "18:25", "unknown name 'DD'"),
        ("expr: A / D}", "expr: 'A / F'}", "18:26", "unknown name 'F'"),
        ("expr: A / D}", 'expr: "A\\t/ F"}', "18:21", "unknown name 'F'"),
    ],
)
def test_an_invalid_feature_set_is_refused_at_its_place(
    found: str, instead: str, place: str, message: str, tmp_path: Path
) -> None:
    text = FULL.replace("D0", "x")
    assert text.count(found) == 1
    path = write_pipeline(tmp_path, text.replace(found, instead))
    with pytest.raises(ConfigurationError) as refusal:
        load_feature_set(path)
    first = str(refusal.value).splitlines()[0]
    assert message in first
    assert first.startswith(f"{path}:{place}: "), first


def test_an_expression_over_several_lines_is_pointed_into(tmp_path: Path) -> None:
    for style in ("|", ">", ">-"):
        text = f"""{EVENTS}features:
  - name: A
    expr: {style}
      x > 1 and
      y > 1 and   zz > 2
"""
        path = write_pipeline(tmp_path, text)
        with pytest.raises(ConfigurationError, match="unknown name 'zz'") as refusal:
            load_feature_set(path)
        assert str(refusal.value).startswith(f"{path}:10:19: ")
    folded = f"{EVENTS}features:\n  - name: A\n    expr: >\n      x > 1 and\n      z > 2\n"
    path = write_pipeline(tmp_path, folded)
    assert load_feature_set(path).names == ("A",)


@pytest.mark.parametrize("style", ["|", ">", ""])
def test_a_comment_in_an_expression_is_refused_and_hides_nothing(
    tmp_path: Path, style: str
) -> None:
    """The folded style joins lines before anybody sees where the comment ends."""
    lines = ["x > 1  # large", "and z > 2"]
    value = f"{style}\n      " + "\n      ".join(lines)
    if not style:
        value = json.dumps("\n".join(lines))
    path = write_pipeline(tmp_path, f"{EVENTS}features:\n  - name: A\n    expr: {value}\n")
    with pytest.raises(ConfigurationError, match="a comment would hide") as refusal:
        load_feature_set(path)
    assert str(refusal.value).startswith(f"{path}:{9 if style else 8}:")


def test_a_later_feature_is_no_name_of_an_earlier_one(tmp_path: Path) -> None:
    path = write_pipeline(
        tmp_path,
        f"{EVENTS}features:\n  - {{name: A, expr: B + 1}}\n  - {{name: B, expr: x + 1}}\n",
    )
    with pytest.raises(ConfigurationError, match="unknown name 'B'"):
        load_feature_set(path)


def test_countries_and_clock_times_stay_text(tmp_path: Path) -> None:
    """YAML 1.1 reads NO as false and 12:30 as 750."""
    made = feature_set(
        tmp_path,
        f"{EVENTS}features:\n"
        "  - {name: A, category: {field: country, values: [NO, SE, on, 12:30, 2018-08-01]}}\n",
    )
    assert made.names == ("A",)


def test_all_invalid_values_of_a_feature_set_are_listed(tmp_path: Path) -> None:
    path = write_pipeline(tmp_path, f"{EVENTS}  idd: x\nfeatures:\n  - {{name: A, feild: x}}\n")
    with pytest.raises(ConfigurationError) as refusal:
        load_feature_set(path)
    assert len(str(refusal.value).splitlines()) == 2


def test_a_missing_or_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.yaml: cannot be read"):
        load_feature_set(tmp_path / "absent.yaml")
    path = tmp_path / "features.yaml"
    for content in (b"\xff\xfe\x00", b"- 1\n", b"", b"a: \x01"):
        path.write_bytes(content)
        with pytest.raises(ConfigurationError, match=r"features\.yaml"):
            load_feature_set(path)


def test_a_schema_that_is_no_record_is_refused(tmp_path: Path) -> None:
    path = write_pipeline(tmp_path, f"{EVENTS}features: [{{name: A, field: x}}]\n")
    for schema in ("{", '"string"', '{"type": "record", "name": "R", "fields": [{"name": "a"}]}'):
        (tmp_path / "event.avsc").write_text(schema, encoding="utf-8")
        with pytest.raises(ConfigurationError, match=r"features\.yaml:3:11: schema .*event\.avsc"):
            load_feature_set(path)


def fingerprints(folder: Path, features: str, events: str = EVENTS) -> dict[str, str]:
    made = feature_set(folder, f"{events}features:\n{features}")
    return {feature.name: feature.fingerprint for feature in made.features}


def test_a_fingerprint_does_not_know_the_formatting(tmp_path: Path) -> None:
    one = fingerprints(
        tmp_path,
        "  - {name: A, expr: x+y * 2}\n"
        "  - {name: B, category: {field: channel, values: [a, b], other: false}}\n",
    )
    other = fingerprints(
        tmp_path,
        "  # a comment\n  - expr: |\n      x +\n      (y * 2.0)\n    name: A\n"
        "  - category:\n      values:\n        - 'a'\n        - \"b\"\n      field: channel\n"
        "    name: B\n",
    )
    assert one == other


def test_a_fingerprint_knows_definition_and_bindings(tmp_path: Path) -> None:
    amount = EVENTS + "  amount: {field: amount, scale: 2}\n"
    finer = EVENTS + "  amount: {field: amount, scale: 3}\n"
    seconds = EVENTS.replace("time: at", "time: {field: seconds, unit: s}")
    millis = EVENTS.replace("time: at", "time: {field: seconds, unit: ms}")
    seen = [
        fingerprints(tmp_path, f"  - {{name: A, {definition}}}\n", events)["A"]
        for definition, events in [
            ("field: amount", EVENTS),
            ("field: amount", amount),
            ("field: amount", finer),
            ("field: x", EVENTS),
            ("expr: x + 1", EVENTS),
            ("expr: x + 2", EVENTS),
            ("expr: hour(at)", EVENTS),
            ("expr: hour(seconds)", seconds),
            ("expr: hour(seconds)", millis),
            ("category: {field: channel, values: [a, b]}", EVENTS),
            ("category: {field: channel, values: [b, a]}", EVENTS),
            ("category: {field: channel, values: [a, b], other: true}", EVENTS),
            ("category: {field: shop, values: [1, 2]}", EVENTS),
        ]
    ]
    assert len(set(seen)) == len(seen)


def test_a_fingerprint_knows_its_lookup(tmp_path: Path) -> None:
    def of(lookup: str, feature: str = "profile.a", entity: str = "card") -> str:
        text = (
            f"{EVENTS}entities: {{card: {entity}}}\nlookups: {{profile: {lookup}}}\n"
            f"features:\n  - {{name: A, lookup: {feature}}}\n"
        )
        return feature_set(tmp_path, text).features[0].fingerprint

    base = of("{by: card, values: {a: {default: 1}, b: }}")
    assert base == of("{values: {b: , a: {default: 1.0}}, by: card}")
    others = [
        of("{by: card, values: {a: {default: 2}, b: }}"),
        of("{by: card, values: {a: {default: 1}, b: }, max_age: 1d}"),
        of("{by: card, values: {a: {default: 1}, b: {default: 1}}}", "profile.b"),
        of("{by: card, values: {a: {default: 1}, b: }}", entity="shop"),
    ]
    assert len({base, *others}) == 5


def test_a_fingerprint_knows_the_earlier_features_by_what_they_are(tmp_path: Path) -> None:
    def of(earlier: str, name: str = "A") -> str:
        return fingerprints(
            tmp_path, f"  - {{name: {name}, expr: {earlier}}}\n  - {{name: Z, expr: {name} * 2}}\n"
        )["Z"]

    assert of("x + 1") != of("x + 2")
    assert of("x + 1") == of("x + 1", name="RENAMED")


def test_the_fingerprint_of_the_set_knows_names_and_order(tmp_path: Path) -> None:
    def of(*names: str) -> str:
        lines = "".join(f"  - {{name: {name}, field: x}}\n" for name in names)
        return feature_set(tmp_path, f"{EVENTS}features:\n{lines}").fingerprint

    assert len({of("A", "B"), of("B", "A"), of("A", "C"), of("A")}) == 4


def test_fingerprints_of_the_example_are_pinned() -> None:
    """A change here makes every model trained before refuse to load: it must be meant."""
    golden = json.loads((Path(__file__).parent / "handbook_fingerprints.json").read_text())
    made = load_feature_set(HANDBOOK)
    assert {feature.name: feature.fingerprint for feature in made.features} == golden["features"]
    assert made.fingerprint == golden["set"]


def test_a_list_that_is_too_long_is_counted_and_not_printed(tmp_path: Path) -> None:
    values = ", ".join(f"secret{number}" for number in range(10_001))
    path = write_pipeline(tmp_path, FULL.replace("D0", "x").replace("[ecom, pos]", f"[{values}]"))
    with pytest.raises(ConfigurationError) as refusal:
        load_feature_set(path)
    assert str(refusal.value).startswith(f"{path}:15:")
    assert str(refusal.value).endswith(
        "values has 10,001 entries; at most 10,000 are allowed: keep the frequent ones, and let "
        "other: true stand for the rest"
    )
    arguments = ", ".join(f"secret{number}" for number in range(40))
    python = f"{{name: P, python: a.py:f, args: [{arguments}]}}"
    path.write_text(FULL.replace("D0", "x") + f"  - {python}\n")
    with pytest.raises(ConfigurationError, match="40 entries; at most 32 are allowed") as refusal:
        load_feature_set(path)
    assert "secret" not in str(refusal.value)


def test_the_first_of_many_faults_of_a_feature_set_are_shown(tmp_path: Path) -> None:
    values = ", ".join("0.5" for _ in range(1_000))
    path = write_pipeline(tmp_path, FULL.replace("D0", "x").replace("[ecom, pos]", f"[{values}]"))
    with pytest.raises(ConfigurationError, match=r"\n… and 1,9\d\d more$") as refusal:
        load_feature_set(path)
    assert len(str(refusal.value).splitlines()) <= 51
