"""The oracle fails on seeded bugs: a worker with a bug, on real Kafka, and the same without it."""

from __future__ import annotations

import signal
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.fleet import Worker
from tests.support.load import Load
from tests.support.rig import Rig, await_that

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

PROGRAM = ("tests.support.buggy_worker",)
POINTS = (
    "before_write_histories",
    "before_send_offsets_to_transaction",
    "before_commit_transaction",
    "after_commit",
)
FAULTS = ("lost", "duplicated", "out_of_order", "scores_different")
# Small micro-batches, so that there are several before the crash.
SMALL = {"delivery": {"max_batch_events": 50, "broker_timeout_s": 3.0, "watchdog_s": 30.0}}
NOTHING = dict.fromkeys(FAULTS, 0)
_DEADLINE_S = 60.0
_STALLED_S = 3.0

MakeRig = Callable[[], Rig]


@pytest.fixture
def make_rig(tmp_path: Path, trained: Path, kafka: Any, redis_url: str) -> MakeRig:
    def make() -> Rig:
        folder = tmp_path / f"seeded-{uuid.uuid4().hex[:8]}"
        return Rig(folder, trained, (kafka.bootstrap, redis_url), settings=SMALL)

    return make


def faults(rig: Rig) -> dict[str, int]:
    verdict = rig.audit()
    assert verdict["events"] > 0
    return {name: verdict[name] for name in FAULTS}


def crash_and_restart(rig: Rig, bug: str, point: str) -> dict[str, int]:
    """A worker with the bug dies at the point; the next one finishes. What the oracle says."""
    load = Load(rig, seed=1, rate=0.0)
    load.send(400)
    program = (*PROGRAM, "--bug", bug, "--at", point)
    first = Worker(rig, "one", program=program)
    assert first.wait(_DEADLINE_S) == 128 + signal.SIGKILL
    second = Worker(rig, "one", program=program)
    load.send(100)
    finish(rig, second)
    return faults(rig)


def finish(rig: Rig, *workers: Worker) -> None:
    """Wait until all is read, and drain."""
    rig.await_checkpoints_near_the_end(_DEADLINE_S)
    for worker in workers:
        assert worker.drain() == 0, worker.tail()


@pytest.mark.timeout(300)  # five workers, one after the other
def test_a_crash_between_any_two_calls_loses_and_repeats_nothing(make_rig: MakeRig) -> None:
    """Each worker recovers from the crash of the one before, and crashes at its own point."""
    rig = make_rig()
    load = Load(rig, seed=1, rate=0.0)
    for point in POINTS:
        load.send(400)
        worker = Worker(rig, "one", program=(*PROGRAM, "--at", point))
        assert worker.wait(_DEADLINE_S) == 128 + signal.SIGKILL, (point, worker.tail())
        (rig.folder / "crashed").unlink()
    finish(rig, Worker(rig, "one", program=PROGRAM))
    assert faults(rig) == NOTHING


def test_commit_before_produce_loses(make_rig: MakeRig) -> None:
    found = crash_and_restart(make_rig(), "commit_before_produce", "between")
    assert found["lost"] > 0
    assert found["duplicated"] == 0


def test_a_producer_that_does_not_wait_for_the_outcome_of_the_one_before_loses(
    make_rig: MakeRig,
) -> None:
    found = crash_and_restart(make_rig(), "produce_while_committing", "between")
    assert found["lost"] > 0
    assert found["duplicated"] == 0


def test_offsets_that_are_sent_before_those_of_the_producer_before_repeat(
    make_rig: MakeRig,
) -> None:
    found = crash_and_restart(make_rig(), "offsets_out_of_turn", "between")
    assert found["duplicated"] > 0
    assert found["lost"] == 0


@pytest.mark.parametrize("bug", ["", "one_id_initialised"])
def test_a_start_that_initialises_one_id_only_waits_for_the_transactions_of_the_others(
    make_rig: MakeRig, bug: str
) -> None:
    """The third id is left open, and its transaction does not end by itself during the test."""
    rig = make_rig()
    rig.configure("kafka", producer={"transaction.timeout.ms": 300_000})
    Load(rig, seed=5, rate=0.0).send(400)
    program = (*PROGRAM, "--bug", bug, "--at", "before_commit_transaction")
    first = Worker(rig, "one", program=program)
    assert first.wait(_DEADLINE_S) == 128 + signal.SIGKILL
    second = Worker(rig, "one", program=program)
    await_that(lambda: "assigned" in second.events_logged(), _DEADLINE_S, "a member", second.tail)
    if bug:
        time.sleep(_STALLED_S)
        assert second.committed() == 0
        second.kill()
        # Ends the transactions, for the other tests on this broker.
        second = Worker(rig, "one", program=PROGRAM)
    finish(rig, second)
    assert faults(rig) == NOTHING


def test_an_offset_one_short_repeats(make_rig: MakeRig) -> None:
    found = crash_and_restart(make_rig(), "offset_one_short", "after_commit")
    assert found["duplicated"] > 0
    assert found["lost"] == 0


def test_histories_that_a_crash_left_unwritten_are_filled(make_rig: MakeRig) -> None:
    """Members that are written after the commit, against the rule, lack their marks as well."""
    assert crash_and_restart(make_rig(), "write_after_commit", "between") == NOTHING


def test_histories_whose_marks_are_written_before_them_miss_events(make_rig: MakeRig) -> None:
    found = crash_and_restart(make_rig(), "marks_before_members", "between")
    assert found["scores_different"] > 0
    assert (found["lost"], found["duplicated"]) == (0, 0)


@pytest.mark.parametrize("bug", ["", "no_read_your_writes"])
def test_reads_that_do_not_wait_for_writes_miss_events(make_rig: MakeRig, bug: str) -> None:
    rig = make_rig()
    Load(rig, seed=4, rate=0.0).send(400)
    finish(rig, Worker(rig, "one", program=(*PROGRAM, "--bug", bug)))
    found = faults(rig)
    if bug:
        assert found["scores_different"] > 0
    else:
        assert found == NOTHING


@pytest.mark.parametrize("bug", ["", "fresh_group_metadata"])
def test_fresh_group_metadata_lets_a_zombie_repeat(make_rig: MakeRig, bug: str) -> None:
    """The zombie sleeps between poll and commit, and joins again in an overlapped poll."""
    rig = make_rig()
    load = Load(rig, seed=2, rate=0.0)
    load.send(200)
    zombie = Worker(rig, "zombie", program=(*PROGRAM, "--bug", bug, "--at", "pause"))
    paused = rig.folder / "paused"
    await_that(paused.exists, _DEADLINE_S, "a first micro-batch polled", zombie.tail)
    zombie.signal(signal.SIGSTOP)
    other = Worker(rig, "other")
    rig.await_all_answered(_DEADLINE_S)
    zombie.signal(signal.SIGCONT)
    await_that(lambda: rig.members() == 2, _DEADLINE_S, "the zombie joined again", zombie.tail)
    (rig.folder / "go").touch()
    await_that(
        lambda: zombie.attempts() > 0, _DEADLINE_S, "the zombie tried to commit", zombie.tail
    )
    load.send(200)
    finish(rig, zombie, other)
    found = faults(rig)
    if bug:
        assert found["duplicated"] > 0
    else:
        assert found == NOTHING
