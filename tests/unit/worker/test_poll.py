"""Poll: records with the membership they were consumed under, and where reading starts."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal, cast

import numpy as np
import pytest
from confluent_kafka import KafkaError, KafkaException
from structlog.testing import capture_logs

from schemas.errors import ErrorCode
from tests.fakes import FakeConsumer, FakeMessage, kafka_error
from worker.errors import DeliveryFatalError
from worker.poll import Polled, Poller

StartFrom = Literal["earliest", "latest", "error"]


def poller_on(
    consumer: FakeConsumer,
    start_from: StartFrom = "earliest",
    before_change: Callable[[], None] = lambda: None,
) -> Poller:
    poller = Poller(
        cast("Any", consumer),
        "in",
        start_from=start_from,
        timeout_s=5.0,
        before_change=before_change,
    )
    poller.subscribe()
    return poller


def assigned(
    consumer: FakeConsumer, *partitions: int, start_from: StartFrom = "earliest"
) -> Poller:
    """A poller that has its partitions and reads them from the checkpoint."""
    poller = poller_on(consumer, start_from)
    consumer.will_assign(*partitions)
    assert poller.poll(100, 0.1) is None
    poller.rewind()
    return poller


# Functions, because mypy takes an attribute that was asserted to stay as it is.
def must_rewind(poller: Poller) -> bool:
    return poller.rewind_needed


def has_joined(poller: Poller) -> bool:
    return poller.joined


def positions(polled: Polled | None) -> list[tuple[int, int]]:
    assert polled is not None
    records = polled.records
    return list(zip(records.partitions.tolist(), records.offsets.tolist(), strict=True))


def test_takes_the_first_record_and_what_else_is_there_up_to_the_bound() -> None:
    poller = assigned(FakeConsumer({0: 5}), 0)
    assert positions(poller.poll(3, 0.1)) == [(0, 0), (0, 1), (0, 2)]
    assert positions(poller.poll(1, 0.1)) == [(0, 3)]
    assert positions(poller.poll(9, 0.1)) == [(0, 4)]
    assert poller.poll(9, 0.1) is None


def test_records_keep_what_the_messages_hold() -> None:
    consumer = FakeConsumer({3: 2})
    consumer.messages[3, 1] = FakeMessage((3, 1), None, None, [("h", b"\xff")], -1)
    poller = assigned(consumer, 3)
    polled = poller.poll(2, 0.1)
    assert polled is not None
    records = polled.records
    assert records.topic == "in"
    assert (records.keys, records.values) == ([b"key", None], [b"body", None])
    assert records.timestamps.tolist() == [1_700_000_000_000, -1]
    assert records.headers == [None, [("h", b"\xff")]]


def test_headers_are_none_when_no_record_has_any() -> None:
    consumer = FakeConsumer({0: 2})
    consumer.messages[0, 0] = FakeMessage((0, 0), extra=[])
    polled = assigned(consumer, 0).poll(2, 0.1)
    assert polled is not None
    assert polled.records.headers is None


def test_a_record_whose_headers_cannot_be_read_has_a_fault_and_its_neighbours_have_theirs() -> None:
    consumer = FakeConsumer({0: 3})
    consumer.messages[0, 0] = FakeMessage((0, 0), extra=[("h", b"1")])
    consumer.messages[0, 1] = FakeMessage((0, 1), unreadable=True)
    polled = assigned(consumer, 0).poll(3, 0.1)
    assert polled is not None
    records = polled.records
    assert records.headers == [[("h", b"1")], None, None]
    assert {row: fault.code for row, fault in records.faults.items()} == {
        1: ErrorCode.HEADER_INVALID
    }
    assert (records.keys[1], records.values[1]) == (b"key", b"body")
    assert list(records.take(np.array([2, 1])).faults) == [1]
    assert records.take(np.array([0, 2])).faults == {}


def test_the_membership_is_that_of_the_moment_after_the_records() -> None:
    consumer = FakeConsumer({0: 2, 1: 2})
    poller = assigned(consumer, 0)
    polled = poller.poll(2, 0.1)
    assert polled is not None
    assert (polled.group_metadata, polled.epoch) == ("generation 1", poller.epoch)
    consumer.will_assign(1)
    poller.poll(1, 0.1)
    assert polled.group_metadata == "generation 1"
    assert polled.epoch < poller.epoch


@pytest.mark.parametrize("call", [0, 1], ids=["first record", "the others"])
def test_records_are_dropped_when_the_assignment_changed_while_they_were_polled(call: int) -> None:
    consumer = FakeConsumer({0: 5, 1: 5})
    poller = assigned(consumer, 0)
    consumer.next.extend([lambda: None] * call)
    consumer.will_assign(1)
    assert poller.poll(3, 0.1) is None
    assert must_rewind(poller)
    poller.rewind()
    assert not must_rewind(poller)
    assert (
        positions(poller.poll(9, 0.1))
        == [(0, i) for i in range(5)] + [(1, i) for i in range(5)][:4]
    )


def test_records_of_a_member_that_was_just_thrown_out_are_dropped() -> None:
    consumer = FakeConsumer({0: 5})
    poller = assigned(consumer, 0)
    # The client knows before the callback tells: its metadata is that of no member.
    consumer.next.append(lambda: setattr(consumer, "generation", 0))
    assert poller.poll(3, 0.1) is None
    assert must_rewind(poller)
    consumer.will_lose(0)
    poller.poll(3, 0.1)
    consumer.will_assign(0)
    poller.poll(3, 0.1)
    poller.rewind()
    assert len(positions(poller.poll(9, 0.1))) == 5


def test_expelled_from_the_loss_of_partitions_to_the_next_assignment() -> None:
    consumer = FakeConsumer({0: 5})
    poller = assigned(consumer, 0)
    expelled = [poller.expelled]
    for happening in (consumer.will_revoke, consumer.will_assign, consumer.will_lose):
        happening(0)
        poller.poll(1, 0.1)
        expelled.append(poller.expelled)
    consumer.will_assign()
    poller.poll(1, 0.1)
    assert [*expelled, poller.expelled] == [False, False, False, True, False]


def test_before_partitions_move_the_caller_is_told_and_only_then_the_epoch_moves() -> None:
    consumer = FakeConsumer({0: 1, 1: 1})
    seen: list[tuple[int, list[int]]] = []
    poller = poller_on(
        consumer, before_change=lambda: seen.append((poller.epoch, poller.partitions))
    )
    consumer.will_assign(0, 1)
    consumer.will_revoke(0)
    consumer.will_lose(1)
    for _ in range(3):
        poller.poll(1, 0.1)
    assert seen == [(0, []), (1, [0, 1]), (2, [1])]
    assert poller.epoch == 3
    assert poller.partitions == []
    assert consumer.positions == {}


def test_joined_from_the_first_assignment_even_an_empty_one() -> None:
    consumer = FakeConsumer({0: 1})
    poller = poller_on(consumer)
    assert poller.poll(1, 0.1) is None
    assert not has_joined(poller)
    consumer.will_assign()
    poller.poll(1, 0.1)
    assert has_joined(poller)
    assert poller.partitions == []
    poller.rewind()
    assert poller.poll(1, 0.1) is None


@pytest.mark.parametrize(
    ("start_from", "start"), [("earliest", 3), ("latest", 8)], ids=["earliest", "latest"]
)
def test_without_a_checkpoint_reading_starts_where_the_setting_says(
    start_from: StartFrom, start: int
) -> None:
    consumer = FakeConsumer({0: 8}, lows={0: 3})
    poller = assigned(consumer, 0, start_from=start_from)
    assert consumer.positions == {0: start}
    consumer.ends[0] = 9
    assert positions(poller.poll(1, 0.1)) == [(0, start)]


def test_latest_is_committed_at_once_and_only_where_nothing_was() -> None:
    consumer = FakeConsumer({0: 8, 1: 8}, committed={1: 2})
    assigned(consumer, 0, 1, start_from="latest")
    assert consumer.commits == [{0: 8}]
    assert consumer.positions == {0: 8, 1: 2}


def test_latest_is_tried_again_when_the_group_goes_on_without_this_member() -> None:
    consumer = FakeConsumer({0: 8})
    poller = poller_on(consumer, "latest")
    consumer.will_assign(0)
    poller.poll(1, 0.1)
    consumer.fail("commit", kafka_error(KafkaError.ILLEGAL_GENERATION))
    poller.rewind()
    assert must_rewind(poller)
    assert consumer.seeks == []
    consumer.ends[0] = 11
    poller.rewind()
    assert not must_rewind(poller)
    assert consumer.commits == [{0: 11}]
    assert consumer.positions == {0: 11}


def test_without_a_checkpoint_error_ends_the_worker() -> None:
    with pytest.raises(
        DeliveryFatalError, match=r"kafka\.start_from is error and partition 0 of in"
    ):
        assigned(FakeConsumer({0: 8}), 0, start_from="error")


@pytest.mark.parametrize("start_from", ["earliest", "latest", "error"])
def test_a_checkpoint_wins_over_the_setting(start_from: StartFrom) -> None:
    consumer = FakeConsumer({0: 8}, committed={0: 6})
    assert positions(assigned(consumer, 0, start_from=start_from).poll(9, 0.1)) == [(0, 6), (0, 7)]
    assert consumer.commits == []


@pytest.mark.parametrize("checkpoint", [3, 8], ids=["first record", "end"])
def test_a_checkpoint_at_either_end_of_the_partition_is_sound(checkpoint: int) -> None:
    consumer = FakeConsumer({0: 8}, committed={0: checkpoint}, lows={0: 3})
    assigned(consumer, 0)
    assert consumer.positions == {0: checkpoint}


def test_a_checkpoint_below_the_first_record_ends_the_worker_with_the_count_of_the_lost() -> None:
    consumer = FakeConsumer({0: 8}, committed={0: 1}, lows={0: 3})
    with pytest.raises(DeliveryFatalError, match=r"is 1, its first record is 3: .* deleted 2 unre"):
        assigned(consumer, 0)
    assert consumer.seeks == []


def test_a_checkpoint_beyond_the_end_ends_the_worker() -> None:
    consumer = FakeConsumer({0: 8}, committed={0: 9})
    with pytest.raises(DeliveryFatalError, match=r"is 9, the partition ends at 8: .* made anew"):
        assigned(consumer, 0)


def test_nothing_is_asked_of_the_brokers_while_partitions_move() -> None:
    consumer = FakeConsumer({0: 8})
    poller = poller_on(consumer)
    consumer.fail("committed", kafka_error(KafkaError._TIMED_OUT))
    consumer.fail("get_watermark_offsets", kafka_error(KafkaError._TIMED_OUT))
    consumer.will_assign(0)
    assert poller.poll(1, 0.1) is None
    assert must_rewind(poller)
    for _ in range(2):
        with pytest.raises(KafkaException):
            poller.rewind()
    poller.rewind()
    assert consumer.positions == {0: 0}


def test_rewind_goes_back_to_the_checkpoint_of_each_partition_or_to_its_start() -> None:
    consumer = FakeConsumer({0: 8, 1: 8}, lows={1: 2})
    poller = assigned(consumer, 0, 1)
    poller.poll(100, 0.1)
    consumer.checkpoints[0] = 5
    epoch = poller.epoch
    poller.rewind()
    assert consumer.positions == {0: 5, 1: 2}
    assert poller.epoch == epoch + 1


def test_rewind_says_when_the_brokers_do_not_answer_and_can_be_repeated() -> None:
    consumer = FakeConsumer({0: 8})
    poller = assigned(consumer, 0)
    poller.poll(100, 0.1)
    poller.rewind_needed = True
    consumer.fail("committed", kafka_error(KafkaError._TRANSPORT))
    with pytest.raises(KafkaException, match="_TRANSPORT"):
        poller.rewind()
    assert must_rewind(poller)
    poller.rewind()
    assert consumer.positions == {0: 0}


def test_rewind_is_still_due_when_the_group_went_on_without_this_member() -> None:
    consumer = FakeConsumer({0: 8})
    poller = assigned(consumer, 0)
    polled = poller.poll(100, 0.1)
    consumer.fail("committed", kafka_error(KafkaError.UNKNOWN_MEMBER_ID))
    poller.rewind()
    assert must_rewind(poller)
    assert polled is not None
    assert polled.epoch != poller.epoch


def test_an_error_between_records_is_no_record() -> None:
    consumer = FakeConsumer({0: 1})
    poller = assigned(consumer, 0)
    consumer.errors.append(KafkaError(KafkaError._TRANSPORT))
    assert positions(poller.poll(9, 0.1)) == [(0, 0)]
    consumer.errors.append(KafkaError(KafkaError._TRANSPORT))
    assert poller.poll(9, 0.1) is None
    assert not must_rewind(poller)


@pytest.mark.parametrize(
    "error",
    [
        KafkaError(KafkaError._AUTO_OFFSET_RESET),
        KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED),
        KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED),
        KafkaError(KafkaError.UNKNOWN, None, fatal=True),
    ],
    ids=lambda error: error.name(),
)
def test_an_error_that_no_waiting_heals_ends_the_worker(error: KafkaError) -> None:
    consumer = FakeConsumer({0: 1})
    poller = assigned(consumer, 0)
    consumer.errors.append(error)
    with pytest.raises(DeliveryFatalError, match="the input topic cannot be read"):
        poller.poll(9, 0.1)


def test_serving_while_paused_reads_nothing_and_notices_what_moves() -> None:
    consumer = FakeConsumer({0: 5, 1: 5})
    poller = assigned(consumer, 0)
    poller.pause()
    poller.serve()
    assert not must_rewind(poller)
    assert consumer.positions == {0: 0}
    consumer.will_assign(1)
    poller.serve()
    assert must_rewind(poller)
    poller.resume()
    poller.rewind()
    assert len(positions(poller.poll(100, 0.1))) == 10


def test_a_record_that_slipped_past_a_pause_is_read_again() -> None:
    consumer = FakeConsumer({0: 5})
    poller = assigned(consumer, 0)
    poller.serve()
    assert must_rewind(poller)
    poller.rewind()
    assert len(positions(poller.poll(100, 0.1))) == 5


def test_lag_is_the_way_from_the_next_record_to_the_end() -> None:
    consumer = FakeConsumer({0: 8, 1: 20}, committed={1: 20}, lows={0: 2})
    poller = assigned(consumer, 0, 1)
    assert poller.lag() == {0: 6, 1: 0}
    poller.poll(5, 0.1)
    assert poller.lag() == {0: 1, 1: 0}


def test_brokers_that_do_not_answer_are_no_error_but_an_answer() -> None:
    consumer = FakeConsumer({0: 1})
    poller = poller_on(consumer)
    consumer.fail("list_topics", kafka_error(KafkaError._TRANSPORT))
    assert not poller.brokers_answer()
    assert poller.brokers_answer()


def test_records_that_come_with_the_metadata_of_one_who_never_joined_are_dropped() -> None:
    consumer = FakeConsumer({0: 5})
    poller = assigned(consumer, 0)
    consumer.generation = 0
    assert poller.poll(9, 0.1) is None
    assert must_rewind(poller)


# the log's state


def note(event_time: int) -> str:
    return json.dumps({"highest_event_time": event_time})


def test_a_rewind_brings_the_state_that_the_checkpoints_tell() -> None:
    consumer = FakeConsumer({0: 5, 1: 5, 2: 5}, committed={0: 2, 1: 3})
    consumer.notes = {0: note(70), 1: note(80)}
    poller = assigned(consumer, 0, 1, 2)
    assert poller.log_state.highest == {0: 70, 1: 80}
    consumer.notes[0] = note(90)
    consumer.will_lose(1)
    poller.poll(1, 0.1)
    poller.rewind()
    assert poller.log_state.highest == {0: 90}


def test_where_the_group_went_on_without_this_member_no_state_is_taken() -> None:
    consumer = FakeConsumer({0: 5}, committed={0: 2})
    consumer.notes = {0: note(70)}
    poller = assigned(consumer, 0)
    consumer.notes = {0: note(80)}
    consumer.fail("committed", kafka_error(KafkaError.ILLEGAL_GENERATION))
    poller.rewind()
    assert poller.log_state.highest == {0: 70}


@pytest.mark.parametrize("needed", [True, False])
def test_a_checkpoint_that_tells_no_event_time_is_worth_one_warning(needed: bool) -> None:
    consumer = FakeConsumer({0: 5, 1: 5, 2: 5}, committed={0: 2, 1: 3})
    consumer.notes = {0: note(70)}
    poller = Poller(
        cast("Any", consumer),
        "in",
        start_from="earliest",
        timeout_s=5.0,
        before_change=lambda: None,
        needs_log_state=needed,
    )
    poller.subscribe()
    consumer.will_assign(0, 1, 2)
    poller.poll(1, 0.1)
    with capture_logs() as logs:
        poller.rewind()
        poller.rewind()
    warned = [entry for entry in logs if entry["event"] == "checkpoint_without_event_time"]
    assert [entry["partitions"] for entry in warned] == ([[1]] if needed else [])
    assert poller.log_state.highest == {0: 70}
