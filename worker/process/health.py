"""Liveness, readiness and metrics over HTTP."""

from __future__ import annotations

import html
import json
import threading
import time
from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from base.address import mask_addresses
from worker.process.http_server import Answer, HttpServer
from worker.process.metrics import REGISTRY

_INDEX = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{name}</title></head>
<body>
<h1>{name}</h1>
<ul>
<li><a href="/live">/live</a>: 200 while the loop makes progress, 503 when a restart is due.</li>
<li><a href="/ready">/ready</a>: 200 while events are scored, 503 with the reasons while not.</li>
<li><a href="/metrics">/metrics</a>: the metrics, in Prometheus's text format.</li>
</ul>
</body>
</html>
"""


class Health:
    """State of the loop, set by the worker and read by the probes.

    The process is live if the loop ticked within the last ``stale_s`` seconds. It is ready if it
    has joined the group, is not draining, no dependency is away, and no other reason is noted.

    Args:
        stale_s: Longest time between two ticks of a live loop, in seconds.
        clock: Returns monotonic seconds.
    """

    def __init__(self, stale_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._stale_s = stale_s
        self._clock = clock
        self._lock = threading.Lock()
        self._ticked = clock()
        self._joined = False
        self._draining = False
        self._unready: dict[str, str] = {}

    def tick(self) -> None:
        self._ticked = self._clock()

    def joined(self) -> None:
        self._joined = True

    def draining(self) -> None:
        self._draining = True

    def away(self, dependency: str, reason: str) -> None:
        self.unready(dependency, f"{dependency} is away: {mask_addresses(reason)}")

    def unready(self, subject: str, reason: str) -> None:
        """Note why the process is not ready, until `back` is called for the subject."""
        with self._lock:
            self._unready[subject] = reason

    def back(self, subject: str) -> None:
        with self._lock:
            self._unready.pop(subject, None)

    def live(self) -> list[str]:
        """Reasons to restart the process; empty while it is live."""
        silent = self._clock() - self._ticked
        return [f"the loop has not ticked for {silent:.0f} s"] if silent > self._stale_s else []

    def ready(self) -> list[str]:
        """Reasons why the process does no work; empty while it is ready."""
        with self._lock:
            reasons = [*self._unready.values()]
        if self._draining:
            reasons.append("draining")
        if not self._joined:
            reasons.append("has not joined the consumer group yet")
        return reasons


class HealthServer:
    """HTTP server of an index page, /live, /ready and /metrics, in a thread of its own.

    Args:
        health: State of the loop that the probes report.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        name: Name of the worker on the index page.

    Raises:
        ConfigurationError: The address cannot be listened on.
    """

    def __init__(self, health: Health, host: str, port: int, name: str = "fraud-worker") -> None:
        self._health = health
        self._index = _INDEX.format(name=html.escape(name)).encode()
        self._server = HttpServer(host, port, self._answer)
        self.port = self._server.port

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def _answer(self, path: str) -> Answer:
        match path:
            case "/":
                return Answer(200, self._index, "text/html; charset=utf-8")
            case "/live":
                return _probe(self._health.live())
            case "/ready":
                return _probe(self._health.ready())
            case "/metrics":
                return Answer(200, generate_latest(REGISTRY), CONTENT_TYPE_LATEST)
        return Answer(404, b"/, /live, /ready and /metrics are here\n")


def _probe(reasons: list[str]) -> Answer:
    body = json.dumps({"ok": not reasons, "reasons": reasons}).encode() + b"\n"
    return Answer(503 if reasons else 200, body, "application/json")
