"""What stands in a registry's place answers a worker on real Kafka: it waits, and loses nothing."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_registry import FakeRegistry, answer, drip, giant, hang_up, serving, silence
from tests.support.fleet import Worker
from tests.support.load import Load
from tests.support.rig import ROOT, Rig, await_that
from tests.support.worker_process import read_until

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

FAULTS = ("lost", "duplicated", "out_of_order", "scores_different")
SCHEMA = {"schema": (ROOT / "schemas" / "transaction.avsc").read_text()}
PAGE = "<html>"
ODD = {
    20: answer(404, PAGE),
    21: answer(400, PAGE),
    22: answer(200, PAGE),
    23: answer(200, {"schema": ""}),
    24: answer(302, "", Location="/login"),
    25: answer(401, {"error_code": 401, "message": "Unauthorized"}),
    26: answer(429, ""),
    27: answer(503, PAGE),
    28: giant,
    29: drip(b"HTTP/1.1 200 OK\r\n\r\n"),
    30: hang_up,
    31: silence,
}
_DEADLINE_S = 60.0
_UNANSWERED = 50
_SENT = 20

MakeRig = Callable[[float], Rig]


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with serving() as fake:
        fake.answers |= {f"schemas/ids/{n}": SCHEMA for n in (1, *ODD)}
        yield fake


@pytest.fixture
def make_rig(
    tmp_path: Path, trained: Path, kafka: Any, redis_url: str, registry: FakeRegistry
) -> MakeRig:
    def make(give_up_s: float) -> Rig:
        folder = tmp_path / f"registry-{uuid.uuid4().hex[:8]}"
        section = {"url": registry.url, "timeout_s": 1.0, "give_up_s": give_up_s}
        servers = kafka.bootstrap, redis_url
        rig = Rig(folder, trained, servers, settings={"registry": section})
        registry.answers[f"subjects/{rig.topics['output']}-value"] = {"id": 7}
        return rig

    return make


def await_unready(worker: Worker, word: str) -> None:
    await_that(
        lambda: any(word in reason for reason in worker.not_ready()),
        _DEADLINE_S,
        f"not ready because of {word}",
        lambda: (worker.not_ready(), worker.tail()),
    )


def test_a_worker_waits_for_the_registry_itself_and_loses_nothing(
    make_rig: MakeRig, registry: FakeRegistry
) -> None:
    rig = make_rig(600.0)
    registry.odd[""] = answer(200, PAGE)
    worker = Worker(rig, "one")
    await_unready(worker, "registry is away")
    registry.odd.clear()
    worker.await_ready()

    load = Load(rig, seed=5, rate=200.0)
    load.start()
    for schema_id, odd in ODD.items():
        path = f"schemas/ids/{schema_id}"
        registry.odd[path] = odd
        load.schema_id = schema_id
        await_unready(worker, path)
        del registry.odd[path]
        worker.await_ready()
    load.stop()
    rig.await_all_answered(_DEADLINE_S)
    assert worker.drain() == 0, worker.tail()
    verdict = rig.audit()
    assert verdict["events"] == load.sent
    assert {name: verdict[name] for name in FAULTS} == dict.fromkeys(FAULTS, 0), verdict


def test_a_schema_that_alone_has_no_answer_becomes_dead_letters_and_the_partition_goes_on(
    make_rig: MakeRig, registry: FakeRegistry
) -> None:
    rig = make_rig(3.0)
    load = Load(rig, seed=6, rate=0.0)
    load.send(200)
    worker = Worker(rig, "one")
    rig.await_all_answered(_DEADLINE_S)
    registry.odd[f"schemas/ids/{_UNANSWERED}"] = answer(500, {"error_code": 50001})
    load.schema_id = _UNANSWERED
    load.send(_SENT)
    await_unready(worker, f"schemas/ids/{_UNANSWERED}")
    load.schema_id = 1
    load.send(200)
    rig.await_all_answered(_DEADLINE_S)
    worker.await_ready()
    assert worker.drain() == 0, worker.tail()

    topics = [rig.topics["output"], rig.topics["dead_letter"]]
    written = read_until(rig.bootstrap, topics, load.sent)
    codes = [dict(message.headers() or []).get("__worker.errors.code") for message in written]
    # Some of the load is no event whatever the schema.
    assert _SENT / 2 < codes.count(b"schema_unanswered") <= _SENT
