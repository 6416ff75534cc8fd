"""Flags are encoded, decoded and counted by the same bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.values.flags import MAX_FLAGS, Flags

FLAGS = Flags(("lookup_stale:a", "lookup_stale:b", "late", "history_short:card"))


@given(st.lists(st.sets(st.integers(0, MAX_FLAGS - 1))), st.data())
def test_events_get_back_the_flags_they_were_given(
    events: list[set[int]], data: st.DataObject
) -> None:
    flags = Flags(tuple(f"flag:{i}" for i in range(MAX_FLAGS)))
    carried = {
        name: np.array([bit in event for event in events], np.bool_)
        for bit, name in enumerate(flags.names)
    }
    bits = flags.encode(len(events), carried)
    assert [flags.decode(one) for one in bits.tolist()] == [
        [f"flag:{i}" for i in sorted(event)] for event in events
    ]
    one = data.draw(st.sampled_from(flags.names))
    np.testing.assert_array_equal(flags.carries(one, bits), carried[one])
    assert flags.count(bits).get(one, 0) == np.count_nonzero(carried[one])
    assert flags.carries("flag", bits).tolist() == [bool(event) for event in events]


def test_bits_are_those_of_the_names_in_their_order() -> None:
    late = {"late": np.array([True, False]), "history_short:card": np.array([True, True])}
    assert FLAGS.encode(2, late).tolist() == [0b1100, 0b1000]


@pytest.mark.parametrize(
    ("name", "mask"),
    [("late", 0b100), ("lookup_stale", 0b11), ("lookup_stale:b", 0b10), ("unknown", 0)],
)
def test_a_mask_has_the_bits_of_a_flag_or_of_a_kind(name: str, mask: int) -> None:
    assert FLAGS.mask(name) == mask
