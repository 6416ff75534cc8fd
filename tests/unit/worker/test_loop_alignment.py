"""The loop and events that wait for other partitions: what is held, what goes on, what is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from base.errors import HistoriesLostError, OutcomeUnknownError
from tests.support.loop_harness import AWAY, LoopHarness, raising, sample
from worker.histories import NotAlignedError, Wait

SUBJECT = "waits at offset"


def waiting(*waits: tuple[int, int]) -> Callable[[], None]:
    """Stages that cannot score the events at these partitions and offsets yet."""
    return raising(NotAlignedError({p: Wait(offset, 50, "shop", 1 - p) for p, offset in waits}))


def raising_of(error: Exception) -> Callable[[Mapping[int, Wait]], Mapping[int, Wait]]:
    """A look at waiting events that fails."""

    def look(_: Mapping[int, Wait]) -> Mapping[int, Wait]:
        raise error

    return look


def with_two_partitions(records: dict[int, int], batch: int = 4) -> LoopHarness:
    bench = LoopHarness(records, batch)
    bench.consumer.next.clear()
    bench.consumer.will_assign(0, 1)
    return bench


def test_the_events_before_the_waiting_one_are_committed_and_the_rest_when_it_is_released() -> None:
    bench = LoopHarness({0: 4}, 4)
    bench.process.then.append(waiting((0, 3)))
    bench.histories.waiting.extend([dict, dict])
    bench.run()
    assert bench.process.seen == [
        [(0, 0), (0, 1), (0, 2), (0, 3)],
        [(0, 0), (0, 1), (0, 2)],
        [(0, 3)],
    ]
    assert [dict(outbox.next_offsets) for outbox in bench.checkpoint.committed] == [{0: 3}, {0: 4}]
    assert bench.process.logs[-1] == {0: (2,)}
    assert bench.journal.count("waiting [0]") == 3
    assert bench.consumer.paused == set()


def test_other_partitions_are_scored_while_one_is_held() -> None:
    bench = with_two_partitions({0: 4, 1: 8})
    bench.process.then.append(waiting((0, 0)))
    bench.histories.waiting.extend([dict, dict])
    bench.run()
    assert bench.process.seen[:3] == [
        [(0, 0), (0, 1), (0, 2), (0, 3)],
        [(1, 0), (1, 1), (1, 2), (1, 3)],
        [(1, 4), (1, 5), (1, 6), (1, 7)],
    ]
    assert bench.process.seen[3:] == [[(0, 0), (0, 1), (0, 2), (0, 3)]]
    assert bench.consumer.starts == [(0, 0), (1, 0)]
    assert bench.consumer.checkpoints == {0: 4, 1: 8}


def test_of_a_batch_of_two_partitions_only_the_waiting_one_is_cut() -> None:
    bench = with_two_partitions({0: 2, 1: 2})
    bench.process.then.append(waiting((0, 1)))
    bench.run()
    assert bench.process.seen == [
        [(0, 0), (0, 1), (1, 0), (1, 1)],
        [(0, 0), (1, 0), (1, 1)],
        [(0, 1)],
    ]
    committed = [dict(outbox.next_offsets) for outbox in bench.checkpoint.committed]
    assert committed == [{0: 1, 1: 2}, {0: 2}]


def test_when_all_partitions_wait_their_records_are_applied_ahead_at_once() -> None:
    bench = with_two_partitions({0: 3, 1: 3}, 3)
    bench.process.then.extend([waiting((0, 1)), lambda: None, waiting((1, 2))])
    bench.histories.behind = {0, 1}
    bench.histories.waiting.extend([dict] * 4)
    bench.run()
    applied = [entry for entry in bench.journal if entry.startswith("apply")]
    assert applied == ["apply [0, 1] behind {0: 1, 1: 2}"]
    # The micro-batch in flight is committed before: its marks come before those ahead.
    assert bench.journal.index(applied[0]) > bench.journal.index("deliver {1: 2}")
    assert bench.consumer.checkpoints == {0: 3, 1: 3}


def test_a_partition_that_waits_long_is_applied_ahead_while_others_are_scored() -> None:
    bench = with_two_partitions({0: 2, 1: 6}, 2)
    bench.process.then.append(waiting((0, 0)))
    bench.histories.behind = {0}

    def wait(waits: Mapping[int, Wait]) -> Mapping[int, Wait]:
        bench.clock.sleep(0.06)
        return waits

    bench.histories.waiting.extend([wait] * 4)
    bench.run()
    applied = [entry for entry in bench.journal if entry.startswith("apply")]
    assert applied == ["apply [0] behind {0: 0, 1: 2}"]
    assert bench.consumer.checkpoints == {0: 2, 1: 6}


def test_partitions_of_others_that_an_event_waits_for_are_applied() -> None:
    bench = LoopHarness({0: 4}, 2)
    bench.process.then.extend([lambda: None, waiting((0, 2))])
    bench.histories.others = {1}
    bench.histories.waiting.extend([dict, dict])
    bench.run()
    applied = bench.journal.index("apply others [1]")
    # The micro-batch in flight is committed before.
    assert applied > bench.journal.index("deliver {0: 2}")
    assert bench.answered == ["0/0", "0/1", "0/2", "0/3"]


def test_partitions_of_others_are_applied_also_while_no_event_waits() -> None:
    bench = LoopHarness({0: 4}, 2)
    bench.histories.others = {1}
    bench.process.then.extend([lambda: None, lambda: bench.clock.sleep(1.0)])
    bench.consumer.when_idle = lambda: (
        bench.loop.stop() if not bench.histories.others else bench.clock.sleep(1.0)
    )
    bench.run()
    assert bench.journal.count("apply others [1]") == 1
    assert bench.answered == ["0/0", "0/1", "0/2", "0/3"]


def test_a_loss_that_is_noticed_ahead_of_scoring_restores_the_histories() -> None:
    bench = LoopHarness({0: 2}, 2)
    bench.process.then.append(waiting((0, 0)))
    bench.histories.waiting.append(raising_of(HistoriesLostError("flushed")))
    bench.run()
    restored = [entry for entry in bench.journal if entry.startswith("restore ")]
    assert restored == ["restore {0: 0}"] * 2
    assert bench.answered == ["0/0", "0/1"]


def test_a_rewind_releases_what_is_held() -> None:
    bench = with_two_partitions({0: 2, 1: 4}, 2)
    bench.process.then.append(waiting((0, 0)))
    bench.histories.waiting.append(dict)
    bench.checkpoint.outcomes.append(raising(OutcomeUnknownError("timed out")))
    bench.run()
    assert bench.consumer.checkpoints == {0: 2, 1: 4}
    assert bench.consumer.paused == set()
    assert bench.journal.count("waiting [0]") == 1


def test_a_pause_for_a_dependency_does_not_release_what_is_held() -> None:
    bench = with_two_partitions({0: 2, 1: 2}, 2)
    paused: list[set[int]] = []
    bench.process.then.extend(
        [waiting((0, 0)), raising(AWAY), lambda: paused.append({*bench.consumer.paused})]
    )
    bench.histories.waiting.extend([dict] * 4)
    bench.run()
    assert paused == [{0, 1}]
    assert bench.consumer.checkpoints == {0: 2, 1: 2}
    assert bench.process.seen[-1] == [(0, 0), (0, 1)]


def test_a_pause_for_a_dependency_ends_when_all_records_wait() -> None:
    bench = LoopHarness({0: 2}, 2)
    bench.process.then.extend([raising(AWAY), waiting((0, 0))])
    bench.run()
    assert bench.consumer.paused == set()
    assert bench.answered == ["0/0", "0/1"]


def test_a_long_wait_is_told_with_what_it_waits_for_and_ends_with_the_wait() -> None:
    bench = LoopHarness({0: 2}, 2)
    told: list[list[str]] = []
    waited: list[float] = []

    def wait(waits: Mapping[int, Wait]) -> Mapping[int, Wait]:
        told.append([reason for reason in bench.health.ready() if SUBJECT in reason])
        waited.append(sample("alignment_wait_seconds"))
        bench.clock.sleep(20)
        return waits

    bench.process.then.append(waiting((0, 1)))
    bench.histories.waiting.extend([wait] * 4)
    bench.run()
    reason = "partition 0 waits at offset 1 until partition 1 is applied further (windows of shop)"
    assert told == [[], [], [reason], [reason]]
    assert 20 <= waited[1] < 40 <= waited[2] < 60
    assert [reason for reason in bench.health.ready() if SUBJECT in reason] == []
    assert sample("alignment_wait_seconds") == 0.0
    assert bench.answered == ["0/0", "0/1"]


def test_a_store_that_is_away_while_events_wait_is_told_and_nothing_is_released() -> None:
    bench = LoopHarness({0: 2}, 2)
    told: list[list[str]] = []

    def away(_: Mapping[int, Wait]) -> Mapping[int, Wait]:
        told.append(bench.health.ready())
        raise AWAY

    bench.process.then.append(waiting((0, 0)))
    bench.histories.waiting.extend([away, away])
    bench.run()
    assert told[1] == ["store is away: redis does not answer"]
    assert bench.answered == ["0/0", "0/1"]
    assert not [reason for reason in bench.health.ready() if "store" in reason]
