"""A small HTTP server that no client can block: bounded connections and time, one thread."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import h11

from base.errors import ConfigurationError

MAX_CONNECTIONS: Final = 64
"""Another connection closes the oldest: a new one is most likely a probe, an old one hangs."""
CONNECTION_SECONDS: Final = 5.0
"""Bound on a connection, from its opening to the last byte of its answer."""
_MAX_REQUEST_BYTES: Final = 16 * 1024
_READ_BYTES: Final = 16 * 1024
# The body of a request is ignored, but a close before the client has sent it would destroy the
# response.
_MAX_IGNORED_READS: Final = 64
_BACKLOG: Final = 1024
_RETRY_SECONDS: Final = 0.01


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    allow: str = ""


class HttpServer:
    """Server of GET and HEAD in a thread of its own, with one request per connection.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        answer: Called in the server's thread with the path of a request, without its query.

    Raises:
        ConfigurationError: The address cannot be listened on.
    """

    def __init__(self, host: str, port: int, answer: Callable[[str], Answer]) -> None:
        self._answer = answer
        try:
            self._socket = socket.create_server((host, port), backlog=_BACKLOG)
        # ValueError: an invalid host name, such as one with a label of 64 characters.
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ConfigurationError(
                f"http: cannot listen on {host}:{port} ({reason}); choose another http.host or "
                "http.port, which may be 0 for a free one"
            ) from None
        self._socket.settimeout(0)
        self.port: int = self._socket.getsockname()[1]
        self._open: dict[asyncio.Task[None], None] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Close all connections and the port."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        self._listen()
        self._loop.run_forever()
        self._loop.remove_reader(self._socket)
        self._loop.run_until_complete(self._close_all())
        self._socket.close()
        self._loop.close()

    async def _close_all(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _listen(self) -> None:
        # One connection per round of the loop, so that served requests get their turn in a flood.
        self._loop.add_reader(self._socket, self._accept)

    def _accept(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except OSError:
            # The connection was aborted before it was accepted, or there are no descriptors left.
            self._close_oldest()
            self._loop.remove_reader(self._socket)
            self._loop.call_later(_RETRY_SECONDS, self._listen)
            return
        connection.settimeout(0)
        if len(self._open) >= MAX_CONNECTIONS:
            self._close_oldest()
        task = self._loop.create_task(self._serve(connection))
        self._open[task] = None
        task.add_done_callback(partial(self._close, connection))

    def _close_oldest(self) -> None:
        oldest = next(iter(self._open), None)
        if oldest is not None:
            del self._open[oldest]
            oldest.cancel()

    def _close(self, connection: socket.socket, task: asyncio.Task[None]) -> None:
        self._open.pop(task, None)
        connection.close()

    async def _serve(self, connection: socket.socket) -> None:
        try:
            async with asyncio.timeout(CONNECTION_SECONDS):
                response = await self._respond(connection)
                await self._loop.sock_sendall(connection, response)
                connection.shutdown(socket.SHUT_WR)
                for _ in range(_MAX_IGNORED_READS):
                    if not await self._loop.sock_recv(connection, _READ_BYTES):
                        break
        except (OSError, TimeoutError):
            """The client has gone or is too slow: there is nobody to answer."""

    async def _respond(self, connection: socket.socket) -> bytes:
        """Response to the request of a connection; empty if the client closes without one."""
        protocol = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_REQUEST_BYTES)
        try:
            while (event := protocol.next_event()) is h11.NEED_DATA:
                protocol.receive_data(await self._loop.sock_recv(connection, _READ_BYTES))
        except h11.RemoteProtocolError as error:
            return _encoded(protocol, Answer(error.error_status_hint, f"{error}\n".encode()))
        if not isinstance(event, h11.Request):
            return b""
        if event.method not in (b"GET", b"HEAD"):
            refusal = Answer(405, b"only GET and HEAD are answered\n", allow="GET, HEAD")
            return _encoded(protocol, refusal)
        path = event.target.partition(b"?")[0].decode("latin-1")
        return _encoded(protocol, self._answer(path), without_body=event.method == b"HEAD")


def _encoded(protocol: h11.Connection, answer: Answer, *, without_body: bool = False) -> bytes:
    headers = [
        ("Content-Type", answer.content_type),
        ("Content-Length", str(len(answer.body))),
        ("Cache-Control", "no-store"),
        ("Connection", "close"),
    ]
    if answer.allow:
        headers.append(("Allow", answer.allow))
    events: list[h11.Event] = [h11.Response(status_code=answer.status, headers=headers)]
    if not without_body:
        events.append(h11.Data(data=answer.body))
    return b"".join(protocol.send(event) or b"" for event in [*events, h11.EndOfMessage()])
