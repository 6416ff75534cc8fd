"""The loop and histories: what it knows of the log, what is written when, and a store that fails."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaError

from base.errors import (
    BatchAbortedError,
    ConfigurationError,
    DependencyUnavailableError,
    HistoriesLostError,
    OutcomeUnknownError,
    StoreAwayError,
)
from features.history.recent_records import RecentRecords
from tests.support.fakes import kafka_error
from tests.support.loop_harness import AWAY, PATIENCE_S, LoopHarness, first_batches, raising, sample
from worker.consume.offset_metadata import OffsetMetadata
from worker.consume.topics import InputTopic

FULL = "the online store at redis://x is out of memory"


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits for the brokers and the store take no time."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


def metadata(event_time: int, *, records: int = 0) -> str:
    recent = RecentRecords(records)
    return OffsetMetadata("id-1", (event_time,), recent_records=recent).encode()


# what is known of the log


def test_each_batch_is_given_the_state_behind_the_one_before_and_the_checkpoint_keeps_it() -> None:
    bench = LoopHarness({0: 6})
    bench.run()
    assert bench.process.logs == [{}, {0: (1,)}, {0: (3,)}]
    assert [outbox.offset_metadata for outbox in bench.checkpoint.committed] == [
        {0: metadata(1, records=2)},
        {0: metadata(3, records=4)},
        {0: metadata(5, records=6)},
    ]


def test_a_restart_begins_with_the_state_that_the_checkpoint_tells() -> None:
    bench = LoopHarness({0: 6})
    bench.consumer.checkpoints, bench.consumer.offset_metadata = {0: 4}, {0: metadata(77)}
    bench.run()
    assert bench.process.logs == [{0: (77,)}]
    assert bench.process.seen == [[(0, 4), (0, 5)]]


def test_a_note_names_only_the_partitions_whose_offsets_it_goes_with() -> None:
    bench = LoopHarness({0: 2, 1: 0})
    bench.consumer.next.clear()
    bench.consumer.will_assign(0, 1)
    bench.consumer.checkpoints, bench.consumer.offset_metadata = {1: 0}, {1: metadata(9)}
    bench.run()
    assert bench.process.logs == [{1: (9,)}]
    assert bench.checkpoint.committed[0].offset_metadata == {0: metadata(1, records=2)}


@pytest.mark.parametrize("error", [BatchAbortedError("once"), OutcomeUnknownError("once")])
def test_after_a_failed_delivery_the_state_is_that_of_the_checkpoint_again(
    error: Exception,
) -> None:
    bench = LoopHarness({0: 6})
    second_is_prepared = threading.Event()
    bench.process.then.extend([lambda: None, lambda: None, second_is_prepared.set])

    def fail() -> None:
        assert second_is_prepared.wait(PATIENCE_S)
        raise error

    bench.checkpoint.outcomes.extend([lambda: None, fail])
    bench.run()
    first, second, third = first_batches(3)
    assert bench.process.seen == [first, second, third, second, third]
    assert bench.process.logs == [{}, {0: (1,)}, {0: (3,)}, {0: (1,)}, {0: (3,)}]


def test_after_an_unknown_outcome_that_was_a_commit_the_state_is_that_of_the_commit() -> None:
    bench = LoopHarness({0: 4})

    def lose_the_answer() -> None:
        bench.consumer.checkpoints[0], bench.consumer.offset_metadata[0] = 2, metadata(1)
        raise OutcomeUnknownError("timed out")

    bench.checkpoint.outcomes.append(lose_the_answer)
    bench.run()
    assert bench.process.seen[-1] == [(0, 2), (0, 3)]
    assert bench.process.logs[-1] == {0: (1,)}


def test_when_partitions_move_the_state_is_that_of_their_checkpoints() -> None:
    bench = LoopHarness({0: 4, 1: 9})
    bench.consumer.checkpoints, bench.consumer.offset_metadata = {1: 7}, {1: metadata(700)}
    bench.consumer.next.extend([lambda: None] * 2)
    bench.consumer.will_assign(1)
    bench.run()
    assert bench.process.logs[-1] == {0: (3,), 1: (700,)}
    assert bench.process.seen[-1] == [(1, 7), (1, 8)]


def test_a_batch_that_waited_for_a_dependency_keeps_its_state() -> None:
    bench = LoopHarness({0: 4})
    bench.process.then.extend([lambda: None, raising(AWAY), raising(AWAY)])
    bench.run()
    assert bench.process.logs == [{}, {0: (1,)}, {0: (1,)}, {0: (1,)}]


# what is written when


def test_a_batch_is_announced_on_the_loops_thread_and_written_before_its_transaction() -> None:
    bench = LoopHarness({0: 4})
    threads: list[str] = []
    bench.histories.outcomes.append(lambda: threads.append(threading.current_thread().name))
    bench.run()
    assert threads == ["commit_0"]
    assert bench.histories.written == [b"0/0", b"0/1", b"0/2", b"0/3"]
    assert len(bench.histories.announced) == 2
    order = [entry for entry in bench.journal if entry.startswith(("write", "deliver"))]
    assert order == ["write 2", "deliver {0: 2}", "write 2", "deliver {0: 4}"]


def test_while_the_store_takes_no_writes_nothing_is_committed_and_the_worker_says_so() -> None:
    bench = LoopHarness({0: 4})
    told: list[list[str]] = []

    def refuse() -> None:
        told.append(bench.health.ready())
        raise StoreAwayError(FULL)

    bench.histories.outcomes.extend([refuse, refuse, refuse])
    aborted = sample("batches_total", outcome="aborted")
    bench.run()
    assert told == [[], [f"store is away: {FULL}"], [f"store is away: {FULL}"]]
    assert bench.checkpoint.delivered == bench.checkpoint.committed
    assert bench.answered == ["0/0", "0/1", "0/2", "0/3"]
    assert bench.consumer.starts == [(0, 0)] * 4
    assert sample("batches_total", outcome="aborted") == aborted + 3
    # A store that is away says nothing of the producer.
    assert bench.journal.count("open") == 1
    assert not [reason for reason in bench.health.ready() if "store" in reason]
    assert sample("paused", dependency="store") == 0.0
    assert bench.consumer.paused == set()


def test_the_waits_for_a_store_that_takes_no_writes_grow_to_a_bound() -> None:
    bench = LoopHarness({0: 2})
    bench.consumer.when_idle = lambda: None
    at: list[float] = []

    def refuse() -> None:
        at.append(bench.clock.now)
        raise StoreAwayError(FULL)

    bench.histories.outcomes.extend([refuse] * 10)
    bench.histories.outcomes.append(bench.loop.stop)
    bench.run()
    waited = [after - before for before, after in itertools.pairwise(at)]
    assert waited[0] < 0.2
    assert waited == sorted(waited)
    assert 2.0 <= waited[-1] <= 2.4
    assert bench.answered == ["0/0", "0/1"]


def test_the_waits_begin_anew_after_a_commit() -> None:
    bench = LoopHarness({0: 4})
    at: list[float] = []

    def refuse() -> None:
        at.append(bench.clock.now)
        raise StoreAwayError(FULL)

    bench.histories.outcomes.extend([*[refuse] * 5, lambda: None, refuse])
    after: list[float] = []
    bench.histories.outcomes.append(lambda: after.append(bench.clock.now))
    bench.run()
    assert after[0] - at[5] < at[4] - at[3]


def test_a_stop_while_the_store_takes_no_writes_ends_the_wait() -> None:
    bench = LoopHarness({0: 4})

    def refuse() -> None:
        bench.loop.stop()
        raise StoreAwayError(FULL)

    bench.histories.outcomes.append(refuse)
    bench.run()
    assert bench.answered == []
    assert bench.consumer.checkpoints == {}
    assert bench.consumer.closed


def test_a_store_that_must_not_be_written_to_ends_the_worker() -> None:
    bench = LoopHarness({0: 4})
    bench.histories.outcomes.append(raising(ConfigurationError("no right to EVALSHA")))
    with pytest.raises(ConfigurationError, match="EVALSHA"):
        bench.run()
    assert bench.checkpoint.delivered == []
    assert bench.consumer.closed


# histories that were lost


def test_a_batch_that_notices_a_loss_is_read_again_after_histories_are_restored() -> None:
    bench = LoopHarness({0: 4})
    bench.process.then.extend([lambda: None, raising(HistoriesLostError("flushed"))])
    lost = sample("histories_lost_total")
    bench.run()
    first, second = first_batches(2)
    assert bench.process.seen == [first, second, second]
    assert bench.answered == ["0/0", "0/1", "0/2", "0/3"]
    restored = [entry for entry in bench.journal if entry.startswith("restore ")]
    assert restored == ["restore {0: 0}", "restore {0: 2}"]
    assert sample("histories_lost_total") == lost + 1


def test_a_write_that_notices_a_loss_sends_nothing_to_the_brokers() -> None:
    bench = LoopHarness({0: 4})
    bench.histories.outcomes.extend([lambda: None, raising(HistoriesLostError("flushed"))])
    lost = sample("histories_lost_total")
    bench.run()
    assert bench.checkpoint.delivered == bench.checkpoint.committed
    assert bench.answered == ["0/0", "0/1", "0/2", "0/3"]
    assert "restore {0: 2}" in bench.journal
    assert bench.journal.count("open") == 1
    assert sample("histories_lost_total") == lost + 1


def test_a_worker_without_records_looks_for_lost_members() -> None:
    bench = LoopHarness({0: 2})
    began: list[float] = []

    def lost() -> None:
        began.append(bench.clock.now)
        raise HistoriesLostError("members are gone")

    def idle() -> None:
        if bench.clock.now > 1010.0:
            bench.loop.stop()

    bench.consumer.when_idle = idle
    bench.histories.requirings.append(lost)
    bench.run()
    restored = [entry for entry in bench.journal if entry.startswith("restore ")]
    assert restored == ["restore {0: 0}", "restore {0: 2}"]
    # A look a second.
    assert 1001.0 <= began[0] < 1002.0
    assert bench.answered == ["0/0", "0/1"]


def test_a_store_that_is_away_delays_the_restoring_and_the_worker_says_so() -> None:
    bench = LoopHarness({0: 2})
    told: list[list[str]] = []

    def away() -> None:
        told.append(bench.health.ready())
        raise AWAY

    bench.histories.restorings.extend([away, away])
    bench.run()
    assert told[1] == ["store is away: redis does not answer"]
    assert bench.answered == ["0/0", "0/1"]
    assert bench.consumer.paused == set()
    assert not [reason for reason in bench.health.ready() if "store" in reason]


def test_a_fill_is_told_and_keeps_the_worker_in_its_group_and_nothing_is_scored_before_its_end() -> (
    None
):
    bench = LoopHarness({0: 2})
    told: list[list[str]] = []

    def left() -> Iterator[int]:
        for count in (30_000, 20_000, 1):
            bench.clock.sleep(0.7)
            yield count
            told.append([reason for reason in bench.health.ready() if "filled" in reason])
            assert bench.consumer.paused == {0}

    bench.histories.fill = left()
    bench.run()
    assert told == [
        [f"histories are filled; {count} offsets are left"] for count in ("30,000", "20,000", "1")
    ]
    assert bench.consumer.timeouts.count(0.1) == 1
    assert bench.answered == ["0/0", "0/1"]
    assert bench.consumer.paused == set()
    assert [reason for reason in bench.health.ready() if "filled" in reason] == []


def test_a_fill_ends_when_partitions_move_or_the_worker_stops() -> None:
    bench = LoopHarness({0: 2, 1: 2})

    def moving() -> Iterator[int]:
        bench.consumer.will_assign(1)
        for _ in range(100):
            bench.clock.sleep(2.0)
            yield 7

    bench.histories.fill = moving()
    bench.run()
    restored = [entry for entry in bench.journal if entry.startswith("restore")]
    assert restored[:2] == ["restore {0: 0}", "restore {0: 0, 1: 0}"]
    assert restored[-1] == "restored"
    assert sorted(bench.answered) == ["0/0", "0/1", "1/0", "1/1"]


@pytest.mark.parametrize(
    "error", [HistoriesLostError("flushed"), kafka_error(KafkaError._TRANSPORT)]
)
def test_a_fill_that_fails_begins_again(error: Exception) -> None:
    bench = LoopHarness({0: 2})
    bench.histories.restorings.append(raising(error))
    bench.run()
    restored = [entry for entry in bench.journal if entry.startswith("restore")]
    assert restored == ["restore {0: 0}", "restore {0: 0}", "restored"]
    assert bench.answered == ["0/0", "0/1"]


def test_partitions_that_move_while_the_store_is_away_are_not_restored() -> None:
    bench = LoopHarness({0: 2, 1: 2})

    def away() -> None:
        bench.consumer.will_assign(1)
        raise AWAY

    bench.histories.restorings.append(away)
    bench.run()
    restored = [entry for entry in bench.journal if entry.startswith("restore ")]
    assert restored == ["restore {0: 0}", "restore {0: 0, 1: 0}"]
    assert sorted(bench.answered) == ["0/0", "0/1", "1/0", "1/1"]


def test_each_batch_says_from_where_to_where_it_reads() -> None:
    bench = LoopHarness({0: 4})
    bench.run()
    assert [
        (dict(before.offsets), dict(before.highest), dict(after.highest), ends)
        for before, after, ends in bench.histories.announced
    ] == [
        ({0: 0}, {}, {0: (1,)}, {0: 2}),
        ({0: 2}, {0: (1,)}, {0: (3,)}, {0: 4}),
    ]


# the start, and partitions that come


def test_the_start_waits_for_the_store_and_for_the_brokers_and_says_which(
    waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = LoopHarness({0: 2})
    away = DependencyUnavailableError("no answer")
    broken = kafka_error(KafkaError._TRANSPORT)
    bench.histories.openings.extend([away, away])
    bench.brokers.away = broken
    reasons: list[list[str]] = []
    opening = bench.histories.open

    def opened(topic: InputTopic) -> None:
        reasons.append([r for r in bench.health.ready() if "is away" in r])
        opening(topic)

    def back(seconds: float) -> None:
        waits.append(seconds)
        bench.brokers.away = None

    monkeypatch.setattr(time, "sleep", back)
    bench.histories.open = opened  # type: ignore[method-assign]
    bench.run()
    assert reasons == [[], ["store is away: no answer"], ["store is away: no answer"]]
    assert waits == [0.05, 0.05, 0.1]
    assert bench.journal[:4] == ["find histories"] * 3 + ["open"]
    assert bench.answered == ["0/0", "0/1"]
    assert not [reason for reason in bench.health.ready() if "is away" in reason]


def test_a_state_of_another_topic_ends_the_start() -> None:
    bench = LoopHarness({0: 2})
    bench.histories.openings.append(ConfigurationError("histories of another topic"))
    with pytest.raises(ConfigurationError, match="another topic"):
        bench.run()
    assert bench.process.seen == []


def test_a_partition_that_was_not_there_when_the_histories_began_ends_the_worker() -> None:
    bench = LoopHarness({0: 2, 1: 2})
    bench.histories.partitions = 1
    bench.consumer.next.extend([lambda: None] * 2)
    bench.consumer.will_assign(1)
    with pytest.raises(ConfigurationError, match="partitions are new"):
        bench.run()
    assert bench.answered == ["0/0", "0/1"]
    assert bench.consumer.closed
