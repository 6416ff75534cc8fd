"""The property suite finds bugs that are put in on purpose."""

from __future__ import annotations

import pytest

from tests.commands.properties import run
from tests.properties.bugs import BUGS
from tests.properties.comparison import DisagreementError
from tests.properties.scenarios import Scenario
from tests.properties.simulation import check

SEED = 2
# Seeds by which the bugs that need many cases are found soonest.
SEEDS = {
    "an event a day above the watermark is ahead": 3,
    "compaction takes what comes again for members": 1,
    "events arrive in time up to the delay": 1,
}
CASES = 200
"""A bug that needs more has not been found. Their number decides how many of them are small."""


@pytest.mark.parametrize("name", BUGS)
def test_the_oracle_finds_a_seeded_bug(name: str) -> None:
    bug = BUGS[name]
    seen: list[Scenario] = []
    # Some break the engine before it answers.
    with bug.patch(), pytest.raises((DisagreementError, IndexError, ValueError)):
        run(CASES, SEEDS.get(name, SEED), bug.make, shrink=False, watch=seen.append)
    check(seen[-1])
