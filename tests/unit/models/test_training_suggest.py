"""Alerts and money of thresholds, and the policy that is suggested from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.policy import Policy, load_policy
from models.training.alerts import alerts_at, alerts_by_budget
from models.training.out_of_fold import OutOfFold
from models.training.suggest_policy import SURE, policy_text, suggest_bands

COST = 500
FEATURES = ("AMOUNT", "RISK", "NOISE")


def scored(*events: tuple[int, int, float, int, int]) -> OutOfFold:
    """Events of (day, card, score, label, amount)."""
    days, cards, scores, labels, amounts = (
        np.array(column) for column in zip(*events, strict=True)
    )
    return OutOfFold(labels, scores.astype(float), cards, days, amounts, 0.0, 0.0)


def test_alerts_are_counted_by_event_by_card_and_in_money() -> None:
    some = scored(
        (1, 1, 0.9, 1, 5_000),
        (1, 1, 0.8, 0, 100),
        (1, 2, 0.8, 0, 100),
        (1, 3, 0.1, 1, 700),
        (2, 1, 0.9, 1, 2_000),
        (2, 4, 0.2, 0, 50),
    )
    found = alerts_at(some, 0.8, review_cost=300)
    assert found.events == (2.0, 1, 3)
    assert found.cards == (1.5, 1, 2)
    assert found.precision == 0.5
    assert found.recall == pytest.approx(2 / 3)
    assert found.saved == pytest.approx((7_000 - 3 * 300) / 2)


def test_a_day_without_alerts_counts() -> None:
    some = scored((1, 1, 0.9, 1, 1), (2, 2, 0.1, 0, 1))
    assert alerts_at(some, 0.5, 0).cards == (0.5, 0, 1)


def test_thresholds_come_from_budgets_of_cards_a_day() -> None:
    some = scored(*((day, card, card / 1_000, 0, 1) for day in (1, 2) for card in range(1, 101)))
    assert alerts_at(some, 0.091, 0).cards == (10.0, 10, 10)
    assert [row.threshold for row in alerts_by_budget(some, (50, 10, 500), 0)] == [0.091, 0.051]


def stream(
    days: int = 20,
    cards: int = 400,
    frauds: int = 4,
    amount: int = 10_000,
    *,
    skill: float = 0.9,
    seed: int = 1,
    known: bool = True,
) -> OutOfFold:
    """So many cards and frauds a day; scores tell this share of the frauds from the others."""
    random = np.random.default_rng(seed)
    labels = np.tile(np.arange(cards) < frauds, days).astype(np.int8)
    found = (labels == 1) & (random.random(days * cards) < skill)
    scores = np.where(found, 0.5, 0.0) + random.random(days * cards) * 0.499 + 1e-4
    return OutOfFold(
        labels,
        scores,
        np.tile(np.arange(cards), days).astype(np.int32),
        np.repeat(np.arange(days), cards),
        np.full(days * cards, amount) if known else None,
        0.0,
        0.0,
    )


def policy_of(
    scored: OutOfFold, bands: dict[str, float], folder: Path, features: tuple[str, ...] = FEATURES
) -> Policy:
    path = folder / "policy.yaml"
    path.write_text(policy_text(scored, "small-1", bands, features, (COST, 2)))
    return load_policy(path)


@pytest.mark.parametrize(("cards", "frauds"), [(400, 4), (4_000, 4), (400, 40)])
def test_review_begins_where_most_is_saved_whatever_the_volume(cards: int, frauds: int) -> None:
    some = stream(cards=cards, frauds=frauds)
    bands = suggest_bands(some, COST)
    saved = alerts_at(some, bands["review"], COST).saved
    budgets = (*range(1, 60), *range(60, cards, 40))
    others = [row.saved for row in alerts_by_budget(some, budgets, COST)]
    assert saved is not None
    assert saved >= 0.97 * max(filter(None, others))


def test_no_band_is_suggested_where_none_is_better_than_approving_all(tmp_path: Path) -> None:
    useless = stream(frauds=2, amount=4_000, skill=0.0)
    bands = suggest_bands(useless, COST)
    assert bands == {}
    policy = policy_of(useless, bands, tmp_path)
    assert policy.segments[0].bands == ()
    assert policy.decisions == ("approve",)
    assert "No band" in (tmp_path / "policy.yaml").read_text()


@pytest.mark.parametrize("seed", range(3))
def test_no_suggested_band_is_worse_than_none(seed: int) -> None:
    for skill in (0.0, 0.1, 0.5):
        for amount in (300, 3_000):
            some = stream(frauds=1, amount=amount, skill=skill, seed=seed)
            for threshold in suggest_bands(some, COST).values():
                saved = alerts_at(some, threshold, COST).saved
                assert saved is not None
                assert saved > 0


def test_one_large_fraud_suggests_no_band() -> None:
    some = stream(frauds=1, amount=100, skill=0.0)
    assert some.amounts is not None
    some.amounts[np.argmax(some.scores * some.labels)] = 10_000_000
    assert suggest_bands(some, COST) == {}


def test_events_are_declined_only_where_nine_of_ten_are_frauds() -> None:
    some = stream(frauds=40, skill=0.9)
    bands = suggest_bands(some, COST)
    assert bands["decline"] > bands["review"]
    assert alerts_at(some, bands["decline"], COST).precision >= SURE
    hopeless = stream(frauds=8, amount=100_000, skill=0.0)
    assert [*suggest_bands(hopeless, COST)] == ["review"], "1 % of those alerts are frauds"


def test_cards_a_day_can_be_limited() -> None:
    some = stream(frauds=40)
    assert alerts_at(some, suggest_bands(some, COST, max_cards=10)["review"], COST).cards.mean <= 10
    assert alerts_at(some, suggest_bands(some, COST)["review"], COST).cards.mean > 30


def test_suggested_bands_without_amounts_review_ten_events_per_fraud() -> None:
    some = stream(known=False)
    bands = suggest_bands(some, COST)
    assert 0.1 <= alerts_at(some, bands["review"], COST).precision < 0.2
    assert suggest_bands(stream(skill=0.0, known=False), COST) == {}


def test_bands_are_written_with_what_they_bring(tmp_path: Path) -> None:
    some = stream(frauds=40)
    bands = suggest_bands(some, COST)
    policy = policy_of(some, bands, tmp_path)
    found = {band.decision: band.threshold for band in policy.segments[0].bands}
    assert found == bands
    assert [*found] == ["decline", "review"]
    assert (tmp_path / "policy.yaml").read_text().count(" a day\n") == 2


@pytest.mark.parametrize(
    "bands",
    [
        {"review": 0.9999999999999999},
        {"decline": 0.9999999999999999, "review": 0.9999999999999998},
        {"decline": 0.999999999999182, "review": 1.07e-14},
        {"decline": 1e-5, "review": 1e-59},
    ],
)
def test_thresholds_are_read_as_they_were_suggested(
    bands: dict[str, float], tmp_path: Path
) -> None:
    policy = policy_of(stream(), bands, tmp_path)
    assert {band.decision: band.threshold for band in policy.segments[0].bands} == bands


@pytest.mark.parametrize("names", [("AMOUNT",), FEATURES, tuple(f"F{n}[x]*" for n in range(40))])
def test_the_policy_has_a_catalogue_of_the_model_s_features(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    catalogue = policy_of(stream(), {"review": 0.5}, tmp_path, names).catalogue
    assert catalogue is not None
    catalogue.check(names)
    coding = catalogue.coding(names, "small 1")
    assert len(coding.codes) == min(9, len(names))
    assert coding.codes[-1] == "R99"
    assert coding.code_of[0] == 0
