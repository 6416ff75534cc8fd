"""The batch bound keeps a micro-batch within its budget, whatever an event costs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.consume.micro_batch import BatchBound


def settled(bound: BatchBound, cost_s: float, fixed_s: float = 0.0, batches: int = 100) -> int:
    """The bound after full micro-batches of events that cost ``cost_s`` each."""
    for _ in range(batches):
        bound.observe(bound.events, fixed_s + bound.events * cost_s)
    return bound.events


def test_the_first_batch_may_be_full() -> None:
    assert BatchBound(4000, 0.25).events == 4000


@pytest.mark.parametrize(
    ("cost_s", "events"), [(0.00001, 4000), (0.001, 250), (0.01, 25), (10.0, 1)]
)
def test_follows_the_cost_of_an_event_between_one_and_the_most(cost_s: float, events: int) -> None:
    assert settled(BatchBound(4000, 0.25), cost_s) == pytest.approx(events, abs=1)


def test_grows_again_when_events_become_cheap() -> None:
    bound = BatchBound(4000, 0.25)
    settled(bound, 10.0)
    assert settled(bound, 0.00001, fixed_s=0.005, batches=300) == 4000


def test_the_batch_bound_ignores_one_slow_batch() -> None:
    bound = BatchBound(4000, 0.25)
    settled(bound, 0.0001)
    before = bound.events
    bound.observe(before, 2.0)
    assert before / 4 < bound.events < before


def test_small_batches_say_nothing_about_the_cost_of_an_event() -> None:
    bound = BatchBound(4000, 0.25)
    bound.observe(999, 100.0)
    assert bound.events == 4000
    bound.observe(1000, 100.0)
    assert bound.events < 4000


def test_a_clock_that_measures_nothing_leaves_the_bound_open() -> None:
    bound = BatchBound(4000, 0.25)
    bound.observe(4000, 0.0)
    assert bound.events == 4000
    settled(bound, 0.01)
    assert bound.events < 100


@given(
    st.integers(1, 50_000),
    st.floats(0.001, 100),
    st.lists(st.tuples(st.integers(1, 50_000), st.floats(0, 1000)), max_size=20),
)
def test_always_at_least_one_and_at_most_the_most(
    most: int, budget_s: float, observed: list[tuple[int, float]]
) -> None:
    bound = BatchBound(most, budget_s)
    for events, took_s in observed:
        bound.observe(events, took_s)
        assert 1 <= bound.events <= most
