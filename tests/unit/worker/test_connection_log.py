"""Lost connections of a transactional producer, as its client logs them."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from worker import kafka
from worker.delivery.publish import SizeLimits
from worker.delivery.reports import Reports
from worker.kafka import LOGGER, make_transactional_producer
from worker.settings import KafkaSettings

LOST = [
    "[thrd:c]: c: h:1: Disconnected: connection closed by peer (after 718ms in state UP)",
    "[thrd:c]: c: 1 request(s) timed out: disconnect (after 1004ms in state UP, 2 identical error(s) suppressed)",
    "[thrd:c]: c: Disconnected (after 0ms in state APIVERSION_QUERY)",
    "[thrd:c]: c: a message that is too long for the state",
]
NEVER_CONNECTED = [
    "[thrd:c]: c: Connect to ipv4#h:1 failed: Connection refused (after 0ms in state CONNECT)",
    "[thrd:c]: c: Failed to resolve 'h:1' (after 7ms in state TRY_CONNECT, 1 identical error(s) suppressed)",
]


def options(monkeypatch: pytest.MonkeyPatch, reports: Reports, **given: Any) -> dict[str, Any]:
    """Options of a producer that is made with these options of the user."""
    made: dict[str, Any] = {}
    monkeypatch.setattr(kafka, "Producer", made.update)
    settings = KafkaSettings(
        bootstrap_servers="127.0.0.1:1",
        group="g",
        input_topic="in",
        output_topic="out",
        dead_letter_topic="dead",
        start_from="earliest",
        options=given,
    )
    make_transactional_producer(settings, SizeLimits(5000, 5000), reports)
    return made


@pytest.mark.parametrize(
    ("facility", "message", "lost"),
    [
        *[("FAIL", message, True) for message in LOST],
        *[("FAIL", message, False) for message in NEVER_CONNECTED],
        ("GETPID", LOST[0], False),
    ],
)
def test_a_lost_connection_is_reported_and_one_that_was_never_made_is_not(
    facility: str,
    message: str,
    lost: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    reports = Reports()
    with caplog.at_level(logging.INFO, LOGGER.name):
        log = options(monkeypatch, reports)["logger"].log
        log(logging.INFO, "%s [%s] %s", facility, "rdkafka#producer-1", message)
    assert reports.connection_lost is lost
    assert caplog.messages == [f"{facility} [rdkafka#producer-1] {message}"]


@pytest.mark.parametrize(
    ("given", "level"), [({}, 6), ({"log_level": 3}, 6), ({"log_level": 7}, 7)]
)
def test_no_option_of_the_user_hides_a_lost_connection(
    given: dict[str, Any], level: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = options(monkeypatch, Reports(), **given, **{"log.connection.close": False})
    assert made["log_level"] == level
    assert made["log.connection.close"] is True
