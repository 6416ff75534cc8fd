"""Dead letters among the last records of a partition, against a scan of the whole log."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from features.history.recent_records import SPAN, RecentRecords


def crossing(log: list[bool], allowed: int) -> int | None:
    """The first record at which the last SPAN hold more dead letters than allowed, one by one."""
    for record in range(SPAN - 1, len(log)):
        if sum(log[record + 1 - SPAN : record + 1]) > allowed:
            return record
    return None


def in_batches(log: list[bool], sizes: list[int], allowed: int) -> int | None:
    recent, begin, size = RecentRecords(), 0, iter([*sizes, len(log)])
    while begin < len(log):
        batch = np.array(log[begin : begin + next(size)])
        letters = np.flatnonzero(batch)
        beyond = recent.first_beyond(len(batch), letters, allowed)
        if beyond is not None:
            return begin + beyond
        recent = recent.behind(len(batch), letters)
        begin += len(batch)
    return None


SIZES = st.lists(st.one_of(st.integers(1, 5), st.integers(1, 3 * SPAN)), max_size=30)


@given(
    st.integers(0, 2**32),
    st.integers(0, 4 * SPAN),
    st.lists(st.sampled_from([0.0, 0.005, 0.1, 0.5, 1.0]), min_size=1, max_size=4),
    SIZES,
    st.sampled_from([0, 1, 99, 100, 500, 999, SPAN]),
)
def test_any_division_of_the_log_finds_the_record_that_a_scan_finds(
    seed: int, records: int, shares: list[float], sizes: list[int], allowed: int
) -> None:
    draws = np.random.default_rng(seed).random(records)
    part = np.arange(records) * len(shares) // max(1, records)
    log = (draws < np.array(shares)[part]).tolist()
    assert in_batches(log, sizes, allowed) == crossing(log, allowed)


def test_no_record_is_judged_before_there_are_enough() -> None:
    flood = [True] * SPAN
    assert in_batches(flood[:-1], [], 0) is None
    assert in_batches(flood, [1] * SPAN, 0) == SPAN - 1


def test_the_share_has_to_be_exceeded_not_reached() -> None:
    log = [False] * (SPAN - 100) + [True] * 101
    assert in_batches(log[:-1], [], 100) is None
    assert in_batches(log, [], 100) == SPAN


def test_letters_that_are_far_back_no_longer_count() -> None:
    recent = RecentRecords().behind(1, np.array([0])).behind(SPAN, np.array([], np.intp))
    assert recent == RecentRecords(SPAN, 0)
