"""Record batches made by hand: what is sent is what a consumer reads."""

from __future__ import annotations

from typing import cast

import pytest

from tests.conftest import MakeTopic, SharedKafka
from tests.oracles.topics import read_to_end
from tests.support.raw_produce import CODECS, RawProducer, RawRecord, RefusedError, crc32c

INVALID_TIMESTAMP = 32
NOW_MS = 1_700_000_000_000


def test_the_checksum_is_castagnolis() -> None:
    assert crc32c(b"123456789") == 0xE3069283


@pytest.mark.parametrize("codec", CODECS)
def test_records_are_read_as_they_were_sent(
    kafka: SharedKafka, make_topic: MakeTopic, codec: str
) -> None:
    topic = make_topic(settings={"message.timestamp.after.max.ms": str(2**63 - 1)})
    sent = [
        RawRecord(b"k", b"v", [(b"a", b"1"), (b"a", None), (b"", b"")], NOW_MS),
        RawRecord(None, None, [], NOW_MS - 10_000),
        RawRecord(b"", b"x" * 100_000, [(b"n" * 5_000, b"")] * 20, 2**62),
        RawRecord(b"\xff\x00", b"", [], 0),
    ]
    with RawProducer(kafka.bootstrap) as producer:
        assert producer.produce(topic, 0, sent, codec) == 0
        assert producer.produce(topic, 0, sent[:1], codec) == len(sent)
    read = [
        RawRecord(
            m.key(),
            m.value(),
            [
                (name.encode(), value)
                for name, value in cast("list[tuple[str, bytes | None]]", m.headers() or [])
            ],
            m.timestamp()[1],
        )
        for chunk in read_to_end(kafka.bootstrap, topic)
        for m in chunk
    ]
    assert read == [*sent, sent[0]]


def test_a_header_name_may_be_any_bytes(kafka: SharedKafka, make_topic: MakeTopic) -> None:
    topic = make_topic()
    with RawProducer(kafka.bootstrap) as producer:
        producer.produce(topic, 0, [RawRecord(b"k", b"v", [(b"trace\xff", b"1")])])
    (message,) = [m for chunk in read_to_end(kafka.bootstrap, topic) for m in chunk]
    with pytest.raises((SystemError, UnicodeDecodeError)):
        message.headers()


def test_a_refusal_names_its_code_and_the_connection_goes_on(
    kafka: SharedKafka, make_topic: MakeTopic
) -> None:
    topic = make_topic(settings={"message.timestamp.before.max.ms": "1000"})
    with RawProducer(kafka.bootstrap) as producer:
        with pytest.raises(RefusedError) as refused:
            producer.produce(topic, 0, [RawRecord(b"k", b"v", timestamp=NOW_MS)])
        assert refused.value.code == INVALID_TIMESTAMP
        assert producer.produce(topic, 0, [RawRecord(b"k", b"v")]) == 0
