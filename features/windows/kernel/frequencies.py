"""Aggregates of the frequencies of values, which may be hashes of texts."""

from __future__ import annotations

import numpy as np

from base.arrays import Longs
from base.compiled import leaf
from features.expression.kernel.elementary import natural_log


@leaf
def _slot_of(kept: int, table: Longs, ticket: int) -> int:
    """Slot of a value in the hash table, or the free one for it: without ``ticket`` it is free."""
    mask = table.shape[1] - 1
    slot = (kept ^ (kept >> 9) ^ (kept >> 21) ^ (kept >> 42)) & mask
    while table[1, slot] == ticket and table[0, slot] != kept:
        slot = (slot + 1) & mask
    return slot


@leaf
def count_distinct(
    members: Longs, chosen: Longs, number: int, value: int, table: Longs, ticket: int
) -> int:
    """Number of distinct values."""
    distinct = 0
    for index in range(number):
        kept = members[value, chosen[index]]
        slot = _slot_of(kept, table, ticket)
        if table[1, slot] != ticket:
            table[0, slot], table[1, slot] = kept, ticket
            distinct += 1
    return distinct


@leaf
def count_values(
    members: Longs,
    chosen: Longs,
    number: int,
    value: int,
    table: Longs,
    ticket: int,
    frequencies: Longs,
) -> int:
    """Count each distinct value: a third longer than to count how many there are.

    Returns:
        The number of ``frequencies``, in the order of the first member with each value.
    """
    distinct = 0
    for index in range(number):
        kept = members[value, chosen[index]]
        slot = _slot_of(kept, table, ticket)
        if table[1, slot] != ticket:
            table[0, slot], table[1, slot], table[2, slot] = kept, ticket, distinct
            frequencies[distinct] = 0
            distinct += 1
        frequencies[table[2, slot]] += 1
    return distinct


@leaf
def mode_share(frequencies: Longs, distinct: int, number: int) -> float:
    """Share of the most frequent value."""
    most = 0
    for index in range(distinct):
        most = max(most, frequencies[index])
    return np.float64(most) / np.float64(number)


@leaf
def entropy(frequencies: Longs, distinct: int, number: int) -> float:
    """Shannon entropy of the shares of the values, in nats; terms are added in their order."""
    total, term, last = 0.0, 0.0, 0
    for index in range(distinct):
        # Most values occur as often as the one before, such as once.
        if frequencies[index] != last:
            last = frequencies[index]
            share = np.float64(last) / np.float64(number)
            term = share * natural_log(share)
        total -= term
    return total
