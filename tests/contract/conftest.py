"""The stores that every suite here runs on: in memory, and a real server."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from features.store.memory import MemoryStore
from features.store.protocol import OnlineStore
from features.store.redis import RedisStore


@pytest.fixture(params=["memory", "server"])
def store(request: pytest.FixtureRequest) -> Iterator[OnlineStore]:
    made: OnlineStore
    if request.param == "memory":
        made = MemoryStore()
    else:
        made = RedisStore(request.getfixturevalue("redis_url"))
    yield made
    made.close()


@pytest.fixture
def prefix() -> bytes:
    """No other test has it: servers may be shared."""
    return f"test:{uuid.uuid4().hex}:".encode()
