"""Champion against challenger: every number by a brute-force count over plain records."""

from __future__ import annotations

import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score
from typer.testing import CliRunner

from base.errors import ConfigurationError
from models.training.metrics import card_precision
from schemas.batch import Records
from tests.support.scores import Score
from tools.cli.commands import app
from tools.compare.comparison import Comparison, compare
from tools.compare.labelled import measure_labelled
from tools.compare.measures import rank_correlation, stability_index
from tools.compare.page import comparison_page
from tools.compare.score_columns import ScoreCategories
from tools.compare.score_log import Period, ScoreLog, ScoreLogReader
from worker.schema_sources import framed
from worker.settings import KafkaSettings, WorkerSettings
from worker.settings.sections import ModelSettings, Wire

DAY = 86_400_000_000
BEGIN = 17_000 * DAY
DECISIONS = ("approve", "review", "decline")
TOP = 2
ALWAYS = Period()
SETTINGS = WorkerSettings(
    kafka=KafkaSettings(
        bootstrap_servers="nowhere:1",
        group="g",
        input_topic="transactions",
        output_topic="scores",
        dead_letter_topic="letters",
        start_from="earliest",
    ),
    model=ModelSettings(bundle=Path("model")),
)


def side(
    scores: Sequence[Score],
    categories: ScoreCategories,
    period: Period = ALWAYS,
    letters: Mapping[tuple[str, int], Any] | None = None,
    chunk: int = 7,
) -> ScoreLog:
    """The scores as a worker's topic has them, read some at a time."""
    labels = {score.id: score.label for score in scores}

    def labels_of(ids: Any, times: Any) -> Any:
        return np.array([labels[name] for name in ids.to_pylist()], np.int8)

    reader = ScoreLogReader(SETTINGS, categories, period, labels_of)
    for first in range(0, len(scores), chunk):
        some = scores[first : first + chunk]
        zeros = np.zeros(len(some), np.int64)
        reader.add(
            Records(
                "scores",
                [None if s.card is None else s.card.encode() for s in some],
                [s.record() for s in some],
                zeros.astype(np.int32),
                first + np.arange(len(some)),
                zeros,
            )
        )
    return reader.finish("scores", "approve", letters)


def compared(
    own: Sequence[Score], other: Sequence[Score], *, labelled: bool = False, **more: Any
) -> Comparison:
    categories = ScoreCategories()
    for decision in DECISIONS:
        categories.decisions.code(decision)
    sides = side(own, categories, **more), side(other, categories, **more)
    found = compare(*sides, categories, TOP)
    return replace(found, labelled=measure_labelled(found.events, TOP)) if labelled else found


@st.composite
def both(draw: st.DrawFn) -> tuple[list[Score], list[Score]]:
    """Two workers' scores of some events, few cards, many ties, each in an order of its own."""
    coarse = st.integers(0, 8).map(lambda n: n / 8)
    own: list[Score] = []
    other: list[Score] = []
    for place in range(draw(st.integers(1, 40))):
        event = Score(
            partition=place % 3,
            offset=10 + place // 3,
            time=BEGIN + draw(st.integers(0, 3)) * DAY + place,
            card=draw(st.sampled_from(["a", "b", "c", "d", None])),
            score=0.0,
            decision="",
            label=draw(st.integers(-1, 1)),
        )
        who = draw(st.sampled_from(["both", "both", "both", "own", "other"]))
        for name, into in (("own", own), ("other", other)):
            if who in ("both", name):
                into.append(
                    replace(
                        event,
                        score=draw(coarse),
                        decision=draw(st.sampled_from(DECISIONS)),
                        version=draw(st.sampled_from(["1", "2"])),
                    )
                )
    return draw(st.permutations(own)), draw(st.permutations(other))


@given(both())
@settings(max_examples=50)
def test_a_comparison_gives_the_numbers_of_a_count_by_hand(
    drawn: tuple[list[Score], list[Score]],
) -> None:
    own, other = ({s.place: s for s in scores} for scores in drawn)
    places = sorted(own.keys() & other.keys())
    if not places:
        with pytest.raises(ConfigurationError):
            compared(*drawn)
        return
    found = compared(*drawn)
    pairs = [(own[place], other[place]) for place in places]

    assert len(found.events) == len(pairs)
    assert found.champion.unmatched.total == len(own) - len(pairs)
    assert found.challenger.unmatched.total == len(other) - len(pairs)
    table = Counter((a.decision, b.decision) for a, b in pairs)
    names = found.agreement.decisions
    assert {
        (a, b): count
        for a, row in zip(names, found.agreement.counts, strict=True)
        for b, count in zip(names, row, strict=True)
        if count
    } == dict(table)
    assert found.agreement.same == pytest.approx(
        sum(a.decision == b.decision for a, b in pairs) / len(pairs)
    )
    apart = sorted(b.score - a.score for a, b in pairs)
    assert found.shift.mean == pytest.approx(math.fsum(apart) / len(apart))
    assert found.shift.quantiles["0.5"] == pytest.approx(pd.Series(apart).median())
    assert found.shift.identical == apart.count(0.0) / len(apart)
    for place, of in enumerate((found.champion, found.challenger)):
        scores = [pair[place] for pair in pairs]
        alerted = [s for s in scores if s.decision != "approve"]
        days = Counter({s.time // DAY: 0 for s in scores})
        days.update(s.time // DAY for s in alerted)
        assert of.alerts.rate == len(alerted) / len(scores)
        assert of.alerts.events.least == min(days.values())
        assert of.alerts.events.most == max(days.values())
        assert of.alerts.events.mean == pytest.approx(len(alerted) / len(days))
        made = {maker.version: count for maker, count in of.answers.made}
        assert made == Counter(s.version for s in scores)


@given(both())
@settings(max_examples=50)
def test_the_first_cards_of_a_day_are_those_of_a_sort(
    drawn: tuple[list[Score], list[Score]],
) -> None:
    own, other = ({s.place: s for s in scores} for scores in drawn)
    places = sorted(own.keys() & other.keys())
    if not places:
        return
    found = compared(*drawn)
    number = dict(zip(places, found.events.cards.tolist(), strict=True))
    # One number for each key, and one for each event without a key.
    keys = {place: own[place].card or own[place].id for place in places}
    assert len(set(zip(number.values(), keys.values(), strict=True))) == len(set(keys.values()))
    assert len(set(number.values())) == len(set(keys.values()))

    def first(scores: Mapping[tuple[str, int, int], Score]) -> dict[int, set[int]]:
        highest: dict[int, dict[int, float]] = defaultdict(dict)
        for place in places:
            score = scores[place]
            of_day = highest[score.time // DAY]
            of_day[number[place]] = max(of_day.get(number[place], -1.0), score.score)
        return {
            day: set(sorted(cards, key=lambda card: (-cards[card], card))[:TOP])
            for day, cards in highest.items()
        }

    mine, theirs = first(own), first(other)
    shares = [len(mine[day] & theirs[day]) / len(mine[day]) for day in mine]
    assert found.top.overlap.mean == pytest.approx(np.mean(shares))
    assert (found.top.overlap.least, found.top.overlap.most) == (min(shares), max(shares))


@given(both())
@settings(max_examples=50)
def test_labels_say_what_decisions_are_labelled_scores(
    drawn: tuple[list[Score], list[Score]],
) -> None:
    own, other = ({s.place: s for s in scores} for scores in drawn)
    places = [p for p in sorted(own.keys() & other.keys()) if own[p].label >= 0]
    labels = [own[p].label for p in places]
    if set(labels) != {0, 1}:
        with pytest.raises(ConfigurationError):
            compared(*drawn, labelled=True)
        return
    found = compared(*drawn, labelled=True)
    assert found.labelled is not None
    assert (found.labelled.labelled, found.labelled.frauds) == (len(labels), sum(labels))
    rows = found.events.labels >= 0
    for worth, scores in ((found.labelled.champion, own), (found.labelled.challenger, other)):
        ranked = [scores[p].score for p in places]
        assert worth.average_precision == pytest.approx(average_precision_score(labels, ranked))
        days = np.array([own[p].time // DAY for p in places])
        assert worth.card_precision == card_precision(
            np.array(labels), np.array(ranked), found.events.cards[rows], days, TOP
        )
        for decision in DECISIONS:
            hits = [own[p].label for p in places if scores[p].decision == decision]
            told = worth.decisions.get(decision)
            assert (told is None) == (not hits)
            if told is not None:
                assert (told.events, told.frauds) == (len(hits), sum(hits))
                assert told.precision == sum(hits) / len(hits)
                assert told.recall == sum(hits) / sum(labels)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=50))
def test_ranks_correlate_as_pandas_has_it(pairs: list[tuple[int, int]]) -> None:
    frame = pd.DataFrame(pairs, dtype=float)
    expected = frame[0].rank().corr(frame[1].rank()) if (frame.nunique() > 1).all() else None
    found = rank_correlation(frame[0].to_numpy(), frame[1].to_numpy())
    if expected is None:
        assert found is None
    else:
        assert found == pytest.approx(expected, abs=1e-12)


def test_the_stability_index_is_that_of_its_definition() -> None:
    expected = np.arange(1000) / 1000
    assert stability_index(expected, expected) == 0.0
    # All of the other in the lowest of ten bins; half a score is added to each bin.
    found = np.zeros(1000)
    e = 100.5 / 1005
    empty = 0.5 / 1005
    full = 1000.5 / 1005
    by_hand = (full - e) * math.log(full / e) + 9 * (empty - e) * math.log(empty / e)
    assert stability_index(expected, found) == pytest.approx(by_hand)


def some(offsets: Sequence[int], **more: Any) -> list[Score]:
    return [
        Score(0, offset, BEGIN + offset * DAY // 4, "a", 0.5, "approve", **more)
        for offset in offsets
    ]


def test_events_that_one_side_alone_scored_are_counted_apart() -> None:
    categories = ScoreCategories()
    letters = {("transactions", 0): np.array([3, 5, 900], np.int64)}
    champion = side(some(range(10)), categories)
    challenger = side(some([2, 4, 7]), categories, letters=letters)
    alone = compare(champion, challenger, categories, TOP).champion.unmatched
    assert (alone.dead_lettered, alone.before, alone.after, alone.missing) == (2, 2, 2, 1)
    assert alone.total == 7
    found = compare(challenger, champion, categories, TOP)
    assert found.champion.unmatched.total == 0
    # A partition that the other has not begun with is before its first.
    more = [*some([2]), replace(some([6])[0], partition=1)]
    found = compare(side(more, categories), challenger, categories, TOP)
    assert (found.champion.unmatched.before, found.champion.unmatched.total) == (1, 1)


def test_days_outside_of_the_period_do_not_count_but_say_how_far_a_worker_is() -> None:
    categories = ScoreCategories()
    period = Period(BEGIN + DAY, BEGIN + 2 * DAY)
    champion = side(some(range(12)), categories, period)
    challenger = side([*some([0, 4, 5]), *some([9])], categories, period)
    found = compare(champion, challenger, categories, TOP)
    assert found.events.times.tolist() == [BEGIN + DAY, BEGIN + DAY + DAY // 4]
    # 6 and 7 lie between what the challenger scored, though 9 is of another day.
    assert (found.champion.unmatched.missing, found.champion.unmatched.total) == (2, 2)


def test_a_comparison_counts_the_latest_score_of_an_event() -> None:
    first, second = some([1, 2]), some([2, 3])
    again = [replace(score, score=0.75) for score in second]
    found = compared([*first, *again], some([1, 2, 3]))
    assert found.champion.repeated == 1
    assert found.events.champion.scores.tolist() == [0.5, 0.75, 0.75]


@pytest.mark.parametrize(
    ("own", "other", "named"),
    [
        (some([1]), some([1], topic="payments"), "has scores of transactions, .* of payments"),
        (some([1, 2]), some([7, 8]), r"transactions\[0\] 1 to 2, .* transactions\[0\] 7 to 8"),
        (some([1, 2]), some([1, 2], event_id="x"), "2 of 2 positions are of one event"),
        (some([1]), [], "there are no scores;"),
    ],
)
def test_a_comparison_refuses_scores_that_cannot_be_compared(
    own: list[Score], other: list[Score], named: str
) -> None:
    with pytest.raises(ConfigurationError, match=named):
        compared(own, other)


def test_other_days_than_those_of_the_topic_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="no scores of these days"):
        side(some([1]), ScoreCategories(), Period(0, 1))


def test_a_comparison_names_records_that_are_no_scores() -> None:
    reader = ScoreLogReader(SETTINGS, ScoreCategories(), Period(), None)
    zeros = np.zeros(1, np.int64)
    records = Records("scores", [None], [b"\x00\x00"], zeros.astype(np.int32), zeros + 41, zeros)
    with pytest.raises(ConfigurationError, match="scores, partition 0, offset 41: not a score"):
        reader.add(records)


def test_the_page_holds_the_numbers_and_needs_nothing_beside_it() -> None:
    own = [replace(score, label=score.offset % 2) for score in some(range(40))]
    other = [replace(score, score=score.offset / 40, decision="<b>") for score in own[:30]]
    found = compared(own, other, labelled=True)
    text = comparison_page(found)
    # Charts refer to their own parts: url(#…), href="#…".
    assert not re.findall(r"(?:src=|href=|url\()[\"']?(?!#|[\"'])", text)
    assert "30 events from" in text
    assert "&lt;b&gt;" in text
    assert "<b>" not in text.replace("<b>", "", 5)
    assert text.count("<svg") == 5
    assert comparison_page(replace(found, labelled=None)).count("<svg") == 4


def test_bare_bodies_are_read_where_the_pipeline_writes_them() -> None:
    bare = SETTINGS.model_copy(update={"wire": Wire(framing="none")})
    reader = ScoreLogReader(bare, ScoreCategories(), ALWAYS, None)
    (score,) = some([3])
    zeros = np.zeros(1, np.int64)
    value = score.record()[len(framed(2)) :]
    reader.add(Records("scores", [None], [value], zeros.astype(np.int32), zeros, zeros))
    assert reader.finish("scores", "approve", None).scores.offsets.tolist() == [3]


def test_a_page_takes_the_place_of_a_file_unmatched(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for out, found in ((tmp_path / "pipe", "a named pipe"), (tmp_path, "a folder")):
        result = CliRunner().invoke(app, ["model", "compare", "a", "b", "--out", str(out)])
        assert isinstance(result.exception, ConfigurationError)
        assert str(result.exception) == f"--out: {out} is {found}; name a file"
