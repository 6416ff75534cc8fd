"""Sizes of records: what topics take, what the client takes, and what brokers answer."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, Self

import pytest

from worker import kafka
from worker.delivery.publish import SizeLimits
from worker.kafka import TopicLimits, make_producer
from worker.settings import KafkaSettings

MOST = 1_000_000_000
DEFAULT = 1_048_588


def section(**options: Any) -> KafkaSettings:
    return KafkaSettings(
        bootstrap_servers="127.0.0.1:1",
        group="g",
        input_topic="in",
        output_topic="out",
        dead_letter_topic="dead",
        start_from="earliest",
        options={"log_level": 0},
        **options,
    )


class Admin:
    """Answers each question for a topic's settings with these."""

    def __init__(self, settings: dict[str, str | None]) -> None:
        self._settings = settings

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def describe_configs(self, resources: list[Any], **_: float) -> dict[Any, Future[Any]]:
        answers = {}
        for resource in resources:
            answers[resource] = Future[Any]()
            answers[resource].set_result(
                {name: SimpleNamespace(value=value) for name, value in self._settings.items()}
            )
        return answers


def limits(
    monkeypatch: pytest.MonkeyPatch, answer: dict[str, str | None], **options: Any
) -> SizeLimits:
    monkeypatch.setattr(kafka, "make_admin", lambda _: Admin(answer))
    return TopicLimits(section(**options), 1.0).refresh()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"max.message.bytes": "5000"}, 5000),
        ({"max.message.bytes": str(MOST)}, MOST),
        ({"max.message.bytes": str(MOST + 1)}, MOST),
        ({"max.message.bytes": str(2**31 - 1)}, MOST),
        ({"max.message.bytes": str(2**63)}, MOST),
        ({"max.message.bytes": "0"}, 0),
        ({"max.message.bytes": "-1"}, DEFAULT),
        ({"max.message.bytes": "unlimited"}, DEFAULT),
        ({"max.message.bytes": ""}, DEFAULT),
        ({"max.message.bytes": None}, DEFAULT),
        ({}, DEFAULT),
    ],
)
def test_whatever_a_broker_answers_the_client_takes_it(
    answer: dict[str, str | None], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = limits(monkeypatch, answer)
    assert found == SizeLimits(expected, expected)
    make_producer(section(), found)


@pytest.mark.parametrize("place", ["options", "producer"])
def test_the_clients_own_bound_is_a_limit_too(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "make_admin", lambda _: Admin({"max.message.bytes": "5000"}))
    for own, expected in ((2000, 2000), ("2000", 2000), (9000, 5000)):
        given = section(producer={"message.max.bytes": own})
        if place == "options":
            given = given.model_copy(update={"options": {"message.max.bytes": own}, "producer": {}})
        assert TopicLimits(given, 1.0).refresh() == SizeLimits(expected, expected)


@pytest.mark.parametrize(
    ("given", "room", "expected"),
    [
        ({}, SizeLimits(5000, 9000), 5000),
        ({}, SizeLimits(2**20, 2**20), 1_000_000),
        ({}, SizeLimits(0, 9000), 1),
        ({"batch.size": 2_000_000}, SizeLimits(2**21, 5000), 5000),
        ({"batch.size": "20000"}, SizeLimits(2**21, 2**21), 20_000),
    ],
)
def test_produced_batches_fit_the_topics_limit(
    given: dict[str, Any], room: SizeLimits, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: dict[str, Any] = {}
    monkeypatch.setattr(kafka, "Producer", lambda options, **_: made.update(options))
    make_producer(section(producer=given), room)
    assert made["batch.size"] == expected
