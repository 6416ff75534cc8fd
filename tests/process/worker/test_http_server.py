"""The HTTP server: what clients that hang, flood, abort or lie cannot do to it."""

from __future__ import annotations

import http.client
import resource
import selectors
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from base.errors import ConfigurationError
from worker.process import http_server
from worker.process.http_server import MAX_CONNECTIONS, Answer, HttpServer

ROOT = Path(__file__).parents[3]
HALF_OPEN = b"GET /ok HTTP/1.1\r\nHost: x\r\nX-Slow: "
LARGE = 32 * 1024 * 1024
FLOOD = 1_010


def answer(path: str) -> Answer:
    if path == "/large":
        return Answer(200, b"x" * LARGE)
    return Answer(200, b"fine\n") if path == "/ok" else Answer(404, b"not here\n")


@pytest.fixture
def server() -> Iterator[HttpServer]:
    server = HttpServer("127.0.0.1", 0, answer)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "CONNECTION_SECONDS", 0.2)


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * FLOOD
    if soft < wanted:
        if hard < wanted:
            pytest.skip(f"the client needs {wanted} descriptors, the limit is {hard}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connect(port: int, sent: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.sendall(sent)
    return connection


def received(connection: socket.socket) -> bytes:
    """All bytes until the server closes; a reset ends them as well."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def ask(
    port: int, method: str = "GET", path: str = "/ok", body: bytes | None = None
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


def test_half_open_requests_hold_few_connections_and_no_threads_and_starve_nobody(
    server: HttpServer, many_descriptors: None
) -> None:
    threads = threading.active_count()
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        for number in range(FLOOD):
            connection = stack.enter_context(connect(server.port, HALF_OPEN))
            selector.register(connection, selectors.EVENT_READ)
            if number % 101 == 0:
                assert ask(server.port)[0] == 200
        assert ask(server.port)[2] == b"fine\n"
        assert threading.active_count() == threads
        closed = 0
        while closed < FLOOD - MAX_CONNECTIONS:
            ended = selector.select(timeout=10)
            assert ended, f"{FLOOD - closed} connections are held"
            for key, _ in ended:
                selector.unregister(key.fileobj)
                closed += 1


@pytest.mark.parametrize("sent", [b"", b"G", HALF_OPEN])
def test_a_half_open_request_is_closed_after_the_bound(
    sent: bytes, server: HttpServer, impatient: None
) -> None:
    with connect(server.port, sent) as connection:
        assert received(connection) == b""


def test_a_client_that_sends_a_byte_at_a_time_gains_no_time(
    server: HttpServer, impatient: None
) -> None:
    """The bound is on the whole request, not on the silence between two bytes."""
    with connect(server.port, HALF_OPEN) as connection:
        connection.settimeout(0.02)
        for _ in range(500):
            try:
                if not connection.recv(1):
                    return
            except TimeoutError:
                connection.sendall(b"x")
            except ConnectionResetError:
                return
        pytest.fail("the connection is still open")


def test_a_client_that_never_reads_is_cut_off_and_holds_up_nobody(
    server: HttpServer, impatient: None
) -> None:
    with connect(server.port, b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n") as connection:
        assert connection.recv(1, socket.MSG_PEEK)
        assert ask(server.port)[0] == 200
        # Nothing is read until the server has given up: the half of it that was in flight is left.
        with connect(server.port) as idle:
            assert received(idle) == b""
        assert len(received(connection)) < LARGE


def test_a_body_without_end_is_answered_and_cut_off(server: HttpServer, impatient: None) -> None:
    head = b"POST /ok HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n"
    # A reset or a broken pipe, by the system's choice.
    with connect(server.port, head) as connection, suppress(ConnectionError):
        while True:
            connection.sendall(b"x" * 65536)
    assert ask(server.port)[0] == 200


def test_a_request_with_a_body_is_answered(server: HttpServer) -> None:
    """Closing a socket with unread bytes would destroy the answer on its way."""
    status, headers, body = ask(server.port, "POST", body=b"x" * 300_000)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    assert b"GET" in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_the_http_server_answers_get_and_head_alone(method: str, server: HttpServer) -> None:
    status, headers, _ = ask(server.port, method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


def test_head_has_the_headers_of_get_and_no_body(server: HttpServer) -> None:
    _, headers, body = ask(server.port)
    assert ask(server.port, "HEAD") == (200, headers, b"")
    assert headers["Content-Length"] == str(len(body))
    assert headers["Connection"] == "close"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n" % (b"x" * 100_000), b"431"),
        (b"GET /ok HTTP/1.1\r\nHost: x\r\nX: %b\r\n\r\n" % (b"x" * 100_000), b"431"),
        (b"GET /ok HTTP/1.1\r\nHost: x\r\n%b\r\n" % (b"X: x\r\n" * 20_000), b"431"),
        (b"GET /ok HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /ok\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
        (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
    ],
    ids=["request line", "header", "headers", "no host", "HTTP/0.9", "TLS", "not ASCII"],
)
def test_bytes_that_are_no_http_request_are_refused(
    request_: bytes, status: bytes, server: HttpServer
) -> None:
    with connect(server.port) as connection:
        with suppress(ConnectionError):
            connection.sendall(request_)
        assert received(connection).startswith(b"HTTP/1.1 " + status)
    assert ask(server.port)[0] == 200


def test_aborts_leave_no_trace(capfd: pytest.CaptureFixture[str]) -> None:
    server = HttpServer("127.0.0.1", 0, answer)
    server.start()
    reset = struct.pack("ii", 1, 0)
    get = b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n"
    for sent, reads in ((b"", 0), (HALF_OPEN, 0), (get, 0), (get, 1), (get, 100_000)):
        for _ in range(5):
            with connect(server.port, sent) as connection:
                if reads:
                    assert connection.recv(reads)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
    assert ask(server.port)[0] == 200
    with connect(server.port, get):
        server.stop()
    assert capfd.readouterr() == ("", "")


def test_a_process_without_descriptors_answers_once_it_has_some() -> None:
    """64 connections are more than the child's limit lets it accept."""
    program = (
        "from worker.process.http_server import *\n"
        "server = HttpServer('127.0.0.1', 0, lambda path: Answer(200, b'fine\\n'))\n"
        "server.start()\n"
        "print(server.port, flush=True)\n"
        "input()\n"
        "server.stop()\n"
    )

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))

    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limit,  # noqa: PLW1509 - nothing else runs in this process
    ) as child:
        assert child.stdout is not None
        port = int(child.stdout.readline())
        with ExitStack() as stack:
            for _ in range(50):
                stack.enter_context(connect(port, HALF_OPEN))
            assert ask(port)[0] == 200
        _, told = child.communicate("\n", timeout=20)
    assert (child.returncode, told) == (0, "")


def test_a_host_that_is_no_name_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"http: cannot listen on a{64}.*http\.host"):
        HttpServer("a" * 64, 0, answer)
