"""From a table to a bundle that is what it says, with a report and a policy."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import xgboost as xgb

from models.backend import open_backend
from models.backend.cuda import CudaUnusableError
from models.bundle import load_bundle
from models.calibration import Calibration
from models.policy import load_policy
from models.training.alerts import alerts_by_budget, alerts_at, threshold_for
from models.training.like import parameters_of
from models.training.plan import Plan, make_plan
from models.training.scored import OutOfFold
from models.training.search import margins_of
from models.training.suggest import policy_text, suggest_bands
from models.training.table import TrainingTable
from models.training.train import Training, Wishes, train
from models.training.write import Wanted, write_training
from schemas.errors import ConfigurationError
from tests.unit.models.training_table import DAY, START, simulated, write_table

HAS_GPU = bool(xgb.build_info().get("USE_CUDA")) and importlib.util.find_spec("cupy") is not None
SOON = Wishes(tries=2, threads=2, forest=1)


def plan_of(table: TrainingTable, delay: int | None = None) -> Plan:
    return make_plan(
        table, since=date(2018, 7, 25), last=date(2018, 7, 31), delay=delay, assess=7, folds=2
    )


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(tmp_path_factory.mktemp("train") / "table.parquet", simulated(days=40))


@pytest.fixture(scope="module")
def table(path: Path) -> TrainingTable:
    return TrainingTable(path)


@pytest.fixture(scope="module")
def training(table: TrainingTable) -> Training:
    return train(table, plan_of(table), SOON)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, training: Training, table: TrainingTable) -> Path:
    out = tmp_path_factory.mktemp("out") / "v1"
    write_training(training, table, Wanted(out, alerts=10))
    return out


def test_a_model_ranks_and_its_scores_are_probabilities(training: Training) -> None:
    scored = training.out_of_fold
    assert training.chosen.worth.average_precision > 0.5
    assert scored.scores.sum() == pytest.approx(scored.labels.sum(), rel=1e-4)
    # Of scores by the curve of the other fold: some sixty frauds each.
    assert scored.calibration_error < 0.02
    assert (np.diff(scored.days) >= 0).all()


def test_the_bundle_says_where_it_is_from(out: Path, table: TrainingTable) -> None:
    bundle = load_bundle(out)
    facts = bundle.trained
    assert facts is not None
    week = table.read(START + 24 * DAY, START + 31 * DAY)
    assert (facts.rows, facts.frauds) == (len(week.times), int(week.labels.sum()))
    assert (facts.since.date(), facts.until.date()) == (date(2018, 7, 25), date(2018, 7, 31))
    assert facts.data == table.fingerprint()
    assert facts.params["base_score"] == 0.5
    assert bundle.name == "small"
    assert bundle.version == "2018-07-31"
    assert bundle.features == table.features


def test_the_bundle_s_calibration_is_the_training_s(out: Path, training: Training) -> None:
    knots = load_bundle(out).calibration
    assert knots is not None
    margins = np.linspace(-9, 9, 50, dtype=np.float32)
    np.testing.assert_array_equal(
        Calibration(knots.margins, knots.scores).apply(margins), training.calibration.apply(margins)
    )


def test_the_same_seed_gives_the_same_model_to_the_bit(
    table: TrainingTable, training: Training
) -> None:
    again = train(table, plan_of(table), SOON)
    other = train(table, plan_of(table), dataclasses.replace(SOON, seed=1))
    assert again.booster.save_raw("ubj") == training.booster.save_raw("ubj")
    assert again.calibration.scores == training.calibration.scores
    assert other.booster.save_raw("ubj") != training.booster.save_raw("ubj")


def test_no_label_enters_that_is_not_known_when_the_test_begins(
    tmp_path: Path, training: Training
) -> None:
    """What becomes known later, and what happens later, may be anything."""
    columns = simulated(days=40)
    known_by = START + 33 * DAY
    late = (columns["label_time"] > known_by) | (columns["times"] >= START + 31 * DAY)
    columns["label"] = np.where(late, 1 - columns["label"], columns["label"])
    columns["AMOUNT"] = np.where(columns["times"] >= START + 31 * DAY, 1e6, columns["AMOUNT"])
    assert late.sum() > 1_000
    table = TrainingTable(write_table(tmp_path / "t.parquet", columns))
    other = train(table, plan_of(table), SOON)
    assert other.booster.save_raw("ubj") == training.booster.save_raw("ubj")
    assert other.calibration.margins == training.calibration.margins
    assert other.chosen == training.chosen


def test_labels_known_too_late_for_the_delay_do_not_enter(tmp_path: Path) -> None:
    columns = simulated(days=40)
    rows = np.flatnonzero((columns["times"] // DAY) % 3 == 0)
    columns["label_time"][rows] += 30 * DAY
    boosters = []
    for flip in (0, 1):
        columns["label"][rows] = columns["label"][rows] ^ flip
        table = TrainingTable(write_table(tmp_path / f"{flip}.parquet", columns))
        boosters.append(train(table, plan_of(table, delay=2), SOON).booster.save_raw("ubj"))
    assert boosters[0] == boosters[1]


def test_parameters_and_rounds_can_be_taken_from_a_bundle(
    out: Path, table: TrainingTable, training: Training
) -> None:
    chosen = parameters_of(out)
    assert chosen.rounds == training.chosen.rounds
    assert chosen.span == training.span
    like = train(table, plan_of(table), dataclasses.replace(SOON, chosen=chosen[:2]))
    assert like.booster.save_raw("ubj") == training.booster.save_raw("ubj")
    assert like.chosen.worth == training.chosen.worth


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU here")
def test_a_gpu_that_cannot_be_had_is_refused_before_anything_is_read(table: TrainingTable) -> None:
    with pytest.raises(CudaUnusableError, match="extra `gpu`"):
        train(table, plan_of(table), dataclasses.replace(SOON, device="cuda"))


@pytest.mark.skipif(not HAS_GPU, reason="XGBoost with CUDA and CuPy are not installed")
def test_a_gpu_grows_a_model_that_is_worth_as_much(
    tmp_path: Path, table: TrainingTable, training: Training
) -> None:
    on_gpu = train(table, plan_of(table), dataclasses.replace(SOON, device="cuda"))
    assert on_gpu.trained.params["device"] == "cuda"
    worth = on_gpu.chosen.worth.average_precision
    assert worth == pytest.approx(training.chosen.worth.average_precision, abs=0.05)
    # What a GPU has grown serves on a CPU.
    write_training(on_gpu, table, Wanted(tmp_path / "gpu"))
    week = table.read(START + 24 * DAY, START + 31 * DAY)
    backend = open_backend(load_bundle(tmp_path / "gpu"), "cpu")
    np.testing.assert_array_equal(
        backend.margins(week.matrix), margins_of(on_gpu.booster, week.matrix)
    )


def test_a_score_never_falls_with_a_feature_that_is_declared_to_raise_it(
    table: TrainingTable,
) -> None:
    wishes = dataclasses.replace(SOON, tries=1, monotone={"NOISE": 1, "AMOUNT": -1})
    booster = train(table, plan_of(table), wishes).booster
    for place, sign in ((2, 1), (0, -1)):
        matrix = np.full((200, 3), 0.4, np.float32)
        matrix[:, place] = np.linspace(-5, 300, 200)
        steps = np.diff(booster.inplace_predict(matrix, predict_type="margin")) * sign
        assert (steps >= 0).all()


def test_an_unknown_feature_cannot_be_monotone(table: TrainingTable) -> None:
    with pytest.raises(ConfigurationError, match="no feature SIZE; it has AMOUNT, RISK, NOISE"):
        train(table, plan_of(table), dataclasses.replace(SOON, monotone={"SIZE": 1}))


def test_where_only_frauds_are_labelled_the_others_can_count_as_none(tmp_path: Path) -> None:
    columns = simulated(days=40)
    fraud = columns["label"] == 1
    columns["label"] = [1 if one else None for one in fraud]
    columns["label_time"] = np.where(fraud, columns["label_time"], columns["label_time"])
    table = TrainingTable(write_table(tmp_path / "t.parquet", columns))
    with pytest.raises(ConfigurationError, match="--unlabelled legit"):
        train(table, plan_of(table), SOON)
    trained = train(table, plan_of(table), SOON, unlabelled_legit=True)
    assert trained.trained.rows > 10 * trained.trained.frauds > 0


class Outside(HTMLParser):
    """Collects what a page would fetch, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"script", "link", "img", "iframe", "object"}:
            self.found.append(tag)
        self.found += [
            f"{name}={value}"
            for name, value in attrs
            if name in {"src", "href", "xlink:href"} and not (value or "").startswith("#")
        ]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_report_stands_alone_and_shows_what_was_asked_for(out: Path) -> None:
    page = (out / "report.html").read_text()
    outside = Outside(page)
    assert outside.found == []
    assert not re.search(r"@import|url\((?!#)", page)
    assert page.count("<svg") == 5
    for title in (
        "Precision and recall",
        "Reliability",
        "Day by day",
        "Scores by day",
        "What the model looks at",
        "What thresholds would bring",
        "saved a day",
    ):
        assert title in outside.text
    assert "nan" not in outside.text.lower().replace("finance", "")


def test_references_within_the_report_lead_to_one_place_each(out: Path) -> None:
    page = (out / "report.html").read_text()
    ids = re.findall(r' id="([^"]+)"', page)
    referred = set(re.findall(r'(?:href="#|url\(#)([^")]+)', page))
    assert referred <= set(ids)
    assert all(ids.count(name) == 1 for name in referred)


def test_names_cannot_break_the_report(
    tmp_path: Path, training: Training, table: TrainingTable
) -> None:
    wanted = Wanted(tmp_path / "v1", alerts=10)
    evil = dataclasses.replace(training, gains={"<script>alert(1)</script>": 1.0})
    write_training(evil, table, wanted)
    assert "<script" not in (wanted.out / "report.html").read_text()


def test_the_suggested_policy_is_one_and_keeps_to_its_budget(out: Path, training: Training) -> None:
    policy = load_policy(out.with_name("v1.policy.yaml"))
    assert policy.version == "small-2018-07-31"
    bands = policy.segments[0].bands
    assert [band.decision for band in bands] == ["decline", "review"]
    review = alerts_at(training.out_of_fold, bands[1].threshold, 0)
    assert 5 < review.cards.mean <= 10


def test_nothing_is_overwritten(tmp_path: Path, training: Training, table: TrainingTable) -> None:
    (tmp_path / "v1.policy.yaml").write_text("mine")
    with pytest.raises(ConfigurationError, match="exists already"):
        write_training(training, table, Wanted(tmp_path / "v1"))
    assert (tmp_path / "v1.policy.yaml").read_text() == "mine"
    assert not (tmp_path / "v1").exists()


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
    threshold = threshold_for(some, 10)
    assert threshold == pytest.approx(0.091)
    assert alerts_at(some, 0.091, 0).cards == (10.0, 10, 10)
    assert threshold_for(some, 101) is None
    assert [row.threshold for row in alerts_by_budget(some, (50, 10, 500), 0)] == [0.091, 0.051]


def test_bands_that_fall_together_are_one(tmp_path: Path) -> None:
    flat = scored(*((1, card, 0.25, card % 2, 1) for card in range(50)))
    bands = suggest_bands(flat, {"review": 10, "decline": 2})
    assert bands == {"decline": 0.25}
    assert suggest_bands(flat, {"review": 1_000}) == {"review": 0.5}
    path = tmp_path / "policy.yaml"
    path.write_text(policy_text(flat, "small-1", bands))
    assert load_policy(path).segments[0].bands[0].threshold == 0.25


def test_parameters_are_written_as_json_can_hold_them(training: Training) -> None:
    assert json.loads(json.dumps(training.trained.params)) == training.trained.params
