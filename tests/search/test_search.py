"""A share of the search, and the search itself: it is repeatable, and it finds seeded bugs."""

from __future__ import annotations

import pytest

from tests.search.bugs import BUGS, MOST, RARE
from tests.search.run import first_failure, run_schedule

SCHEDULES = 120
"""Schedules of each run of the tests; `make search` is the long form."""
FEW = 250
"""A bug that is not rare is found within so many."""
FIRST = {
    "reads do not wait for writes": 28,
    "marks are written without members": 80,
    "evictions are ignored": 32,
    "a fill begins at the checkpoint": 66,
    "alignment to an end of before": 58,
    "partitions of other versions are taken on without their log": 139,
}
"""Schedules to begin with, for bugs that take many: these find them at once."""
HAPPENINGS = (
    " is killed",
    " is stopped and replaced",
    " drains",
    " is expelled",
    " loses its connections",
    " goes on",
    "the session of ",
    "the transaction of ",
    "is sent twice; the first one is late",
    "late EndTxn",
    "late append arrives",
    "times out (lost)",
    "times out (unanswered)",
    "times out (late)",
    "ConcurrentTransactionsError",
    "ILLEGAL_GENERATION",
    "the store does not answer (partly)",
    "log: lost ",
    "sees the store flushed",
    "sees the store start again",
    "sees the store fail over",
    "sees keys evicted",
    "the store does not answer (another run)",
    "late marks arrives",
    "log: histories_lost",
    "log: partition_waits",
    "log: filling_partitions_of_others",
    "log: applying_partition_of_another",
)


def journal(seed: int) -> list[str]:
    lines: list[str] = []
    run_schedule(seed, note=lines.append)
    return lines


def test_schedules_give_the_output_of_a_serial_run(seed: int) -> None:
    failure = first_failure(range(seed, seed + SCHEDULES))
    assert failure is None, f"`make search SEED={failure[0]} ONE=1` shows how: {failure[1]}"


# A drain with the state of another position; a failover between read and write; a failover without a
# worker that fills again.
@pytest.mark.parametrize("number", [702469, 703674, 902436])
def test_schedules_that_have_failed_give_the_output_of_a_serial_run(number: int) -> None:
    run_schedule(number)


@pytest.mark.parametrize("number", [*range(8), 196])  # the last one shows the name of histories
def test_a_schedule_is_a_function_of_its_seed(number: int) -> None:
    assert journal(number) == journal(number)


def test_everything_happens_in_some_schedule() -> None:
    left = set(HAPPENINGS)
    for seed in range(MOST):
        text = "\n".join(journal(seed))
        left = {happening for happening in left if happening not in text}
        if not left:
            return
    pytest.fail(f"never seen: {left}")


@pytest.mark.parametrize("name", [name for name in BUGS if name not in RARE])
def test_the_search_finds_a_seeded_bug(name: str) -> None:
    first = FIRST.get(name, 0)
    with BUGS[name]():
        failure = first_failure(range(first, first + FEW))
    assert failure is not None
    run_schedule(failure[0])
