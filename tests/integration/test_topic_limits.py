"""What topics take, as real brokers tell it."""

from __future__ import annotations

from base.errors import ConfigurationError
from tests.conftest import MakeTopic, SharedKafka
from tests.support.rig import await_that
from worker.delivery.publish import SizeLimits
from worker.kafka import TopicLimits, make_producer
from worker.settings import KafkaSettings

BOUND_S = 20.0


def refreshed(limits: TopicLimits) -> bool:
    try:
        limits.refresh()
    except ConfigurationError:
        return False
    return True


def test_topics_without_a_bound_have_the_clients(kafka: SharedKafka, make_topic: MakeTopic) -> None:
    any_size = {"max.message.bytes": str(2**31 - 1)}
    settings = KafkaSettings(
        bootstrap_servers=kafka.bootstrap,
        group="limits",
        input_topic=make_topic("in"),
        output_topic=make_topic("out", settings=any_size),
        dead_letter_topic=make_topic("dead", settings={"max.message.bytes": "5000"}),
        start_from="earliest",
    )
    limits = TopicLimits(settings, BOUND_S)
    # A broker that is busy may hear of a new topic after the controller has made it.
    await_that(lambda: refreshed(limits), BOUND_S, "topics", limits)
    assert limits() == SizeLimits(1_000_000_000, 5000)
    producer = make_producer(settings, limits())
    # Larger than what librdkafka takes by default.
    producer.produce(settings.output_topic, b"x" * 2_000_000)
    assert producer.flush(BOUND_S) == 0
