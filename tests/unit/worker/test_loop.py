"""The loop: what it does when something goes well, fails, moves, or is away."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest
from confluent_kafka import KafkaError, TopicPartition
from structlog.testing import capture_logs

from base.errors import (
    BatchAbortedError,
    ConfigurationError,
    DeliveryFatalError,
    OutcomeUnknownError,
    TopicReplacedError,
)
from tests.support.fakes import FakeMessage, kafka_error
from tests.support.loop_harness import (
    AWAY,
    PATIENCE_S,
    REASON,
    SERVICE,
    LoopHarness,
    first_batches,
    raising,
    sample,
)
from worker.consume.offset_metadata import OffsetMetadata
from worker.process.metrics import REGISTRY


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Waits for the brokers take no time; the test may look how long they would have been."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


# in peace


def test_every_record_is_answered_once_in_its_order_and_the_loop_ends_in_order() -> None:
    bench = LoopHarness({0: 5})
    bench.run()
    assert bench.answered == ["0/0", "0/1", "0/2", "0/3", "0/4"]
    assert bench.consumer.checkpoints == {0: 5}
    assert bench.journal[:2] == ["find histories", "open"]
    assert bench.journal[-2:] == ["close checkpoint", "close histories"]
    assert bench.consumer.calls[-1] == "close"


def test_the_next_batch_is_prepared_while_one_is_in_flight_and_delivered_after_it() -> None:
    bench = LoopHarness({0: 4})
    second_is_prepared = threading.Event()
    bench.process.then.extend([lambda: None, second_is_prepared.set])
    prepared: list[bool] = []
    bench.checkpoint.outcomes.append(lambda: prepared.append(second_is_prepared.wait(PATIENCE_S)))
    bench.run()
    assert prepared == [True]
    assert bench.answered == ["0/0", "0/1", "0/2", "0/3"]
    deliveries = [entry for entry in bench.journal if entry.startswith("deliver")]
    assert deliveries == ["deliver {0: 2}", "deliver {0: 4}"]


def test_behind_a_small_batch_records_are_taken_when_it_is_committed() -> None:
    bench = LoopHarness({0: 4}, overlap_from=3)
    committed: list[int] = []
    bench.process.then.extend(
        [lambda: committed.append(len(bench.checkpoint.committed)) for _ in range(2)]
    )
    bench.run()
    assert committed == [0, 1]
    assert bench.answered == ["0/0", "0/1", "0/2", "0/3"]


def test_behind_a_small_batch_that_is_aborted_nothing_is_taken_before_it_is_read_again() -> None:
    bench = LoopHarness({0: 4}, overlap_from=3)
    bench.checkpoint.outcomes.append(raising(BatchAbortedError("not a member")))
    bench.run()
    first, second = first_batches(2)
    assert bench.process.seen == [first, first, second]
    assert bench.answered == ["0/0", "0/1", "0/2", "0/3"]
    assert bench.journal.count("open") == 2


def test_with_a_delivery_in_flight_no_time_is_spent_waiting_for_records() -> None:
    bench = LoopHarness({0: 2})
    bench.run()
    # The assignment; the first record, the others; the end while in flight; the idle poll.
    assert bench.consumer.timeouts == [0.2, 0.2, 0, 0, 0, 0.2]


def test_micro_batches_shrink_when_they_take_longer_than_the_budget() -> None:
    bench = LoopHarness({0: 12}, batch=4, budget_s=2.0)
    bench.process.then.extend([lambda: bench.clock.sleep(4.0), lambda: None])
    bench.run()
    assert [len(batch) for batch in bench.process.seen[:4]] == [4, 4, 2, 2]
    assert len(bench.answered) == 12


def test_an_outbox_commits_each_partition_after_its_last_record_under_its_own_membership() -> None:
    bench = LoopHarness({0: 3, 2: 4}, batch=100)
    bench.consumer.next.clear()
    bench.consumer.will_assign(0, 2)
    bench.process.bad = {(2, 3), (0, 1)}
    bench.run()
    (outbox,) = bench.checkpoint.committed
    assert outbox.next_offsets == {0: 3, 2: 4}
    assert [letter.position.offset for letter in outbox.dead_letters] == [1, 3]
    assert len(outbox.values) == 5
    assert (outbox.group_metadata, outbox.epoch) == ("generation 1", 2)


def test_a_batch_of_bad_records_alone_commits_its_offsets() -> None:
    bench = LoopHarness({0: 2})
    bench.process.bad = {(0, 0), (0, 1)}
    bench.run()
    (outbox,) = bench.checkpoint.committed
    assert (outbox.values, len(outbox.dead_letters)) == ([], 2)
    assert bench.consumer.checkpoints == {0: 2}


def test_the_loop_counts_committed_events_alone() -> None:
    names = [
        ("batches_total", {"outcome": "committed"}),
        ("batches_total", {"outcome": "aborted"}),
        ("events_total", {"model": "m", "model_version": "1"}),
        ("decisions_total", {"segment": "default", "decision": "approve"}),
        ("explained_events_total", {}),
        ("explained_not_additive_total", {}),
        ("flags_total", {"flag": "late"}),
        ("dead_letters_total", {"code": "body_truncated"}),
        ("stage_seconds_count", {"stage": "decode"}),
        ("batch_events_count", {}),
        ("batch_events_sum", {}),
        ("record_age_seconds_count", {}),
        ("score_count", {"model": "m", "model_version": "1"}),
    ]
    before = [sample(name, **labels) for name, labels in names]
    bench = LoopHarness({0: 4})
    bench.process.bad = {(0, 1)}
    bench.checkpoint.outcomes.append(raising(BatchAbortedError("once")))
    bench.run()
    after = [sample(name, **labels) for name, labels in names]
    counted = [round(a - b) for a, b in zip(after, before, strict=True)]
    assert counted == [2, 1, 3, 3, 3, 2, 2, 1, 2, 2, 4, 4, 3]
    assert sample("assigned_partitions") == 1
    assert sample("history_coverage_ratio", entity="card") == 0.25


def test_the_age_of_a_record_without_a_time_is_not_counted() -> None:
    before = sample("record_age_seconds_count")
    bench = LoopHarness({0: 2})
    bench.consumer.messages[0, 1] = FakeMessage((0, 1), millis=-1)
    bench.run()
    assert sample("record_age_seconds_count") == before + 1


# deliveries that fail


def test_when_a_delivery_is_aborted_the_batch_behind_it_is_dropped_and_both_are_read_again() -> (
    None
):
    bench = LoopHarness({0: 6})
    second_is_prepared = threading.Event()
    bench.process.then.extend([lambda: None, second_is_prepared.set])
    dropped = sample("batches_total", outcome="dropped")

    def abort() -> None:
        assert second_is_prepared.wait(PATIENCE_S)
        raise BatchAbortedError("not a member")

    bench.checkpoint.outcomes.append(abort)
    bench.run()
    first, second, third = first_batches(3)
    assert bench.process.seen == [first, second, first, second, third]
    assert [outbox.next_offsets for outbox in bench.checkpoint.delivered] == [
        {0: 2},
        {0: 2},
        {0: 4},
        {0: 6},
    ]
    assert bench.answered == [f"0/{i}" for i in range(6)]
    assert sample("batches_total", outcome="dropped") == dropped + 1
    # No producer is used again before the transaction is settled.
    assert bench.journal.count("open") == 2


def test_an_aborted_batch_is_read_again_from_the_checkpoint_and_not_from_the_start() -> None:
    bench = LoopHarness({0: 6})
    bench.checkpoint.outcomes.extend([lambda: None, raising(BatchAbortedError("once"))])
    bench.run()
    assert bench.consumer.starts == [(0, 0), (0, 2)]
    assert bench.answered == [f"0/{i}" for i in range(6)]


@pytest.mark.parametrize("committed", [True, False], ids=["it was committed", "it was not"])
def test_after_an_unknown_outcome_a_new_producer_settles_it_before_the_checkpoint_is_read(
    committed: bool,
) -> None:
    bench = LoopHarness({0: 4})

    def lose_the_answer() -> None:
        if committed:
            bench.checkpoint.committed.append(bench.checkpoint.delivered[-1])
            bench.consumer.checkpoints[0] = 2
        raise OutcomeUnknownError("timed out")

    bench.checkpoint.outcomes.append(lose_the_answer)
    opened_before_rewinding: list[tuple[int, int]] = []
    opening = bench.checkpoint.open

    def opened() -> None:
        opened_before_rewinding.append(
            (len(bench.consumer.starts), len(bench.checkpoint.delivered))
        )
        opening()

    bench.checkpoint.open = opened  # type: ignore[method-assign]
    before = sample("batches_total", outcome="unknown")
    bench.run()
    assert opened_before_rewinding == [(0, 0), (1, 1)]
    assert bench.consumer.starts == [(0, 0), (0, 2 if committed else 0)]
    assert bench.answered == ["0/0", "0/1", "0/2", "0/3"]
    assert sample("batches_total", outcome="unknown") == before + 1


@pytest.mark.parametrize(
    "error",
    [DeliveryFatalError("fenced"), ValueError("a bug")],
    ids=["fatal", "not a delivery error"],
)
def test_a_fatal_error_ends_the_loop_with_everything_closed(error: Exception) -> None:
    bench = LoopHarness({0: 4})
    bench.checkpoint.outcomes.append(raising(error))
    with pytest.raises(type(error), match=str(error)):
        bench.run()
    assert bench.checkpoint.closed
    assert bench.consumer.closed
    assert bench.answered == []
    assert bench.consumer.checkpoints == {}


def test_an_error_of_the_stations_ends_the_loop_after_the_delivery_in_flight() -> None:
    bench = LoopHarness({0: 4})
    bench.process.then.extend([lambda: None, raising(ZeroDivisionError("a bug"))])
    with pytest.raises(ZeroDivisionError):
        bench.run()
    assert bench.answered == ["0/0", "0/1"]
    assert bench.checkpoint.closed
    assert bench.consumer.closed


def test_unknown_outcomes_in_a_row_back_off_and_make_the_worker_unready() -> None:
    bench = LoopHarness({0: 4})
    at: list[tuple[float, list[str]]] = []

    def unknown() -> None:
        at.append((bench.clock.now, bench.health.ready()))
        raise OutcomeUnknownError("Topic authorization failed")

    bench.checkpoint.outcomes.extend([unknown] * 10)
    bench.run()
    waits = np.diff([now for now, _ in at])
    assert (np.diff(waits) >= -0.11).all()
    assert waits[0] < 0.5
    assert waits[-1] == pytest.approx(2.0, abs=0.3)
    reasons = ["delivery is away: Topic authorization failed"]
    assert [ready for _, ready in at] == [[]] * 3 + [reasons] * 7
    assert bench.health.ready() == ["draining"]
    assert bench.answered == ["0/0", "0/1", "0/2", "0/3"]
    assert bench.consumer.paused == set()


def test_a_stop_ends_the_wait_for_an_unknown_outcome() -> None:
    bench = LoopHarness({0: 4})
    outcomes = iter(range(100))

    def unknown() -> None:
        if next(outcomes) == 8:
            bench.loop.stop()
        raise OutcomeUnknownError("timed out")

    bench.checkpoint.outcomes.extend([unknown] * 100)
    bench.run()
    assert len(bench.checkpoint.outcomes) == 91
    assert bench.consumer.checkpoints == {}


def test_a_stop_while_a_delivery_fails_commits_nothing_behind_it() -> None:
    bench = LoopHarness({0: 4})
    second_is_prepared = threading.Event()
    bench.process.then.extend([lambda: None, second_is_prepared.set])

    def abort() -> None:
        assert second_is_prepared.wait(PATIENCE_S)
        bench.loop.stop()
        raise BatchAbortedError("not a member")

    bench.checkpoint.outcomes.append(abort)
    bench.run()
    assert len(bench.checkpoint.delivered) == 1
    assert bench.consumer.checkpoints == {}


# partitions that move


def test_records_polled_while_the_assignment_changed_are_dropped_and_read_again() -> None:
    bench = LoopHarness({0: 4, 1: 2})
    bench.consumer.next.append(lambda: None)
    bench.consumer.will_assign(1)
    bench.run()
    assert bench.process.seen[0] == [(0, 0), (0, 1)]
    assert sorted(bench.answered) == ["0/0", "0/1", "0/2", "0/3", "1/0", "1/1"]
    assert bench.consumer.checkpoints == {0: 4, 1: 2}


def test_before_partitions_move_the_delivery_in_flight_ends() -> None:
    bench = LoopHarness({0: 2, 1: 2})
    release = threading.Event()
    order: list[str] = []

    def slowly() -> None:
        assert release.wait(PATIENCE_S)
        order.append("committed")

    bench.checkpoint.outcomes.append(slowly)

    def revoke() -> None:
        threading.Timer(0.02, release.set).start()
        bench.consumer._rebalance("on_revoke", [0])
        order.append("moved")

    bench.consumer.next.extend([lambda: None] * 2)
    bench.consumer.next.append(revoke)
    bench.run()
    assert order == ["committed", "moved"]
    assert bench.answered == ["0/0", "0/1"]


def test_a_delivery_that_does_not_end_holds_up_partitions_for_a_bounded_time_only() -> None:
    bench = LoopHarness({0: 2})
    release, moved = threading.Event(), threading.Event()

    def stuck() -> None:
        assert moved.wait(PATIENCE_S)
        release.wait(PATIENCE_S)
        raise BatchAbortedError("not a member")

    def lose() -> None:
        bench.consumer._rebalance("on_lost", [0])
        moved.set()
        release.set()

    bench.checkpoint.outcomes.append(stuck)
    bench.consumer.next.extend([lambda: None] * 2)
    bench.consumer.next.append(lose)
    bench.run()
    assert moved.is_set()
    assert bench.answered == []
    assert bench.consumer.positions == {}


def test_a_member_that_is_not_taken_back_ends_the_worker() -> None:
    bench = LoopHarness({0: 2})
    bench.consumer.when_idle = lambda: None
    bench.consumer.next.extend([lambda: None] * 4)
    bench.consumer.will_lose(0)
    with pytest.raises(DeliveryFatalError, match="not taken this member back"):
        bench.run()
    assert bench.consumer.checkpoints == {0: 2}
    assert bench.consumer.closed


@pytest.mark.parametrize("why", ["taken back", "revoked", "brokers away"])
def test_a_member_that_may_yet_come_back_is_waited_for(why: str) -> None:
    bench = LoopHarness({0: 2})
    polls = iter(range(60))

    def idle() -> None:
        if next(polls) == 50:
            bench.loop.stop()

    bench.consumer.when_idle = idle
    bench.consumer.next.extend([lambda: None] * 4)
    if why == "revoked":
        bench.consumer.will_revoke(0)
    else:
        bench.consumer.will_lose(0)
    if why == "taken back":
        bench.consumer.will_assign(0)
    if why == "brokers away":
        bench.consumer.fail("list_topics", *[kafka_error(KafkaError._TRANSPORT)] * 100)
        down = KafkaError(KafkaError._ALL_BROKERS_DOWN)
        bench.consumer.next.append(lambda: bench.loop.on_client_error(down))
    bench.run()
    assert bench.consumer.closed


def test_the_group_is_heard_while_its_checkpoints_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As with a client that answers nothing until it is told that its partitions are lost."""
    bench = LoopHarness({0: 2, 1: 2})
    committed, slept = bench.consumer.committed, iter(range(20))

    def of_another(asked: list[TopicPartition], timeout: float) -> list[TopicPartition]:
        if bench.poller.epoch and any(at.partition == 0 for at in asked):
            raise kafka_error(KafkaError._TIMED_OUT)
        return committed(asked, timeout)

    monkeypatch.setattr(bench.consumer, "committed", of_another)
    monkeypatch.setattr(time, "sleep", lambda _: next(slept))
    bench.consumer.will_lose(0)
    bench.consumer.will_assign(1)
    bench.run()
    assert bench.answered == ["1/0", "1/1"]
    assert bench.health.ready() == ["draining"]


def test_a_worker_that_cannot_rewind_is_not_ready_though_the_brokers_answer() -> None:
    """As with one partition that has no leader."""
    bench = LoopHarness({0: 2})
    told: list[bool] = []
    polls = iter(range(40))

    def idle() -> None:
        told.append(any("kafka is away" in reason for reason in bench.health.ready()))
        if next(polls) == 30:
            bench.loop.stop()

    bench.consumer.when_idle = idle
    watermarks = bench.consumer.get_watermark_offsets

    def leaderless(*asked: Any, **options: Any) -> tuple[int, int]:
        if options.get("cached"):
            return watermarks(*asked, **options)
        raise kafka_error(KafkaError._TIMED_OUT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench.consumer, "get_watermark_offsets", leaderless)
        bench.run()
    assert len(told) > 20
    assert all(told)


@pytest.mark.parametrize("brokers", ["answer", "away"])
def test_a_partition_that_is_not_read_ends_the_worker_while_the_brokers_answer(
    brokers: str,
) -> None:
    bench = LoopHarness({0: 2})
    polls = iter(range(60))
    bench.consumer.next.append(lambda: bench.consumer.paused.add(0))

    def idle() -> None:
        if next(polls) == 50:
            bench.loop.stop()

    bench.consumer.when_idle = idle
    if brokers == "away":
        bench.consumer.fail("list_topics", *[kafka_error(KafkaError._TRANSPORT)] * 100)
        down = KafkaError(KafkaError._ALL_BROKERS_DOWN)
        bench.consumer.next.append(lambda: bench.loop.on_client_error(down))
        bench.run()
    else:
        with pytest.raises(DeliveryFatalError, match=r"partitions \[0\] .* neither a record nor"):
            bench.run()
    assert bench.consumer.closed


# dependencies that are away


def test_while_a_dependency_is_away_the_worker_pauses_and_resumes_with_the_same_batch() -> None:
    bench = LoopHarness({0: 4})
    told: list[tuple[list[str], set[int], float]] = []

    def away() -> None:
        paused = sample("paused", dependency=SERVICE)
        told.append((bench.health.ready(), set(bench.consumer.paused), paused))
        raise AWAY

    bench.process.then.extend([away, away, away])
    served = bench.consumer.calls.count("consume")
    bench.run()
    reasons = [REASON]
    assert told == [([], set(), 0.0), (reasons, {0}, 1.0), (reasons, {0}, 1.0)]
    assert bench.process.seen == [[(0, 0), (0, 1)]] * 4 + [[(0, 2), (0, 3)]]
    assert bench.answered == ["0/0", "0/1", "0/2", "0/3"]
    assert bench.consumer.starts == [(0, 0)]
    assert bench.consumer.paused == set()
    assert sample("paused", dependency=SERVICE) == 0.0
    assert REASON not in bench.health.ready()
    # It stayed a member: polls, more than the batches need.
    assert bench.consumer.calls.count("consume") - served > 10


def test_the_waits_for_a_dependency_grow_to_a_bound() -> None:
    bench = LoopHarness({0: 2})
    bench.consumer.when_idle = lambda: None
    at: list[float] = []

    def away() -> None:
        at.append(bench.clock.now)
        raise AWAY

    bench.process.then.extend([away] * 10)
    bench.process.then.append(lambda: setattr(bench.consumer, "when_idle", bench.loop.stop))
    bench.run()
    waits = np.diff(at)
    assert waits[0] < 0.2
    assert (np.diff(waits) >= -1e-9).all()
    assert waits[-1] == pytest.approx(2.0, abs=0.2)
    assert bench.answered == ["0/0", "0/1"]


def test_a_batch_whose_partitions_moved_while_a_dependency_was_away_is_dropped() -> None:
    bench = LoopHarness({0: 2, 1: 2})

    def away() -> None:
        bench.consumer.will_revoke(0)
        bench.consumer.will_assign(1)
        raise AWAY

    bench.process.then.append(away)
    bench.run()
    assert bench.process.seen == [[(0, 0), (0, 1)], [(1, 0), (1, 1)]]
    assert bench.answered == ["1/0", "1/1"]
    assert bench.consumer.checkpoints == {1: 2}
    assert bench.consumer.paused == set()


def test_a_delivery_in_flight_is_settled_before_the_pause_and_if_it_failed_both_are_read_again() -> (
    None
):
    bench = LoopHarness({0: 4})
    bench.checkpoint.outcomes.append(raising(BatchAbortedError("once")))
    bench.process.then.extend([lambda: None, raising(AWAY)])
    bench.run()
    first, second = first_batches(2)
    assert bench.process.seen == [first, second, first, second]
    assert bench.answered == ["0/0", "0/1", "0/2", "0/3"]
    assert REASON not in bench.health.ready()


def test_a_stop_while_a_dependency_is_away_ends_the_wait_and_commits_nothing_more() -> None:
    bench = LoopHarness({0: 4})

    def away() -> None:
        bench.loop.stop()
        raise AWAY

    bench.process.then.extend([lambda: None, away])
    bench.run()
    assert bench.answered == ["0/0", "0/1"]
    assert bench.consumer.checkpoints == {0: 2}
    assert bench.consumer.closed


def test_a_stop_during_a_rewind_scores_nothing_with_the_state_of_another_position() -> None:
    bench = LoopHarness({0: 6})
    # The look after partitions of others finds that the micro-batch in flight has failed.
    bench.histories.others = {1}
    bench.process.then.append(lambda: bench.clock.sleep(60))
    bench.checkpoint.outcomes.append(raising(BatchAbortedError("once")))

    def away() -> None:
        bench.loop.stop()
        raise AWAY

    bench.histories.restorings.extend([lambda: None, away])
    bench.run()
    assert bench.process.seen == first_batches(1)
    assert bench.consumer.checkpoints == {}


def test_the_loop_ticks_while_a_dependency_is_away() -> None:
    bench = LoopHarness({0: 2})
    live: list[list[str]] = []

    def away() -> None:
        live.append(bench.health.live())
        raise AWAY

    bench.process.then.extend([away] * 100)
    bench.run()
    assert live == [[]] * 100
    assert bench.clock.now - 1000 > 60


# the brokers are away


def test_a_worker_that_is_asked_to_drain_before_it_found_the_brokers_ends_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = LoopHarness({0: 2})
    bench.brokers.away = kafka_error(KafkaError._TRANSPORT)
    monkeypatch.setattr(time, "sleep", lambda _: bench.loop.stop())
    bench.run()
    assert bench.answered == []
    assert bench.consumer.calls[-1] == "close"


def test_the_start_waits_for_the_brokers_and_says_so(waits: list[float]) -> None:
    bench = LoopHarness({0: 2})
    bench.checkpoint.openings.extend([kafka_error(KafkaError._TRANSPORT)] * 8)
    reasons: list[list[str]] = []
    opening = bench.checkpoint.open

    def opened() -> None:
        reasons.append(bench.health.ready())
        opening()

    bench.checkpoint.open = opened  # type: ignore[method-assign]
    with capture_logs() as logs:
        bench.run()
    (away,) = (line for line in logs if line["event"] == "kafka_away")
    assert away["remedy"] == "see that the brokers at fake:9092 are up (kafka.bootstrap_servers)"
    assert reasons[0] == ["has not joined the consumer group yet"]
    assert all("kafka is away" in told[0] and "_TRANSPORT" in told[0] for told in reasons[1:])
    assert waits == [0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 2.0, 2.0]
    assert bench.answered == ["0/0", "0/1"]
    assert sample("paused", dependency="kafka") == 0.0


def test_a_worker_that_waits_for_the_brokers_is_live(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = LoopHarness({0: 2})
    bench.checkpoint.openings.extend([kafka_error(KafkaError._TRANSPORT)] * 60)
    live: list[list[str]] = []

    def sleep(seconds: float) -> None:
        bench.clock.sleep(seconds)
        live.append(bench.health.live())

    monkeypatch.setattr(time, "sleep", sleep)
    bench.run()
    assert live == [[]] * 60
    assert bench.clock.now - 1000 > 100


def test_a_rewind_is_repeated_until_the_brokers_answer_and_the_loop_ticks_meanwhile() -> None:
    bench = LoopHarness({0: 2})
    bench.consumer.fail("committed", *[kafka_error(KafkaError._TIMED_OUT)] * 3)
    bench.run()
    assert bench.answered == ["0/0", "0/1"]
    assert bench.consumer.starts == [(0, 0)]


def test_a_stop_while_the_brokers_are_away_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = LoopHarness({0: 2})
    bench.checkpoint.openings.extend([kafka_error(KafkaError._TRANSPORT)] * 100)
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            bench.loop.stop()

    monkeypatch.setattr(time, "sleep", sleep)
    bench.run()
    assert len(waits) == 3
    assert bench.consumer.closed


def test_idle_brokers_that_are_away_are_noticed_and_their_return_too() -> None:
    bench = LoopHarness({0: 0})
    seen: list[tuple[bool, float]] = []
    polls = iter(range(200))

    def idle() -> None:
        number = next(polls)
        if number == 3:
            bench.consumer.fail("list_topics", *[kafka_error(KafkaError._TRANSPORT)] * 2)
            bench.loop.on_client_error(KafkaError(KafkaError._TRANSPORT))
            assert bench.health.ready() == []
            bench.loop.on_client_error(KafkaError(KafkaError._ALL_BROKERS_DOWN))
        seen.append((bench.health.ready() == [], bench.clock.now))
        if number == 60:
            bench.loop.stop()

    bench.consumer.when_idle = idle
    bench.run()
    ready = [is_ready for is_ready, _ in seen]
    away = [now for is_ready, now in seen if not is_ready]
    assert (ready[2], ready[3], ready[-1]) == (True, False, True)
    # Two looks found them away, the third found them back; a look every two seconds.
    assert 4.0 <= away[-1] - away[0] <= 6.5
    assert bench.consumer.calls.count("list_topics") == 3


def test_after_a_lost_connection_producers_are_replaced_before_their_next_use() -> None:
    bench = LoopHarness({0: 6})
    lost = KafkaError(KafkaError._TRANSPORT)
    bench.process.then.extend([lambda: None, lambda: bench.loop.on_client_error(lost)])
    bench.run()
    about = ("process", "write", "find", "restore", "close histories")
    assert [entry for entry in bench.journal if not entry.startswith(about)] == [
        "open",
        "deliver {0: 2}",
        "suspect",
        "deliver {0: 4}",
        "deliver {0: 6}",
        "close checkpoint",
    ]
    assert bench.answered == [f"0/{i}" for i in range(6)]


# signals and probes


def test_a_stop_drains_what_is_in_flight_and_takes_no_more() -> None:
    bench = LoopHarness({0: 100})
    bench.process.then.extend([lambda: None, lambda: None, bench.loop.stop])
    told: list[list[str]] = []
    bench.checkpoint.outcomes.extend(
        [lambda: None, lambda: None, lambda: told.append(bench.health.ready())]
    )
    bench.run()
    assert bench.answered == [f"0/{i}" for i in range(6)]
    assert bench.consumer.checkpoints == {0: 6}
    assert "draining" in bench.health.ready()
    assert bench.consumer.closed


def test_a_delivery_that_fails_in_the_drain_leaves_the_checkpoint_as_it_is() -> None:
    bench = LoopHarness({0: 100})
    bench.process.then.append(bench.loop.stop)
    bench.checkpoint.outcomes.append(raising(OutcomeUnknownError("timed out")))
    bench.run()
    assert bench.consumer.checkpoints == {}
    assert bench.consumer.closed


def test_a_fatal_delivery_in_the_drain_is_told() -> None:
    bench = LoopHarness({0: 100})
    bench.process.then.append(bench.loop.stop)
    bench.checkpoint.outcomes.append(raising(DeliveryFatalError("fenced")))
    with pytest.raises(DeliveryFatalError):
        bench.run()
    assert bench.consumer.closed


def test_ready_from_the_assignment_on_and_the_lag_is_shown() -> None:
    bench = LoopHarness({0: 2})
    bench.consumer.next.appendleft(lambda: None)
    told: list[list[str]] = []
    bench.process.then.append(lambda: told.append(bench.health.ready()))
    assert bench.health.ready() == ["has not joined the consumer group yet"]
    bench.run()
    assert told == [[]]


def test_the_lag_is_renewed_every_two_seconds_and_forgets_partitions_that_went() -> None:
    bench = LoopHarness({0: 2, 1: 0})
    bench.consumer.high[1] = 7
    seen: list[tuple[float, float | None, float | None]] = []
    polls = iter(range(200))

    def idle() -> None:
        number = next(polls)
        if number == 5:
            bench.consumer.will_assign(1)
        if number == 30:
            bench.consumer.will_revoke(1)
        if number == 60:
            bench.loop.stop()
        seen.append(
            (
                bench.clock.now,
                REGISTRY.get_sample_value("fraud_worker_lag_records", {"partition": "0"}),
                REGISTRY.get_sample_value("fraud_worker_lag_records", {"partition": "1"}),
            )
        )

    bench.consumer.when_idle = idle
    bench.run()
    assert seen[20][1:] == (0.0, 7.0)
    assert seen[-1][1:] == (0.0, None)


# the topic's id, and ends without records


def test_an_input_topic_that_was_created_again_ends_the_loop_and_commits_nothing_of_it() -> None:
    bench = LoopHarness({0: 4})

    def create_again() -> None:
        bench.brokers.ids["in"] = "id-9"

    bench.process.then.extend([lambda: bench.clock.sleep(1.0), create_again])
    with pytest.raises(TopicReplacedError, match="its id was id-1 and is now id-9"):
        bench.run()
    assert bench.answered == ["0/0", "0/1"]
    # What a later start finds: checkpoints of the topic that was read.
    assert {
        OffsetMetadata.decode(text).topic_id for text in bench.consumer.offset_metadata.values()
    } == {"id-1"}
    assert bench.checkpoint.closed
    assert bench.consumer.closed


def test_nothing_is_committed_while_the_ids_of_the_topics_are_not_known() -> None:
    bench = LoopHarness({0: 4})

    def away() -> None:
        bench.brokers.away = kafka_error(KafkaError._TIMED_OUT)

    def idle() -> None:
        if bench.poller.rewind_needed:
            bench.brokers.away = None
        else:
            bench.loop.stop()

    bench.consumer.when_idle = idle
    bench.process.then.extend([lambda: bench.clock.sleep(1.0), away])
    bench.run()
    first, second = first_batches(2)
    assert bench.process.seen == [first, second, second]
    assert bench.answered == ["0/0", "0/1", "0/2", "0/3"]


def test_ends_without_records_are_committed_with_the_state_of_the_log() -> None:
    bench = LoopHarness({0: 3})
    bench.consumer.controls[0] = 1
    bench.run()
    assert [dict(outbox.next_offsets) for outbox in bench.checkpoint.committed] == [{0: 2}, {0: 4}]
    bench = LoopHarness({0: 3})
    bench.consumer.controls[0] = 1
    bench.consumer.checkpoints, bench.consumer.offset_metadata = (
        {0: 3},
        {0: OffsetMetadata("id-1", (2,)).encode()},
    )
    bench.run()
    (outbox,) = bench.checkpoint.committed
    assert (dict(outbox.next_offsets), outbox.offset_metadata) == (
        {0: 4},
        {0: OffsetMetadata("id-1", (2,)).encode()},
    )
    assert bench.answered == []


def test_a_group_that_refuses_the_worker_makes_it_unready_until_it_is_joined() -> None:
    bench = LoopHarness({0: 1})
    bench.consumer.next.clear()
    seen: list[list[str]] = []

    def idle() -> None:
        seen.append(bench.health.ready())
        if len(seen) == 20:
            bench.consumer.will_assign(0)
        if len(seen) == 40:
            bench.loop.stop()

    bench.consumer.errors.append(KafkaError(KafkaError.INCONSISTENT_GROUP_PROTOCOL))
    bench.consumer.when_idle = idle
    bench.run()
    assert any("consumer group is away" in reason for reason in seen[19])
    assert seen[39] == []


def test_a_transaction_that_stays_open_in_the_input_is_told_once() -> None:
    bench = LoopHarness({0: 2})
    bench.consumer.controls[0] = 0
    bench.consumer.high = {0: 9}
    polls = iter(range(10_000))

    def idle() -> None:
        bench.clock.sleep(1.0)
        if next(polls) == 200:
            bench.loop.stop()

    bench.consumer.when_idle = idle
    with capture_logs() as logs:
        bench.run()
    (told,) = [line for line in logs if line["event"] == "open_transaction_in_input"]
    assert (told["partition"], told["offset"], told["behind"]) == (0, 2, 7)


def test_a_failure_elsewhere_ends_the_loop_behind_what_is_in_flight() -> None:
    bench = LoopHarness({0: 6})
    error = ConfigurationError("the labels topic is gone")
    bench.process.then.append(lambda: bench.loop.fail(error))
    with pytest.raises(ConfigurationError) as ended:
        bench.run()
    assert ended.value is error
    assert bench.answered == ["0/0", "0/1"]
    assert bench.checkpoint.closed
