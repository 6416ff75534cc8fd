"""Folds know no more than was known then, and leave compromised cards out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from base.errors import ConfigurationError
from models.training.folds import Lengths, Span, earlier_folds, make_fold
from models.training.spans import folds_by_span
from models.training.table import UNKNOWN, LabelledEvents, TrainingTable
from models.training.training_days import TrainingDays, find_training_days
from tests.support.training_table import DAY, START, simulated, write_table

WEEKS = Lengths(train=7, delay=7, assess=7)
LATER = START + 1_000 * DAY


def events_of(
    *events: tuple[float, int, int], delay: float = 7.0, known_late: Sequence[int] = ()
) -> LabelledEvents:
    """Events of (day, card, label), in order of time."""
    days, cards, labels = (np.array(column) for column in zip(*events, strict=True))
    times = (START + days * DAY).astype(np.int64)
    label_times = times + np.int64(delay * DAY)
    label_times[list(known_late)] += 10 * DAY
    nothing = np.zeros((len(times), 1), np.float32)
    label = labels.astype(np.int8)
    return LabelledEvents(nothing, times, cards.astype(np.int32), label, label_times, None, False)


def days_of(events: LabelledEvents, rows: np.ndarray) -> list[float]:
    return [round(float(day), 3) for day in (events.times[rows] - START) / DAY]


def test_a_fold_trains_waits_and_assesses() -> None:
    events = events_of(*((day + 0.5, day, 0) for day in range(30)))
    fold = make_fold(events, START + 3 * DAY, WEEKS, LATER)
    assert days_of(events, fold.train) == [day + 0.5 for day in range(3, 10)]
    assert days_of(events, fold.assess) == [day + 0.5 for day in range(17, 24)]
    assert fold.begin == START + 17 * DAY
    assert np.diff(fold.days).tolist() == [1] * 6


def test_a_card_is_out_from_the_day_on_at_whose_start_its_fraud_is_known() -> None:
    fraud_early, fraud_late = 8.5, 9.0
    events = events_of(
        (0.5, 3, 1),
        (fraud_early, 1, 1),
        (fraud_late, 2, 1),
        *((day + 0.1, card, 0) for day in range(14, 21) for card in (1, 2, 3, 4)),
    )
    fold = make_fold(events, START + DAY * 0, WEEKS, LATER)
    seen = {
        card: days_of(events, fold.assess[events.cards[fold.assess] == card])
        for card in (1, 2, 3, 4)
    }
    # known on day 15.5, and exactly at the start of day 16
    assert seen[1] == [14.1, 15.1]
    assert seen[2] == [14.1, 15.1]
    assert seen[3] == []
    assert len(seen[4]) == 7


def test_a_fraud_before_the_training_days_takes_no_card_out() -> None:
    events = events_of((0.5, 1, 1), *((day + 0.5, 1, 0) for day in range(1, 22)))
    fold = make_fold(events, START + DAY, WEEKS, LATER)
    assert len(fold.assess) == 7


def test_labels_that_are_not_known_when_assessing_begins_are_not_trained_on() -> None:
    events = events_of(*((day + 0.5, day, day % 2) for day in range(22)), known_late=[2, 15])
    fold = make_fold(events, START, WEEKS, START + 30 * DAY)
    assert days_of(events, fold.train) == [0.5, 1.5, 3.5, 4.5, 5.5, 6.5]
    assert 15.5 not in days_of(events, fold.assess)
    assert UNKNOWN not in fold.labels


def test_earlier_folds_end_with_the_training_days_and_go_back_from_there() -> None:
    events = events_of(*((day + 0.5, day, 0) for day in range(60)))
    begin = START + 56 * DAY
    folds = list(earlier_folds(events, begin, Span(7), WEEKS, 4))
    assert [(fold.begin - START) / DAY for fold in folds] == [42, 35, 28, 21]
    assert [days_of(events, fold.train)[0] for fold in folds] == [28.5, 21.5, 14.5, 7.5]
    assert days_of(events, folds[0].assess)[-1] == 48.5
    assert len(list(earlier_folds(events, begin, Span(7), WEEKS, 9))) == 5


def test_the_handbook_s_split_is_chosen_by_the_four_weeks_of_july(tmp_path: Path) -> None:
    table = TrainingTable(write_table(tmp_path / "t.parquet", simulated(days=60, delay=7)))
    days = usable_days(table, since=date(2018, 8, 12), last=date(2018, 8, 18))
    assert days.lengths == WEEKS
    assert days.begin == START + 56 * DAY
    events = table.read(0, LATER)
    folds = earlier_folds(events, days.begin, days.spans[0], days.lengths, 4)
    begins = [fold.begin for fold in folds]
    assert [(begin - START) / DAY for begin in begins] == [42, 35, 28, 21]
    assert days.reads_from == START + 7 * DAY


def usable_days(
    table: TrainingTable,
    since: date | None = None,
    last: date | None = None,
    delay: int | None = None,
    folds: int = 4,
) -> TrainingDays:
    return find_training_days(table, since=since, last=last, delay=delay, assess=7, folds=folds)


def test_folds_without_dates_train_on_the_last_days_with_labels(tmp_path: Path) -> None:
    table = TrainingTable(write_table(tmp_path / "t.parquet", simulated(days=60, delay=7)))
    days = usable_days(table)
    assert (days.train_from(days.spans[0]) - START) / DAY == 46
    assert days.lengths == WEEKS


def test_spans_are_offered_that_all_folds_reach_back_for(tmp_path: Path) -> None:
    table = TrainingTable(
        write_table(tmp_path / "t.parquet", simulated(days=80, a_day=20, delay=7))
    )
    days = usable_days(table)
    assert days.folds == 4
    assert days.spans == (Span(7), Span(30), Span(None), Span(None, 30))
    folds = folds_by_span(table.read(days.reads_from, days.reads_until), days)
    first = folds[Span(7)]
    for span, of_span in folds.items():
        for fold, other in zip(of_span, first, strict=True):
            assert fold.assess.tolist() == other.assess.tolist(), "all spans assess the same"
            assert len(fold.train) >= len(other.train)
        if span.days is None:
            assert of_span[0].train[0] == 0
    assert usable_days(table, since=date(2018, 9, 1)).spans == (Span(11),)


def test_a_short_table_is_trained_on_what_it_has(tmp_path: Path) -> None:
    for days, delay in ((2, 0), (2, 0.25), (5, 1), (12, 2)):
        columns = simulated(days=days, a_day=100, delay=0)
        columns["label_time"] = columns["times"] + round(delay * DAY)
        table = TrainingTable(write_table(tmp_path / f"{days}-{delay}.parquet", columns))
        found = find_training_days(table)
        assert found.spans == (Span(None),)
        assert found.folds >= 1
        assert found.delay == pytest.approx(delay)
        assert found.begin == START + days * DAY


@pytest.mark.parametrize(
    ("days", "delay", "given", "named"),
    [
        (2, 7, {}, "build a table that reaches back 14 days more"),
        (40, 7, {"assess": 30}, "give --assess 19"),
        (3, 0, {"assess": 7}, "give --assess 2"),
        (40, 7, {"since": date(2018, 7, 4)}, "train on fewer days, with --from 2018-07-15"),
    ],
)
def test_a_refusal_names_options_that_work(
    tmp_path: Path, days: int, delay: int, given: dict[str, Any], named: str
) -> None:
    table = TrainingTable(
        write_table(tmp_path / "t.parquet", simulated(days=days, a_day=50, delay=delay))
    )
    with pytest.raises(ConfigurationError, match=named) as refused:
        find_training_days(table, **given)
    for option in ("--from", "--assess", "--until", "--delay"):
        key = {"--from": "since"}.get(option, option[2:])
        assert (option in str(refused.value)) == (key in given)
    if "assess" in given:
        assert find_training_days(table, assess=int(named.rsplit(maxsplit=1)[-1])).folds == 1
    if "since" in given:
        assert find_training_days(table, since=date(2018, 7, 15)).folds == 1


def test_a_few_labels_that_came_late_are_told_from_the_usual_delay(tmp_path: Path) -> None:
    columns = simulated(days=10, a_day=50, delay=1)
    columns["label_time"][:3] += 8_000 * DAY
    table = TrainingTable(write_table(tmp_path / "t.parquet", columns))
    with pytest.raises(ConfigurationError, match="give --delay 1d, within which most labels"):
        find_training_days(table)
    assert find_training_days(table, delay=1).folds >= 1


def test_a_row_far_from_all_others_is_named(tmp_path: Path) -> None:
    columns = simulated(days=40, a_day=50, delay=7)
    columns["times"][-1] = 2_272_147_200_000_000
    table = TrainingTable(write_table(tmp_path / "late.parquet", columns))
    with pytest.raises(ConfigurationError, match=r"1 of the 2,000 rows .* 2042-01-01") as refused:
        find_training_days(table)
    assert "--until 2018-08-09" in str(refused.value)
    assert find_training_days(table, last=date(2018, 8, 2), delay=7).folds == 2
    columns["times"][-1], columns["times"][0] = columns["times"][-2], 0
    table = TrainingTable(write_table(tmp_path / "early.parquet", columns))
    with pytest.raises(ConfigurationError, match="before the others, the first at 1970-01-01"):
        find_training_days(table)


def test_folds_that_the_table_does_not_reach_are_left_out(tmp_path: Path) -> None:
    table = TrainingTable(write_table(tmp_path / "t.parquet", simulated(days=40, delay=7)))
    assert usable_days(table, folds=9).folds == 2


@pytest.mark.parametrize(
    ("since", "last", "named"),
    [
        (date(2018, 6, 1), date(2018, 7, 7), "not days of"),
        (date(2018, 7, 30), date(2018, 7, 29), "not days of"),
        (date(2018, 7, 30), date(2018, 9, 9), "not days of"),
        (date(2018, 7, 2), date(2018, 7, 8), "needs 21 days"),
    ],
)
def test_days_that_are_not_there_are_refused(
    tmp_path: Path, since: date, last: date, named: str
) -> None:
    table = TrainingTable(write_table(tmp_path / "t.parquet", simulated(days=40, delay=7)))
    with pytest.raises(ConfigurationError, match=named):
        usable_days(table, since, last)


def test_spans_are_told_in_words() -> None:
    assert [str(span) for span in (Span(7), Span(None), Span(None, 30))] == [
        "7 days",
        "all days",
        "all days with a half-life of 30 days",
    ]
