"""The windows against the oracle: hundreds of cases here, more by ``make properties``."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from features.store.protocol import OnlineStore
from features.store.redis import RedisStore
from tests.properties.run import run
from tests.properties.subject import Subject

CASES = 200
SERVER_CASES = 25
SHARES = {
    "late, card": 0.05,
    "duplicate, card": 0.01,
    "duplicate, shop": 0.01,
    "capped, card": 0.05,
    "capped, shop": 0.05,
    "out of order, card": 0.1,
    "tied, card": 0.02,
    "tied, shop": 0.02,
}
"""Of events, at least: a case that never comes proves nothing."""
RATES = {
    "attempts lost": 0.3,
    "commits read again": 0.05,
    "compactions": 1.0,
    "stale compactions": 0.2,
    "zombies": 0.3,
}
"""Of cases, likewise."""


def test_every_value_flag_and_write_is_the_oracles(seed: int) -> None:
    tally = run(CASES, seed)
    assert tally["cases"] == CASES
    rare = {name for name, share in SHARES.items() if tally[name] < share * tally["events"]}
    rare |= {name for name, rate in RATES.items() if tally[name] < rate * CASES}
    assert not rare, tally


@pytest.fixture
def server(redis_url: str) -> Iterator[OnlineStore]:
    store = RedisStore(redis_url)
    yield store
    store.close()


def test_likewise_over_a_server(seed: int, server: OnlineStore) -> None:
    tally = run(SERVER_CASES, seed, partial(Subject, make_store=lambda: server))
    assert tally["cases"] == SERVER_CASES
