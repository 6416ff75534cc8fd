"""What every online store keeps of histories: appending, compaction, expiry; then the server's."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from base.errors import ConfigurationError, DependencyUnavailableError
from features.store.protocol import Compaction, Hashes, MarkWrite, OnlineStore
from features.store.redis import RedisStore
from tests.contract.answering import gathering
from tests.support import making
from tools.embedded.valkey import Valkey

MakeValkey = Callable[..., Valkey]
HOUR_MS = 3_600_000


@pytest.fixture
def server(redis_url: str) -> Iterator[RedisStore]:
    made = RedisStore(redis_url)
    yield made
    made.close()


@pytest.fixture
def watcher(redis_url: str) -> Iterator[Any]:
    """A client that asks the server of ``server`` what its keys are like."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


# --- every store


def test_appended_bytes_stand_behind_those_of_the_history(
    store: OnlineStore, prefix: bytes
) -> None:
    store.append([(prefix, b"one,")])
    store.append([(prefix, b"two,"), (prefix + b"other", b"x"), (prefix, b"three,")])
    assert store.read([prefix, prefix + b"other"]) == [b"one,two,three,", b"x"]


def test_any_bytes_are_appended_to_any_key(store: OnlineStore, prefix: bytes) -> None:
    every = bytes(range(256))
    store.append([(prefix + every, every), (prefix + b"empty", b"")])
    store.append([(prefix + every, every[::-1])])
    assert store.read([prefix + every, prefix + b"empty"]) == [every + every[::-1], b""]


def test_appending_nothing_does_nothing(store: OnlineStore, prefix: bytes) -> None:
    store.append([])
    store.append([], [], expire_ms=1)
    assert store.read([prefix]) == [None]


def test_many_keys_and_many_bytes_are_appended_and_compacted_at_once(
    store: OnlineStore, prefix: bytes
) -> None:
    keys = [prefix + b"%d" % i for i in range(12_345)]
    values = [b"%06d" % i * (1 if i % 1000 else 50_000) for i in range(len(keys))]
    store.append(list(zip(keys, values, strict=True)), expire_ms=HOUR_MS)
    assert store.read(keys) == values
    halves = [
        Compaction(key, value[: len(value) // 2], b"-")
        for key, value in zip(keys, values, strict=True)
    ]
    store.append([(key, b"+") for key in keys], halves, expire_ms=HOUR_MS)
    assert store.read(keys) == [b"-" + value[len(value) // 2 :] + b"+" for value in values]


def test_a_compaction_replaces_what_was_read_and_no_more(store: OnlineStore, prefix: bytes) -> None:
    store.append([(prefix, b"aabbcc")])
    store.append([(prefix, b"dd")], [Compaction(prefix, b"aabb", b"bb")])
    assert store.read([prefix]) == [b"bbccdd"]


def test_members_appended_after_the_read_outlive_the_compaction(
    store: OnlineStore, prefix: bytes
) -> None:
    store.append([(prefix, b"aabb")])
    (read,) = store.read([prefix])
    assert read == b"aabb"
    store.append([(prefix, b"cc")])
    store.append([], [Compaction(prefix, read, b"bb")])
    assert store.read([prefix]) == [b"bbcc"]


def test_other_bytes_of_the_same_length_are_not_compacted(
    store: OnlineStore, prefix: bytes
) -> None:
    """A-B-A: compacted by somebody else, then grown again to the very length that was read."""
    store.append([(prefix, b"aabbcc")])
    store.append([], [Compaction(prefix, b"aabb", b"bb")])
    store.append([(prefix, b"dd")])
    assert store.read([prefix]) == [b"bbccdd"]
    store.append([], [Compaction(prefix, b"aabbcc", b"cc")])
    assert store.read([prefix]) == [b"bbccdd"]


@pytest.mark.parametrize(
    ("value", "compacted"),
    [
        pytest.param(b"ab", b"abc", id="shorter than the prefix"),
        pytest.param(b"abd", b"abc", id="other bytes"),
        pytest.param(b"ABC", b"abc", id="other letters"),
        pytest.param(b"abc", b"", id="no prefix"),
    ],
)
def test_a_value_that_begins_otherwise_is_left(
    store: OnlineStore, prefix: bytes, value: bytes, compacted: bytes
) -> None:
    store.append([(prefix, value)])
    store.append([], [Compaction(prefix, compacted, b"!")])
    assert store.read([prefix]) == [value]


def test_a_key_that_is_gone_is_not_made_by_a_compaction(store: OnlineStore, prefix: bytes) -> None:
    store.append([], [Compaction(prefix, b"abc", b"c"), Compaction(prefix + b"-", b"", b"c")])
    assert store.read([prefix, prefix + b"-"]) == [None, None]


def test_a_key_of_which_nothing_is_kept_is_removed(store: OnlineStore, prefix: bytes) -> None:
    gone, grown, appended = (prefix + name for name in (b"gone", b"grown", b"appended"))
    store.append([(gone, b"ab"), (grown, b"abc"), (appended, b"ab")])
    nothing = [Compaction(key, b"ab", b"") for key in (gone, grown, appended)]
    store.append([(appended, b"d")], nothing)
    assert store.read([gone, grown, appended]) == [None, b"c", b"d"]


def test_a_repeated_compaction_does_nothing_more(store: OnlineStore, prefix: bytes) -> None:
    store.append([(prefix, b"aabbcc")])
    for _ in range(2):
        store.append([], [Compaction(prefix, b"aabb", b"bb")])
    assert store.read([prefix]) == [b"bbcc"]


def test_appended_values_are_written_over_by_a_write(store: OnlineStore, prefix: bytes) -> None:
    store.append([(prefix, b"one")])
    store.write([(prefix, b"two")])
    store.append([(prefix, b"three")])
    assert store.read([prefix]) == [b"twothree"]


def test_a_value_is_replaced_where_it_is_the_expected_one(
    store: OnlineStore, prefix: bytes
) -> None:
    every = bytes(range(256))
    assert not store.replace(prefix, b"one", b"two")
    assert store.read([prefix]) == [None]
    assert store.replace(prefix, None, every)
    assert not store.replace(prefix, None, b"two")
    assert not store.replace(prefix, every[:-1], b"two")
    assert store.read([prefix]) == [every]
    assert store.replace(prefix, every, b"two")
    assert store.read([prefix]) == [b"two"]


def test_one_of_many_concurrent_replacements_of_a_value_succeeds(
    store: OnlineStore, prefix: bytes
) -> None:
    with ThreadPoolExecutor(8) as pool:
        values = [b"%d" % i for i in range(40)]
        done = list(pool.map(partial(store.replace, prefix, None), values))
    assert done.count(True) == 1
    assert store.read([prefix]) == [values[done.index(True)]]


# --- the server's own


def test_a_replaced_value_stays(server: RedisStore, watcher: Any, prefix: bytes) -> None:
    server.append([(prefix, b"one")], expire_ms=HOUR_MS)
    watcher.script_flush()
    assert server.replace(prefix, b"one", b"two")
    assert watcher.pttl(prefix) == -1
    watcher.hset(prefix + b"hash", "a", "b")
    with pytest.raises(ConfigurationError, match="that this worker has not written"):
        server.replace(prefix + b"hash", None, b"two")


def test_every_key_written_gets_its_expiry_anew(
    server: RedisStore, watcher: Any, prefix: bytes
) -> None:
    appended, compacted, left, empty = (prefix + b"%d" % i for i in range(4))
    server.append([(key, b"ab") for key in (appended, compacted, left, empty)], expire_ms=HOUR_MS)
    assert HOUR_MS - 60_000 < watcher.pttl(appended) <= HOUR_MS
    server.append(
        [(appended, b"c")],
        [
            Compaction(compacted, b"a", b""),
            Compaction(left, b"b", b""),
            Compaction(empty, b"ab", b""),
        ],
        expire_ms=3 * HOUR_MS,
    )
    for key in (appended, compacted):
        assert 3 * HOUR_MS - 60_000 < watcher.pttl(key) <= 3 * HOUR_MS
    assert watcher.pttl(left) <= HOUR_MS
    assert not watcher.exists(empty)


def test_without_an_expiry_a_key_stays(server: RedisStore, watcher: Any, prefix: bytes) -> None:
    appended, compacted = prefix + b"a", prefix + b"c"
    server.append([(appended, b"ab"), (compacted, b"ab")], expire_ms=HOUR_MS)
    server.append([(appended, b"c")], [Compaction(compacted, b"a", b"")])
    assert [watcher.pttl(key) for key in (appended, compacted)] == [-1, -1]


def test_a_key_that_expired_is_gone(server: RedisStore, watcher: Any, prefix: bytes) -> None:
    server.append([(prefix, b"ab")], expire_ms=1)
    while watcher.exists(prefix):
        pass
    assert server.read([prefix]) == [None]


def test_a_write_of_a_micro_batch_is_one_round_trip(prefix: bytes) -> None:
    """The server answers nothing before it has been told all."""
    appends = [(prefix + b"%d" % i, b"x") for i in range(2_500)]
    with gathering(b"EVALSHA", [b"$-1\r\n"] * 4) as url:
        store = RedisStore(url, timeout_s=5, options={"protocol": 2})
        store.append(appends, [Compaction(prefix, b"a", b"")])
        store.close()


def test_a_write_of_a_micro_batch_is_few_calls_and_no_transaction(
    private_valkey: MakeValkey, prefix: bytes
) -> None:
    valkey = private_valkey()
    store = RedisStore(valkey.url)
    keys = [prefix + b"%d" % i for i in range(6_000)]
    store.append([(key, b"a") for key in keys])
    with redis.Redis.from_url(valkey.url) as watcher:
        watcher.config_resetstat()
        store.append([(key, b"b") for key in keys], [Compaction(key, b"a", b"") for key in keys])
        calls = {name: stat["calls"] for name, stat in watcher.info("commandstats").items()}
    assert calls["cmdstat_evalsha"] == 12
    assert calls["cmdstat_append"] == 6_000
    assert "cmdstat_multi" not in calls
    store.close()


def test_scripts_that_the_server_has_forgotten_are_loaded_again(
    server: RedisStore, watcher: Any, prefix: bytes
) -> None:
    keys = [prefix + b"%d" % i for i in range(2_500)]
    for expected in (b"a", b"aa"):
        watcher.script_flush()
        server.append([(key, b"a") for key in keys])
        assert server.read(keys) == [expected] * len(keys)
    watcher.script_flush()
    server.append([], [Compaction(key, b"aa", b"b") for key in keys])
    assert server.read(keys) == [b"b"] * len(keys)


def test_a_server_that_has_restarted_is_appended_to(
    private_valkey: MakeValkey, prefix: bytes
) -> None:
    valkey = private_valkey(append_only=True)
    store = RedisStore(valkey.url, timeout_s=0.5)
    store.append([(prefix, b"one,")])
    valkey.kill()
    with pytest.raises(DependencyUnavailableError, match=rf"127\.0\.0\.1:{valkey.port}"):
        store.append([(prefix, b"lost,")])
    valkey.start()
    store.append([(prefix, b"two,")], [Compaction(prefix, b"one", b"1")])
    assert store.read([prefix]) == [b"1,two,"]
    store.close()


def test_a_key_of_another_kind_is_named(server: RedisStore, watcher: Any, prefix: bytes) -> None:
    wrong = prefix + b"1500"
    watcher.hset(wrong, "a", "b")
    keys = [prefix + b"%d" % i for i in range(2_000)]
    named = rf"holds at the key b'{wrong.decode()}' a value that is not a string and that this "
    with pytest.raises(ConfigurationError, match=named):
        server.append([(key, b"x") for key in keys])
    with pytest.raises(ConfigurationError, match=named):
        server.append([], [Compaction(key, b"x", b"") for key in keys])


def test_a_full_server_is_unavailable_for_appends(
    private_valkey: MakeValkey, prefix: bytes
) -> None:
    valkey = private_valkey()
    store = RedisStore(valkey.url)
    store.append([(prefix, b"ab")])
    with redis.Redis.from_url(valkey.url) as other:
        other.config_set("maxmemory", 1)
    for appends, compactions in [([(prefix, b"c")], []), ([], [Compaction(prefix, b"a", b"")])]:
        with pytest.raises(DependencyUnavailableError, match="out of memory"):
            store.append(appends, compactions)
    assert store.read([prefix]) == [b"ab"]
    store.close()


def test_a_replica_cannot_be_appended_to(private_valkey: MakeValkey, prefix: bytes) -> None:
    valkey = private_valkey()
    store = RedisStore(valkey.url)
    with redis.Redis.from_url(valkey.url) as other:
        other.replicaof("127.0.0.1", 1)
    with pytest.raises(DependencyUnavailableError, match="read-only replica"):
        store.append([(prefix, b"1")])
    store.close()


ROOT = Path(__file__).parents[2]
DOCUMENTED = re.findall(r"ACL SETUSER.*", (ROOT / "docs" / "reference" / "store.md").read_text())[
    0
].split()
RIGHTS = [word[1:] for word in DOCUMENTED if word[0] == "+"]


@pytest.mark.parametrize("without", [None, *RIGHTS])
def test_the_documented_rights_are_those_that_the_store_needs(
    private_valkey: MakeValkey, tmp_path: Path, without: str | None
) -> None:
    secret = tmp_path / "password"
    secret.write_text("one")
    valkey = private_valkey()
    rights = [f"+{right}" for right in RIGHTS if right != without]
    with redis.Redis.from_url(valkey.url) as admin:
        admin.execute_command("ACL", "SETUSER", "worker", "on", ">one", "~fw:*", "%R~*", *rights)
    store = RedisStore(f"{valkey.url}/1", username="worker", password_file=secret)
    if without is None:
        use(store)
    else:
        with pytest.raises(ConfigurationError, match=rf"'{re.escape(without)}'.*Give the user of"):
            use(store)
    store.close()


def test_the_deletion_of_histories_needs_two_rights_more(
    private_valkey: MakeValkey, tmp_path: Path
) -> None:
    secret = tmp_path / "password"
    secret.write_text("one")
    valkey = private_valkey()
    rights = [f"+{right}" for right in (*RIGHTS, "scan", "unlink")]
    with redis.Redis.from_url(valkey.url) as admin:
        admin.execute_command("ACL", "SETUSER", "worker", "on", ">one", "~fw:*", "%R~*", *rights)
    store = RedisStore(f"{valkey.url}/1", username="worker", password_file=secret)
    assert store.scan(b"fw:history") == (0, [])
    store.remove([b"fw:absent"])
    store.close()


def use(store: RedisStore) -> None:
    """Everything that a store does, once."""
    store.ping()
    store.info()
    store.write([(b"fw:value", b"1")])
    for expire_ms in (None, HOUR_MS):
        store.append([(b"fw:history", b"abab")], expire_ms=expire_ms)
        store.append([], [Compaction(b"fw:history", b"a", b"")], expire_ms)
        store.append([], [Compaction(b"fw:history", b"bab", b"")], expire_ms)
        store.write_marks([MarkWrite(b"fw:marks", 0, None, bytes([1]).ljust(8, b"\0"))], expire_ms)
    assert store.replace(b"fw:value", b"1", b"2")
    assert store.replace(b"fw:value", b"2", b"1")
    found = making.read_all(store, [b"fw:value", b"fw:history"], [Hashes([b"feast"], [b"field"])])
    assert found == ([b"1", None], [[[None]]])
