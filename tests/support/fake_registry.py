"""Schema registry over HTTP that responds like Confluent's, or oddly if a test says so."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BASE = "/base/path"


class FakeRegistry(ThreadingHTTPServer):
    """Registered schemas by id and subject.

    Attributes:
        answers: JSON of responses with status 200, by path below BASE.
        odd: Handlers that respond instead, by path below BASE; "" is for all paths.
        asked: Method and path below BASE of each request.
        heads: Headers of each request.
        delay_s: Duration of each response in seconds.
        most_together: Maximum number of concurrent requests.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, dict[str, Any]] = {}
        self.odd: dict[str, Odd] = {}
        self.asked: list[str] = []
        self.heads: list[dict[str, str]] = []
        self.delay_s = 0.0
        self.most_together = 0
        self._lock = threading.Lock()
        self._together = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}{BASE}"

    @contextmanager
    def counted(self) -> Iterator[None]:
        with self._lock:
            self._together += 1
            self.most_together = max(self.most_together, self._together)
        time.sleep(self.delay_s)
        yield
        with self._lock:
            self._together -= 1

    def handle_error(self, *_: object) -> None:
        """Ignore clients that close the connection; tests do so."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        registry = self.server
        assert isinstance(registry, FakeRegistry)
        path = self.path.partition("?")[0].removeprefix(f"{BASE}/")
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        registry.asked.append(f"{self.command} {path}")
        registry.heads.append(dict(self.headers))
        with registry.counted():
            odd = registry.odd.get(path, registry.odd.get(""))
            if odd is not None:
                self.close_connection = True
                odd(self)
            elif path in registry.answers:
                answer(200, registry.answers[path])(self)
            else:
                code = 40403 if path.startswith("schemas/") else 40401
                answer(404, {"error_code": code, "message": "not found"})(self)

    do_POST = do_GET  # noqa: N815 - the base class calls it so

    def log_message(self, *_: object) -> None:
        pass


Odd = Callable[[BaseHTTPRequestHandler], None]


def answer(status: int, body: object, **headers: str) -> Odd:
    """Respond with JSON; text and bytes are sent unchanged."""
    content = body.encode() if isinstance(body, str) else body
    content = content if isinstance(content, bytes) else json.dumps(body).encode()

    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return send


def giant(handler: BaseHTTPRequestHandler) -> None:
    """Respond with 200 MB of JSON."""
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(b'{"schema": "')
    for _ in range(200):
        handler.wfile.write(b"x" * 2**20)
    handler.wfile.write(b'"}')


def drip(beginning: bytes) -> Odd:
    """Respond with the beginning, and then with a byte every 20 ms without end."""

    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(beginning)
        while True:
            handler.wfile.write(b"x")
            time.sleep(0.02)

    return send


def silence(handler: BaseHTTPRequestHandler) -> None:
    """Send no response until the client closes the connection."""
    handler.rfile.read(1)


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    """Close the connection without a response."""


def cut(handler: BaseHTTPRequestHandler) -> None:
    """Close the connection in the middle of the body."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")


@contextmanager
def serving() -> Iterator[FakeRegistry]:
    with FakeRegistry() as registry:
        thread = threading.Thread(target=registry.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield registry
        finally:
            registry.shutdown()
            thread.join()
