"""The verdict of ``make evaluate``: every event scored once, every margin to the bit."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.evaluate.days import SPLITS, cut
from benchmarks.evaluate.offline import Expected, scores_of
from benchmarks.evaluate.online import Scores, matching
from benchmarks.evaluate.verdict import Result, judge, summary
from models.bundle import write_bundle
from models.calibration import Calibration
from models.training import fit
from tests.support.small_model import NAMES, labels_of, matrix_of, reference

EVENTS = 400


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    matrix = matrix_of(500, len(NAMES))
    return write_bundle(
        tmp_path_factory.mktemp("evaluate") / "bundle",
        fit(matrix, labels_of(matrix), rounds=3, threads=1),
        name="small",
        version="2018-07-31",
        features=[reference(name) for name in NAMES],
        calibration=Calibration([-3, 3], [0.01, 0.9]),
    )


@pytest.fixture
def want(bundle: Path) -> Expected:
    random = np.random.default_rng(1)
    return Expected(
        SPLITS[0],
        bundle,
        pa.array([str(number) for number in range(EVENTS)]),
        random.normal(size=EVENTS).astype(np.float32),
        np.arange(EVENTS) % 4 != 0,
        (random.random(EVENTS) < 0.2).astype(np.int8),
        random.integers(0, 90, EVENTS).astype(np.int32),
        random.integers(0, 7, EVENTS),
    )


def on_topic(want: Expected, order: np.ndarray) -> Scores:
    return Scores(
        want.ids.take(pa.array(order)),
        pa.array(["2018-07-31"] * len(order)),
        want.margins[order],
        scores_of(want.bundle, want.margins)[order],
    )


ANY_ORDER = np.random.default_rng(2).permutation(EVENTS)


def test_scores_in_any_order_that_are_those_offline_are_equal(want: Expected) -> None:
    result = judge(want, on_topic(want, ANY_ORDER), 0)
    assert result.bit_equal
    assert (result.events, result.assessed) == (EVENTS, 300)
    assert result.frauds == want.labels[want.assessed].sum()
    assert "0 margins and 0 scores of 400 differ" in result.described()


def test_scores_that_differ_in_one_bit_differ(want: Expected) -> None:
    scores = on_topic(want, ANY_ORDER)
    scores.margins[7] = np.nextafter(scores.margins[7], np.float32(np.inf))
    result = judge(want, scores, 0)
    assert (result.differing, result.bit_equal) == (1, False)
    scores = on_topic(want, ANY_ORDER)
    scores.scores[7] = np.nextafter(scores.scores[7], 1)
    result = judge(want, scores, 0)
    assert (result.scores_differing, result.bit_equal) == (1, False)
    assert not judge(want, on_topic(want, ANY_ORDER), dead_letters=1).bit_equal


def test_an_event_that_is_missing_or_there_twice_is_no_result(want: Expected) -> None:
    twice = ANY_ORDER.copy()
    twice[0] = twice[1]
    for order in (ANY_ORDER[1:], twice):
        assert matching(want.ids, on_topic(want, order)) is None
        with pytest.raises(ValueError, match="not one for each of 400 events"):
            judge(want, on_topic(want, order), 0)


def test_scores_of_another_model_are_no_result(want: Expected) -> None:
    scores = on_topic(want, ANY_ORDER)
    other = Scores(scores.ids, pa.array(["2018-08-07"] * EVENTS), scores.margins, scores.scores)
    with pytest.raises(ValueError, match="2018-08-07"):
        judge(want, other, 0)


def test_the_single_split_is_the_first_fold(want: Expected) -> None:
    first: Result = judge(want, on_topic(want, ANY_ORDER), 0)
    line = summary([first, first])
    assert line["single"]["roc_auc"] == round(first.metrics.roc_auc, 5)
    assert {"roc_auc", "average_precision", "card_precision_100", "calibration_error"} <= set(
        line["prequential"]
    )
    assert line["margins_bit_equal"]


def test_the_days_are_those_of_the_issue() -> None:
    assert [split.train_from for split in SPLITS] == [
        date(2018, 7, 25),
        date(2018, 8, 1),
        date(2018, 8, 8),
        date(2018, 8, 15),
    ]
    assert [split.test_from for split in SPLITS] == [
        date(2018, 8, 8),
        date(2018, 8, 15),
        date(2018, 8, 22),
        date(2018, 8, 29),
    ]
    assert SPLITS[0].train_last == date(2018, 7, 31)
    assert SPLITS[-1].test_until - timedelta(days=1) == date(2018, 9, 4)


def test_parts_of_the_file_follow_on_each_other(tmp_path: Path) -> None:
    begin, end = np.datetime64("2018-08-01", "ms"), np.datetime64("2018-09-10", "ms")
    hours = np.arange(begin, end, np.timedelta64(6, "h"))
    raw = tmp_path / "raw.parquet"
    pq.write_table(pa.table({"TX_DATETIME": pa.array(hours, pa.timestamp("ms"))}), raw)
    before, tests = cut(raw, tmp_path)
    parts = [pq.read_table(path)["TX_DATETIME"].to_numpy() for path in (before, *tests)]
    assert [len(part) for part in parts] == [28] * 5
    joined = np.concatenate(parts)
    np.testing.assert_array_equal(joined, hours[: len(joined)])
