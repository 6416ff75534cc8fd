"""Topics: ids that change, topics that go, and when the brokers are asked."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException
from structlog.testing import capture_logs

from base.errors import ConfigurationError, TopicReplacedError
from tests.support.fakes import Brokers, Clock, kafka_error
from worker.consume.topics import Topics
from worker.process.health import Health
from worker.process.metrics import REGISTRY


class Rig:
    def __init__(self) -> None:
        self.clock = Clock()
        self.brokers = Brokers()
        self.health = Health(60.0, self.clock)
        self.topics: Topics = self.brokers.topics(self.health, self.clock)
        self.topics.open()

    def away(self) -> list[str]:
        return [reason for reason in self.health.ready() if "is away" in reason]


def recreated(setting: str) -> float:
    name = "fraud_worker_topics_recreated_total"
    return REGISTRY.get_sample_value(name, {"setting": setting}) or 0.0


@pytest.mark.parametrize("name", ["in", "out", "dead"])
def test_a_topic_that_is_not_there_at_the_start_is_a_matter_of_the_configuration(name: str) -> None:
    clock, brokers = Clock(), Brokers()
    brokers.ids[name] = None
    topics = brokers.topics(Health(60.0, clock), clock)
    with pytest.raises(
        ConfigurationError, match=rf"^kafka\.\w+_topic: .* no topic {name}; create it"
    ):
        topics.open()


@pytest.mark.parametrize(
    ("name", "setting"), [("out", "kafka.output_topic"), ("dead", "kafka.dead_letter_topic")]
)
def test_a_topic_that_is_written_to_may_go_and_come_again(name: str, setting: str) -> None:
    rig, before = Rig(), recreated(setting)
    rig.brokers.ids[name] = None
    with capture_logs() as logs:
        rig.topics.refresh_ids()
        rig.topics.refresh_ids()
    assert [line["event"] for line in logs] == ["topic_deleted"]
    assert rig.away() == [f"{setting} is away: {name} was deleted; create it again"]
    rig.brokers.ids[name] = "id-9"
    with capture_logs() as logs:
        rig.topics.refresh_ids()
        rig.topics.refresh_ids()
    assert [(line["event"], line["topic_id"]) for line in logs] == [("topic_recreated", "id-9")]
    assert rig.away() == []
    assert recreated(setting) == before + 1
    rig.topics.verify(rig.clock.now)


def test_a_topic_that_was_created_again_between_two_looks_is_noticed() -> None:
    rig, before = Rig(), recreated("kafka.output_topic")
    rig.brokers.ids["out"] = "id-9"
    rig.topics.refresh_ids()
    assert recreated("kafka.output_topic") == before + 1


def test_the_input_topic_may_not_come_again_as_another() -> None:
    rig = Rig()
    rig.brokers.ids["in"] = None
    rig.topics.refresh_ids()
    assert rig.away() == ["kafka.input_topic is away: in was deleted; create it again"]
    rig.topics.require_same_input()
    with pytest.raises(KafkaException, match="in was deleted"):
        rig.topics.verify(rig.clock.now)
    rig.brokers.ids["in"] = "id-9"
    rig.topics.refresh_ids()
    for check in (rig.topics.require_same_input, lambda: rig.topics.verify(rig.clock.now)):
        with pytest.raises(TopicReplacedError, match=r"accept_topic: id-9"):
            check()


def test_the_brokers_are_asked_about_records_that_are_younger_than_the_last_answer() -> None:
    rig = Rig()
    rig.topics.verify(rig.clock.now)
    asked = rig.brokers.asked
    rig.clock.sleep(0.04)
    rig.topics.verify(rig.clock.now)
    assert rig.brokers.asked == asked
    consumed_at = rig.clock.now
    rig.clock.sleep(100.0)
    rig.topics.verify(consumed_at)
    assert rig.brokers.asked == asked
    rig.topics.verify(rig.clock.now)
    assert rig.brokers.asked == asked + 1


def test_an_answer_counts_from_when_it_was_asked_for() -> None:
    """A worker that is stopped while it asks takes the answer for as old as the question."""
    rig = Rig()
    describe = rig.topics._describe

    def slowly(names: object) -> object:
        answer = describe(names)  # type: ignore[arg-type]
        rig.clock.sleep(10.0)
        return answer

    rig.topics._describe = slowly  # type: ignore[assignment]
    rig.topics.refresh_ids()
    asked = rig.brokers.asked
    rig.topics.verify(rig.clock.now)
    assert rig.brokers.asked == asked + 1


def test_the_topic_id_is_unknown_while_the_brokers_are_away() -> None:
    rig = Rig()
    rig.clock.sleep(10.0)
    rig.brokers.away = kafka_error(KafkaError._TIMED_OUT)
    with pytest.raises(KafkaException):
        rig.topics.verify(rig.clock.now)
    rig.brokers.away = None
    rig.topics.verify(rig.clock.now)
