"""Marks of every online store: written behind the data, read behind it; then the server's run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import redis

from base.errors import ConfigurationError, HistoriesLostError
from features.store.memory import MemoryStore
from features.store.protocol import Hashes, MarkWrite, OnlineStore
from features.store.redis import RedisStore
from features.values.keys import Keys
from tools.embedded.valkey import Valkey

MakeValkey = Callable[..., Valkey]
SIZE = 20


def mark(number: int, note: bytes = b"") -> bytes:
    return number.to_bytes(8, "little") + note.ljust(SIZE - 8, b".")


def marks_of(store: OnlineStore, *keys: bytes) -> Sequence[bytes | None]:
    return store.read_all([], [], keys).marks


@pytest.fixture
def server(redis_url: str) -> Iterator[RedisStore]:
    made = RedisStore(redis_url)
    yield made
    made.close()


# --- every store


def test_marks_stand_end_to_end_and_the_missing_ones_are_zero(
    store: OnlineStore, prefix: bytes
) -> None:
    assert marks_of(store, prefix) == [None]
    store.write_marks([MarkWrite(prefix, 2, None, mark(1, b"two"))])
    assert marks_of(store, prefix) == [bytes(2 * SIZE) + mark(1, b"two")]
    store.write_marks([MarkWrite(prefix, 0, None, mark(7)), MarkWrite(prefix, 2, 1, mark(9))])
    assert marks_of(store, prefix) == [mark(7) + bytes(SIZE) + mark(9)]


def test_marks_are_written_behind_the_members_of_an_append(
    store: OnlineStore, prefix: bytes
) -> None:
    history, marks = prefix + b"history", prefix + b"marks"
    store.append([(history, b"one")], (), None, [MarkWrite(marks, 0, None, mark(3))])
    store.append([(history, b"two")], (), None, [MarkWrite(marks, 0, 3, mark(5))])
    with pytest.raises(HistoriesLostError, match="mark 0 of"):
        store.append([(history, b"six")], (), None, [MarkWrite(marks, 0, 6, mark(7))])
    store.append([], (), None, [MarkWrite(marks, 0, 5, mark(6))])
    assert store.read([history, marks]) == [b"onetwosix", mark(6)]


def test_a_mark_that_has_reached_its_number_advances(store: OnlineStore, prefix: bytes) -> None:
    store.write_marks([MarkWrite(prefix, 1, None, mark(5))])
    store.write_marks([MarkWrite(prefix, 1, 5, mark(8, b"new"))])
    store.write_marks([MarkWrite(prefix, 1, 5, mark(8, b"again"))])
    assert marks_of(store, prefix) == [bytes(SIZE) + mark(8, b"again")]


def test_a_mark_never_goes_back_unless_it_is_begun_again(store: OnlineStore, prefix: bytes) -> None:
    store.write_marks([MarkWrite(prefix, 0, None, mark(9, b"far"))])
    store.write_marks([MarkWrite(prefix, 0, 2, mark(4, b"zombie"))])
    assert marks_of(store, prefix) == [mark(9, b"far")]
    store.write_marks([MarkWrite(prefix, 0, None, mark(3, b"begun"))])
    assert marks_of(store, prefix) == [mark(3, b"begun")]


@pytest.mark.parametrize("held", [None, 4], ids=["no mark", "a lower mark"])
def test_a_hole_is_refused_and_no_mark_is_written(
    store: OnlineStore, prefix: bytes, held: int | None
) -> None:
    one, other = prefix + b"one", prefix + b"other"
    store.write_marks([MarkWrite(one, 0, None, mark(5))])
    if held is not None:
        store.write_marks([MarkWrite(other, 1, None, mark(held))])
    before = marks_of(store, one, other)
    with pytest.raises(HistoriesLostError, match=r"mark 1 of .*other is below 5 or gone"):
        store.write_marks([MarkWrite(one, 0, 5, mark(6)), MarkWrite(other, 1, 5, mark(6))])
    assert marks_of(store, one, other) == before


def test_numbers_of_any_offset_are_compared(store: OnlineStore, prefix: bytes) -> None:
    high = 2**52
    store.write_marks([MarkWrite(prefix, 0, None, mark(high))])
    with pytest.raises(HistoriesLostError):
        store.write_marks([MarkWrite(prefix, 0, high + 1, mark(high + 2))])
    store.write_marks([MarkWrite(prefix, 0, high, mark(high + 1))])
    assert marks_of(store, prefix) == [mark(high + 1)]


def test_marks_and_values_and_hashes_are_read_in_one_call(
    store: OnlineStore, prefix: bytes
) -> None:
    store.append([(prefix + b"history", b"members")])
    store.write_marks([MarkWrite(prefix + b"marks", 0, None, mark(3))])
    read = store.read_all(
        [Keys.of([prefix + b"history", prefix + b"absent"])],
        [Hashes([prefix + b"no hash"], [b"field"])],
        [prefix + b"marks", prefix + b"none"],
    )
    assert read.values.to_list() == [b"members", None]
    assert read.hashes == [[[None]]]
    assert read.marks == [mark(3), None]
    assert read.server is not None
    assert read.server.run_id
    again = store.read_all([], [], [prefix])
    assert again.server == read.server


def test_without_marks_nothing_is_asked_of_the_server(store: OnlineStore, prefix: bytes) -> None:
    read = store.read_all([Keys.of([prefix])])
    assert not read.marks
    assert read.server is None


# --- the server's own


def test_marks_expire_with_the_histories(server: RedisStore, redis_url: str, prefix: bytes) -> None:
    with redis.Redis.from_url(redis_url) as watcher:
        client: Any = watcher
        server.write_marks([MarkWrite(prefix, 0, None, mark(1))], expire_ms=3_600_000)
        assert 3_500_000 < client.pttl(prefix) <= 3_600_000
        server.write_marks([MarkWrite(prefix, 0, 1, mark(2))])
        assert client.pttl(prefix) == -1


def test_a_flush_between_the_data_and_the_marks_is_noticed(
    server: RedisStore, redis_url: str, prefix: bytes
) -> None:
    """What is read while the store is flushed has members only if the marks are gone."""
    key, stop = prefix + b"history", threading.Event()
    whole = [prefix + b"%d" % i for i in range(5_000)]

    def flush() -> None:
        with redis.Redis.from_url(redis_url) as client:
            client.delete(*whole, key)

    server.append([(one, b"x") for one in whole])
    server.write_marks([MarkWrite(key, 0, None, mark(1))])
    flushing = threading.Thread(target=flush)
    flushing.start()
    torn = 0
    while not stop.is_set():
        read = server.read_all([Keys.of(whole)], [], [key])
        missing = (read.values.lengths < 0).any()
        if missing:
            assert read.marks == [None]
            torn += 1
            stop.set()
    flushing.join()
    assert torn


def test_a_server_that_starts_again_or_evicts_has_another_run(
    private_valkey: MakeValkey, prefix: bytes
) -> None:
    valkey = private_valkey(append_only=True)
    store = RedisStore(valkey.url)
    store.require_no_eviction()
    first = store.read_all([], [], [prefix]).server
    with redis.Redis.from_url(valkey.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        with pytest.raises(ConfigurationError, match=r"maxmemory-policy allkeys-lru.*noeviction"):
            store.require_no_eviction()
        client.mset({f"other:{i}": b"x" * 1000 for i in range(2_000)})
        client.config_set("maxmemory", 1_500_000)
        client.set("one more", b"x" * 1000)
        client.config_set("maxmemory", 0)
    evicted = store.read_all([], [], [prefix]).server
    assert first is not None
    assert evicted is not None
    assert evicted.run_id == first.run_id
    assert evicted.evicted > first.evicted == 0
    valkey.kill()
    valkey.start()
    again = store.read_all([], [], [prefix]).server
    assert again is not None
    assert again.run_id != first.run_id
    assert again.evicted == 0
    store.close()


def test_a_store_in_memory_evicts_nothing() -> None:
    MemoryStore().require_no_eviction()
