"""The search is seeded, finds the better, and gives the same on any number of threads."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import xgboost as xgb

from models.training.fit import boost
from models.training.folds import Lengths, Span, earlier_folds
from models.training.metrics import Metrics
from models.training.recipes import SHALLOW, candidates
from models.training.search import SampledFold, Trial, out_of_fold_margins, search_parameters
from models.training.spans import sampled_folds
from models.training.table import LabelledEvents, TrainingTable
from tests.support.training_table import DAY, simulated, write_table
from tests.support.training_table import START as BEGIN

FIXED = {"max_bin": 64}
START, SPACE, LOOKS = SHALLOW.start, SHALLOW.space, SHALLOW.assess_at
Parts = tuple[LabelledEvents, list[SampledFold]]


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    path = tmp_path_factory.mktemp("search") / "table.parquet"
    events = TrainingTable(write_table(path, simulated(days=30))).read(0, BEGIN + 99 * DAY)
    folds = list(earlier_folds(events, BEGIN + 30 * DAY, Span(7), Lengths(7, 2, 7), 2))
    return events, sampled_folds(events, folds, Span(7), 10**6, seed=0)


def test_candidates_are_seeded_alone_of_their_kind_and_begin_with_the_start() -> None:
    found = candidates(SHALLOW, 30, seed=4)
    assert found == candidates(SHALLOW, 30, seed=4)
    assert found != candidates(SHALLOW, 30, seed=5)
    assert found[0] == START
    assert len({tuple(sorted(one.items())) for one in found}) == 30
    assert all(one[name] in values for one in found[1:] for name, values in SPACE.items())


def test_the_better_parameters_are_first_with_the_rounds_that_they_need(part: Parts) -> None:
    tries = [{**START, "min_child_weight": 1e9}, START]
    found = search_parameters(*part, tries, FIXED, assess_at=LOOKS, seed=0, workers=1)
    assert found[0].params == START
    assert found[0].objective > found[-1].objective
    assert len(found[0].folds) == 2
    # each set at several numbers of rounds
    assert len({(tuple(one.params.items()), one.rounds) for one in found}) == len(found) == 8


def test_a_card_that_is_found_outweighs_average_precision_that_chance_may_have_given() -> None:
    few, many = (Metrics(0.9, 0.700, 0.300), Metrics(0.9, 0.697, 0.302))
    plain, cards = (Trial(START, 10, (metrics,)) for metrics in (few, many))
    assert cards.objective > plain.objective
    assert Trial(START, 10, (Metrics(0.9, 0.704, 0.301),)).objective > cards.objective


def test_threads_change_nothing_but_the_time(part: Parts) -> None:
    done: list[int] = []
    alone = search_parameters(
        *part, candidates(SHALLOW, 2, 0), FIXED, assess_at=LOOKS, seed=3, workers=1
    )
    together = search_parameters(
        *part,
        candidates(SHALLOW, 2, 0),
        FIXED,
        assess_at=LOOKS,
        seed=3,
        workers=4,
        advance=lambda: done.append(1),
    )
    assert alone == together
    assert len(done) == 4


def test_margins_out_of_fold_are_those_that_were_judged(part: Parts) -> None:
    events, parts = part
    folds = [one.fold for one in parts]
    best = search_parameters(*part, [START], FIXED, assess_at=LOOKS, seed=0, workers=2)[0]
    margins = out_of_fold_margins(
        events, parts, best.rounds, {**FIXED, **best.params}, seed=0, workers=2
    )
    assert [len(of_fold) for of_fold in margins] == [len(fold.assess) for fold in folds]
    metrics_by_fold = [
        Metrics.of(fold.labels, of_fold, events.cards[fold.assess], fold.days)
        for fold, of_fold in zip(folds, margins, strict=True)
    ]
    assert tuple(metrics_by_fold) == best.folds


@pytest.mark.parametrize(("folds", "workers", "busy"), [(1, 3, 3), (2, 3, 3), (2, 2, 2), (1, 9, 4)])
def test_the_search_uses_all_cores_with_any_number_of_folds(
    part: Parts, folds: int, workers: int, busy: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many fits wait for each other as there are workers: with fewer the barrier breaks."""
    together = threading.Barrier(busy)
    met = threading.local()

    def waiting(*given: Any, **named: Any) -> xgb.Booster:
        if not getattr(met, "others", False):
            met.others = True
            together.wait(timeout=60)
        return boost(*given, **named)

    monkeypatch.setattr("models.training.search.boost", waiting)
    events, parts = part
    tries = candidates(SHALLOW, 4, 0)
    found = search_parameters(
        events, parts[:folds], tries, FIXED, assess_at=LOOKS, seed=0, workers=workers
    )
    monkeypatch.undo()
    assert found == search_parameters(
        events, parts[:folds], tries, FIXED, assess_at=LOOKS, seed=0, workers=1
    )
