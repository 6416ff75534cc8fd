"""Health: what the probes are told, and by whom."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from base.errors import ConfigurationError
from tests.support.fakes import Clock
from worker.process.health import Health, HealthServer
from worker.process.metrics import REGISTRY

NOT_JOINED = "has not joined the consumer group yet"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(60.0, clock)


@pytest.fixture
def server(health: Health) -> Iterator[HealthServer]:
    server = HealthServer(health, "127.0.0.1", 0)
    server.start()
    yield server
    server.stop()


def get(server: HealthServer, path: str) -> tuple[int, str, bytes]:
    """Status, content type and body."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=10) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read()


def probe(server: HealthServer, path: str) -> tuple[int, Any]:
    status, content_type, body = get(server, path)
    assert content_type == "application/json"
    return status, json.loads(body)


def test_live_while_the_loop_ticks(health: Health, clock: Clock) -> None:
    assert health.live() == []
    clock.sleep(60.0)
    assert health.live() == []
    clock.sleep(1.0)
    assert health.live() == ["the loop has not ticked for 61 s"]
    health.tick()
    assert health.live() == []


def test_ready_from_joining_the_group_to_the_drain(health: Health) -> None:
    assert health.ready() == [NOT_JOINED]
    health.joined()
    assert health.ready() == []
    health.draining()
    assert health.ready() == ["draining"]


def test_not_ready_while_any_dependency_is_away(health: Health) -> None:
    health.joined()
    health.away("kafka", "no broker answers")
    health.away("store", "refused")
    health.away("store", "timed out")
    assert health.ready() == ["kafka is away: no broker answers", "store is away: timed out"]
    health.back("store")
    health.back("store")
    assert health.ready() == ["kafka is away: no broker answers"]
    health.back("kafka")
    assert health.ready() == []


def test_readiness_has_nothing_to_do_with_liveness(health: Health, clock: Clock) -> None:
    health.away("kafka", "no broker answers")
    assert health.live() == []
    health.joined()
    health.back("kafka")
    clock.sleep(61.0)
    assert health.ready() == []


def test_the_probes_over_http(server: HealthServer, health: Health, clock: Clock) -> None:
    assert probe(server, "/live") == (200, {"ok": True, "reasons": []})
    assert probe(server, "/ready") == (503, {"ok": False, "reasons": [NOT_JOINED]})
    health.joined()
    clock.sleep(61.0)
    assert probe(server, "/ready") == (200, {"ok": True, "reasons": []})
    reasons = ["the loop has not ticked for 61 s"]
    assert probe(server, "/live") == (503, {"ok": False, "reasons": reasons})


def test_the_metrics_over_http(server: HealthServer) -> None:
    status, content_type, body = get(server, "/metrics")
    assert status == 200
    assert content_type.startswith("text/plain; version=")
    for family in REGISTRY.collect():
        assert f"# HELP {family.name}".encode() in body


def test_any_other_path_names_those_that_are_there(server: HealthServer) -> None:
    status, _, body = get(server, "/nowhere")
    assert status == 404
    for path in (b"/live", b"/ready", b"/metrics"):
        assert path in body


def test_the_index_page_names_the_worker_and_links_to_what_is_there(health: Health) -> None:
    server = HealthServer(health, "127.0.0.1", 0, "<fraud> / worker-1")
    server.start()
    try:
        status, content_type, body = get(server, "/")
    finally:
        server.stop()
    assert (status, content_type) == (200, "text/html; charset=utf-8")
    assert b"<h1>&lt;fraud&gt; / worker-1</h1>" in body
    for path in (b"/live", b"/ready", b"/metrics"):
        assert b'<a href="%b">' % path in body


def test_a_query_is_ignored(server: HealthServer) -> None:
    assert probe(server, "/live?verbose=1") == (200, {"ok": True, "reasons": []})


def test_health_requests_are_not_logged(
    server: HealthServer, capfd: pytest.CaptureFixture[str]
) -> None:
    get(server, "/live")
    get(server, "/nowhere")
    assert capfd.readouterr() == ("", "")


def test_a_port_that_is_taken_is_named_with_the_remedy(health: Health) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"127\.0\.0\.1:{port} .* http\.port"):
            HealthServer(health, "127.0.0.1", port)


def test_an_address_that_is_not_ours_is_refused(health: Health) -> None:
    with pytest.raises(ConfigurationError, match=r"203\.0\.113\.1:0 .* http\.host"):
        HealthServer(health, "203.0.113.1", 0)
