"""Prometheus and promtool, of Debian's package, and a receiver of traces."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import httpx2
import yaml
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support.object_servers import ROOT, TOOLS
from tools.embedded.process import LOOPBACK, Server

PROMTOOL: Final = TOOLS / "prometheus" / "promtool"
PROMETHEUS: Final = TOOLS / "prometheus" / "prometheus"
MONITORING: Final = ROOT / "k8s" / "monitoring"


def alert_rules() -> dict[str, Any]:
    """Groups of rules, in the form of a rule file."""
    document = yaml.safe_load((MONITORING / "prometheus_rule.yaml").read_text())
    rules: dict[str, Any] = document["spec"]
    return rules


class Prometheus(Server):
    """Server that scrapes one worker every half second, with the labels of a PodMonitor.

    Args:
        folder: Folder of its data.
        target: Port of the worker.
    """

    name = "prometheus"

    def __init__(self, folder: Path, target: int) -> None:
        super().__init__(folder)
        self._target = target

    def prepare(self) -> list[str]:
        rules = self.folder / "rules.yaml"
        rules.write_text(yaml.safe_dump(alert_rules()))
        target = {
            "targets": [f"{LOOPBACK}:{self._target}"],
            "labels": {"namespace": "payments"},
        }
        configuration = {
            "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
            "rule_files": [str(rules)],
            "scrape_configs": [{"job_name": "fraud-worker", "static_configs": [target]}],
        }
        path = self.folder / "prometheus.yaml"
        path.write_text(yaml.safe_dump(configuration))
        return [
            str(PROMETHEUS),
            f"--config.file={path}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address={LOOPBACK}:{self.port}",
        ]

    def answers(self) -> bool:
        try:
            return httpx2.get(self._url("-/ready"), timeout=1.0).is_success
        except httpx2.HTTPError:
            return False

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Samples that an expression gives now."""
        answer = self._get("query", query=expression)
        result: list[dict[str, Any]] = answer["result"]
        return result

    def rules(self) -> list[dict[str, Any]]:
        """All rules, with the health of their last evaluation."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def _get(self, what: str, **parameters: str) -> dict[str, Any]:
        answer = httpx2.get(self._url(f"api/v1/{what}"), params=parameters, timeout=10.0)
        document: dict[str, Any] = answer.raise_for_status().json()["data"]
        return document

    def _url(self, path: str) -> str:
        return f"http://{LOOPBACK}:{self.port}/{path}"


class TraceReceiver:
    """Spans that were received by OTLP over HTTP.

    Attributes:
        endpoint: Address for ``OTEL_EXPORTER_OTLP_ENDPOINT``.
        spans: The spans so far.
        services: Names of the services that sent some.
    """

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://{LOOPBACK}:{port}"
        self.spans: list[Span] = []
        self.services: set[str] = set()

    def take(self, body: bytes) -> None:
        """Take the spans of a request."""
        for of_service in ExportTraceServiceRequest.FromString(body).resource_spans:
            attributes = {a.key: a.value.string_value for a in of_service.resource.attributes}
            self.services.add(attributes["service.name"])
            for scope in of_service.scope_spans:
                self.spans += scope.spans


@contextmanager
def trace_receiver() -> Iterator[TraceReceiver]:
    """Receive traces on a loopback port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    receiver = TraceReceiver(server.server_port)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
