"""Ranges of the topic: what is read of them, and when they end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest
from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException

from base.errors import DeliveryFatalError
from tests.support.fakes import FakeConsumer, FakeMessage, kafka_error
from worker.fill.ranges import FillRange, RangeReader

Places = list[tuple[int, int]]


def reader_of(consumer: FakeConsumer, ranges: Mapping[int, FillRange]) -> RangeReader:
    return RangeReader(cast("Any", consumer), "in", ranges, 1.0)


def read(reader: RangeReader, count: int = 100) -> Places:
    records = reader.read(count, 0.1)
    return [*zip(records.partitions.tolist(), records.offsets.tolist(), strict=True)]


def places(partition: int, *offsets: int) -> Places:
    return [(partition, offset) for offset in offsets]


def test_ranges_of_several_partitions_are_read_to_their_ends_and_no_further() -> None:
    consumer = FakeConsumer({0: 9, 1: 9, 2: 9})
    reader = reader_of(consumer, {0: FillRange(3, 6), 1: FillRange(7, 9), 2: FillRange(4, 4)})
    assert reader.remaining() == {0: 3, 1: 2}
    assert read(reader, 2) == places(0, 3, 4)
    assert reader.remaining() == {0: 1, 1: 2}
    # The client had more of partition 0.
    assert read(reader, 3) == places(0, 5)
    assert reader.positions == {0: 6, 1: 7, 2: 4}
    assert read(reader) == places(1, 7, 8)
    assert (reader.remaining(), reader.truncated) == ({}, {})
    assert consumer.starts == [(0, 3), (1, 7)]
    consumer.calls.clear()
    assert read(reader) == []
    assert consumer.calls == []


def test_control_records_before_the_end_are_behind_the_last_record() -> None:
    consumer = FakeConsumer({0: 4})
    consumer.controls[0] = 3
    reader = reader_of(consumer, {0: FillRange(2, 6)})
    assert read(reader, 2) == places(0, 2, 3)
    assert reader.remaining() == {0: 2}
    assert read(reader) == []
    assert reader.remaining() == {}


def test_an_end_behind_an_open_transaction_is_waited_for() -> None:
    consumer = FakeConsumer({0: 4})
    reader = reader_of(consumer, {0: FillRange(2, 6)})
    assert read(reader) == places(0, 2, 3)
    assert reader.remaining() == {0: 2}
    consumer.ends[0] = 7
    assert read(reader) == places(0, 4, 5)
    assert reader.remaining() == {}


@pytest.mark.parametrize(
    ("begin", "truncated"), [(OFFSET_INVALID, {}), (0, {0: 5}), (4, {0: 5}), (5, {}), (6, {})]
)
def test_a_range_begins_at_the_start_of_the_log_at_the_earliest(
    begin: int, truncated: dict[int, int]
) -> None:
    consumer = FakeConsumer({0: 9}, lows={0: 5})
    reader = reader_of(consumer, {0: FillRange(begin, 8)})
    assert read(reader) == places(0, *range(max(begin, 5), 8))
    assert reader.truncated == truncated


def test_nothing_is_read_of_a_range_that_is_deleted_or_has_no_end() -> None:
    consumer = FakeConsumer({0: 9, 1: 9}, lows={0: 5})
    reader = reader_of(consumer, {0: FillRange(1, 4), 1: FillRange(3, OFFSET_INVALID)})
    assert read(reader) == []
    assert (reader.remaining(), reader.truncated) == ({}, {0: 5})


def test_where_retention_overtakes_the_reader_it_goes_on_at_the_start_of_the_log() -> None:
    consumer = FakeConsumer({0: 9, 1: 9})
    reader = reader_of(consumer, {0: FillRange(0, 8), 1: FillRange(0, 2)})
    assert read(reader, 2) == places(0, 0, 1)
    consumer.lows[0] = 6
    consumer.errors.append(KafkaError(KafkaError._AUTO_OFFSET_RESET))
    assert read(reader) == []
    assert read(reader, 2) == places(0, 6, 7)
    assert reader.truncated == {0: 6}
    assert read(reader) == places(1, 0, 1)


def test_brokers_that_do_not_answer_are_asked_again() -> None:
    consumer = FakeConsumer({0: 3})
    reader = reader_of(consumer, {0: FillRange(0, 3)})
    consumer.fail("get_watermark_offsets", kafka_error(KafkaError._TIMED_OUT))
    with pytest.raises(KafkaException):
        read(reader)
    assert read(reader) == places(0, 0, 1, 2)


def test_a_topic_that_may_not_be_read_ends_the_worker_and_other_errors_do_not() -> None:
    consumer = FakeConsumer({0: 3})
    reader = reader_of(consumer, {0: FillRange(0, 3)})
    consumer.errors.append(KafkaError(KafkaError._TRANSPORT))
    assert read(reader) == []
    consumer.errors.append(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    with pytest.raises(DeliveryFatalError, match="cannot be read"):
        read(reader)


def test_the_records_are_those_of_the_log() -> None:
    consumer = FakeConsumer({0: 3})
    consumer.messages[0, 1] = FakeMessage((0, 1), b"one", b"name", [("h", b"v")], 7)
    records = reader_of(consumer, {0: FillRange(1, 2)}).read(9, 0.1)
    assert (records.values, records.keys, records.headers) == (
        [b"one"],
        [b"name"],
        [[("h", b"v")]],
    )
    assert records.timestamps.tolist() == [7]
