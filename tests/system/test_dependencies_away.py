"""Kafka and the online store stop and come back while a worker works: it waits, says so, goes on."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.fleet import Worker
from tests.support.load import Load
from tests.support.rig import Rig, await_that
from tests.support.servers import QUICK_ABORTS
from tools.embedded.kafka import Kafka
from tools.embedded.valkey import Valkey

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

RATE = 500.0
FAULTS = ("lost", "duplicated", "out_of_order", "scores_different")
_DEADLINE_S = 60.0
# The watchdog's: librdkafka may hang in send_offsets_to_transaction when a broker goes (issue 5456).
_OVERSTAYED = 70


class Scene:
    """One worker at work on servers of its own."""

    def __init__(self, rig: Rig, kafka: Kafka, valkey: Valkey) -> None:
        self.rig, self.kafka, self.valkey = rig, kafka, valkey
        self.load = Load(rig, seed=3, rate=RATE)
        self.worker = Worker(rig, "one")

    def tend(self) -> None:
        """Start the worker again where its watchdog has ended it, as a supervisor would."""
        if self.worker.status() == _OVERSTAYED:
            self.worker.wait(_DEADLINE_S)
            self.worker = Worker(self.rig, self.worker.replica)

    def await_progress(self) -> None:
        """Until the worker has committed more than it has now."""
        before = self.worker.pid, self.worker.committed()

        def progressed() -> bool:
            self.tend()
            since = before[1] if self.worker.pid == before[0] else 0.0
            return self.worker.committed() > since + 2

        await_that(progressed, _DEADLINE_S, "the worker commits", self.state)

    def state(self) -> str:
        """What there is to commit, what is committed, and the end of the worker's log."""
        return (
            f"{self.load.sent} sent, ends {self.rig.ends()}, checkpoints {self.rig.checkpoints()}, "
            f"{self.worker.tail()}"
        )

    def await_unready(self, word: str) -> None:
        """Until the worker says that it is not ready, and names what it waits for."""

        def unready() -> bool:
            self.tend()
            return any(word in reason for reason in self.worker.not_ready())

        await_that(
            unready,
            _DEADLINE_S,
            f"not ready because of {word}",
            lambda: (self.worker.not_ready(), self.worker.tail()),
        )

    def await_logged(self, *events: str) -> None:
        """Until the worker has logged one of these events."""

        def logged() -> bool:
            return not {*events}.isdisjoint(self.worker.events_logged())

        await_that(logged, _DEADLINE_S, " or ".join(events), self.worker.tail)

    def finish(self) -> None:
        """Stop the load, let the worker finish and drain, and ask the oracle."""
        self.load.stop()
        self.rig.await_all_answered(_DEADLINE_S)
        assert self.worker.drain() == 0, self.worker.tail()
        verdict = self.rig.audit()
        # The load itself repeats an event whose acknowledgement was lost.
        assert verdict["events"] >= self.load.sent
        assert {name: verdict[name] for name in FAULTS} == dict.fromkeys(FAULTS, 0), verdict


@pytest.fixture(scope="module")
def servers(
    tmp_path_factory: pytest.TempPathFactory, trained: Path
) -> Iterator[tuple[Kafka, Valkey]]:
    """Broker and store of these tests, which every test leaves running; with the lookups."""
    folder = tmp_path_factory.mktemp("away")
    kafka = Kafka(folder / "kafka", QUICK_ABORTS)
    with kafka, Valkey(folder / "valkey", append_only=True) as valkey:
        Rig(folder / "lookups", trained, (kafka.bootstrap, valkey.url)).load_lookups()
        yield kafka, valkey
    # The log stays for a look at what went wrong; the data would fill the disk.
    shutil.rmtree(kafka.folder / "data")


@pytest.fixture
def scene(tmp_path: Path, trained: Path, servers: tuple[Kafka, Valkey]) -> Iterator[Scene]:
    kafka, valkey = servers
    folder = tmp_path / f"away-{uuid.uuid4().hex[:8]}"
    rig = Rig(folder, trained, (kafka.bootstrap, valkey.url))
    made = Scene(rig, kafka, valkey)
    made.worker.await_ready()
    made.load.start()
    made.await_progress()
    yield made
    made.load.stop()
    if made.worker.status() is None:
        made.worker.kill()


@contextmanager
def away(server: Any) -> Iterator[None]:
    server.stop()
    try:
        yield
    finally:
        server.start()


def test_kafka_stops_and_comes_back(scene: Scene) -> None:
    with away(scene.kafka):
        scene.await_unready("kafka")
        scene.await_logged("kafka_away")
    scene.worker.await_ready()
    scene.await_logged("kafka_back")
    scene.await_progress()
    assert scene.worker.status() is None
    scene.finish()


def test_the_store_stops_and_comes_back(scene: Scene) -> None:
    with away(scene.valkey):
        scene.await_unready("store")
        # It is the read of a micro-batch that fails, or the write of the one before.
        scene.await_logged("paused", "store_away")
        stalled = scene.worker.committed()
    scene.worker.await_ready()
    scene.await_logged("resumed", "store_back")
    assert scene.worker.committed() >= stalled
    scene.await_progress()
    scene.finish()


def test_a_store_without_memory_takes_no_histories_and_the_worker_waits(scene: Scene) -> None:
    """It answers reads all the while."""
    with redis.Redis.from_url(scene.valkey.url) as client:
        client.config_set("maxmemory", 1)
        try:
            scene.await_unready("out of memory")
            scene.await_logged("store_away")
        finally:
            client.config_set("maxmemory", 0)
    scene.worker.await_ready()
    scene.await_logged("store_back")
    scene.await_progress()
    scene.finish()


def test_sigterm_drains_under_load_and_the_next_worker_goes_on(scene: Scene) -> None:
    assert scene.worker.drain() == 0, scene.worker.tail()
    assert "drained" in scene.worker.events_logged()
    scene.worker = Worker(scene.rig, "two")
    scene.worker.await_ready()
    scene.await_progress()
    scene.finish()


@pytest.mark.parametrize("server", ["kafka", "valkey"])
def test_sigterm_is_obeyed_in_time_while_a_server_is_away(scene: Scene, server: str) -> None:
    gone: Kafka | Valkey = getattr(scene, server)
    with away(gone):
        scene.await_unready("kafka" if server == "kafka" else "store")
        scene.worker.drain()  # raises after 30 s
    scene.worker = Worker(scene.rig, "two")
    scene.worker.await_ready()
    scene.await_progress()
    scene.finish()
