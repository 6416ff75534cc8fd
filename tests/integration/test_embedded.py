"""The embedded servers are the real thing, keep their data, and end with whoever started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition

from base.errors import DependencyUnavailableError
from tests.conftest import MakeTopic, SharedKafka
from tests.support.worker_process import read_until
from tools.embedded import kafka as embedded_kafka
from tools.embedded.kafka import Kafka
from tools.embedded.pass_through import copy
from tools.embedded.topic_admin import committed_offsets, create_topics
from tools.embedded.trial import transact
from tools.embedded.valkey import Valkey

WAIT_S = 30.0


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {WAIT_S:g} s"
        time.sleep(0.02)


def read_committed(bootstrap: str, topic: str, count: int) -> list[bytes | None]:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "readers",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        records = consumer.consume(count + 1, timeout=WAIT_S)
        return [record.value() for record in records if not record.error()]
    finally:
        consumer.close()


def write(bootstrap: str, topic: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0})
    producer.produce(topic, value)
    assert producer.flush(WAIT_S) == 0


def test_aborted_records_are_hidden(kafka: SharedKafka, make_topic: MakeTopic) -> None:
    topic = make_topic()
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": topic})
    producer.init_transactions(WAIT_S)
    for value, commit in ((b"first", True), (b"aborted", False), (b"second", True)):
        producer.begin_transaction()
        producer.produce(topic, value)
        producer.flush(WAIT_S)
        if commit:
            producer.commit_transaction(WAIT_S)
        else:
            producer.abort_transaction(WAIT_S)
    assert read_committed(kafka.bootstrap, topic, 2) == [b"first", b"second"]


def test_a_broker_keeps_its_address_and_its_records(
    private_kafka: Callable[..., Kafka], monkeypatch: pytest.MonkeyPatch
) -> None:
    # One id of a cluster in 64 begins like an option of the tool that is given it.
    monkeypatch.setattr(embedded_kafka, "urlsafe_b64encode", lambda _: b"-_v7-_v7-_v7-_v7-_v7-w==")
    broker = private_kafka()
    bootstrap = broker.bootstrap
    create_topics(bootstrap, {"t": 1})
    write(bootstrap, "t", b"before the stop")
    broker.stop()
    broker.start()
    write(bootstrap, "t", b"before the kill")
    broker.kill()
    broker.start()
    write(bootstrap, "t", b"after both")
    expected = [b"before the stop", b"before the kill", b"after both"]
    assert read_committed(bootstrap, "t", 3) == expected


def test_a_pass_through_copies_every_record_once(kafka: SharedKafka, make_topic: MakeTopic) -> None:
    source, target = make_topic(), make_topic()
    ended = threading.Event()
    copying = threading.Thread(
        target=copy, args=(kafka.bootstrap, source, source, target, ended.is_set)
    )
    copying.start()
    for number in range(3):
        write(kafka.bootstrap, source, b"%d" % number)
    try:
        copies = read_until(kafka.bootstrap, [target], 3)
    finally:
        ended.set()
        copying.join()
    expected = [(b"0 0", b"0"), (b"0 1", b"1"), (b"0 2", b"2")]
    assert [(copied.key(), copied.value()) for copied in copies] == expected


def test_a_trial_ends_when_every_record_has_been_copied(kafka: SharedKafka) -> None:
    assert transact(kafka.bootstrap, 0.5) == 500
    committed = committed_offsets(kafka.bootstrap, "trial", {"trial-input": 4})
    assert sum(partition.offset for partition in committed) == 500


def test_topics_that_exist_are_left_alone(kafka: SharedKafka, make_topic: MakeTopic) -> None:
    topic = make_topic(partitions=3)
    create_topics(kafka.bootstrap, {topic: 1})
    with Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "g"}) as consumer:
        assert len(consumer.list_topics(topic, WAIT_S).topics[topic].partitions) == 3


def test_a_broker_that_does_not_start_shows_its_log(tmp_path: Path) -> None:
    broker = Kafka(tmp_path, {"log.retention.ms": "for ever"})
    with pytest.raises(DependencyUnavailableError) as caught:
        broker.start()
    message = str(caught.value)
    assert str(tmp_path / "server.log") in message
    assert "for ever" in message
    assert "log.retention.ms" in message


@pytest.mark.parametrize("append_only", [True, False])
def test_only_an_append_only_store_survives_a_kill(
    private_valkey: Callable[..., Valkey], append_only: bool
) -> None:
    store = private_valkey(append_only=append_only)
    with redis.Redis.from_url(store.url) as client:
        client.set("k", "v")
    store.kill()
    store.start()
    with redis.Redis.from_url(store.url) as client:
        assert client.get("k") == (b"v" if append_only else None)


def test_each_test_has_an_empty_database(redis_url: str, request: pytest.FixtureRequest) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("k", "v")


def test_the_next_test_finds_nothing_of_it(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.get("k") is None


STARTS_FROM_A_THREAD = """
    import sys, threading, time
    from pathlib import Path
    from tools.embedded.valkey import Valkey

    store = Valkey(Path(sys.argv[1]))
    thread = threading.Thread(target=store.start)
    thread.start()
    thread.join()
    time.sleep(0.2)  # for a server that would follow the thread
    print(store.pid, store.answers(), flush=True)
    time.sleep(600)
"""


def test_a_server_ends_with_its_process_and_not_with_its_thread(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(STARTS_FROM_A_THREAD), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        pid, answers = parent.stdout.readline().split()
        assert answers == "True"
        parent.kill()
    wait_until(lambda: not psutil.pid_exists(int(pid)), f"{pid} ends with its killed parent")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a parent-death signal")
def test_a_server_ends_with_its_killed_guard(private_valkey: Callable[..., Valkey]) -> None:
    store = private_valkey()
    pid = store.pid
    guard = psutil.Process(pid).parent()
    assert guard is not None
    guard.kill()
    wait_until(lambda: not psutil.pid_exists(pid), f"{pid} ends with its killed guard")


def test_a_stopped_server_can_go_on(private_valkey: Callable[..., Valkey]) -> None:
    store = private_valkey()
    os.kill(store.pid, signal.SIGSTOP)
    assert not store.answers()
    os.kill(store.pid, signal.SIGCONT)
    wait_until(store.answers, "the store answers again")


def test_servers_on_many_threads_have_ports_of_their_own(
    private_valkey: Callable[..., Valkey],
) -> None:
    stores: list[Valkey] = []
    threads = [threading.Thread(target=lambda: stores.append(private_valkey())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({store.port for store in stores}) == 4
    assert all(store.answers() for store in stores)


TWO_TESTS = """
    import pytest

    @pytest.mark.parametrize("n", [1, 2])
    def test_it(valkey_server, n, tmp_path_factory, worker_id):
        base = tmp_path_factory.getbasetemp().parent
        (base / f"{n}.url").write_text(f"{worker_id} {valkey_server.url}")
"""


def test_all_processes_of_a_run_share_their_servers(tmp_path: Path) -> None:
    (tmp_path / "test_two.py").write_text(textwrap.dedent(TWO_TESTS))
    base = tmp_path / "base"
    environment = {n: v for n, v in os.environ.items() if not n.startswith("PYTEST_")}
    plugins = ["-p", "tests.conftest", "-p", "no:cacheprovider", "-n2", "--dist=each"]
    where = ["--rootdir", str(tmp_path), "--basetemp", str(base), str(tmp_path / "test_two.py")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugins, *where],
        env={**environment, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    urls = {path.read_text().split()[1] for path in base.glob("*.url")}
    assert len(urls) == 1
    port = int(urls.pop().rpartition(":")[2])
    assert not any(
        c.laddr.port == port for c in psutil.net_connections("tcp") if c.status == "LISTEN"
    )
