"""Names found among names: what a plain count says, wherever they fall in the table."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from features.windows.ids import having, repeated

# Few values, some of which share the low bits that choose a name's slot.
NAMES = st.lists(
    st.builds(lambda low, high: low + (high << 40), st.integers(0, 6), st.integers(0, 3))
)


@given(NAMES)
def test_repeated_are_those_that_a_count_finds_twice(given_names: list[int]) -> None:
    count = Counter(given_names)
    expected = [place for place, name in enumerate(given_names) if count[name] > 1]
    assert repeated(np.array(given_names, np.uint64)).tolist() == expected


@given(NAMES, NAMES)
def test_having_leaves_none_out(given_names: list[int], wanted: list[int]) -> None:
    found = having(np.array(given_names, np.uint64), np.array(wanted, np.uint64))
    assert set(found.tolist()) >= {p for p, name in enumerate(given_names) if name in set(wanted)}
