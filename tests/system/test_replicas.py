"""Two workers on one machine: with one name for both, and with none given."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import SharedKafka
from tests.support.fleet import Worker
from tests.support.load import Load
from tests.support.rig import Rig, await_that

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

FAULTS = ("lost", "duplicated", "out_of_order", "scores_different")
RATE = 300.0
_DEADLINE_S = 60.0


@pytest.fixture
def rig(tmp_path: Path, trained: Path, kafka: SharedKafka, redis_url: str) -> Rig:
    # Three partitions, so that both have some.
    return Rig(tmp_path / f"replicas-{tmp_path.name}", trained, (kafka.bootstrap, redis_url))


@pytest.fixture
def load(rig: Rig) -> Iterator[Load]:
    load = Load(rig, seed=8, rate=RATE)
    load.start()
    yield load
    load.stop()


def unnamed(rig: Rig, log: str) -> Worker:
    """A worker that is given no replica. log: what its log is called."""
    return Worker(rig, log, environment={"FRAUD_WORKER_REPLICA": None})


def replica_of(worker: Worker) -> str:
    """The replica that the last process of this log has said it is."""
    lines = [json.loads(line) for line in worker.log.read_text().splitlines() if line[:1] == "{"]
    return str([line["replica"] for line in lines if line["event"] == "started"][-1])


def await_commits(*workers: Worker) -> None:
    """Until each of them has committed three micro-batches more."""
    for worker in workers:
        _await_commits(worker, worker.committed() + 3)


def _await_commits(worker: Worker, least: float) -> None:
    await_that(
        lambda: worker.committed() >= least, _DEADLINE_S, f"{worker.replica} commits", worker.tail
    )


def test_a_worker_whose_name_another_one_takes_ends_and_says_why(rig: Rig, load: Load) -> None:
    shared = {"FRAUD_WORKER_REPLICA": "twin"}
    older = Worker(rig, "older", environment=shared)
    await_commits(older)
    newer = Worker(rig, "newer", environment=shared)
    assert older.wait(_DEADLINE_S) == 3, older.tail()
    assert "same replica (twin)" in older.tail()
    assert "give each worker a replica of its own" in older.tail()
    await_commits(newer)
    load.stop()
    rig.await_all_answered(_DEADLINE_S)
    assert newer.drain() == 0, newer.tail()
    assert {fault: rig.audit()[fault] for fault in FAULTS} == dict.fromkeys(FAULTS, 0)


def test_workers_without_names_run_side_by_side_and_find_their_names_again(
    rig: Rig, load: Load
) -> None:
    host = socket.gethostname()
    one = unnamed(rig, "one")
    one.await_ready()
    two = unnamed(rig, "two")
    two.await_ready()
    await_commits(one, two)
    assert (replica_of(one), replica_of(two)) == (f"{host}-0", f"{host}-1")
    one.kill()
    again = unnamed(rig, "again")
    again.await_ready()
    await_commits(again, two)
    assert replica_of(again) == f"{host}-0"
    load.stop()
    rig.await_all_answered(_DEADLINE_S)
    assert [worker.drain() for worker in (again, two)] == [0, 0], (again.tail(), two.tail())
    assert {fault: rig.audit()[fault] for fault in FAULTS} == dict.fromkeys(FAULTS, 0)
