"""The chaos run's hostile records: the serial run says what becomes of each, as the worker does."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from tests.conftest import SharedKafka
from tests.support.fleet import Worker
from tests.support.hostile_load import HostileLoad
from tests.support.rig import Rig

FAULTS = ("lost", "duplicated", "out_of_order", "scores_different")
_DEADLINE_S = 120.0


@pytest.mark.system
@pytest.mark.timeout(240)
def test_hostile_records_are_answered_as_in_the_serial_run(
    tmp_path: Path, trained: Path, kafka: SharedKafka, redis_url: str
) -> None:
    folder = tmp_path / f"hostile-{uuid.uuid4().hex[:8]}"
    rig = Rig(
        folder,
        trained,
        (kafka.bootstrap, redis_url),
        settings={"dead_letters": {"max_share": 1}},
    )
    load = HostileLoad(rig, seed=7, rate=0.0, share=0.5)
    load.send(600)
    load.stop()
    assert load.hostile > 200
    worker = Worker(rig, "one")
    rig.await_all_answered(_DEADLINE_S)
    assert worker.drain() == 0, worker.tail()
    verdict = rig.audit()
    assert verdict["events"] == load.sent + load.hostile
    assert {name: verdict[name] for name in FAULTS} == dict.fromkeys(FAULTS, 0), verdict
