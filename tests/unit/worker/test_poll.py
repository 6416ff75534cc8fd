"""Poll: records with the membership they were consumed under, and where reading starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

import numpy as np
import pytest
from confluent_kafka import KafkaError, KafkaException
from structlog.testing import capture_logs

from base.errors import ConfigurationError, DeliveryFatalError, ErrorCode, TopicReplacedError
from tests.support.fakes import Brokers, Clock, FakeConsumer, FakeMessage, kafka_error
from worker.consume.micro_batch import Polled
from worker.consume.offset_metadata import OffsetMetadata
from worker.consume.poll import Poller
from worker.consume.start_offsets import Committed, StartOffsets
from worker.process.health import Health

StartFrom = Literal["earliest", "latest", "error"]


def poller_on(
    consumer: FakeConsumer,
    start_from: StartFrom = "earliest",
    before_change: Callable[[], None] = lambda: None,
    *,
    brokers: Brokers | None = None,
    accept_topic: str | None = None,
    clock: Clock | None = None,
    needs_log_state: bool = False,
    inherited: Mapping[int, Committed] | None = None,
) -> Poller:
    """A poller that has subscribed. The topic has as many partitions as the consumer knows ends."""
    brokers, clock = brokers or Brokers(max(consumer.ends) + 1), clock or Clock()
    topics = brokers.topics(Health(60.0, clock), clock)
    topics.open()
    client = cast("Any", consumer)
    poller = Poller(
        client,
        topics,
        lambda topic: StartOffsets(client, topic, start_from, accept_topic, 5.0, inherited or {}),
        before_change=before_change,
        needs_log_state=needs_log_state,
        clock=clock,
    )
    poller.open()
    poller.subscribe()
    return poller


def assigned(
    consumer: FakeConsumer, *partitions: int, start_from: StartFrom = "earliest"
) -> Poller:
    """A poller that has its partitions and reads them from the checkpoint."""
    poller = poller_on(consumer, start_from)
    consumer.will_assign(*partitions)
    assert poller.poll(100, 0.1, {}) is None
    poller.rewind()
    return poller


def assigned_at(consumer: FakeConsumer, clock: Clock, *partitions: int) -> Poller:
    """As `assigned`, on a clock."""
    poller = poller_on(consumer, clock=clock)
    consumer.will_assign(*partitions)
    assert poller.poll(100, 0.0, {}) is None
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
    assert positions(poller.poll(3, 0.1, {})) == [(0, 0), (0, 1), (0, 2)]
    assert positions(poller.poll(1, 0.1, {})) == [(0, 3)]
    assert positions(poller.poll(9, 0.1, {})) == [(0, 4)]
    assert poller.poll(9, 0.1, {}) is None


def test_records_keep_what_the_messages_hold() -> None:
    consumer = FakeConsumer({3: 2})
    consumer.messages[3, 1] = FakeMessage((3, 1), None, None, [("h", b"\xff")], -1)
    poller = assigned(consumer, 3)
    polled = poller.poll(2, 0.1, {})
    assert polled is not None
    records = polled.records
    assert records.topic == "in"
    assert (records.keys, records.values) == ([b"key", None], [b"body", None])
    assert records.timestamps.tolist() == [1_700_000_000_000, -1]
    assert records.headers == [None, [("h", b"\xff")]]


def test_headers_are_none_when_no_record_has_any() -> None:
    consumer = FakeConsumer({0: 2})
    consumer.messages[0, 0] = FakeMessage((0, 0), extra=[])
    polled = assigned(consumer, 0).poll(2, 0.1, {})
    assert polled is not None
    assert polled.records.headers is None


def test_a_record_whose_headers_cannot_be_read_has_a_fault_and_its_neighbours_have_theirs() -> None:
    consumer = FakeConsumer({0: 3})
    consumer.messages[0, 0] = FakeMessage((0, 0), extra=[("h", b"1")])
    consumer.messages[0, 1] = FakeMessage((0, 1), unreadable=True)
    polled = assigned(consumer, 0).poll(3, 0.1, {})
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
    polled = poller.poll(2, 0.1, {})
    assert polled is not None
    assert (polled.group_metadata, polled.epoch) == ("generation 1", poller.epoch)
    consumer.will_assign(1)
    poller.poll(1, 0.1, {})
    assert polled.group_metadata == "generation 1"
    assert polled.epoch < poller.epoch


@pytest.mark.parametrize("call", [0, 1], ids=["first record", "the others"])
def test_records_are_dropped_when_the_assignment_changed_while_they_were_polled(call: int) -> None:
    consumer = FakeConsumer({0: 5, 1: 5})
    poller = assigned(consumer, 0)
    consumer.next.extend([lambda: None] * call)
    consumer.will_assign(1)
    assert poller.poll(3, 0.1, {}) is None
    assert must_rewind(poller)
    poller.rewind()
    assert not must_rewind(poller)
    assert (
        positions(poller.poll(9, 0.1, {}))
        == [(0, i) for i in range(5)] + [(1, i) for i in range(5)][:4]
    )


def test_records_of_a_member_that_was_just_thrown_out_are_dropped() -> None:
    consumer = FakeConsumer({0: 5})
    poller = assigned(consumer, 0)
    # The client knows before the callback tells: its metadata is that of no member.
    consumer.next.append(lambda: setattr(consumer, "generation", 0))
    assert poller.poll(3, 0.1, {}) is None
    assert must_rewind(poller)
    consumer.will_lose(0)
    poller.poll(3, 0.1, {})
    consumer.will_assign(0)
    poller.poll(3, 0.1, {})
    poller.rewind()
    assert len(positions(poller.poll(9, 0.1, {}))) == 5


def test_expelled_from_the_loss_of_partitions_to_the_next_assignment() -> None:
    consumer = FakeConsumer({0: 5})
    poller = assigned(consumer, 0)
    expelled = [poller.expelled]
    for happening in (consumer.will_revoke, consumer.will_assign, consumer.will_lose):
        happening(0)
        poller.poll(1, 0.1, {})
        expelled.append(poller.expelled)
    consumer.will_assign()
    poller.poll(1, 0.1, {})
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
        poller.poll(1, 0.1, {})
    assert seen == [(0, []), (1, [0, 1]), (2, [1])]
    assert poller.epoch == 3
    assert poller.partitions == []
    assert consumer.positions == {}


def test_joined_from_the_first_assignment_even_an_empty_one() -> None:
    consumer = FakeConsumer({0: 1})
    poller = poller_on(consumer)
    assert poller.poll(1, 0.1, {}) is None
    assert not has_joined(poller)
    consumer.will_assign()
    poller.poll(1, 0.1, {})
    assert has_joined(poller)
    assert poller.partitions == []
    poller.rewind()
    assert poller.poll(1, 0.1, {}) is None


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
    assert positions(poller.poll(1, 0.1, {})) == [(0, start)]


def test_latest_commits_the_ends_of_all_partitions_before_the_group_is_joined() -> None:
    consumer = FakeConsumer({0: 8, 1: 5})
    poller_on(consumer, "latest")
    assert consumer.commits == [{0: 8, 1: 5}]
    assert {OffsetMetadata.decode(text).topic_id for text in consumer.offset_metadata.values()} == {
        "id-1"
    }
    assert consumer.calls.index("commit") < consumer.calls.index("subscribe")


@pytest.mark.parametrize("start_from", ["earliest", "latest"])
def test_a_partition_added_to_a_group_that_has_begun_starts_at_its_beginning(
    start_from: StartFrom,
) -> None:
    consumer = FakeConsumer({0: 8, 1: 8}, committed={0: 2}, lows={1: 3})
    assigned(consumer, 0, 1, start_from=start_from)
    assert consumer.commits == []
    assert consumer.positions == {0: 2, 1: 3}


@pytest.mark.parametrize("start_from", ["earliest", "latest", "error"])
def test_a_partition_that_comes_while_the_worker_runs_starts_at_its_beginning(
    start_from: StartFrom,
) -> None:
    consumer = FakeConsumer({0: 8}, committed={0: 2})
    poller = assigned(consumer, 0, start_from=start_from)
    consumer.ends[1] = 4
    consumer.will_assign(1)
    poller.poll(1, 0.1, {})
    poller.rewind()
    assert consumer.positions == {0: 2, 1: 0}


def test_latest_leaves_the_ends_to_the_worker_that_joined_first() -> None:
    consumer = FakeConsumer({0: 8})
    consumer.fail("commit", kafka_error(KafkaError.UNKNOWN_MEMBER_ID))
    poller_on(consumer, "latest")
    assert consumer.commits == []


def test_latest_is_not_begun_while_the_brokers_are_away() -> None:
    consumer = FakeConsumer({0: 8})
    consumer.fail("commit", kafka_error(KafkaError._TIMED_OUT))
    with pytest.raises(KafkaException):
        poller_on(consumer, "latest")


def test_without_a_checkpoint_error_ends_the_worker() -> None:
    with pytest.raises(
        DeliveryFatalError, match=r"kafka\.start_from is error and partition 0 of in"
    ):
        assigned(FakeConsumer({0: 8}), 0, start_from="error")


@pytest.mark.parametrize("start_from", ["earliest", "latest", "error"])
def test_a_checkpoint_wins_over_the_setting(start_from: StartFrom) -> None:
    consumer = FakeConsumer({0: 8}, committed={0: 6})
    assert positions(assigned(consumer, 0, start_from=start_from).poll(9, 0.1, {})) == [
        (0, 6),
        (0, 7),
    ]
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
    assert consumer.starts == []


def test_a_checkpoint_beyond_the_end_ends_the_worker() -> None:
    consumer = FakeConsumer({0: 8}, committed={0: 9})
    with pytest.raises(
        DeliveryFatalError, match=r"is 9, the partition ends at 8: .* created again"
    ):
        assigned(consumer, 0)


def test_poll_asks_the_brokers_nothing_while_partitions_move() -> None:
    consumer = FakeConsumer({0: 8})
    poller = poller_on(consumer)
    consumer.fail("committed", kafka_error(KafkaError._TIMED_OUT))
    consumer.fail("get_watermark_offsets", kafka_error(KafkaError._TIMED_OUT))
    consumer.will_assign(0)
    assert poller.poll(1, 0.1, {}) is None
    assert must_rewind(poller)
    for _ in range(2):
        with pytest.raises(KafkaException):
            poller.rewind()
    poller.rewind()
    assert consumer.positions == {0: 0}


def test_rewind_goes_back_to_the_checkpoint_of_each_partition_or_to_its_start() -> None:
    consumer = FakeConsumer({0: 8, 1: 8}, lows={1: 2})
    poller = assigned(consumer, 0, 1)
    poller.poll(100, 0.1, {})
    consumer.checkpoints[0] = 5
    epoch = poller.epoch
    poller.rewind()
    assert consumer.positions == {0: 5, 1: 2}
    assert poller.epoch == epoch + 1


def test_rewind_says_when_the_brokers_do_not_answer_and_can_be_repeated() -> None:
    consumer = FakeConsumer({0: 8})
    poller = assigned(consumer, 0)
    poller.poll(100, 0.1, {})
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
    polled = poller.poll(100, 0.1, {})
    consumer.fail("committed", kafka_error(KafkaError.UNKNOWN_MEMBER_ID))
    poller.rewind()
    assert must_rewind(poller)
    assert polled is not None
    assert polled.epoch != poller.epoch


def test_an_error_between_records_is_no_record() -> None:
    consumer = FakeConsumer({0: 1})
    poller = assigned(consumer, 0)
    consumer.errors.append(KafkaError(KafkaError._TRANSPORT))
    assert positions(poller.poll(9, 0.1, {})) == [(0, 0)]
    consumer.errors.append(KafkaError(KafkaError._TRANSPORT))
    assert poller.poll(9, 0.1, {}) is None
    assert not must_rewind(poller)


@pytest.mark.parametrize(
    "error",
    [
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
    with pytest.raises(DeliveryFatalError, match="topic in cannot be read"):
        poller.poll(9, 0.1, {})


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
    assert len(positions(poller.poll(100, 0.1, {}))) == 10


def test_a_pause_does_not_outlive_the_loss_of_its_partitions() -> None:
    consumer = FakeConsumer({0: 5, 1: 5})
    poller = assigned(consumer, 0, 1)
    poller.pause()
    consumer.will_lose(0, 1)
    poller.serve()
    poller.resume()
    consumer.will_assign(0, 1)
    assert poller.poll(100, 0.1, {}) is None
    poller.rewind()
    assert len(positions(poller.poll(100, 0.1, {}))) == 10


def test_a_partition_is_assigned_to_the_client_with_the_offset_where_reading_begins() -> None:
    consumer = FakeConsumer({0: 9, 1: 9}, committed={0: 4})
    poller = poller_on(consumer)
    consumer.will_assign(0, 1)
    assert poller.poll(100, 0.1, {}) is None
    assert consumer.positions == {}
    consumer.will_revoke(1)
    assert poller.poll(100, 0.1, {}) is None
    poller.rewind()
    assert consumer.positions == {0: 4}


def test_a_partition_that_gives_neither_a_record_nor_its_end_is_told_after_a_while() -> None:
    clock = Clock()
    consumer = FakeConsumer({0: 3, 1: 3}, clock=clock)
    poller = assigned_at(consumer, clock, 0, 1)

    def poll_for(seconds: int) -> None:
        for _ in range(seconds):
            clock.sleep(1)
            poller.poll(9, 0.0, {})

    # The client stops to fetch it, without the worker's doing.
    consumer.paused.add(1)
    assert positions(poller.poll(2, 0.0, {})) == [(0, 0), (0, 1)]
    clock.sleep(4)
    # More was there than was read: the other one may have had to wait for its turn.
    assert positions(poller.poll(1, 0.0, {})) == [(0, 2)]
    poll_for(9)
    assert poller.stalled(10.0) == []
    poll_for(2)
    assert poller.stalled(10.0) == [1]
    poller.pause()
    assert poller.stalled(10.0) == []
    poller.resume()
    assert poller.stalled(10.0) == []
    poll_for(11)
    assert poller.stalled(10.0) == []


def test_silence_does_not_count_while_nobody_polls_or_the_brokers_are_away() -> None:
    clock = Clock()
    consumer = FakeConsumer({0: 3}, clock=clock)
    poller = assigned_at(consumer, clock, 0)
    consumer.paused.add(0)
    poller.poll(9, 0.0, {})
    clock.sleep(60)
    assert poller.stalled(10.0) == []
    poller.poll(9, 0.0, {})
    assert poller.stalled(10.0) == []
    for _ in range(9):
        clock.sleep(1)
        poller.poll(9, 0.0, {})
    poller.restart_stall_timer()
    for _ in range(9):
        clock.sleep(1)
        poller.poll(9, 0.0, {})
    assert poller.stalled(10.0) == []


def test_a_partition_that_the_client_has_given_up_ends_the_worker() -> None:
    """As after an offset out of range: librdkafka refuses each seek then."""
    consumer = FakeConsumer({0: 3, 1: 3})
    poller = assigned(consumer, 0)
    consumer.will_assign(1)
    assert poller.poll(9, 0.1, {}) is None
    consumer.fail("seek", kafka_error(KafkaError._STATE))
    with pytest.raises(
        DeliveryFatalError, match="no longer reads partition 0 of in; restart the worker"
    ):
        poller.rewind()
    # What the client has been given is given back.
    consumer.will_revoke(1)
    poller.poll(9, 0.1, {})
    assert consumer.positions.keys() == {0}


def test_a_record_that_slipped_past_a_pause_is_read_again() -> None:
    consumer = FakeConsumer({0: 5})
    poller = assigned(consumer, 0)
    poller.serve()
    assert must_rewind(poller)
    poller.rewind()
    assert len(positions(poller.poll(100, 0.1, {}))) == 5


def test_lag_is_the_way_from_the_next_record_to_the_end() -> None:
    consumer = FakeConsumer({0: 8, 1: 20}, committed={1: 20}, lows={0: 2})
    poller = assigned(consumer, 0, 1)
    assert poller.lag() == {0: 6, 1: 0}
    poller.poll(5, 0.1, {})
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
    assert poller.poll(9, 0.1, {}) is None
    assert must_rewind(poller)


# the log's state


CARD, SHOP = "c" * 12, "5" * 12
"""Digests of histories."""


def metadata(event_time: int) -> str:
    return OffsetMetadata(None, (event_time,)).encode()


def test_histories_that_another_group_filled_reach_back_as_far_as_its_checkpoints_tell() -> None:
    consumer = FakeConsumer({0: 5, 1: 5, 2: 5}, committed={0: 2, 1: 3})
    consumer.offset_metadata = {
        0: OffsetMetadata("id-1", (70,), {CARD: 50}).encode(),
        1: OffsetMetadata("id-1", (80,)).encode(),
    }
    other = [
        OffsetMetadata("id-1", (), lowest)
        for lowest in ({CARD: 20, SHOP: 9}, {CARD: 60}, {CARD: 1})
    ]
    inherited = {p: Committed(3, told) for p, told in enumerate(other)}
    poller = poller_on(consumer, inherited=inherited)
    consumer.will_assign(0, 1, 2)
    poller.poll(1, 0.1, {})
    poller.rewind()
    assert poller.log_state.lowest == {0: {CARD: 20, SHOP: 9}, 1: {CARD: 60}}
    # Past the other's checkpoint, this group has compacted what both had filled.
    consumer.offset_metadata[0] = OffsetMetadata("id-1", (90,), {CARD: 50}).encode()
    consumer.checkpoints[0] = 4
    poller.rewind()
    assert poller.log_state.lowest == {0: {CARD: 50, SHOP: 9}, 1: {CARD: 60}}


def test_a_rewind_brings_the_state_that_the_checkpoints_tell() -> None:
    consumer = FakeConsumer({0: 5, 1: 5, 2: 5}, committed={0: 2, 1: 3})
    consumer.offset_metadata = {0: metadata(70), 1: metadata(80)}
    poller = assigned(consumer, 0, 1, 2)
    assert poller.log_state.highest == {0: (70,), 1: (80,)}
    consumer.offset_metadata[0] = metadata(90)
    consumer.will_lose(1)
    poller.poll(1, 0.1, {})
    poller.rewind()
    assert poller.log_state.highest == {0: (90,)}


def test_where_the_group_went_on_without_this_member_no_state_is_taken() -> None:
    consumer = FakeConsumer({0: 5}, committed={0: 2})
    consumer.offset_metadata = {0: metadata(70)}
    poller = assigned(consumer, 0)
    consumer.offset_metadata = {0: metadata(80)}
    consumer.fail("committed", kafka_error(KafkaError.ILLEGAL_GENERATION))
    poller.rewind()
    assert poller.log_state.highest == {0: (70,)}


@pytest.mark.parametrize("needed", [True, False])
def test_a_checkpoint_that_tells_no_event_time_is_worth_one_warning(needed: bool) -> None:
    consumer = FakeConsumer({0: 5, 1: 5, 2: 5}, committed={0: 2, 1: 3})
    consumer.offset_metadata = {0: metadata(70)}
    poller = poller_on(consumer, needs_log_state=needed)
    consumer.will_assign(0, 1, 2)
    poller.poll(1, 0.1, {})
    with capture_logs() as logs:
        poller.rewind()
        poller.rewind()
    warned = [entry for entry in logs if entry["event"] == "checkpoint_without_event_time"]
    assert [entry["partitions"] for entry in warned] == ([[1]] if needed else [])
    assert poller.log_state.highest == {0: (70,)}


# the topic's id


def of_topic(topic_id: str) -> str:
    return OffsetMetadata(topic_id, (7,)).encode()


def test_checkpoints_of_another_topic_are_refused_before_the_group_is_joined() -> None:
    consumer = FakeConsumer({0: 8, 1: 8}, committed={1: 3})
    consumer.offset_metadata = {1: of_topic("id-0")}
    with pytest.raises(
        ConfigurationError,
        match=r"kafka\.input_topic: .* topic id id-0, in has id id-1: .* set kafka.accept_topic: id-1",
    ):
        poller_on(consumer)
    assert "subscribe" not in consumer.calls


@pytest.mark.parametrize("accepted", ["id-0", "id-9"])
def test_a_new_topic_is_accepted_by_its_own_id_alone(accepted: str) -> None:
    consumer = FakeConsumer({0: 8}, committed={0: 3})
    consumer.offset_metadata = {0: of_topic("id-0")}
    with pytest.raises(ConfigurationError, match=rf"kafka\.accept_topic is {accepted}"):
        poller_on(consumer, accept_topic=accepted)


@pytest.mark.parametrize("start_from", ["earliest", "latest", "error"])
def test_an_accepted_topic_is_read_from_its_beginning_which_is_committed(
    start_from: StartFrom,
) -> None:
    consumer = FakeConsumer({0: 8, 1: 8}, committed={0: 3, 1: 5}, lows={0: 1})
    consumer.offset_metadata = {0: of_topic("id-0"), 1: of_topic("id-1")}
    poller = poller_on(consumer, start_from, accept_topic="id-1")
    consumer.will_assign(0, 1)
    poller.poll(1, 0.1, {})
    poller.rewind()
    assert consumer.positions == {0: 1, 1: 5}
    assert consumer.commits == [{0: 1}]
    assert OffsetMetadata.decode(consumer.offset_metadata[0]).topic_id == "id-1"
    assert poller.log_state.highest == {1: (7,)}
    poller.rewind()
    assert consumer.commits == [{0: 1}]


def test_a_checkpoint_without_a_topic_id_is_taken_for_the_topic_that_is_there_and_told() -> None:
    consumer = FakeConsumer({0: 8}, committed={0: 3})
    with capture_logs() as logs:
        poller = assigned(consumer, 0)
    (told,) = [line for line in logs if line["event"] == "checkpoint_without_topic_id"]
    assert (told["partitions"], "id-1" in told["meaning"]) == ([0], True)
    assert positions(poller.poll(1, 0.1, {})) == [(0, 3)]


def test_a_checkpoint_of_another_topic_that_appears_later_ends_the_worker() -> None:
    consumer = FakeConsumer({0: 8}, committed={0: 3})
    poller = assigned(consumer, 0)
    consumer.offset_metadata[0] = of_topic("id-0")
    with pytest.raises(DeliveryFatalError, match=r"topic id id-0"):
        poller.rewind()


def test_a_topic_that_was_created_again_ends_the_worker_at_the_next_assignment() -> None:
    brokers, clock = Brokers(), Clock()
    consumer = FakeConsumer({0: 8}, clock=clock)
    poller = poller_on(consumer, brokers=brokers, clock=clock)
    brokers.ids["in"] = "id-9"
    consumer.will_assign(0)
    poller.poll(1, 0.1, {})
    with pytest.raises(
        TopicReplacedError, match=r"its id was id-1 and is now id-9; set kafka\.accept_"
    ):
        poller.rewind()
    assert consumer.starts == []
    with pytest.raises(TopicReplacedError):
        poller.poll(1, 0.1, {})


def test_poll_seeks_nothing_while_the_topic_is_deleted() -> None:
    brokers, clock = Brokers(), Clock()
    poller = poller_on(FakeConsumer({0: 8}), brokers=brokers, clock=clock)
    brokers.ids["in"] = None
    with pytest.raises(KafkaException, match="in was deleted"):
        poller.rewind()
    assert must_rewind(poller)


def test_commit_old_topic_id_leaves_what_a_later_start_refuses() -> None:
    consumer = FakeConsumer({0: 8}, committed={0: 3})
    poller = assigned(consumer, 0)
    consumer.fail("commit", kafka_error(KafkaError.REBALANCE_IN_PROGRESS))
    poller.commit_old_topic_id(5.0)
    assert consumer.checkpoints == {0: 0}
    brokers = Brokers()
    brokers.ids["in"] = "id-9"
    with pytest.raises(ConfigurationError, match="topic id id-1, in has id id-9"):
        poller_on(consumer, brokers=brokers)


def test_commit_old_topic_id_gives_up_when_the_group_does_not_take_it() -> None:
    clock = Clock()
    consumer = FakeConsumer({0: 0}, clock=clock)
    poller = poller_on(consumer, clock=clock)
    consumer.fail("commit", *[kafka_error(KafkaError.ILLEGAL_GENERATION)] * 100)
    poller.commit_old_topic_id(5.0)
    assert consumer.checkpoints == {}


# ends behind the last record


def offsets(polled: Polled | None) -> dict[int, int]:
    assert polled is not None
    return dict(polled.next_offsets)


def test_an_end_behind_the_last_record_is_committed_with_the_records() -> None:
    consumer = FakeConsumer({0: 3})
    consumer.controls[0] = 2
    poller = assigned(consumer, 0)
    assert offsets(poller.poll(2, 0.1, {})) == {0: 2}
    polled = poller.poll(9, 0.1, {})
    assert positions(polled) == [(0, 2)]
    assert offsets(polled) == {0: 5}
    assert poller.lag() == {0: 0}
    assert poller.poll(9, 0.1, {}) is None


def test_an_end_without_records_is_committed_at_most_every_five_seconds() -> None:
    clock = Clock()
    consumer = FakeConsumer({0: 1, 1: 0}, committed={0: 1}, clock=clock)
    consumer.controls |= {0: 1, 1: 1}
    poller = assigned_at(consumer, clock, 0, 1)
    polled = poller.poll(9, 0.0, {})
    assert positions(polled) == []
    assert offsets(polled) == {0: 2, 1: 1}
    consumer.controls[0] = 4
    consumer._ends_told.clear()
    assert poller.poll(9, 0.0, {}) is None
    clock.sleep(4.9)
    assert poller.poll(9, 0.0, {}) is None
    clock.sleep(0.2)
    assert offsets(poller.poll(9, 0.0, {})) == {0: 5}
    assert poller.poll(9, 0.0, {}) is None


def test_an_end_is_forgotten_when_partitions_move_or_reading_goes_back() -> None:
    consumer = FakeConsumer({0: 1, 1: 1}, committed={0: 1})
    consumer.controls[0] = 1
    poller = assigned(consumer, 0)
    consumer.will_revoke(0)
    assert poller.poll(9, 0.0, {}) is None
    poller.rewind()
    assert poller.poll(9, 0.0, {}) is None
    consumer.will_assign(0)
    assert poller.poll(9, 0.0, {}) is None
    poller.rewind()
    assert offsets(poller.poll(9, 0.0, {})) == {0: 2}


def test_an_end_that_was_not_committed_comes_again_after_the_rewind() -> None:
    clock = Clock()
    consumer = FakeConsumer({0: 1}, committed={0: 1}, clock=clock)
    consumer.controls[0] = 1
    poller = assigned_at(consumer, clock, 0)
    assert offsets(poller.poll(9, 0.0, {})) == {0: 2}
    poller.rewind()
    clock.sleep(6.0)
    assert offsets(poller.poll(9, 0.0, {})) == {0: 2}


def test_poll_commits_no_end_of_a_member_that_left_the_group() -> None:
    consumer = FakeConsumer({0: 1}, committed={0: 1})
    consumer.controls[0] = 1
    poller = assigned(consumer, 0)
    consumer.next.append(lambda: setattr(consumer, "generation", 0))
    assert poller.poll(9, 0.0, {}) is None


def test_an_end_while_paused_is_no_reason_to_rewind() -> None:
    consumer = FakeConsumer({0: 1}, committed={0: 1})
    poller = assigned(consumer, 0)
    consumer.controls[0] = 1
    poller.serve()
    assert not must_rewind(poller)
    assert offsets(poller.poll(9, 0.0, {})) == {0: 2}


def test_a_lag_that_waits_for_an_open_transaction_is_told_after_a_while() -> None:
    clock = Clock()
    consumer = FakeConsumer({0: 3, 1: 3}, clock=clock)
    consumer.controls |= {0: 0, 1: 0}
    poller = assigned_at(consumer, clock, 0, 1)
    poller.poll(9, 0.0, {})
    # The high watermark goes on, the end for readers of committed records does not.
    consumer.high = {0: 10}
    assert poller.lag() == {0: 7, 1: 0}
    assert poller.held_up(poller.lag()) == {}
    clock.sleep(89.0)
    assert poller.held_up(poller.lag()) == {}
    clock.sleep(2.0)
    assert poller.held_up(poller.lag()) == {0: 3}
    consumer.ends[0] = 4
    poller.poll(9, 0.0, {})
    assert poller.held_up(poller.lag()) == {}


# what the consumer tells of errors


def test_an_offset_out_of_range_is_looked_into_by_the_rewind() -> None:
    consumer = FakeConsumer({0: 8}, committed={0: 2})
    poller = assigned(consumer, 0)
    consumer.lows[0] = 5
    consumer.errors.append(KafkaError(KafkaError._AUTO_OFFSET_RESET))
    assert poller.poll(1, 0.1, {}) is None
    assert must_rewind(poller)
    with pytest.raises(DeliveryFatalError, match="retention deleted 3 unread records"):
        poller.rewind()


def test_retention_that_passes_a_partition_before_its_first_checkpoint_ends_the_worker() -> None:
    consumer = FakeConsumer({0: 8})
    poller = assigned(consumer, 0)
    consumer.lows[0] = 5
    with pytest.raises(DeliveryFatalError, match="retention deleted 5 unread records"):
        poller.rewind()


def test_a_group_with_eager_members_is_told_once_until_it_is_joined() -> None:
    consumer = FakeConsumer({0: 8})
    poller = poller_on(consumer)
    with capture_logs() as logs:
        for _ in range(3):
            consumer.errors.append(KafkaError(KafkaError.INCONSISTENT_GROUP_PROTOCOL))
            assert poller.poll(1, 0.1, {}) is None
    assert [line["event"] for line in logs] == ["unable_to_join"]
    assert "use another kafka.group" in poller.unable_to_join
    consumer.will_assign(0)
    poller.poll(1, 0.1, {})
    assert not poller.unable_to_join


def test_poll_logs_no_reading_without_partitions() -> None:
    consumer = FakeConsumer({0: 8})
    poller = poller_on(consumer)
    consumer.will_assign()
    with capture_logs() as logs:
        poller.poll(1, 0.1, {})
        poller.rewind()
    assert [line["event"] for line in logs] == ["assigned"]
