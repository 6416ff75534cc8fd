"""What every online store keeps, in memory and on a real server; then the server's own."""

from __future__ import annotations

import socket
import socketserver
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis

from base.errors import ConfigurationError, DependencyUnavailableError
from features.compute.enrich import enrich
from features.definition import load_feature_set
from features.loading.lookup_files import load_lookup
from features.store.memory import MemoryStore
from features.store.protocol import Hashes, OnlineStore
from features.store.redis import RedisStore
from tests.contract.answering import gathering, serving
from tests.support import making
from tools.embedded.valkey import Valkey

MakeValkey = Callable[..., Valkey]
WriteHash = Callable[[bytes, dict[bytes, bytes]], None]


@pytest.fixture
def write_hash(request: pytest.FixtureRequest, store: OnlineStore) -> WriteHash:
    """Sets fields of a hash in the store, as something else than this worker would."""
    if isinstance(store, MemoryStore):
        return store.write_hash
    url = request.getfixturevalue("redis_url")

    def write(key: bytes, fields: dict[bytes, bytes]) -> None:
        with redis.Redis.from_url(url) as client:
            client.hset(key, mapping=cast("Any", fields))

    return write


# --- every store


def test_a_store_reads_values_in_the_order_of_the_keys(store: OnlineStore, prefix: bytes) -> None:
    pairs = [(prefix + b"%d" % i, bytes([i, 0, 255])) for i in range(5)]
    store.write(pairs)
    asked = [pairs[3][0], prefix + b"absent", pairs[0][0]]
    assert store.read(asked) == [pairs[3][1], None, pairs[0][1]]


def test_a_second_write_replaces_and_the_last_of_one_key_stands(
    store: OnlineStore, prefix: bytes
) -> None:
    store.write([(prefix, b"one")])
    store.write(iter([(prefix, b"two"), (prefix, b"three")]))
    assert store.read([prefix]) == [b"three"]


def test_any_bytes_are_a_key_and_a_value(store: OnlineStore, prefix: bytes) -> None:
    key = prefix + bytes(range(256))
    store.write([(key, bytes(range(256))), (prefix + b"empty", b"")])
    assert store.read([key, prefix + b"empty"]) == [bytes(range(256)), b""]


def test_a_store_reads_and_writes_nothing_for_no_keys(store: OnlineStore) -> None:
    store.write([])
    assert store.read([]) == []


def test_keys_are_found_by_their_prefix_in_steps_and_removed(
    store: OnlineStore, prefix: bytes
) -> None:
    # Characters that are no text, and that stand for others in a pattern.
    odd = prefix + b"[a-c]*?\\^"
    keys = {odd + b"%d" % i for i in range(2_500)}
    others = [prefix + b"a1", prefix + b"[a-c]xy", prefix + b"b"]
    store.write((key, b"1") for key in (*keys, *others))
    found: set[bytes] = set()
    cursor, steps = store.scan(odd)
    found |= {*steps}
    while cursor:
        cursor, steps = store.scan(odd, cursor)
        found |= {*steps}
    assert found == keys
    store.remove([])
    cursor, steps = store.scan(odd)
    store.remove([*steps, prefix + b"absent"])
    while cursor:
        cursor, steps = store.scan(odd, cursor)
        store.remove(steps)
    assert store.read([*keys]) == [None] * len(keys)
    assert store.read(others) == [b"1"] * 3


def test_many_keys_are_read_and_written_at_once(store: OnlineStore, prefix: bytes) -> None:
    keys = [prefix + b"%d" % i for i in range(25_001)]
    store.write((key, key[-8:]) for key in keys)
    assert store.read(keys) == [key[-8:] for key in keys]


def test_a_store_answers_after_close(store: OnlineStore, prefix: bytes) -> None:
    store.ping()
    store.write([(prefix, b"1")])
    store.close()
    assert store.read([prefix]) == [b"1"]


def test_a_lookup_that_is_loaded_is_enriched_from_any_store(
    store: OnlineStore, tmp_path: Path
) -> None:
    text = f"""{making.EVENTS.replace("test", f"t{uuid.uuid4().hex}")}entities: {{card: card}}
lookups: {{profile: {{by: card, values: {{mean: {{default: -1}}}}}}}}
features: [{{name: MEAN, lookup: profile.mean}}]
"""
    made = load_feature_set(making.write_pipeline(tmp_path, text))
    file = tmp_path / "profile.parquet"
    pq.write_table(pa.table({"card": ["a", "b"], "mean": [1.5, 2.5]}), file)
    assert load_lookup(made, "profile", file, store) == (2, 2)
    batch = making.events(made, 3, card=making.strings(["b", "gone", "a"]))
    enriched = enrich(made, batch, store)
    np.testing.assert_array_equal(enriched.matrix, np.array([[2.5], [-1], [1.5]], np.float32))
    assert enriched.flags.tolist() == [0, 1, 0]


def test_vectors_that_are_loaded_are_enriched_from_any_store(
    store: OnlineStore, tmp_path: Path
) -> None:
    text = f"""{making.EVENTS.replace("test", f"t{uuid.uuid4().hex}")}entities: {{card: card}}
lookups: {{l: {{by: card, values: {{emb: {{vector: 300}}, h: {{vector: 5, dtype: float16, default: 1}}}}}}}}
features: [{{name: emb, lookup: l.emb}}, {{name: h, lookup: l.h}}]
"""
    made = load_feature_set(making.write_pipeline(tmp_path, text))
    file, random = tmp_path / "vectors.parquet", np.random.default_rng(15)
    wide, half = (
        random.normal(size=(700, 300)).astype(np.float32),
        np.float16(random.random((700, 5))),
    )
    columns = {"card": [f"c{row}" for row in range(700)], "emb": wide.tolist(), "h": half.tolist()}
    pq.write_table(pa.table(columns), file)
    assert load_lookup(made, "l", file, store) == (700, 700)
    rows = random.integers(0, 710, 1_000)
    batch = making.events(made, 1_000, card=making.strings([f"c{row}" for row in rows]))
    enriched = enrich(made, batch, store)
    there = rows < 700
    wanted = np.full((1_000, 305), np.float32(np.nan))
    wanted[:, 300:] = 1
    wanted[there] = np.hstack([wide, half])[rows[there]]
    np.testing.assert_array_equal(enriched.matrix.view(np.int32), wanted.view(np.int32))
    assert (enriched.flags == 0).tolist() == there.tolist()


def test_hashes_are_read_field_by_field(
    store: OnlineStore, write_hash: WriteHash, prefix: bytes
) -> None:
    every = bytes(range(256))
    one, other, absent = prefix + every, prefix + b"other", prefix + b"absent"
    write_hash(one, {every: every, b"": b"", b"unasked": b"x"})
    write_hash(other, {b"b": b"2"})
    store.write([(prefix + b"plain", b"value")])
    values, rows = making.read_all(
        store,
        [prefix + b"plain", absent],
        [
            Hashes([other, one, absent, one], [every, b"b", b""]),
            Hashes([], [b"b"]),
            Hashes([other], [b"b"]),
        ],
    )
    assert values == [b"value", None]
    of_one = [every, None, b""]
    assert rows == [
        [[None, b"2", None], of_one, [None, None, None], of_one],
        [],
        [[b"2"]],
    ]


def test_keys_that_are_no_hash_have_no_row_and_absent_fields_no_value(
    store: OnlineStore, write_hash: WriteHash, prefix: bytes
) -> None:
    text, good = prefix + b"text", prefix + b"good"
    store.append([(text, b"text")])
    write_hash(good, {b"a": b"1"})
    values, rows = making.read_all(store, [good, text], [Hashes([text, good, text], [b"a"])])
    assert values == [None, b"text"]
    assert rows == [[None, [b"1"], None]]


def test_a_store_reads_no_rows_for_no_hashes(store: OnlineStore) -> None:
    assert making.read_all(store, []) == ([], [])
    assert making.read_all(store, [], [Hashes([], [b"a"])]) == ([], [[]])


def test_many_hashes_of_many_fields_are_read_at_once(
    store: OnlineStore, write_hash: WriteHash, prefix: bytes
) -> None:
    fields = [b"%d" % i for i in range(257)]
    for i in range(0, 2_500, 100):
        write_hash(prefix + b"%d" % i, {b"3": b"%d" % i})
    keys = [prefix + b"%d" % i for i in range(2_500)]
    ((*rows,),) = store.read_all([], [Hashes(keys, fields)]).hashes
    assert len(rows) == len(keys)
    for i, row in enumerate(rows):
        assert row is not None
        assert len(row) == len(fields)
        assert row[3] == (None if i % 100 else b"%d" % i)
        assert row.count(None) == len(fields) - (i % 100 == 0)


def test_a_feature_view_of_feast_is_enriched_from_any_store(
    store: OnlineStore, write_hash: WriteHash, tmp_path: Path
) -> None:
    project = uuid.uuid4().hex
    text = f"""{making.EVENTS}entities: {{customer: shop, card: card}}
lookups:
  velocity:
    by: customer
    feast: {{project: {project}, feature_view: customer_velocity, join_key: customer_id}}
    values: {{nb_tx_1d: {{default: -1}}, avg_amount_7d: {{default: -1}}}}
  profile: {{by: card, values: {{mean: {{default: -2}}}}}}
features:
  - {{name: COUNT, lookup: velocity.nb_tx_1d}}
  - {{name: MEAN, lookup: velocity.avg_amount_7d}}
  - {{name: OWN, lookup: profile.mean}}
"""
    made = load_feature_set(making.write_pipeline(tmp_path, text))
    key = bytes.fromhex("01000000020000000b") + b"\0\0\0customer_id" + b"\4\0\0\0\x08\0\0\0"
    count, mean = bytes.fromhex("171e9e62"), bytes.fromhex("0e9af02c")
    fields = {count: b"\x20\3", mean: b"\x29" + np.float64(57.16).tobytes()}
    write_hash(key + (596).to_bytes(8, "little") + project.encode(), fields)
    store.write([(key + (7).to_bytes(8, "little") + project.encode(), b"no hash")])
    batch = making.events(made, 3, shop=making.longs([596, 7, 8]))
    enriched = enrich(made, batch, store)
    wanted = [[3, 57.16, -2], [-1, -1, -2], [-1, -1, -2]]
    np.testing.assert_array_equal(enriched.matrix, np.array(wanted, np.float32))
    names = [{*made.flags.decode(flags)} for flags in enriched.flags.tolist()]
    own = {"lookup_missing:profile"}
    assert names == [own, {"lookup_invalid:velocity"} | own, {"lookup_missing:velocity"} | own]


# --- the server's own


def test_one_micro_batch_is_one_round_trip(prefix: bytes) -> None:
    """The server answers nothing before it has been asked for all."""
    values = b"*1000\r\n" + b"$3\r\nyes\r\n" * 1000
    with gathering(b"MGET", [values] * 8) as url:
        store = RedisStore(url, timeout_s=5, options={"protocol": 2})
        assert store.read([prefix + b"%d" % i for i in range(8_000)]) == [b"yes"] * 8_000
        store.close()


def test_values_and_hashes_are_one_round_trip(prefix: bytes) -> None:
    row = b"*2\r\n$1\r\na\r\n$-1\r\n"
    wrong = b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"
    answers = [b"*1\r\n$3\r\nyes\r\n", *[row] * 1_000, wrong, row, b"*1\r\n$1\r\na\r\n"]
    keys = [prefix + b"%d" % i for i in range(1_002)]
    with gathering(b"MGET", answers) as url:
        store = RedisStore(url, timeout_s=5, options={"protocol": 2})
        hashes = [Hashes(keys, [b"x", b"y"]), Hashes(keys[:1], [b"z"])]
        values, rows = making.read_all(store, keys[:1], hashes)
        store.close()
    assert values == [b"yes"]
    assert rows == [[[b"a", None]] * 1000 + [None, [b"a", None]], [[b"a"]]]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([b"-ERR first\r\n"] + [b"*1\r\n$-1\r\n"] * 2, "answered: first"),
        ([b"*1\r\n$-1\r\n"] + [b"-ERR second\r\n"] * 2, "answered: second"),
        ([b"-LOADING at once\r\n"] + [b"*1\r\n$-1\r\n"] * 2, "is loading its data"),
    ],
)
def test_an_unread_answer_is_not_that_of_a_later_request(
    prefix: bytes, answers: list[bytes], message: str
) -> None:
    """An error anywhere fails the whole read; the next one starts on a clean connection."""
    good = [b"*1\r\n$1\r\n%d\r\n" % i for i in range(3)]
    with gathering(b"MGET", answers, good) as url:
        store = RedisStore(url, timeout_s=5, options={"protocol": 2})
        hashes = [Hashes([prefix, prefix], [b"x"])]
        with pytest.raises(DependencyUnavailableError, match=message):
            making.read_all(store, [prefix], hashes)
        assert making.read_all(store, [prefix], hashes) == ([b"0"], [[[b"1"], [b"2"]]])
        store.close()


def test_a_store_works_with_one_connection(
    redis_url: str, private_valkey: MakeValkey, prefix: bytes
) -> None:
    store = RedisStore(redis_url, options={"max_connections": 1})
    for _ in range(2):
        store.append([(prefix, b"a")])
        making.read_all(store, [prefix], [Hashes([prefix], [b"x"])])
    assert store.read([prefix]) == [b"aa"]
    store.close()
    server = private_valkey(append_only=True)
    store = RedisStore(server.url, options={"max_connections": 1})
    store.write([(prefix, b"kept")])
    server.kill()
    for _ in range(2):
        with pytest.raises(DependencyUnavailableError, match="cannot be reached"):
            store.append([(prefix, b"lost")])
    server.start()
    assert store.read([prefix]) == [b"kept"]
    store.close()


def test_a_server_that_is_away_is_unavailable_and_named(
    private_valkey: MakeValkey, prefix: bytes
) -> None:
    server = private_valkey(append_only=True)
    store = RedisStore(server.url, timeout_s=0.5)
    store.write([(prefix, b"kept")])
    server.kill()
    for call in (
        store.ping,
        lambda: store.read([prefix]),
        lambda: store.write([(prefix, b"new")]),
        store.info,
    ):
        began = time.monotonic()
        with pytest.raises(DependencyUnavailableError, match=rf"127\.0\.0\.1:{server.port}"):
            call()
        assert time.monotonic() - began < 2
    server.start()
    # The connections of before are dead; a read and a write take new ones by themselves.
    assert store.read([prefix]) == [b"kept"]
    store.close()


def test_a_restart_between_two_reads_is_not_noticed(
    private_valkey: MakeValkey, prefix: bytes
) -> None:
    server = private_valkey(append_only=True)
    store = RedisStore(server.url)
    store.write([(prefix, b"kept")])
    server.kill()
    server.start()
    assert store.read([prefix]) == [b"kept"]
    server.kill()
    server.start()
    store.write([(prefix, b"new")])
    assert store.read([prefix]) == [b"new"]
    store.close()


def test_a_server_that_hangs_is_unavailable_within_the_bound(prefix: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        store = RedisStore(f"redis://127.0.0.1:{port}", timeout_s=0.3)
        began = time.monotonic()
        with pytest.raises(
            DependencyUnavailableError, match=rf":{port} \(store\.url\) did not answer in time"
        ):
            store.read([prefix])
        assert time.monotonic() - began < 2
        store.close()


def test_a_server_that_is_loading_or_broken_in_half_is_unavailable(prefix: bytes) -> None:
    for answer, message in [
        (b"-LOADING the dataset\r\n", "is loading its data"),
        (b"-MASTERDOWN link is down\r\n", "answered: link is down"),
        (b"-ERR unknown\r\n", "answered: unknown"),
        (b"", "cannot be reached"),
        (b"\x00\x01\x02", "answered: Protocol error"),
    ]:
        with serving(_answering(answer)) as url:
            store = RedisStore(url, timeout_s=0.5, options={"protocol": 2})
            with pytest.raises(DependencyUnavailableError, match=message):
                store.read([prefix])
            store.close()


def test_a_read_is_repeated_once_when_its_connection_breaks(prefix: bytes) -> None:
    answers = [b"", b"*1\r\n$3\r\nyes\r\n", b"", b"", b"*1\r\n$3\r\nyes\r\n"]
    with serving(_answering(*answers)) as url:
        store = RedisStore(url, timeout_s=0.5, options={"protocol": 2})
        assert store.read([prefix]) == [b"yes"]
        with pytest.raises(DependencyUnavailableError):
            store.read([prefix])
        assert store.read([prefix]) == [b"yes"]
        store.close()


def _answering(*answers: bytes) -> type[socketserver.BaseRequestHandler]:
    """A server that greets clients as it should; each MGET gets the next of ``answers``.

    It ends the connection after each; the last answer is given for ever.
    """
    remaining = list(answers)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while asked := self.request.recv(65536):
                if b"MGET" in asked:
                    self.request.sendall(remaining.pop(0) if remaining[1:] else remaining[0])
                    return
                self.request.sendall(b"+OK\r\n" * asked.count(b"CLIENT"))

    return Handler


def test_a_replica_cannot_be_written(private_valkey: MakeValkey, prefix: bytes) -> None:
    server = private_valkey()
    store = RedisStore(server.url)
    with redis.Redis.from_url(server.url) as other:
        other.replicaof("127.0.0.1", 1)
    with pytest.raises(DependencyUnavailableError, match="read-only replica"):
        store.write([(prefix, b"1")])
    store.close()


def test_a_full_server_is_unavailable_for_writes(private_valkey: MakeValkey, prefix: bytes) -> None:
    server = private_valkey()
    store = RedisStore(server.url)
    with redis.Redis.from_url(server.url) as other:
        other.config_set("maxmemory", 1)
    with pytest.raises(DependencyUnavailableError, match="out of memory"):
        store.write([(prefix, b"1")])
    store.close()


def test_the_password_is_read_again_at_each_connection(
    private_valkey: MakeValkey, prefix: bytes, tmp_path: Path
) -> None:
    server = private_valkey()
    secret = tmp_path / "password"
    secret.write_text("one\n")
    store = RedisStore(server.url, username="worker", password_file=secret)
    with redis.Redis.from_url(server.url) as admin:
        admin.acl_setuser("worker", enabled=True, passwords="+one", keys="*", commands=["+@all"])
        store.write([(prefix, b"1")])
        admin.acl_setuser("worker", enabled=True, passwords=["-one", "+two"])
        admin.execute_command("CLIENT", "KILL", "USER", "worker")
        with pytest.raises(DependencyUnavailableError, match="refuses the password"):
            store.read([prefix])
        secret.write_text("two\n", encoding="utf-8-sig")
        assert store.read([prefix]) == [b"1"]
    store.close()
    secret.unlink()
    with pytest.raises(DependencyUnavailableError, match=r"store\.password_file .*cannot be read"):
        store.read([prefix])


def test_a_right_that_is_missing_is_a_configuration_error(
    private_valkey: MakeValkey, prefix: bytes, tmp_path: Path
) -> None:
    server = private_valkey()
    secret = tmp_path / "password"
    secret.write_text("one")
    store = RedisStore(server.url, username="reader", password_file=secret)
    with redis.Redis.from_url(server.url) as admin:
        admin.acl_setuser("reader", enabled=True, passwords="+one", keys="*", commands=["+@read"])
    assert store.read([prefix]) == [None]
    with pytest.raises(ConfigurationError, match=r"mset.*Give the user of store\.username"):
        store.write([(prefix, b"1")])
    store.close()


def test_the_server_says_what_it_is(private_valkey: MakeValkey) -> None:
    server = private_valkey()
    store = RedisStore(server.url)
    info = store.info()
    assert info.server in ("valkey", "redis")
    assert info.version[0].isdigit()
    assert info.eviction_policy == "noeviction"
    assert info.used_memory > 0
    assert info.maximum_memory == 0
    assert not info.append_only
    store.close()
    durable = RedisStore(private_valkey(append_only=True).url)
    assert durable.info().append_only
    durable.close()


def test_options_are_redis_pys_own_and_checked_before_any_connection(tmp_path: Path) -> None:
    url = "redis://127.0.0.1:1"
    RedisStore(url, options={"health_check_interval": 5, "socket_keepalive": True})
    RedisStore("rediss://127.0.0.1:1", options={"ssl_ca_certs": str(tmp_path / "ca.pem")})
    refused: list[tuple[dict[str, Any], str]] = [
        ({"sokcet_timeout": 1}, "sokcet_timeout"),
        ({"decode_responses": True}, r"store\.options\.decode_responses: remove it"),
        ({"password": "x"}, r"store\.options\.password: .*store\.password_file"),
    ]
    for options, message in refused:
        with pytest.raises(ConfigurationError, match=message):
            RedisStore(url, options=options)
    with pytest.raises(ConfigurationError, match=r"store\.url"):
        RedisStore("http://127.0.0.1:1")
    with pytest.raises(ConfigurationError, match=r"store\.username is set without"):
        RedisStore(url, username="worker")


def test_a_message_never_holds_a_password() -> None:
    store = RedisStore("redis://user:hidden@127.0.0.1:1/0?socket_timeout=3")
    with pytest.raises(DependencyUnavailableError) as refusal:
        store.ping()
    assert "hidden" not in str(refusal.value)
    assert "127.0.0.1:1" in str(refusal.value)
