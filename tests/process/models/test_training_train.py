"""From a table to a bundle that is what it says, with a report and a policy."""

from __future__ import annotations

import dataclasses
import json
import re
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from base.errors import ConfigurationError, CudaUnusableError
from models.backend import open_backend
from models.backend.cuda import why_unusable
from models.bundle import load_bundle, write_bundle
from models.calibration import Calibration
from models.policy import load_policy
from models.training.alerts import alerts_at
from models.training.folds import Span
from models.training.recipes import DEEP, SHALLOW
from models.training.result import Training, describe_data, describe_warnings
from models.training.search import margins_of
from models.training.spans import folds_by_span, span_recipes
from models.training.table import TrainingTable
from models.training.train import train
from models.training.training_days import TrainingDays, find_training_days
from models.training.training_options import TrainingOptions, read_earlier_training
from models.training.write_outputs import OutputOptions, write_training
from tests.support.training_table import DAY, START, simulated, write_table

HAS_GPU = why_unusable() is None
SOON = TrainingOptions(tries=2, threads=2, forest=1)


def days_of(table: TrainingTable, delay: int | None = None) -> TrainingDays:
    return find_training_days(
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
    return train(table, days_of(table), SOON)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, training: Training, table: TrainingTable) -> Path:
    out = tmp_path_factory.mktemp("out") / "v1"
    write_training(training, table, OutputOptions(out, alerts=10))
    return out


def test_a_model_ranks_and_its_scores_are_probabilities(training: Training) -> None:
    scored = training.out_of_fold
    assert training.best_trial.metrics.average_precision > 0.5
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
    again = train(table, days_of(table), SOON)
    other = train(table, days_of(table), dataclasses.replace(SOON, seed=1))
    assert again.booster.save_raw("ubj") == training.booster.save_raw("ubj")
    assert again.calibration.scores == training.calibration.scores
    assert other.booster.save_raw("ubj") != training.booster.save_raw("ubj")


def test_training_uses_no_label_from_after_the_start_of_the_test(
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
    other = train(table, days_of(table), SOON)
    assert other.booster.save_raw("ubj") == training.booster.save_raw("ubj")
    assert other.calibration.margins == training.calibration.margins
    assert other.best_trial == training.best_trial


def test_labels_known_too_late_for_the_delay_do_not_enter(tmp_path: Path) -> None:
    columns = simulated(days=40)
    rows = np.flatnonzero((columns["times"] // DAY) % 3 == 0)
    columns["label_time"][rows] += 30 * DAY
    boosters = []
    for flip in (0, 1):
        columns["label"][rows] = columns["label"][rows] ^ flip
        table = TrainingTable(write_table(tmp_path / f"{flip}.parquet", columns))
        boosters.append(train(table, days_of(table, delay=2), SOON).booster.save_raw("ubj"))
    assert boosters[0] == boosters[1]


def test_parameters_and_rounds_can_be_taken_from_a_bundle(
    out: Path, table: TrainingTable, training: Training
) -> None:
    taken = read_earlier_training(out)
    assert taken.params_and_rounds[1] == training.best_trial.rounds
    assert taken.span == training.span
    like = train(
        table, days_of(table), dataclasses.replace(SOON, params_and_rounds=taken.params_and_rounds)
    )
    assert like.booster.save_raw("ubj") == training.booster.save_raw("ubj")
    assert like.best_trial.metrics == training.best_trial.metrics


def test_the_missing_value_of_a_bundle_is_that_of_a_model_like_it(
    tmp_path: Path, out: Path, table: TrainingTable, training: Training
) -> None:
    """A table with -999 for NaN gives the model that the table with NaN gives."""
    columns = simulated()
    columns["RISK"] = np.where(np.isnan(columns["RISK"]), -999.0, columns["RISK"])
    other = TrainingTable(write_table(tmp_path / "table.parquet", columns))
    like = read_earlier_training(out)
    assert np.isnan(like.missing)
    write_bundle(
        tmp_path / "before",
        training.booster,
        name="x",
        version="1",
        features=table.features,
        missing=-999.0,
        trained=training.trained,
    )
    before = read_earlier_training(tmp_path / "before")
    assert before == (like.params_and_rounds, -999.0, like.span, False)
    options = dataclasses.replace(
        SOON, params_and_rounds=before.params_and_rounds, missing=before.missing
    )
    again = train(other, days_of(other), options)
    assert again.booster.save_raw("ubj") == training.booster.save_raw("ubj")
    assert again.calibration.scores == training.calibration.scores
    write_training(again, other, OutputOptions(tmp_path / "after"))
    assert load_bundle(tmp_path / "after").missing == -999.0


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU here")
def test_a_gpu_that_cannot_be_had_is_refused_before_anything_is_read(table: TrainingTable) -> None:
    with pytest.raises(CudaUnusableError, match="extra `gpu`"):
        train(table, days_of(table), dataclasses.replace(SOON, device="cuda"))


@pytest.mark.gpu
def test_a_gpu_grows_a_model_that_is_worth_as_much(
    tmp_path: Path, table: TrainingTable, training: Training
) -> None:
    on_gpu = train(table, days_of(table), dataclasses.replace(SOON, device="cuda"))
    assert on_gpu.trained.params["device"] == "cuda"
    metrics = on_gpu.best_trial.metrics.average_precision
    assert metrics == pytest.approx(training.best_trial.metrics.average_precision, abs=0.05)
    # What a GPU has grown serves on a CPU.
    write_training(on_gpu, table, OutputOptions(tmp_path / "gpu"))
    week = table.read(START + 24 * DAY, START + 31 * DAY)
    backend = open_backend(load_bundle(tmp_path / "gpu"), "cpu")
    np.testing.assert_array_equal(
        backend.margins(week.matrix), margins_of(on_gpu.booster, week.matrix)
    )


def test_a_score_never_falls_with_a_feature_that_is_declared_to_raise_it(
    table: TrainingTable,
) -> None:
    options = dataclasses.replace(SOON, tries=1, monotone={"NOISE": 1, "AMOUNT": -1})
    booster = train(table, days_of(table), options).booster
    for place, sign in ((2, 1), (0, -1)):
        matrix = np.full((200, 3), 0.4, np.float32)
        matrix[:, place] = np.linspace(-5, 300, 200)
        steps = np.diff(booster.inplace_predict(matrix, predict_type="margin")) * sign
        assert (steps >= 0).all()


def test_an_unknown_feature_cannot_be_monotone(table: TrainingTable) -> None:
    with pytest.raises(ConfigurationError, match="no feature SIZE; it has AMOUNT, RISK, NOISE"):
        train(table, days_of(table), dataclasses.replace(SOON, monotone={"SIZE": 1}))


def test_training_can_count_unlabelled_events_as_legitimate(tmp_path: Path) -> None:
    columns = simulated(days=40)
    fraud = columns["label"] == 1
    columns["label"] = [1 if one else None for one in fraud]
    columns["label_time"] = np.where(fraud, columns["label_time"], columns["label_time"])
    table = TrainingTable(write_table(tmp_path / "t.parquet", columns))
    with pytest.raises(ConfigurationError, match="--unlabelled legit"):
        train(table, days_of(table), SOON)
    trained = train(table, days_of(table), SOON, unlabelled_legit=True)
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
        "Feature importance",
        "Effects of thresholds",
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
    wanted = OutputOptions(tmp_path / "v1", alerts=10)
    evil = dataclasses.replace(training, gains={"<script>alert(1)</script>": 1.0})
    write_training(evil, table, wanted)
    assert "<script" not in (wanted.out / "report.html").read_text()


def test_the_suggested_policy_is_one_with_reasons(
    out: Path, training: Training, table: TrainingTable
) -> None:
    policy = load_policy(out.with_name("v1.policy.yaml"))
    assert policy.version == "small-2018-07-31"
    bands = policy.segments[0].bands
    assert bands[-1].decision == "review"
    review = alerts_at(training.out_of_fold, bands[-1].threshold, 500)
    assert 5 < review.cards.mean <= 10
    assert review.saved is not None
    assert review.saved > 0
    assert policy.catalogue is not None
    policy.catalogue.coding([feature.name for feature in table.features], "small 1")


def test_a_model_that_finds_nothing_has_no_band_and_a_report_that_says_so(tmp_path: Path) -> None:
    """And no library warns: here warnings are errors."""
    columns = simulated(days=30, a_day=100)
    random = np.random.default_rng(0)
    columns["AMOUNT"], columns["RISK"] = np.full(3_000, 7.0), np.full(3_000, np.nan)
    columns["label"] = (random.random(3_000) < 0.01).astype(np.int8)
    columns["amount_minor"] = np.full(3_000, 700)
    useless = TrainingTable(write_table(tmp_path / "t.parquet", columns))
    trained = train(useless, find_training_days(useless), dataclasses.replace(SOON, tries=1))
    assert write_training(trained, useless, OutputOptions(tmp_path / "v1")) == {}
    assert load_policy(tmp_path / "v1.policy.yaml").segments[0].bands == ()
    assert "The suggested policy has no band" in (tmp_path / "v1" / "report.html").read_text()
    assert "no threshold was better" in describe_warnings(trained, {})[0]


def test_a_model_without_any_split_has_a_report(
    tmp_path: Path, training: Training, table: TrainingTable
) -> None:
    flat = dataclasses.replace(training, gains=dict.fromkeys(training.gains, 0.0))
    write_training(flat, table, OutputOptions(tmp_path / "v1"))


@pytest.mark.parametrize(("factor", "told"), [(0.85, True), (0.95, False), (1.2, True)])
def test_a_curve_that_misses_the_count_by_a_tenth_is_told(
    training: Training, factor: float, told: bool
) -> None:
    scored = training.out_of_fold
    missed = dataclasses.replace(scored, scores=scored.scores * factor)
    lines = describe_warnings(dataclasses.replace(training, out_of_fold=missed), {"review": 0.5})
    assert any("calibration expects" in line for line in lines) is told


def drifting(days: int, seed: int = 5) -> dict[str, Any]:
    """Few frauds a day, of which RISK tells three values in ten thousand that are the same always."""
    columns = simulated(days=days, a_day=200, seed=seed)
    random = np.random.default_rng(seed)
    rows = len(columns["times"])
    kind = random.integers(0, 60, rows)
    columns["label"] = ((kind % 7 == 3) & (random.random(rows) < 0.3)).astype(np.int8)
    columns["RISK"] = kind.astype(np.float64)
    columns["AMOUNT"] = random.normal(size=rows)
    return columns


def test_training_chooses_more_days_where_they_teach_more(tmp_path: Path) -> None:
    """Two weeks of that table hold too little; all that is older says the same."""
    table = TrainingTable(write_table(tmp_path / "t.parquet", drifting(days=80)))
    options = dataclasses.replace(SOON, tries=1)
    trained = train(table, find_training_days(table, folds=2), options)
    assert trained.span.days != 7
    assert [one.span for one in trained.span_results] == list(trained.days.spans)
    best = max(trained.span_results, key=lambda one: one.objective)
    assert best.span == trained.span
    assert best.average_precision > trained.span_results[0].average_precision + 0.01
    assert trained.trained.params["days"] == trained.span.days
    told = "\n".join(describe_data(trained))
    assert f"({trained.span})" in told
    assert "7 days 0." in told


def test_a_sample_of_a_large_table_is_told_and_scores_stay_probabilities(
    table: TrainingTable, training: Training
) -> None:
    options = dataclasses.replace(SOON, tries=1, fit_rows=600, search_rows=600)
    trained = train(table, days_of(table), options)
    assert trained.trained.rows == 600 < trained.available == training.trained.rows
    assert trained.trained.frauds == training.trained.frauds
    assert any("legitimate events" in line for line in describe_data(trained))
    scored = trained.out_of_fold
    assert len(scored.labels) == len(training.out_of_fold.labels), "all are assessed"
    assert scored.scores.sum() == pytest.approx(scored.labels.sum(), rel=1e-3)
    metrics = trained.best_trial.metrics.average_precision
    assert metrics == pytest.approx(training.best_trial.metrics.average_precision, abs=0.1)


def test_trees_are_deep_where_there_are_thousands_of_frauds(
    table: TrainingTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    folds = {Span(7): folds_by_span(table.read(0, START + 31 * DAY), days_of(table))[Span(7)]}
    assert [way.recipe for way in span_recipes(folds)] == [SHALLOW]
    monkeypatch.setattr("models.training.spans.MANY_FRAUDS", 10)
    assert [way.recipe for way in span_recipes(folds)] == [DEEP]


def test_training_overwrites_nothing(
    tmp_path: Path, training: Training, table: TrainingTable
) -> None:
    (tmp_path / "v1.policy.yaml").write_text("mine")
    with pytest.raises(ConfigurationError, match="exists already"):
        write_training(training, table, OutputOptions(tmp_path / "v1"))
    assert (tmp_path / "v1.policy.yaml").read_text() == "mine"
    assert not (tmp_path / "v1").exists()


def test_parameters_are_written_as_json_can_hold_them(training: Training) -> None:
    assert json.loads(json.dumps(training.trained.params)) == training.trained.params


CHANNEL = {"CHANNEL": {"values": ["pos", "ecom", "atm"], "other": True}}


@pytest.fixture(scope="module")
def channel_table(tmp_path_factory: pytest.TempPathFactory) -> TrainingTable:
    """Frauds are more often in the channels 1 and 3, which no threshold tells from 0 and 2."""
    columns = simulated()
    fraud = columns["label"].astype(bool)
    random = np.random.default_rng(1)
    drawn = random.integers(0, 4, len(fraud))
    columns["CHANNEL"] = np.where(fraud & (random.random(len(fraud)) < 0.9), drawn | 1, drawn)
    names = ("AMOUNT", "CHANNEL")
    path = tmp_path_factory.mktemp("channels") / "table.parquet"
    return TrainingTable(write_table(path, columns, names, categories=CHANNEL))


def test_category_features_are_split_by_category_where_asked(
    tmp_path: Path, channel_table: TrainingTable
) -> None:
    days = days_of(channel_table)
    options = dataclasses.replace(SOON, tries=1, by_category=True)
    written = tmp_path / "by_category"
    by_category = train(channel_table, days, options)
    write_training(by_category, channel_table, OutputOptions(written))
    (_, channel) = load_bundle(written).features
    assert channel.categories is not None
    assert channel.categories.values == ("pos", "ecom", "atm")
    assert read_earlier_training(written).by_category
    plain = train(channel_table, days, dataclasses.replace(options, by_category=False))
    write_training(plain, channel_table, OutputOptions(tmp_path / "plain"))
    assert [feature.categories for feature in load_bundle(tmp_path / "plain").features] == [
        None
    ] * 2
    assert not read_earlier_training(tmp_path / "plain").by_category


def test_category_splits_that_cannot_be_are_refused(
    table: TrainingTable, channel_table: TrainingTable
) -> None:
    options = dataclasses.replace(SOON, by_category=True)
    with pytest.raises(ConfigurationError, match=r"--by-category .* has no category feature"):
        train(table, days_of(table), options)
    rising = dataclasses.replace(options, monotone={"CHANNEL": 1})
    with pytest.raises(ConfigurationError, match="--monotone: CHANNEL is split by categories"):
        train(channel_table, days_of(channel_table), rising)
