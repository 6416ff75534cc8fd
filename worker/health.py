"""Liveness, readiness and metrics over HTTP."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from schemas.errors import ConfigurationError
from worker.metrics import REGISTRY


class Health:
    """What the loop says of itself; read by the probes.

    Live: the loop ticked within ``stale_s`` seconds. Ready: it joined the group, and no
    dependency is away.
    """

    def __init__(self, stale_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._stale_s = stale_s
        self._clock = clock
        self._lock = threading.Lock()
        self._ticked = clock()
        self._joined = False
        self._draining = False
        self._away: dict[str, str] = {}

    def tick(self) -> None:
        self._ticked = self._clock()

    def joined(self) -> None:
        self._joined = True

    def draining(self) -> None:
        self._draining = True

    def away(self, dependency: str, reason: str) -> None:
        with self._lock:
            self._away[dependency] = reason

    def back(self, dependency: str) -> None:
        with self._lock:
            self._away.pop(dependency, None)

    def live(self) -> list[str]:
        """Why the process should be restarted; empty when it is live."""
        silent = self._clock() - self._ticked
        return [f"the loop has not ticked for {silent:.0f} s"] if silent > self._stale_s else []

    def ready(self) -> list[str]:
        """Why the process does no work now; empty when it is ready."""
        with self._lock:
            reasons = [f"{name} is away: {reason}" for name, reason in self._away.items()]
        if self._draining:
            reasons.append("draining")
        if not self._joined:
            reasons.append("has not joined the consumer group yet")
        return reasons


class HealthServer:
    """Serves /live, /ready and /metrics from threads of its own."""

    def __init__(self, health: Health, host: str, port: int) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/metrics":
                    self._answer(200, generate_latest(REGISTRY), CONTENT_TYPE_LATEST)
                elif self.path == "/live":
                    self._probe(health.live())
                elif self.path == "/ready":
                    self._probe(health.ready())
                else:
                    self._answer(404, b"/live, /ready and /metrics are here\n", "text/plain")

            def _probe(self, reasons: list[str]) -> None:
                body = json.dumps({"ok": not reasons, "reasons": reasons}).encode() + b"\n"
                self._answer(503 if reasons else 200, body, "application/json")

            def _answer(self, status: int, body: bytes, content_type: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                """Probes come every few seconds: not a word."""

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except OSError as error:
            raise ConfigurationError(
                f"http: cannot listen on {host}:{port} ({error.strerror}); choose another http.host "
                "or http.port, which may be 0 for a free one"
            ) from None
        self.port: int = self._server.server_address[1]

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, name="http", daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
