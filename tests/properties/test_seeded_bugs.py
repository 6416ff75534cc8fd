"""The property suite finds bugs that are put in on purpose."""

from __future__ import annotations

import pytest

from tests.commands.properties import run
from tests.properties.bugs import BUGS
from tests.properties.comparison import DisagreementError
from tests.properties.scenarios import Scenario
from tests.properties.simulation import check

SEED = 4
# Seeds by which the bugs that need many cases are found soonest.
SEEDS = {
    "histories begin with late events": 1,
    "compaction by length": 6,
    "compaction takes what comes again for members": 2,
}
CASES = 2_000
"""A bug that needs more has not been found."""


@pytest.mark.parametrize("name", BUGS)
def test_the_oracle_finds_a_seeded_bug(name: str) -> None:
    bug = BUGS[name]
    seen: list[Scenario] = []
    # Some break the engine before it answers.
    with bug.patch(), pytest.raises((DisagreementError, IndexError, ValueError)):
        run(CASES, SEEDS.get(name, SEED), bug.make, shrink=False, watch=seen.append)
    check(seen[-1])
