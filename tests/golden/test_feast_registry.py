"""``features import-feast`` on a registry that Feast itself wrote, beside its definitions."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from features.definition import load_feature_set
from features.definition.spec import LookupSpec
from tests.support.making import EVENTS, write_pipeline
from tools.cli.features import app
from tools.feast_repo.lookups_yaml import KnownEntity, lookups_yaml
from tools.feast_repo.registry import parse_registry
from tools.feast_repo.repository import read_repository

REPO = Path(__file__).parent / "feast_repo"
REGISTRY = REPO / "data" / "registry.db"
LOOKUPS = {
    "card_velocity": {
        "by": "card",
        "max_age": "36h",
        "feast": {
            "project": "fraud",
            "feature_view": "card_velocity",
            "join_key": "card_id",
            "key_type": "string",
        },
        "values": {
            **dict.fromkeys(("count_1d", "count_7d", "mean_30d", "risk", "is_new", "last_seen")),
            "emb": {"vector": 64},
        },
    },
    "customer_profile": {
        "by": "customer_id",
        "feast": {
            "project": "fraud",
            "feature_view": "customer_profile",
            "join_key": "customer_id",
            "key_type": "int64",
        },
        "values": {"age": None},
    },
    "shop_risk": {
        "by": "shop",
        "max_age": "90s",
        "feast": {
            "project": "fraud",
            "feature_view": "shop_risk",
            "join_key": "shop_no",
            "key_type": "int32",
        },
        "values": {"risk": None},
    },
    "card_at_shop": {
        "by": "shop_card",
        "feast": {
            "project": "fraud",
            "feature_view": "card_at_shop",
            "join_key": ["shop_no", "card_id"],
            "key_type": ["int32", "string"],
        },
        "values": {"count": None},
    },
    "live_counts": {
        "by": "card",
        "max_age": "1h",
        "feast": {
            "project": "fraud",
            "feature_view": "live_counts",
            "join_key": "card_id",
            "key_type": "string",
        },
        "values": {"seen_1h": None},
    },
}
ENTITIES = [
    KnownEntity("card", (frozenset({"card_id"}),)),
    KnownEntity("shop", (frozenset({"shop_no"}),)),
    KnownEntity("shop_card", (frozenset({"shop_no"}), frozenset({"card_id"}))),
]


def test_the_lookups_of_the_repository() -> None:
    text = lookups_yaml(read_repository(REPO), ENTITIES)
    assert yaml.safe_load(text) == {"lookups": LOOKUPS}
    assert "card_id:" not in text, "a view of a stream lists its join key as a feature, too"
    for lookup in LOOKUPS.values():
        LookupSpec.model_validate(lookup)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("home_country:", "text, and a value is a number"),
        ("picture:", "bytes, and a value is a number"),
        ("recent_amounts:", "a vector whose length is unknown: write {vector: N}"),
        ("codes:", "an array (int64), and a value is a number or a vector of floats"),
        ("mean-amount:", "rename it"),
        ("everyone ", "it has no entity"),
        ("offline_only ", "it is not online"),
        ("card_texts ", "none of its features can be a value (name: text"),
        ("ratios ", "Feast computes it when it is asked"),
        ("by: customer_id", "the name of your entity whose key is customer_id"),
    ],
)
def test_what_no_lookup_can_serve_is_a_comment_with_its_reason(name: str, reason: str) -> None:
    text = lookups_yaml(read_repository(REPO), ENTITIES)
    (line,) = [line for line in text.splitlines() if line.strip(" #").startswith(name)]
    assert reason in line.partition("  # ")[2]


def test_the_store_is_told_without_its_password() -> None:
    text = lookups_yaml(read_repository(REPO), [])
    assert "#   url: rediss://redis.internal:6380/2" in text
    assert "#   password_file: FILE" in text
    assert "secret" not in text


def test_the_printed_section_is_a_part_of_features_yaml(tmp_path: Path) -> None:
    """The pipeline has the join keys by an alias and by the name of an entity."""
    head = EVENTS + "  aliases: {card: card_id, shop: shop_no}\n"
    entities = "entities: {payer: card, shop: shop, customer_id: country, pair: [shop, card]}\n"
    features = "features:\n  - {name: X, field: x}\n"
    path = write_pipeline(tmp_path, head + entities + features)
    result = CliRunner().invoke(app, ["import-feast", str(REPO), "--set", str(path)])
    assert result.exit_code == 0, result.output
    path.write_text(head + entities + result.stdout + features)
    lookups = load_feature_set(path).lookups
    assert {name: lookup.entity for name, lookup in lookups.items()} == {
        "customer_profile": "customer_id",
        "shop_risk": "shop",
        "card_velocity": "payer",
        "live_counts": "payer",
        "card_at_shop": "pair",
    }


def test_views_of_other_projects_are_left_out() -> None:
    registry = parse_registry(REGISTRY.read_bytes(), "other")
    assert not registry.views
    assert not registry.on_demand
