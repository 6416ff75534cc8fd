"""``features diff``: what differs between two feature sets, and what this needs."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from features.definition import FeatureSet, load_feature_set
from models.bundle import Manifest
from models.bundle.manifest import FeatureRef
from models.location import Champions
from tests.support.making import EVENTS, SCHEMA
from tools.cli.features import app
from tools.feature_diff.markdown import markdown
from tools.feature_diff.set_diff import SetDiff, as_plain, compare

LOOKUP = "lookups: {profile: {by: card, values: {age: {default: 40}, rate: }}}\n"
HEAD = (
    f"{EVENTS}  partition_key: card\n  amount: {{field: amount, scale: 2}}\n"
    "  label: {field: fraud, delay: 7d}\n"
)
ENTITIES = "entities: {card: card, shop: shop}\n"
FEATURES = """features:
  - {name: AMOUNT, field: amount}
  - {name: CHANNEL, category: {field: channel, values: [pos, ecom]}}
  - {name: COUNT, window: count, by: card, over: 7d}
  - {name: MEAN, window: mean, of: amount, by: card, over: 30d}
  - {name: RATIO, expr: AMOUNT / MEAN}
  - {name: RISK, window: fraud_share, by: shop, over: 30d, delay: 7d}
  - {name: AGE, lookup: profile.age}
"""
TEXT = HEAD + ENTITIES + LOOKUP + FEATURES


def make(folder: Path, text: str, schema: Any = SCHEMA) -> FeatureSet:
    folder.mkdir(exist_ok=True)
    (folder / "event.avsc").write_text(json.dumps(schema))
    (folder / "features.yaml").write_text(text)
    return load_feature_set(folder / "features.yaml")


def changed(folder: Path, *edits: tuple[str, str], location: Any = None) -> SetDiff:
    """The difference that edits of the text make."""
    text = TEXT
    for before, after in edits:
        assert before in text, before
        text = text.replace(before, after)
    return compare(make(folder / "old", TEXT), make(folder / "new", text), location)


def test_an_equal_set_differs_in_nothing(tmp_path: Path) -> None:
    diff = changed(tmp_path, ("{name: AMOUNT,", "{  name:  AMOUNT,"))
    assert diff.old == diff.new
    assert diff.features.unchanged == 7
    assert not any((diff.bindings, diff.histories, diff.labels, diff.lookups))
    assert markdown(diff).splitlines()[2:] == ["Features: 7 unchanged."]


def test_features_that_come_and_go(tmp_path: Path) -> None:
    diff = changed(
        tmp_path,
        ("  - {name: CHANNEL, category: {field: channel, values: [pos, ecom]}}\n", ""),
        (FEATURES[-6:], FEATURES[-6:] + "  - {name: NIGHT, expr: hour(at) < 6}\n"),
    )
    assert [feature.name for feature in diff.features.added] == ["NIGHT"]
    assert [feature.name for feature in diff.features.removed] == ["CHANNEL"]
    text = markdown(diff)
    assert "Features: 1 added, 1 removed, 6 unchanged." in text
    assert "| `NIGHT` | expr | `hour(at) < 6` |" in text
    assert not diff.histories


def test_a_name_is_no_part_of_a_definition(tmp_path: Path) -> None:
    diff = changed(tmp_path, ("{name: COUNT,", "{name: CARD_COUNT_7D,"))
    ((before, after),) = diff.features.renamed
    assert (before.name, after.name) == ("COUNT", "CARD_COUNT_7D")
    assert not diff.features.added
    assert not diff.features.removed
    assert "- `COUNT` → `CARD_COUNT_7D`" in markdown(diff)


def test_two_equal_features_are_renamed_once_each(tmp_path: Path) -> None:
    twice = "  - {name: A, field: x}\n  - {name: B, field: x}\n"
    old = make(tmp_path / "old", TEXT + twice)
    new = make(tmp_path / "new", TEXT + twice.replace("A", "C"))
    assert [(a.name, b.name) for a, b in compare(old, new, None).features.renamed] == [("A", "C")]


@pytest.mark.parametrize(
    ("edit", "name", "part"),
    [
        (("over: 7d}", "over: 1d}"), "COUNT", "`count by card over 7d` → `count by card over 1d`"),
        (("field: amount}\n", "field: z}\n"), "AMOUNT", "`amount` → `z`"),
        (("[pos, ecom]", "[ecom, atm]"), "CHANNEL", "values removed: 'pos'; values added: 'atm'"),
        (("[pos, ecom]", "[ecom, pos]"), "CHANNEL", "order of the values"),
        (("default: 40", "default: 30"), "AGE", "default: 40 → 30"),
        (("window: mean, of", "window: max, of"), "MEAN", "kind: mean → max"),
        (("window: mean, of", "window: max, of"), "RATIO", "it uses MEAN, which changed"),
        (("card: card,", "card: country,"), "COUNT", "key of card: card → country"),
        (("  id: id", "  id: channel"), "COUNT", "binding of the event id"),
        (("  time: at", "  time: later"), "COUNT", "binding of the event time"),
        (("scale: 2}", "scale: 3}"), "MEAN", "type or binding of the field amount"),
        (("features:", "history: {cap: 9}\nfeatures:"), "COUNT", "settings of history"),
    ],
)
def test_the_part_of_a_definition_that_changed(
    edit: tuple[str, str], name: str, part: str, tmp_path: Path
) -> None:
    diff = changed(tmp_path, edit)
    parts = {change.after.name: change.parts for change in diff.features.changed}
    assert part in "; ".join(parts[name]), parts


def test_a_changed_python_file_changes_its_feature(tmp_path: Path) -> None:
    sets: list[FeatureSet] = []
    for folder, comment in (("old", ""), ("new", "# v2\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "own.py").write_text(f"{comment}def same(x):\n    return x + 0.0\n")
        text = TEXT + "  - {name: OWN, python: './own.py:same', args: [z]}\n"
        sets.append(make(tmp_path / folder, text))
    (change,) = compare(sets[0], sets[1], None).features.changed
    assert change.parts == ("the content of its Python file",)


def test_the_order_is_told(tmp_path: Path) -> None:
    first, second = FEATURES.splitlines(keepends=True)[1:3]
    diff = changed(tmp_path, (first + second, second + first))
    assert diff.features.reordered
    assert diff.old != diff.new
    assert "The order of the features changed" in markdown(diff)


def window(text: str) -> tuple[str, str]:
    """Edit that adds a feature at the end."""
    return FEATURES[-6:], f"{FEATURES[-6:]}  - {{name: NEW, {text}}}\n"


@pytest.mark.parametrize(
    ("edits", "reason", "days"),
    [
        # 30 days of the window, an hour of lateness, and a day in which ids are remembered
        (
            [window("window: distinct, of: country, by: card, over: 1d")],
            "other values (1 more)",
            32,
        ),
        ([window("window: sum, of: amount, by: card, over: 60d")], "windows look back", 62),
        (
            [("features:", "history: {cap: 20000}\nfeatures:")],
            "history.cap is 20,000, before 1",
            32,
        ),
    ],
)
def test_histories_that_begin_anew_are_to_be_filled(
    edits: list[tuple[str, str]], reason: str, days: int, tmp_path: Path
) -> None:
    diff = changed(tmp_path, *edits)
    change = next(change for change in diff.histories if change.entity == "card")
    assert reason in " and ".join(change.reasons)
    text = markdown(diff)
    assert "**To be filled: histories of card" in text
    assert f"events of the last {days}d before it scores" in text


def test_a_key_of_other_fields_begins_histories_anew(tmp_path: Path) -> None:
    window = "  - {name: PAIR, window: count, by: pair, over: 1d, delay: 1h}\n"
    sets = [
        make(
            tmp_path / str(number),
            TEXT.replace("shop: shop}", f"shop: shop, pair: {key}}}") + window,
        )
        for number, key in enumerate(("[shop, card]", "[card, {field: country, nullable: true}]"))
    ]
    diff = compare(sets[0], sets[1], None)
    changes = {change.entity: change.reasons for change in diff.histories}
    valid = "other events are valid"
    assert changes["pair"] == ("the key is of other fields", valid)
    assert {reasons for entity, reasons in changes.items() if entity != "pair"} == {(valid,)}
    (binding,) = diff.bindings
    assert binding.effect.startswith("other keys under the same name: histories begin anew; labels")
    assert "| `entities.pair` | shop, card | card, country (may be null) |" in markdown(diff)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (("  id: id", "  id: channel"), "the event id is of other fields"),
        (("  time: at", "  time: later"), "the event time is of other fields"),
        (("partition_key: card", "partition_key: shop"), "other events are members"),
        (("features:\n", "history: {duplicates: 2d}\nfeatures:\n"), "other events are members"),
        (("scale: 2}", "scale: 2, min: 1}"), "other events are valid"),
    ],
)
def test_other_members_begin_histories_anew(
    edit: tuple[str, str], reason: str, tmp_path: Path
) -> None:
    (change, *_) = changed(tmp_path, edit).histories
    assert any(one.startswith(reason) for one in change.reasons), change.reasons


def test_another_key_of_tokens_is_another_state_and_needs_labels_again(tmp_path: Path) -> None:
    text = TEXT.replace("shop: shop}", "store: {field: shop, token: {key_file: ../token.key}}}")
    text = text.replace("by: shop", "by: store")
    sets = []
    for number, key in enumerate((b"a" * 32, b"b" * 32)):
        (tmp_path / "token.key").write_bytes(key)
        sets.append(make(tmp_path / str(number), text))
    diff = compare(sets[0], sets[1], None)
    assert {change.entity: change.reasons for change in diff.histories} == {
        "card": ("tokens are of another key",),
        "store": ("tokens are of another key",),
    }
    assert diff.labels == ["store"]
    (binding,) = diff.bindings
    assert binding.effect.endswith("begin anew, and labels and lookups have to be loaded again")
    assert "| `entities.store` | shop (token of key " in markdown(diff)
    assert not diff.features.changed


def test_an_entity_without_windows_before_is_to_be_filled(tmp_path: Path) -> None:
    old = make(tmp_path / "old", HEAD + ENTITIES + "features:\n  - {name: AMOUNT, field: amount}\n")
    diff = compare(old, make(tmp_path / "new", TEXT), None)
    assert {change.entity: change.reasons for change in diff.histories} == {
        "card": ("the entity had no windows",),
        "shop": ("the entity had no windows",),
    }
    assert diff.labels == ["shop"]
    assert "**shop**: load all labels again" in markdown(diff)


@pytest.mark.parametrize(
    "text",
    [
        "window: sum, of: amount, by: card, over: 30d",
        "window: count, by: card, over: 1h, delay: 2d",
        "window: mean, of: amount, by: card, over: 1d, default: 0",
    ],
)
def test_a_window_over_what_is_kept_needs_no_fill(text: str, tmp_path: Path) -> None:
    diff = changed(tmp_path, window(text))
    (change,) = diff.histories
    assert (change.reasons, change.ready) == ((), ("NEW",))
    assert "**card**: nothing to fill; `NEW` work at once on what is kept" in markdown(diff)


def test_a_shorter_reach_needs_no_fill_and_an_unused_history_is_told(tmp_path: Path) -> None:
    risk = "  - {name: RISK, window: fraud_share, by: shop, over: 30d, delay: 7d}\n"
    diff = changed(tmp_path, ("by: card, over: 30d", "by: card, over: 3d"), (risk, ""))
    changes = {change.entity: change for change in diff.histories}
    assert changes["card"].reasons == ()
    assert changes["shop"].unused
    assert "`fraud-worker features drop-layout` after the rollout" in markdown(diff)


@pytest.mark.parametrize(
    ("edit", "place", "effect"),
    [
        (("name: test", "name: other"), "name", "histories, labels and lookups begin anew"),
        (("  id: id", "  id: channel"), "events.id", "histories begin anew; labels in the store"),
        (("  time: at", "  time: later"), "events.time", "histories begin anew"),
        (("scale: 2}", "scale: 3}"), "events.amount", "features of the amount change"),
        (("partition_key: card", "partition_key: shop"), "events.partition_key", "producers"),
        (("delay: 7d}\nent", "delay: 5d}\nent"), "events.label", "build training tables again"),
        (("card: card,", "card: country,"), "entities.card", "other keys under the same name"),
        (("shop: shop}", "shop: shop, pair: id}"), "entities.pair", "becomes a dead letter"),
    ],
)
def test_changes_of_bindings_and_their_effects(
    edit: tuple[str, str], place: str, effect: str, tmp_path: Path
) -> None:
    diff = changed(tmp_path, edit)
    effects = {change.name: change.effect for change in diff.bindings}
    assert effect in effects[place], effects
    assert f"| `{place}` |" in markdown(diff)


def test_another_name_of_the_set_begins_everything_anew(tmp_path: Path) -> None:
    diff = changed(tmp_path, ("name: test", "name: other"))
    assert {change.entity for change in diff.histories if change.reasons} == {"card", "shop"}
    assert diff.labels == ["shop"]
    assert [change.name for change in diff.lookups] == ["lookups.profile"]
    assert "load them before the rollout" in diff.lookups[0].effect
    assert diff.features.unchanged == 7


def test_fields_of_the_schema(tmp_path: Path) -> None:
    schema = json.loads(json.dumps(SCHEMA))
    fields = {field["name"]: field for field in schema["fields"]}
    fields["cents"]["type"] = "double"
    del fields["z"]
    schema["fields"] = [*fields.values(), {"name": "extra", "type": "long"}]
    diff = compare(make(tmp_path / "old", TEXT), make(tmp_path / "new", TEXT, schema), None)
    assert {change.name for change in diff.bindings} == {"field cents", "field z", "field extra"}
    assert {change.effect for change in diff.bindings} == {"not used by any feature or binding"}


def test_a_vector_of_another_width_has_to_be_loaded(tmp_path: Path) -> None:
    sets = [
        make(tmp_path / width, TEXT.replace("rate: }", f"rate: , emb: {{vector: {width}}}}}"))
        for width in ("8", "4")
    ]
    (change,) = compare(sets[0], sets[1], None).lookups
    assert "emb float32[8]" in change.before
    assert "emb float32[4]" in change.after
    assert "load them before the rollout" in change.effect


@pytest.mark.parametrize(
    ("after", "effect"),
    [
        ("{by: card, values: {age: {default: 40}, rate: , more: }}", "load them before"),
        ("{by: card, max_age: 1d, values: {age: {default: 40}, rate: }}", "in the store stay"),
        ("{by: shop, values: {age: {default: 40}, rate: }}", "those of another entity"),
        (
            "{by: card, feast: {project: p, feature_view: v, join_key: k}, values: {age: , rate: }}",
            "Feast has to have materialized",
        ),
    ],
)
def test_lookups_that_have_to_be_loaded(after: str, effect: str, tmp_path: Path) -> None:
    diff = changed(tmp_path, ("{by: card, values: {age: {default: 40}, rate: }}", after))
    (change,) = diff.lookups
    assert effect in change.effect


class Bundles:
    """A location with manifests only."""

    def __init__(self, **features: list[tuple[str, str]]) -> None:
        self._features = features

    def champions(self) -> Champions:
        return Champions("v2", ())

    def names(self) -> list[str]:
        return sorted(self._features)

    def manifest(self, name: str) -> tuple[Manifest, bytes]:
        refs = tuple(FeatureRef(name=f, fingerprint=print_) for f, print_ in self._features[name])
        made = Manifest(
            name="pay",
            version=name,
            features=refs,
            objective="binary:logistic",
            trees=1,
            calibration=None,
            golden=1,
            trained=None,
            created_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        )
        return made, b""


def test_models_that_no_longer_fit(tmp_path: Path) -> None:
    prints = {f.name: f.fingerprint for f in make(tmp_path / "base", TEXT).features}
    location = Bundles(
        v1=[(name, prints[name]) for name in ("AGE", "AMOUNT")],
        v2=[(name, prints[name]) for name in ("AMOUNT", "COUNT", "MEAN")],
        v0=[("AMOUNT", "0123456789")],
    )
    edits = [("over: 7d}", "over: 1d}"), ("{name: MEAN,", "{name: AVG,"), ("/ MEAN", "/ AVG")]
    diff = changed(tmp_path, *edits, location=location)
    assert diff.models is not None
    fits = {fit.bundle: fit for fit in diff.models}
    assert [*fits] == ["v2", "v0", "v1"], "the champion comes first"
    assert fits["v1"].fits
    assert (fits["v2"].absent, fits["v2"].changed) == (("MEAN",), ("COUNT",))
    text = markdown(diff)
    assert "**Models that no longer fit: `v2`.**" in text, "v0 did not fit before either"
    assert "| `v2` (champion) | pay v2 | **no**; absent: `MEAN`; changed: `COUNT` |" in text
    assert "| `v0` | pay v0 | **no**, and did not before; changed: `AMOUNT` |" in text
    assert "| `v1` | pay v1 | yes |" in text


def test_the_command_takes_files_and_folders(tmp_path: Path) -> None:
    make(tmp_path / "old", TEXT)
    make(tmp_path / "new", TEXT.replace("over: 7d}", "over: 1d}"))
    old, new = tmp_path / "old", tmp_path / "new" / "features.yaml"
    result = CliRunner().invoke(app, ["diff", str(old), str(new)])
    assert result.exit_code == 0, result.output
    assert "- `COUNT`: `count by card over 7d` → `count by card over 1d`" in result.output
    result = CliRunner().invoke(app, ["diff", str(old), str(new), "--json"])
    told = json.loads(result.output)
    assert told["features"]["changed"][0]["after"]["name"] == "COUNT"
    shutil.copy(tmp_path / "old" / "features.yaml", new)
    assert CliRunner().invoke(app, ["diff", str(old), str(new)]).exit_code == 0


def test_a_default_that_is_nan_is_text_in_json(tmp_path: Path) -> None:
    plain = as_plain(changed(tmp_path, window("window: max, of: amount, by: card, over: 1d")))
    assert plain["features"]["added"][0]["default"] == "nan"
    json.dumps(plain, allow_nan=False)
